"""The bar: how a run is doing, drawn on a terminal four times a second.

The run only leaves its latest figures here; a thread of rich's draws them, so that a terminal that
is slow, or stopped with Ctrl-S, never holds the run up.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from harvester.cli.ui.event_text import retries_told
from harvester.cli.ui.text import count, share, size, span, speed
from harvester.pipeline.engine.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

_PER_S = 4
_LABEL = 10
_BAR = 40
_SLOWED_SHARE = 0.995


def slowed(now: Progress) -> str:
    """Why the pace is under the limit; empty where it isn't."""
    if now.outage:
        return (
            "the vendor is out of reach or failing: one request every 5 s until it answers, or "
            "retry.max_outage_s is over"
        )
    # Before the first request the pace is closed for a second after the lock: not worth a word.
    if now.paused_s > 0 and now.requests:
        return f"paused for {span(now.paused_s)}: the vendor throttles"
    if is_slowed(now):
        why = "after throttling" if now.retries.get("throttled") else "as many answers were errors"
        return f"slowed to {speed(now.pace_per_s)}/s {why}, rising again"
    return ""


def is_slowed(now: Progress) -> bool:
    """Whether the pace in force is under the limit."""
    return now.pace_per_s < _SLOWED_SHARE * now.rate_per_s


def sent(now: Progress) -> str:
    """Requests against the limit, and what came back."""
    told = f"{speed(now.requests_per_s)}/s of {now.rate_per_s:,g}/s allowed · "
    told += f"{speed(now.resolved_per_s)} ids/s · {count(now.requests)} sent"
    return f"{told} · {size(now.received_bytes)} received"


def outcomes(now: Progress) -> str:
    """What became of the ids so far."""
    return (
        f"delivered {count(now.delivered)} · open {count(now.open)} · dead {count(now.dead)} · "
        f"deferred {count(now.deferred)}"
    )


class ProgressBar:
    """Drawn while the `with` lasts, and gone without a trace after it."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.live import Live

        self._clock = clock
        self._began = clock()
        self._latest: Progress | None = None
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=_PER_S,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def update(self, progress: Progress) -> None:
        """Draw this the next time."""
        self._latest = progress

    def _render(self) -> RenderableType:
        now = self._latest
        if now is None:
            return _line("reading", f"the input and making the work list … {self._elapsed()}")
        return drawn(now)

    def _elapsed(self) -> str:
        return span(max(1.0, self._clock() - self._began))


def drawn(now: Progress) -> RenderableType:
    """A run at one moment, as four to six lines, as wide as the console that draws them."""
    return _Drawing(now)


class _Drawing:
    """Laid out again each time: the window may have changed its size."""

    def __init__(self, now: Progress) -> None:
        self._now = now

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        now, width = self._now, options.max_width
        yield _bar_line(now, width)
        yield from _folded("requests", sent(now), width)
        yield from _folded("so far", outcomes(now), width)
        yield from _folded("retries", _unbroken(retries_told(now.retries)), width)
        yield from _folded("pace", slowed(now), width, "yellow")


def _bar_line(now: Progress, width: int) -> RenderableType:
    from rich.progress_bar import ProgressBar as Bar
    from rich.table import Table

    told = f" {_done(now)}"
    room = width - _LABEL - len(told)
    row = Table.grid()
    row.add_row(
        _line(now.phase, ""),
        Bar(
            total=max(1, now.to_fetch),
            completed=now.resolved,
            width=max(1, min(_BAR, room)),
            # rich's own colour of a bar in the middle is a red.
            complete_style="cyan",
            finished_style="green",
        ),
        _line("", told),
    )
    return row


def _folded(label: str, text: str, width: int, style: str = "") -> Iterator[RenderableType]:
    """A line that goes on below itself where the terminal is too narrow for it; none of no text."""
    lines = textwrap.wrap(text, max(_LABEL, width - _LABEL))
    for number, line in enumerate(lines):
        yield _line(label if number == 0 else " ", line.replace(_NO_BREAK, " "), style)


_NO_BREAK = "\N{NO-BREAK SPACE}"


def _unbroken(causes: str) -> str:
    """Causes that stay on one line with their numbers."""
    return causes.replace(" ", _NO_BREAK).replace(f",{_NO_BREAK}", ", ")


def _done(now: Progress) -> str:
    told = f"{count(now.resolved)} of {count(now.to_fetch)}  {share(now.resolved, now.to_fetch)}"
    if now.eta_s is not None and now.left:
        told += f"  {span(now.eta_s)} left"
    return told


def _line(label: str, text: str, style: str = "") -> RenderableType:
    from rich.text import Text

    line = Text(no_wrap=True, overflow="ellipsis")
    if label:
        line.append(f"{label:<{_LABEL}}", style="bold")
    return line.append(text, style=style)
