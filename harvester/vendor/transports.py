"""The transports there are, by the name that the configuration gives them."""

from __future__ import annotations

from harvester.config import Vendor
from harvester.vendor.transport import Seal, Transport


def connect(vendor: Vendor, concurrency: int, seal: Seal) -> Transport:
    """The way to the vendor that `vendor.transport` names.  Must be called inside the loop."""
    # Each brings its own library along; the other's is not worth its start-up time.
    if vendor.transport == "lean":
        from harvester.vendor.lean_transport import LeanTransport

        return LeanTransport(vendor, concurrency, seal)
    from harvester.vendor.aiohttp_transport import AiohttpTransport

    return AiohttpTransport(vendor, concurrency, seal)
