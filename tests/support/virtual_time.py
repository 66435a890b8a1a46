"""An event loop whose clock only moves when nothing is left to do: hours pass in milliseconds.

Timers run in their order at their times.  Threads stay real: while the loop waits for one (an
executor's, or a ledger's that says so with `waiting_for_thread`), time stands still, so what
happens between two timers does not depend on how fast the disk is.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_THREAD_TIMEOUT_S = 30.0
_ROUND_S = 1e-6  # a round of the loop takes time: whoever asks again "in a moment" gets there


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` is virtual; `lateness()` is by how much the next sleep oversleeps, in seconds."""

    def __init__(
        self, *, starts_at: float = 1000.0, lateness: Callable[[], float] | None = None
    ) -> None:
        self._now = starts_at
        self._lateness = lateness or (lambda: 0.0)
        self._threads = 0
        super().__init__(_Selector(self))

    def time(self) -> float:
        """The virtual time, in seconds."""
        return self._now

    @contextmanager
    def waiting_for_thread(self) -> Iterator[None]:
        """Let time stand still meanwhile."""
        self._threads += 1
        try:
            yield
        finally:
            self._threads -= 1

    def run_in_executor(
        self, executor: Executor | None, func: Callable[..., T], *args: object
    ) -> asyncio.Future[T]:
        """As usual, and time stands still until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._threads += 1
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """As usual; the threads are waited for in real time."""
        with self.waiting_for_thread():
            await super().shutdown_default_executor()

    def _thread_done(self, future: object) -> None:
        self._threads -= 1

    def _pass(self, timeout: float) -> None:
        """Move the clock."""
        self._now += timeout

    def oversleeps(self) -> float:
        """By how much the next sleep is too long."""
        return self._lateness()

    @property
    def waits_for_thread(self) -> bool:
        return self._threads > 0


class _Selector(selectors.SelectSelector):
    """Moves the loop's clock instead of sleeping."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._loop._pass(_ROUND_S)
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        if self._loop.waits_for_thread:
            events = super().select(_THREAD_TIMEOUT_S)
            if not events:
                raise RuntimeError("a thread has not come back")
            return events
        if timeout is None:
            raise RuntimeError("everybody waits, and no timer will wake anybody")
        self._loop._pass(timeout + self._loop.oversleeps())
        return []


def run_virtually(
    main: Callable[[], Coroutine[Any, Any, T]],
    *,
    starts_at: float = 1000.0,
    lateness: Callable[[], float] | None = None,
) -> T:
    """Run `main()` on a virtual loop of its own."""
    with asyncio.Runner(
        loop_factory=lambda: VirtualLoop(starts_at=starts_at, lateness=lateness)
    ) as runner:
        return runner.run(main())


def virtual_loop() -> VirtualLoop:
    """The virtual loop that this code runs on."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop
