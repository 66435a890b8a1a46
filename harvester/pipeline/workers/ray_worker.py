"""What a Ray actor holds: the worker, and the key of the node that it is on.

It knows nothing of Ray, and all that it does is done by code of the node.  Key, secret and proxy
are read there and never sent.
"""

from __future__ import annotations

import os
import platform
import signal

import msgspec

from harvester.config import ENV_PREFIX, load_secrets
from harvester.errors import ConfigError
from harvester.pipeline.workers.messages import Hello, Order, Start
from harvester.pipeline.workers.threaded import ThreadedWorker
from harvester.version import __version__


class RayWorker:
    """Methods take and give packed messages.  Not async: an actor's own loop may be any."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        # A Ctrl-C in the owner's terminal reaches a cluster on the same machine as well.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._worker: ThreadedWorker | None = None

    def start(self, packed: bytes) -> bytes:
        """Begin; a `Hello`, with what is wrong if anything is."""
        start = msgspec.msgpack.decode(packed, type=Start)
        node = platform.node()
        if start.version != __version__:
            return _hello()  # the owner says what it is
        try:
            secrets = load_secrets(os.environ)
        except ConfigError as exc:
            return _hello(trouble=f"node {node}: {exc}")
        proxy = os.environ.get(f"{ENV_PREFIX}VENDOR__PROXY") or None
        vendor = msgspec.structs.replace(start.vendor, proxy=proxy)
        worker = ThreadedWorker(msgspec.structs.replace(start, vendor=vendor), secrets)
        self._worker = worker
        return _hello(worker.now_ns)

    def exchange(self, packed: bytes) -> bytes:
        """A `Report` for an `Order`."""
        assert self._worker is not None, "it was started before"
        order = msgspec.msgpack.decode(packed, type=Order)
        return msgspec.msgpack.encode(self._worker.exchange(order))


def _hello(at_ns: int = 0, trouble: str = "") -> bytes:
    return msgspec.msgpack.encode(Hello(version=__version__, at_ns=at_ns, trouble=trouble))
