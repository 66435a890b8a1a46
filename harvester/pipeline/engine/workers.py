"""The seam between the two halves of a run.

Theory of operation.  One half owns what must be kept: the work list, the state database, the
publication, and what may be believed of the vendor as a whole (`Owner`, made in `engine.py`).  The
other fetches, judges and keeps the pace (`Workers`); it has no file and no database, and what it
concludes can be encoded (`task.Conclusion`).  An id is out with the workers from `take` until it is
concluded or cut off, and counts as settled only once the owner has committed it; so workers may be
lost at any moment, and the ids they held are pending still.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, TypeAlias

import msgspec

from harvester.client.clock import VendorClock
from harvester.client.verdicts import Verdict
from harvester.pipeline.engine.settle import Policy
from harvester.pipeline.engine.shutdown import Stop
from harvester.pipeline.engine.task import Answered, Conclusion, Task
from harvester.pipeline.limits.health import RefusalWatch
from harvester.state.values import Counters
from harvester.state.writer import LedgerWriter


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What workers show of themselves at one moment."""

    pace_per_s: float
    """The pace in force."""
    paused_s: float
    """Seconds until it opens."""
    is_outage: bool
    outages: int
    """Of the run so far."""
    throttled: int
    received_bytes: int
    """Of answers, decoded, whatever they said."""
    failures: dict[str, str]
    """What the latest failure of each cause said."""
    workers: int = 0
    """Processes that fetch beside this one now."""
    lost: tuple[tuple[int, str], ...] = ()
    """Those that are gone: their number, and why."""


class Others(Protocol):
    """What an id that fails has to know of all the others."""

    policy: Policy
    refusals: RefusalWatch

    async def left(self, at_most: int | None = None) -> set[str] | None:
        """The ids still to settle if none wait behind them, and no more than `at_most`; or None."""
        ...

    async def was_refused(self, voice_id: str) -> bool:
        """Whether the id is deferred for a refusal or an unknown status."""
        ...

    async def free(self) -> None:
        """Wait while somebody fetches probes, unless the run stops."""
        ...

    async def probe(
        self,
        count: int,
        is_enough: Callable[[Verdict], bool],
        *,
        known: Task | None = None,
        before: datetime | None = None,
        of_outage: bool = False,
    ) -> Sequence[Verdict] | None:
        """See `doubt.Doubt.probe`."""
        ...


class Owner(Protocol):
    """Hands ids out, and takes what became of them."""

    @property
    def others(self) -> Others:
        """What is known of all ids."""
        ...

    def take_at_once(self) -> Task | None:
        """The next id, where nothing has to be waited for."""
        ...

    async def take(self) -> Task | None:
        """The next id; None when there are no more, or the run is stopping."""
        ...

    def conclude_at_once(self, task: Task, conclusion: Conclusion) -> bool:
        """Take a conclusion where nothing has to be waited for; False, and nothing done, else."""
        ...

    async def conclude(self, task: Task, conclusion: Conclusion) -> None:
        """Take a conclusion.  Waits while batches are full.  Raises StoreError."""
        ...

    def cut_off(self, task: Task) -> None:
        """The run stops before the id is concluded: it stays pending."""
        ...

    def put_back(self, task: Task) -> None:
        """Whoever had the id is gone, or has sent nothing for it: it is handed out again."""
        ...

    def count_request(self) -> None:
        """A request is about to be written.  Raises CutOff if it must not be."""
        ...

    def grant(self, requests: int) -> int | None:
        """Let somebody else send so many, or as many as there are left; None: any number."""
        ...

    def count_requests(self, requests: int, unused: int = 0) -> None:
        """Somebody else has sent so many, and sends so many fewer than were granted."""
        ...

    async def learnt_time(self) -> None:
        """The first answers are in: keep what they showed of the vendor's clock, and what was
        sent in its day.
        """
        ...


class Prober(Protocol):
    """Who fetches probes."""

    last_no: bytes
    """The body of the latest permanent failure."""
    known: Task | None
    """An id whose record this run got."""
    delivered: int
    """Records that the run got."""

    async def probe(
        self, task: Task, *, of_outage: bool = False
    ) -> tuple[Verdict, Conclusion | None]:
        """One request on a connection of its own, and what it concludes, if it does.

        `of_outage`: it does not wait for the outage to end.
        """
        ...

    def shown(self, body: bytes) -> bytes:
        """The start of an answer, fit to be shown."""
        ...


class Workers(Protocol):
    """Fetch what the owner hands out, at the pace."""

    @property
    def prober(self) -> Prober:
        """Who fetches probes for the owner."""
        ...

    async def work(self) -> None:
        """Fetch until the owner has no more ids, or the run stops.  Raises StoreError."""
        ...

    def figures(self) -> Figures:
        """How they are doing."""
        ...

    def begin_in_outage(self, since: float) -> None:
        """Before they work: the vendor is out of reach since then (loop time)."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class Differing(msgspec.Struct, frozen=True):
    """A record that a page has otherwise than a request for its id alone."""

    voice_id: str
    columns: tuple[str, ...]


class AheadFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How those who go ahead are doing.  Records and requests are in the run's counters."""

    workers: Figures
    windows: int
    """Of the vendor's list, that are settled."""
    unsettled: int
    """That can't be: their ids are fetched one by one."""
    seed: int
    """Of the samples."""
    difference: Differing | None
    """What ended this way."""
    refused: str
    """The same: what the vendor refused; else empty."""
    is_over: bool
    """Whether the workers are at it."""


class Left(NamedTuple):
    """What is left of the run's budget; None: as much as one likes."""

    requests: int | None
    seconds: float | None


class OwnerAhead(Owner, Protocol):
    """What those who go ahead know of the owner."""

    def left(self) -> Left:
        """What is left of `pace.per_day` and `--max-duration`."""
        ...

    async def take_in(self, task: Task, answered: Answered) -> None:
        """Take the record of an id that was never handed out.  Waits while batches are full, or
        the journal is.  Raises StoreError.
        """
        ...


class Ahead(Protocol):
    """Resolves ids of the list by requests that bring many, before the workers are handed any."""

    async def work(self) -> None:
        """Resolve what can be, unless the run stops.  Raises StoreError.

        No request within a second of its end: others have the whole pace then.
        """
        ...

    async def end(self) -> None:
        """All that it resolved is committed.  Raises StoreError."""
        ...

    def figures(self) -> AheadFigures:
        """How it is doing."""
        ...

    @property
    def outage_since(self) -> float | None:
        """When an outage was seen that lasts (loop time); None: there is none."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


MakeWorkers: TypeAlias = Callable[[Owner, VendorClock, Stop, Counters], Workers]
"""Makes the workers of a run, inside its loop.  They count retries in the counters."""

MakeAhead: TypeAlias = Callable[[OwnerAhead, VendorClock, Stop, Counters, LedgerWriter], Ahead]
"""The same of who goes ahead; counts its records, requests and retries in the counters."""
