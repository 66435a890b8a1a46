"""The bar: how a run is doing, drawn on a terminal four times a second.

The run only leaves its latest figures here; a thread of rich's draws them, so that a terminal that
is slow, or stopped with Ctrl-S, never holds the run up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from harvester.cli.sayings import retries_told
from harvester.cli.text import count, share, span
from harvester.harvest.progress import Progress

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_PER_S = 4
_LABEL = 10
_BAR = 40
_SLOWED_SHARE = 0.995


def slowed(now: Progress) -> str:
    """Why the pace is under the limit; empty where it isn't."""
    if now.outage:
        return "the vendor is out of reach or failing: asking once every 5 s until it answers"
    # Before the first request the pace is closed for a second after the lock: not worth a word.
    if now.paused_s > 0 and now.requests:
        return f"paused for {span(now.paused_s)}: the vendor asked for fewer requests"
    if now.pace_per_s < _SLOWED_SHARE * now.rate_per_s:
        return f"slowed to {count(now.pace_per_s)}/s after push-back, climbing back"
    return ""


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
    """A run at one moment, as four or five lines."""
    from rich.console import Group

    pieces = [_bar_line(now), _line("requests", _requests(now)), _line("so far", _outcomes(now))]
    if now.retries:
        pieces.append(_line("retries", retries_told(now.retries)))
    if reason := slowed(now):
        pieces.append(_line("pace", reason, "yellow"))
    return Group(*pieces)


def _bar_line(now: Progress) -> RenderableType:
    from rich.progress_bar import ProgressBar as Bar
    from rich.table import Table

    row = Table.grid(padding=(0, 1))
    row.add_row(
        _line(now.phase, ""),
        Bar(total=max(1, now.to_ask), completed=now.settled, width=_BAR),
        _line("", _done(now)),
    )
    return row


def _done(now: Progress) -> str:
    told = f"{count(now.settled)} of {count(now.to_ask)}  {share(now.settled, now.to_ask)}"
    if now.eta_s is not None and now.left:
        told += f"  {span(now.eta_s)} left"
    return told


def _requests(now: Progress) -> str:
    return (
        f"{count(now.requests_per_s)}/s of {now.rate_per_s:,g}/s allowed · "
        f"{count(now.settled_per_s)} ids/s · {count(now.requests)} sent"
    )


def _outcomes(now: Progress) -> str:
    return (
        f"delivered {count(now.delivered)} · open {count(now.open)} · dead {count(now.dead)} · "
        f"deferred {count(now.deferred)}"
    )


def _line(label: str, text: str, style: str = "") -> RenderableType:
    from rich.text import Text

    line = Text(no_wrap=True, overflow="ellipsis")
    if label:
        line.append(f"{label:<{_LABEL}}", style="bold")
    return line.append(text, style=style)
