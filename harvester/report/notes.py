"""What a report says of itself: its days, and what a reader must know of its figures."""

from __future__ import annotations

from collections.abc import Iterator

from harvester.report import telling
from harvester.report.loose import Loose
from harvester.report.overview import Report


def span(report: Report) -> str:
    """The days of a report, in words."""
    period = report.period
    first, last = period.first or report.first_day, period.last or report.last_day
    if first is None or last is None:
        return "without a day"
    return f"{first} to {last}" if first != last else str(first)


def report_notes(report: Report) -> Iterator[str]:
    """What a reader must know before believing the figures."""
    total = report.calls.total
    if not total.calls:
        yield "There is no call in this period."
    if isinstance(report.loose, Loose) and report.loose.in_journal:
        yield (
            f"{telling.count(report.loose.in_journal)} delivered records wait in the journal and "
            "are not in these figures: `harvester publish` writes them."
        )
    if report.undated_left_out:
        yield (
            f"Calls without a submit time ({telling.count(report.undated_left_out)} files) belong "
            "to no day: they are only in a report without --from and --to."
        )
    if total.unfinished:
        yield (
            f"{telling.count(total.unfinished)} calls never ended while they were asked for "
            "(is_final = false); they are counted as they stood."
        )
    if report.foreign:
        yield (
            f"{telling.count(report.foreign)} files under cdr/ are not the harvester's and were "
            "not read: `harvester verify` names them."
        )
