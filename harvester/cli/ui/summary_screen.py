"""The control totals after a run, as a screen: each with its equation and whether it balances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harvester.cli.ui.console import Line
from harvester.cli.ui.event_text import retries_told
from harvester.cli.ui.exit_codes import INTERRUPTED, ending
from harvester.cli.ui.next_command import next_told, pasted
from harvester.cli.ui.text import count, size, span

if TYPE_CHECKING:
    from harvester.pipeline.run.refetch import RefetchTotals
    from harvester.pipeline.run.summary import (
        DataTotals,
        InputTotals,
        ListTotals,
        RunTotals,
        Summary,
    )

_MARK = 3
_LABEL = 9
_EQUATION = 10
_TOLERATED_S = 5


def control_totals(summary: Summary, seconds: float, *, unicode: bool = True) -> list[Line]:
    """Every total of a run."""
    screen = _Screen(
        {difference.control_totals for difference in summary.differences}, unicode=unicode
    )
    screen.title(f"Control totals of run {summary.run_id}, account {summary.account}")
    if summary.input is not None:
        screen.input(summary.input)
    if summary.work_list is not None:
        screen.work_list(summary.work_list)
    screen.run(summary.run)
    if summary.refetch is not None:
        screen.again(summary.refetch)
    screen.data(summary.data, summary.run)
    for difference in summary.differences:
        screen.problem(f"{difference.control_totals}: {difference.left}, but {difference.right}")
    screen.rest(summary, seconds)
    return screen.lines


def short_totals(summary: Summary, *, unicode: bool = True) -> list[Line]:
    """What became of the ids, in two lines: for a mail that is sent when not all is well."""
    screen = _Screen(
        {difference.control_totals for difference in summary.differences}, unicode=unicode
    )
    if summary.work_list is not None:
        screen.work_list(summary.work_list)
    screen.run(summary.run)
    return screen.lines


def closing(code: int, message: str, *, unicode: bool = True, found: str = "") -> list[Line]:
    """What the exit code means, why, and what to type next; `found` as in `ending`."""
    told = ending(code, found)
    style = "bold green" if told.good else ("bold yellow" if code in _CALM else "bold red")
    dash = "—" if unicode else "-"
    lines = [Line(), Line(f"Exit code {code} {dash} {told.meaning}.", style)]
    if message and code not in INTERRUPTED:
        lines.append(Line(f"Why:   {pasted(message)}"))
    lines.append(Line(f"Next:  {next_told(told.next)}"))
    return lines


_CALM = frozenset({3, 8, 130, 143})


class _Screen:
    """Lines in the making."""

    def __init__(self, unbalanced: set[str], *, unicode: bool) -> None:
        self.lines: list[Line] = []
        self._unbalanced = unbalanced
        self._good, self._bad = ("✓", "✗") if unicode else ("ok", "!!")
        self._dot = " · " if unicode else ", "

    def title(self, text: str) -> None:
        self.lines += [Line(), Line(text, "bold")]

    def problem(self, text: str) -> None:
        self.lines.append(Line(f"{self._bad:<{_MARK}}{'differs':<{_LABEL}}{text}", "bold red"))

    def input(self, book: InputTotals) -> None:
        self._equation(
            "input",
            (book.lines, "lines"),
            [(book.bad, "bad"), (book.duplicate, "duplicate"), (book.distinct, "distinct")],
        )
        self._equation(
            "",
            (book.distinct, "distinct"),
            [
                (book.resolved_before, "resolved before"),
                (book.listed, "listed"),
                *([(book.too_young, "too young")] if book.too_young else []),
            ],
            book="input",
        )

    def work_list(self, book: ListTotals) -> None:
        total = book.listed + book.retried + book.carried_over + book.again
        parts = [f"{count(book.listed)} listed", f"{count(book.carried_over)} carried over"]
        if book.retried:
            parts.insert(1, f"{count(book.retried)} retried")
        if book.again:
            parts.append(f"{count(book.again)} again")
        self._equation(
            "list",
            (total, "ids"),
            [
                (book.delivered, "delivered"),
                (book.open, "open"),
                (book.dead, "dead"),
                *([(book.refetched, "fetched again")] if book.again else []),
                (book.pending, "pending"),
            ],
        )
        self.lines.append(Line(" " * (_MARK + _LABEL) + f"({' + '.join(parts)})", "dim"))

    def run(self, book: RunTotals) -> None:
        self._equation(
            "run",
            (book.attempted, "attempted"),
            [
                (book.delivered, "delivered"),
                (book.open, "open"),
                (book.dead, "dead"),
                (book.deferred, "deferred"),
                (book.cut_off, "cancelled"),
            ],
        )

    def again(self, book: RefetchTotals) -> None:
        self._equation(
            "again",
            (book.again, "fetched again"),
            [
                (book.same, "same"),
                (book.changed, "changed"),
                *(
                    (number, name)
                    for number, name in (
                        (book.extra_only, "only in extra"),
                        (book.missing, "without a row"),
                        (book.forgotten, "forgotten"),
                        (book.failed, "failed"),
                        (book.in_journal, "in the journal"),
                    )
                    if number
                ),
            ],
        )
        for text in changes_told(book):
            self.lines.append(Line(" " * (_MARK + _LABEL) + text))

    def data(self, book: DataTotals, run: RunTotals) -> None:
        self._equation(
            "data",
            (book.rows, "rows"),
            [(run.delivered, "delivered"), (run.opens_published, "published as not final")],
        )
        agreed = [
            f"{count(book.call_duration_s)} s of calls",
            f"{count(book.charged_duration_s)} s charged",
            *(_money(currency, amount) for currency, amount in book.cost.items()),
        ]
        told = f"answers and rows agree: {self._dot.join(agreed)}"
        if "data" in self._unbalanced:
            told = f"answered: {self._dot.join(agreed)}"
        self._line("", told, "data")

    def rest(self, summary: Summary, seconds: float) -> None:
        """What is no equation, but good to know."""
        self.lines.append(Line())
        pace = f" in {span(seconds)}" if seconds else ""
        self._note("sent", f"{count(summary.requests)} requests{pace}")
        self._note("by pages", _by_pages(summary, self._dot))
        self._note("planned", _planned(summary))
        self._note("retries", retries_told(summary.retries))
        self._note("warnings", self._dot.join(_troubles(summary)))
        self._note("unrated", _unrated(summary, self._dot))
        self._note("unusual", _oddities(summary))
        if summary.published_files:
            written = f"{count(summary.published_files)} files, {size(summary.published_bytes)}"
            self._note("written", written)
        if waiting := summary.data.rows_in_journal:
            told = pasted("safe in the journal: `harvester publish`")
            self._note("waiting", f"{count(waiting)} rows, {told}")

    def _note(self, label: str, text: str) -> None:
        if text:
            self.lines.append(Line(f"{'':<{_MARK}}{label:<{_LABEL}}{text}"))

    def _equation(
        self,
        label: str,
        whole: tuple[int, str],
        parts: Sequence[tuple[int, str]],
        book: str = "",
    ) -> None:
        left = f"{count(whole[0]):>{_EQUATION}} {whole[1]}"
        right = " + ".join(f"{count(number)} {name}" for number, name in parts)
        # Two spaces: where the screen is narrow, the parts go on below each other.
        self._line(label, f"{left:<{_EQUATION + 10}} =  {right}", book or label)

    def _line(self, label: str, text: str, book: str) -> None:
        good = book not in self._unbalanced
        mark, style = (self._good, "") if good else (self._bad, "bold red")
        self.lines.append(Line(f"{mark:<{_MARK}}{label:<{_LABEL}}{text}", style))


def changes_told(book: RefetchTotals) -> list[str]:
    """What the changes come to, and what a sample says of all."""
    told = []
    if book.cost:
        moved = (
            f"{_signed(cur, cost)} ({_money(cur, book.cost_moved[cur])} up and down)"
            for cur, cost in book.cost.items()
        )
        told.append(f"cost changed by {', '.join(moved)}")
    for column, rows in book.alarmed.items():
        told.append(f"ALARM: {count(rows)} with another {column}: {', '.join(book.alarms[column])}")
    if book.left_out:
        told.append(f"{count(book.left_out)} more were left out: dates, or erased")
    if book.outside:
        told.append(f"{count(book.outside)} named ids are not in the data set")
    sample = book.sample
    if sample is not None:
        told.append(
            f"{count(sample.changed)} of {count(sample.compared)} differ "
            f"({sample.share_low * 100:.2f}-{sample.share_high * 100:.2f} %); of all "
            f"{count(sample.population)} about {count(sample.changed_whole)} "
            f"({count(sample.changed_low)} to {count(sample.changed_high)})"
        )
        told += [
            f"cost of all: about {_signed(cur, whole)} ({_signed(cur, sample.cost_low[cur])} to "
            f"{_signed(cur, sample.cost_high[cur])})"
            for cur, whole in sample.cost_whole.items()
        ]
    return told


def _signed(currency: str, amount: str) -> str:
    return _money(currency, amount) if amount.startswith("-") else f"+{_money(currency, amount)}"


def _troubles(summary: Summary) -> list[str]:
    found = []
    if summary.throttled:
        found.append(f"throttled {count(summary.throttled)} times by the vendor")
    if summary.outages:
        found.append(f"{count(summary.outages)} vendor outages")
    if abs(summary.clock_skew_s) > _TOLERATED_S:
        side = "behind" if summary.clock_skew_s > _TOLERATED_S else "ahead of"
        told = span(abs(summary.clock_skew_s))
        found.append(f"this clock is {told} {side} the vendor's: check NTP")
    if summary.ages_held:
        found.append("a clock was changed since the last run: no id ended for its age")
    return found


def _unrated(summary: Summary, dot: str) -> str:
    found = []
    if summary.open_unrated:
        found.append(f"{count(summary.open_unrated)} calls wait for their price")
    if summary.run.unrated:
        found.append(f"{count(summary.run.unrated)} were delivered without one")
    return dot.join(found)


def _by_pages(summary: Summary, dot: str) -> str:
    book = summary.by_pages
    if book is None:
        return ""
    sent = count(book.requests)
    found = [f"{count(book.records)} records with {sent} requests"]
    found.append(f"{count(book.sampled)} compared (seed {book.seed})")
    if book.unsettled:
        found.append(f"{count(book.unsettled)} windows not settled")
    if book.difference is not None:
        columns = ", ".join(book.difference.columns)
        found.append(f"DIFFERS: {columns} of {book.difference.voice_id}")
    if book.fetched_again:
        found.append(f"{count(book.fetched_again)} to be fetched again")
    return dot.join(found)


def _planned(summary: Summary) -> str:
    plan = summary.plan
    if plan is None or not plan.to_fetch:
        return ""
    return (
        f"{count(plan.requests_planned)} requests in {span(plan.seconds_planned)} "
        f"for {count(plan.to_fetch)} ids; {count(plan.fetched)} were attempted"
    )


def _oddities(summary: Summary) -> str:
    found = []
    for what, fields in (
        ("could not be converted, kept in `unparsed`", summary.unparsed),
        ("unknown fields, kept in `extra`", summary.extra),
    ):
        if fields:
            told = ", ".join(f"{name} {count(n)}" for name, n in sorted(fields.items()))
            found.append(f"{what}: {told}")
    if free := summary.odd.answered_without_cost:
        found.append(f"answered calls without a cost: {count(free)}")
    if odd := summary.odd.odd_hangups:
        found.append(f"hangupTimes in an unknown form: {count(odd)}")
    return "; ".join(found)


def _money(currency: str, amount: str) -> str:
    whole, _, fraction = amount.partition(".")
    sign, digits = ("-", whole[1:]) if whole.startswith("-") else ("", whole)
    return f"{sign}{int(digits):,}.{(fraction.rstrip('0') or '0'):0<2} {currency or '(none)'}"
