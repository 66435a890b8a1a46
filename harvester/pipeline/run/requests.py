"""What a run can be asked to do, and how it is asked to stop.

Whoever wants a run to stop may be a signal handler or another thread.  A run looks for that while
it fetches, and then drains: what is on the wire is waited for and kept.  Before and after that it
does not look, so whoever stops it then has to raise.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from decimal import Decimal
from typing import Literal, Protocol, TypeAlias

import msgspec

from harvester.errors import Interrupted, Terminated
from harvester.pipeline.by_pages.pages import Pages


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`harvester run`: fetch what an input names, and what is due or pending."""

    sources: tuple[str, ...] = ()
    """Files, folders and patterns; none: those of `input.paths`."""
    input_only: bool = False
    """Leave alone what earlier inputs left pending."""
    carried_over_only: bool = False
    """Read no input: due open calls, and what is pending already."""
    max_duration_s: float | None = None
    rebind: bool = False
    """Another address of the vendor is meant."""
    by_pages: Pages | None = None
    """Fetch by pages of the vendor's list what can be; None: each id by a request of its own."""

    @property
    def command(self) -> str:
        """What was typed."""
        return "run"


class RefetchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`harvester refetch`: put ids with an outcome on the list again, and fetch what is pending."""

    what: Literal["delivered", "unrated", "not-final", "dead"]
    reason: str | None = None
    """Only the dead letters of this reason."""
    column: str = "submit_time"
    """The time that dates a call."""
    since_ms: int | None = None
    until_ms: int | None = None
    """Calls dated from the one instant on and before the other.  Neither, and no `ids`: those that
    the vendor must still have."""
    ids: tuple[str, ...] = ()
    """Files: only ids that they hold."""
    share: float | None = None
    """A sample: so many of them, 0 to 1."""
    fail_on_change: bool = False
    fail_above: Mapping[str, Decimal] = {}
    """Currency -> by how much costs may differ in all."""
    max_duration_s: float | None = None
    by_pages: Pages | None = None
    """As of a run."""

    @property
    def command(self) -> str:
        """What was typed."""
        return "refetch"


Request: TypeAlias = RunRequest | RefetchRequest

_STOPPED = (
    "stopped on request; what is not done stays pending: run the same command again to go on. "
    "Records that are not in the data set yet are safe in the journal; `harvester publish` writes "
    "them without fetching anything."
)


def stopped(number: int) -> Interrupted:
    """Why it ends, once the signal of this number came."""
    return Terminated(_STOPPED) if number == signal.SIGTERM else Interrupted(_STOPPED)


StopCheck: TypeAlias = Callable[[], Interrupted | None]
"""Why to stop, once somebody wants it."""


class StopSource(Protocol):
    """Where the wish to stop comes from."""

    def watched(self) -> AbstractContextManager[StopCheck]:
        """While this lasts the check is called every now and then, and what it gives is heeded."""
        ...


class _Never:
    @contextmanager
    def watched(self) -> Iterator[StopCheck]:
        yield lambda: None


NEVER: StopSource = _Never()
"""Nobody stops it."""
