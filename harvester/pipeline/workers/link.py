"""The way to a worker: all that has to be known of whoever runs it."""

from __future__ import annotations

from typing import Protocol

from harvester.pipeline.workers.messages import Hello, Order, Report, Start


class Link(Protocol):
    """Starts one worker after the other; each lives until it is gone, or the link is closed."""

    async def start(self, start: Start) -> Hello:
        """Start a worker; one that was started before is gone.  Raises WorkerGone."""
        ...

    async def exchange(self, order: Order) -> Report:
        """Give an order and wait for the report.  Raises WorkerGone."""
        ...

    async def close(self) -> None:
        """End the worker at once: it has nothing that could be lost."""
        ...
