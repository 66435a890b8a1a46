"""The alarm of last resort: no attempt lasts for ever, whatever the transport does.

Theory of operation.  A transport promises an end within `vendor.timeout_s`, connecting apart.  A
fault in one, or in a library below it, would leave a worker waiting for ever, and with it the run:
it would never end, and hold its lock against the next one.  So every attempt under way is looked at
here.  Under way is a request from its write to its conclusion: who waits for a turn, a backoff or
the end of a pause sends nothing, and may wait for as long as that takes.

Looks are counted, not seconds: where the whole process stood still (a suspended machine, SIGSTOP)
the answers that came meanwhile are read before the next look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

TIMEOUTS = 3
_LOOKS = 4  # in each of these


class Watched(Protocol):
    """An attempt."""

    looks: int
    """How many looks have found it under way; whoever writes a request sets it to 0."""

    @property
    def is_under_way(self) -> bool:
        """Whether its request is written, and not concluded."""
        ...

    def cut(self) -> None:
        """End it, as a network failure."""
        ...


async def keep_watch(attempts: Iterable[Watched], timeout_s: float) -> None:
    """Cut every one of `attempts` that is under way for over `TIMEOUTS` times `timeout_s`.

    `attempts` is looked through again each time.  Ends by being cancelled.
    """
    while True:
        await asyncio.sleep(timeout_s / _LOOKS)
        for attempt in list(attempts):
            if attempt.is_under_way:
                attempt.looks += 1
                # The first look may come right after the write.
                if attempt.looks > TIMEOUTS * _LOOKS:
                    attempt.cut()
