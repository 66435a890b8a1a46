"""A worker whose event loop has a thread of its own, for those who are called and may not wait.

The loop is asyncio's own, whatever the process has installed: another one (uvloop) knows neither
the connections of `client.http11_transport` nor a clock that moves within a round.
"""

from __future__ import annotations

import asyncio
import threading
import time

from harvester.client.connect import way_to
from harvester.config import Secrets
from harvester.pipeline.workers.asking import Asking
from harvester.pipeline.workers.messages import Order, Report, Start


class ThreadedWorker:
    """See `asking.Asking`; to be called from one thread."""

    def __init__(self, start: Start, secrets: Secrets) -> None:
        """Begin."""
        connect = way_to(start.vendor)
        self._loop = asyncio.SelectorEventLoop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

        async def make() -> Asking:
            return Asking(start, secrets, connect, time.time)

        self._asking = asyncio.run_coroutine_threadsafe(make(), self._loop).result()

    @property
    def now_ns(self) -> int:
        """The worker's own monotonic clock."""
        return self._asking.now_ns

    def exchange(self, order: Order) -> Report:
        """See `Asking`."""
        return asyncio.run_coroutine_threadsafe(self._asking.exchange(order), self._loop).result()
