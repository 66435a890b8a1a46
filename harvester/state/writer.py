"""The ledger's one thread.

All of a run's reads and writes of state.db pass through here, one after another, so the event loop
never waits for the disk and SQLite never sees two users at once.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from harvester.state.database import store_errors

P = ParamSpec("P")
T = TypeVar("T")


class LedgerWriter:
    """Runs functions of (database, …) one at a time, on a thread of its own."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")

    async def call(
        self,
        function: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `function(db, …)` and wait for it.  Raises StoreError where SQLite fails."""
        return await asyncio.wrap_future(self.submit(function, *args, **kwargs))

    def submit(
        self,
        function: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Future[T]:
        """The same for callers on another thread."""

        def job() -> T:
            with store_errors(self._path):
                return function(self._db, *args, **kwargs)

        return self._thread.submit(job)

    def close(self) -> None:
        """Wait for what is queued, and end the thread; the database stays open."""
        self._thread.shutdown(wait=True)


class InlineLedger:
    """The same for the time before the run begins: functions run where they are called."""

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._path = path

    def submit(
        self,
        function: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Future[T]:
        """Run `function(db, …)` now."""
        done: Future[T] = Future()
        with store_errors(self._path):
            done.set_result(function(self._db, *args, **kwargs))
        return done
