"""An audit as a page of HTML (`document`): the rules, and the worst records of each.

Phone numbers are masked on it; the ids of the worst records stand there, to ask the vendor about.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from harvester.report import telling
from harvester.report.audit import Audit, masked
from harvester.report.billing import Difference, Verdict
from harvester.report.charts import escape
from harvester.report.document import Head, Tile, document, section
from harvester.report.markup import Cell, data_table
from harvester.report.notes import apart_notes, span

_FOOT = (
    "By <code>harvester audit</code>; nothing was changed. Amounts are exact decimals, rounded "
    "only where they are shown. Phone numbers are masked; ids of calls are on this page."
)


def page(audit: Audit) -> str:
    """The whole page."""
    head = Head(
        title=f"Audit of the bill {span(audit)}",
        stated=audit.stated,
        scope=audit.scope,
        made_at=audit.made_at,
        notes=tuple(_notes(audit)),
        tiles=tuple(_tiles(audit)),
    )
    return document(head, _sections(audit), _FOOT)


def _notes(audit: Audit) -> Iterator[str]:
    for one in audit.above:
        yield (
            f"{one.rule}: {telling.exact(one.over)} {one.currency} over, above the limit of "
            f"{telling.exact(one.limit)}."
        )
    yield from apart_notes(audit.apart, audit.scope)


def _tiles(audit: Audit) -> Iterator[Tile]:
    files = telling.count(audit.files)
    yield "Records", telling.count(audit.calls), f"in {files} files of the data set"
    rules, differing = len(audit.verdicts), len(audit.differing)
    yield "Rules that differ", telling.count(differing), f"of {telling.count(rules)}"
    most: dict[str, tuple[Decimal, str]] = {}
    for verdict in audit.differing:
        for currency, over in verdict.over.items():
            most[currency] = max(most.get(currency, (over, verdict.rule)), (over, verdict.rule))
    for currency, (over, rule) in sorted(most.items()):
        told = f"by the rule {rule}, the one with the most; exactly {telling.exact(over)}"
        yield f"Over in {currency}", telling.money(over), told


def _sections(audit: Audit) -> Iterator[str]:
    yield section("The rules", _rules(audit))
    for verdict in audit.differing:
        yield section(verdict.rule, _verdict(verdict))


def _rules(audit: Audit) -> str:
    ranked = sorted(audit.verdicts, key=lambda one: not one.differing)
    rows = [
        [
            Cell(one.rule),
            Cell(telling.count(one.differing)),
            Cell(telling.count(one.checked)),
            *(Cell(telling.moneys(money)) for money in (one.over, one.under, one.cost)),
        ]
        for one in ranked
    ]
    assumed = [
        [Cell(one.rule), Cell(one.assumption, "text reason"), Cell(one.tolerance)] for one in ranked
    ]
    heads = ["rule", "differ", "of", "over", "under", "their cost in all"]
    meanings = data_table("assumptions", ["rule", "assumed", "tolerance"], assumed)
    return (
        '<p class="soft">The vendor publishes no formula: each rule is an assumption, and a '
        "difference is a question to the vendor. Over and under are what was charged beyond the "
        "rule and short of it. A record may differ from several rules, so their sums must not be "
        f"added up.</p>{data_table('rules', heads, rows)}"
        f"<details><summary>What each rule assumes</summary>{meanings}</details>"
    )


def _verdict(verdict: Verdict) -> str:
    differing, checked = telling.count(verdict.differing), telling.count(verdict.checked)
    told = (
        f"{differing} of {checked} differ. Assumed: {verdict.assumption}; tolerance: "
        f"{verdict.tolerance}. The worst of them:"
    )
    heads = ["id", "callee", "destination", "found", "expected", "amount"]
    rows = [_worst(one) for one in verdict.worst]
    table = data_table(f"worst records of {verdict.rule}", heads, rows, pinned=False)
    return f'<p class="soft">{escape(told)}</p>{table}'


def _worst(one: Difference) -> list[Cell]:
    amount = telling.NONE if one.amount is None else f"{telling.exact(one.amount)} {one.currency}"
    return [
        Cell(one.voice_id),
        Cell(masked(one.callee)),
        Cell(telling.named(one.destination), "text"),
        Cell(one.found, "text"),
        Cell(one.expected, "text"),
        Cell(amount),
    ]
