"""Workers that live on the owner's own loop, so in virtual time; messages are packed as ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from harvester.pipeline.engine.local_workers import QUIET_AFTER_WORKERS_S, Fetching
from harvester.pipeline.engine.workers import MakeWorkers
from harvester.pipeline.workers.asking import Asking
from harvester.pipeline.workers.dispatcher import Crew, with_workers
from harvester.pipeline.workers.messages import Hello, Order, Report, Start, WorkerGone
from harvester.version import __version__
from tests.support.fakes import SECRETS, FakeVendor


class LoopLink:
    """A `Link` to a worker that sends to `vendor`."""

    def __init__(self, vendor: FakeVendor) -> None:
        self.vendor = vendor
        self.starts = 0
        self.told: list[Start] = []
        """What each worker was told at its start."""
        self.asking: Asking | None = None
        self.version = __version__
        self.starts_in_s: float = 0.2
        self.late_s: Callable[[], float] = lambda: 0.0
        """How long each message is on its way."""

    async def start(self, start: Start) -> Hello:
        """See `Link`."""
        self.starts += 1
        self.told.append(start)
        await asyncio.sleep(self.starts_in_s)
        packed = msgspec.msgpack.encode(start)
        self.asking = Asking(
            msgspec.msgpack.decode(packed, type=Start), SECRETS, self.vendor.connect, time.time
        )
        return Hello(version=self.version, at_ns=self.asking.now_ns)

    async def exchange(self, order: Order) -> Report:
        """See `Link`."""
        await asyncio.sleep(self.late_s())
        if self.asking is None:
            raise WorkerGone("it was killed")
        packed = msgspec.msgpack.encode(order)
        try:
            report = await self.asking.exchange(msgspec.msgpack.decode(packed, type=Order))
        except ZeroDivisionError as exc:  # a bug, as tests have them: the process would end of it
            await self.kill()
            raise WorkerGone(f"it failed: {exc}") from exc
        packed = msgspec.msgpack.encode(report)
        await asyncio.sleep(self.late_s())
        if self.asking is None:
            raise WorkerGone("it was killed")
        return msgspec.msgpack.decode(packed, type=Report)

    async def kill(self) -> None:
        """Nobody is told."""
        asking, self.asking = self.asking, None
        if asking is not None:
            await asking.close()

    async def close(self) -> None:
        """See `Link`."""
        await self.kill()


def beside(links: Sequence[LoopLink]) -> Callable[[Fetching], MakeWorkers]:
    """For `House.who_fetches`: these beside the run's own process."""
    crew = Crew(count=len(links), links=lambda count: links[:count], to_fetch=1_000_000)
    return lambda fetching: with_workers(replace(fetching, quiet_s=QUIET_AFTER_WORKERS_S), crew)
