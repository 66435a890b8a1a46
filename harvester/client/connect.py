"""The transports there are, by the name that the configuration gives them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

from harvester.client.transport import Seal, Transport
from harvester.config import Vendor

Way: TypeAlias = Callable[[Vendor, int, Seal], Transport]
"""Makes the way to the vendor, of (settings, connections, seal); to be called inside the loop."""


def way_to(vendor: Vendor) -> Way:
    """That which `vendor.transport` names.

    To be called before the loop runs: importing aiohttp takes a tenth of a second.  Each brings its
    own library along, and the other's is not worth that time.
    """
    # A context that aiohttp makes as it is imported would open that file.
    os.environ.pop("SSLKEYLOGFILE", None)
    if vendor.transport == "lean":
        from harvester.client.http11_transport import LeanTransport

        return LeanTransport
    from harvester.client.aiohttp_transport import AiohttpTransport

    return AiohttpTransport


def connect(vendor: Vendor, concurrency: int, seal: Seal) -> Transport:
    """The transport itself, where nothing else waits for the loop."""
    return way_to(vendor)(vendor, concurrency, seal)
