"""Fetching probes: a few ids from elsewhere in the list, while nobody takes another one.

Theory of operation.  Whoever has a suspicion of the vendor as a whole fetches the probes itself,
one after another, and so needs no connection beyond its own; the other workers finish what they
hold and wait.  A probe is one request on a connection of its own.  What it concludes counts like
any other conclusion; what it does not goes back to the list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from harvester.harvest.source import TaskSource
from harvester.harvest.stop import Stop
from harvester.harvest.task import Conclusion, Task
from harvester.vendor.verdicts import Verdict


class Prober:
    """One per run; its probes are fetched one at a time."""

    def __init__(
        self,
        stop: Stop,
        fetch: Callable[[Task], Awaitable[tuple[Verdict, Conclusion | None]]],
        settle: Callable[[Task, Conclusion], Awaitable[None]],
    ) -> None:
        """`fetch`: one request, and what it concluded, if it did."""
        self._stop = stop
        self._fetch = fetch
        self._settle = settle
        self.over = asyncio.Event()
        """Set while nobody fetches probes."""
        self.over.set()

    async def probe(
        self, source: TaskSource, count: int, before: datetime, is_enough: Callable[[Verdict], bool]
    ) -> list[Verdict] | None:
        """What the vendor answers to at most `count` ids of the rest, not dated before `before`.

        Ends with the first answer that `is_enough`; empty if there is no rest, None if somebody
        else fetches probes already.  Raises CutOff if the run stops.
        """
        if not self.over.is_set():
            return None
        self.over.clear()
        verdicts: list[Verdict] = []
        tasks: list[Task] = []
        try:
            tasks = await source.draw(count, before)
            while tasks and not any(map(is_enough, verdicts[-1:])):
                self._stop.idle()
                self._stop.check()
                verdict, conclusion = await self._fetch(tasks[0])
                verdicts.append(verdict)
                if conclusion is None:
                    source.put_back(tasks.pop(0))
                    continue
                self._stop.busy()
                await self._settle(tasks[0], conclusion)
                source.give_back(tasks.pop(0))
        finally:
            for task in tasks:
                source.put_back(task)
            self.over.set()
        return verdicts
