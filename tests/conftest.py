"""What every test shares."""

from __future__ import annotations

import inspect
import os
import signal
import time
from collections.abc import Iterator
from itertools import compress
from types import SimpleNamespace
from typing import Any

import aiohttp
import aioresponses.core
import hypothesis
import pytest

from harvester.cli.ui import next_command
from tests.support import ways

os.environ["TZ"] = ways.TIME_ZONE
time.tzset()

# A machine that stands still for a moment is no fault of the code.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")

# What a shell runs in the background ignores Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # under nohup, the end of a terminal
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class _StandInResponse(aiohttp.ClientResponse):
    """A made-up answer.  Nothing was written for it, so its writer has written nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(*args, **kwargs)


# aioresponses 0.7.9 makes its answers without `stream_writer`, which aiohttp 3.14 demands
# (pnuckowski/aioresponses#289).  To be dropped once it passes one itself.
if "stream_writer" in inspect.signature(aiohttp.ClientResponse.__init__).parameters:
    vars(aioresponses.core)["ClientResponse"] = _StandInResponse


@pytest.fixture(autouse=True)
def _nothing_was_typed() -> Iterator[None]:
    """A command that a test runs in this process leaves none of its options to the next one."""
    yield
    next_command.begin(())


_MARKED = ("soak", "crash")
"""Markers, and folders, of what takes minutes."""
_LONG = "tests/long"
"""A folder: what takes long over sockets, and is marked by neither."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the long ones unless `-m` or a path names them (`make soak`, `make crash`,
    `make long`).
    """
    words, paths = config.option.markexpr, config.args
    asked = {one for one in _MARKED if one in words or any(f"tests/{one}" in at for at in paths)}
    is_long_asked = any(_LONG in at for at in paths)

    def is_left_out(item: pytest.Item) -> bool:
        marks = {mark.name for mark in item.iter_markers()} & set(_MARKED)
        if marks:
            return not marks <= asked
        return item.nodeid.startswith(_LONG) and not is_long_asked

    is_out = [is_left_out(item) for item in items]
    config.hook.pytest_deselected(items=list(compress(items, is_out)))
    items[:] = [item for item, out in zip(items, is_out, strict=True) if not out]
