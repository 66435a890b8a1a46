"""What every test shares."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import aiohttp
import aioresponses.core


class _StandInResponse(aiohttp.ClientResponse):
    """A made-up answer.  Nothing was written for it, so its writer has written nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(*args, **kwargs)


# aioresponses 0.7.9 makes its answers without `stream_writer`, which aiohttp 3.14 demands
# (pnuckowski/aioresponses#289).  To be dropped once it passes one itself.
if "stream_writer" in inspect.signature(aiohttp.ClientResponse.__init__).parameters:
    vars(aioresponses.core)["ClientResponse"] = _StandInResponse
