"""What a report says of itself: its days, and what a reader must know of its figures."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from harvester.analysis.apart import ABSURD_AMOUNT, ABSURD_TIMES, Apart, Group
from harvester.analysis.audit.audit import Audit
from harvester.analysis.report import formatting
from harvester.analysis.report.report import Report
from harvester.analysis.scope import Scope
from harvester.state.id_counts import IdCounts


def span(made: Report | Audit) -> str:
    """The days of a report or an audit, in words."""
    period = made.scope.period
    first, last = period.first or made.first_day, period.last or made.last_day
    if first is None or last is None:
        return "without a day"
    return f"{first} to {last}" if first != last else str(first)


def report_notes(report: Report) -> Iterator[str]:
    """What a reader must know before believing the figures."""
    total = report.calls.total
    if not total.calls:
        yield "There is no call in this period."
    if isinstance(report.unfinished, IdCounts) and report.unfinished.in_journal:
        yield (
            "Delivered records that wait in the journal and are not in these figures: "
            f"{formatting.count(report.unfinished.in_journal)}. `harvester publish` writes them."
        )
    if isinstance(report.unfinished, IdCounts) and report.unfinished.pending_again:
        yield (
            "Delivered records that are to be fetched again, as `refetch` was asked to or as the "
            "vendor's list turned out to differ, so that figures may change: "
            f"{formatting.count(report.unfinished.pending_again)}. "
            "`harvester run --carried-over-only` fetches them."
        )
    yield from apart_notes(report.calls.apart, report.scope)
    if report.calls.apart.absurd.calls:
        yield f"Without the absurd costs the sums are {formatting.moneys(_sensible(report))}."
    if total.unfinished:
        yield (
            "Calls that never ended while they were fetched (is_final = false), counted as they "
            f"stood: {formatting.count(total.unfinished)}."
        )
    if total.unrated:
        yield (
            "Calls that the vendor had put no price on when they were delivered "
            f"(is_rated = false), without their money: {formatting.count(total.unrated)}."
        )
    if report.foreign:
        yield (
            "Files under cdr/ that are not the harvester's and were not read: "
            f"{formatting.count(report.foreign)}. `harvester verify` names them."
        )


def apart_notes(apart: Apart, scope: Scope) -> Iterator[str]:
    """The records that no sum tells the truth of, with their money."""
    if found := apart.without_day.calls:
        bounded = scope.period.is_bounded
        where = "in none of these figures" if bounded else "in the figures over all days"
        yield (
            f"Records without a {scope.clock.date_by} time, and so without a day: "
            f"{formatting.count(found)}, {_money(apart.without_day)}; {where}."
        )
    if found := apart.without_cost.calls:
        minutes = formatting.tenths(Decimal(apart.without_cost.charged_duration_s) / 60)
        by_currency = sorted(apart.without_cost.calls_by_currency.items())
        told = ", ".join(f"{formatting.count(calls)} in {name}" for name, calls in by_currency)
        yield (
            f"Records without a cost, in no sum of money: {formatting.count(found)} ({told}); "
            f"answered: {formatting.count(apart.without_cost.answered)}, "
            f"minutes charged: {minutes}."
        )
    if found := apart.absurd.calls:
        yield (
            f"Records with an absurd cost ({ABSURD_AMOUNT:,} and more, or over {ABSURD_TIMES} "
            f"times the usual price of a minute): {formatting.count(found)}, "
            f"{_money(apart.absurd)}; "
            "in the sums."
        )


def _money(group: Group) -> str:
    return formatting.moneys(group.cost) if group.cost else "without a cost"


def _sensible(report: Report) -> dict[str, Decimal]:
    absurd = report.calls.apart.absurd.cost
    return {
        currency: cost - absurd.get(currency, Decimal(0))
        for currency, cost in report.calls.total.cost.items()
        if currency in absurd
    }
