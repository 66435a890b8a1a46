"""Holding back what can't be undone until the vendor has shown that it is well.

Theory of operation.  A permanent failure ends an id, and an ill vendor can say it of every id
within seconds.  So until a run's first record its permanent failures are held back: neither counted
nor committed.  The first record shows that this is the vendor that knows our calls, and all of them
count.  When `FULL` are held, ids from elsewhere in the list are fetched as probes: a record among
them, and the run goes on; none, and it halts, with every id pending as before.  A list that ends
sooner commits what is held: so few show nothing.

An id that its own digits date further back than the vendor keeps records is no sign either way, nor
is a dead letter that is fetched again on purpose: theirs are committed at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from harvester.harvest.settle import KEPT_MS, Policy, is_older, is_permanent
from harvester.harvest.task import Conclusion, Died, Task, Unknown

FULL = 200
PROBES = 20


class Breaker:
    """The permanent failures of a run before its first record."""

    def __init__(self, policy: Policy, is_retried: Callable[[str], Awaitable[bool]]) -> None:
        """`is_retried`: whether an id is a dead letter that is fetched again on purpose."""
        self._policy = policy
        self._is_retried = is_retried
        self.held: list[tuple[Task, Unknown | Died]] = []

    @property
    def is_full(self) -> bool:
        """Whether so many are held that the vendor itself is in doubt."""
        return len(self.held) >= FULL

    async def holds(self, task: Task, conclusion: Conclusion) -> bool:
        """Hold `conclusion` back, if it is one to be; whether it was."""
        if not isinstance(conclusion, Unknown | Died):
            return False
        if not is_permanent(task, conclusion, self._policy):
            return False
        if is_older(task, KEPT_MS, conclusion, self._policy):
            return False
        if await self._is_retried(task.voice_id):
            return False
        self.held.append((task, conclusion))
        return True
