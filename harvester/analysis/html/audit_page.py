"""An audit as a page of HTML (`document`): the rules, and the worst records of each.

Phone numbers are masked on it; the ids of the worst records stand there, to ask the vendor about.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from harvester.analysis.audit.audit import Audit
from harvester.analysis.audit.bill import Difference, Verdict
from harvester.analysis.html.charts import escape
from harvester.analysis.html.document import Head, Tile, document, section
from harvester.analysis.html.markup import Cell, data_table
from harvester.analysis.notes import apart_notes, span
from harvester.analysis.report import formatting
from harvester.redact import number_in_part

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
            f"{one.rule}: {formatting.exact(one.over)} {one.currency} over, above the limit of "
            f"{formatting.exact(one.limit)}."
        )
    yield from apart_notes(audit.apart, audit.scope)


def _tiles(audit: Audit) -> Iterator[Tile]:
    files = formatting.count(audit.files)
    yield "Records", formatting.count(audit.calls), f"in {files} files of the data set"
    rules, differing = len(audit.verdicts), len(audit.differing)
    yield "Rules that differ", formatting.count(differing), f"of {formatting.count(rules)}"
    most: dict[str, tuple[Decimal, str]] = {}
    for verdict in audit.differing:
        for currency, over in verdict.over.items():
            most[currency] = max(most.get(currency, (over, verdict.rule)), (over, verdict.rule))
    for currency, (over, rule) in sorted(most.items()):
        told = f"by the rule {rule}, the one with the most; exactly {formatting.exact(over)}"
        yield f"Over in {currency}", formatting.money(over), told


def _sections(audit: Audit) -> Iterator[str]:
    yield section("The rules", _rules(audit))
    for verdict in audit.differing:
        yield section(verdict.rule, _verdict(verdict))


def _rules(audit: Audit) -> str:
    ranked = sorted(audit.verdicts, key=lambda one: not one.differing)
    rows = [
        [
            Cell(one.rule),
            Cell(formatting.count(one.differing)),
            Cell(formatting.count(one.checked)),
            *(Cell(formatting.moneys(money)) for money in (one.over, one.under, one.cost)),
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
    differing, checked = formatting.count(verdict.differing), formatting.count(verdict.checked)
    told = (
        f"{differing} of {checked} differ. Assumed: {verdict.assumption}; tolerance: "
        f"{verdict.tolerance}. The worst of them:"
    )
    heads = ["id", "callee", "destination", "found", "expected", "amount"]
    rows = [_worst(one) for one in verdict.worst]
    table = data_table(f"worst records of {verdict.rule}", heads, rows, pinned=False)
    return f'<p class="soft">{escape(told)}</p>{table}'


def _worst(one: Difference) -> list[Cell]:
    amount = (
        formatting.NONE if one.amount is None else f"{formatting.exact(one.amount)} {one.currency}"
    )
    return [
        Cell(one.voice_id),
        Cell(number_in_part(one.callee)),
        Cell(formatting.named(one.destination), "text"),
        Cell(one.found, "text"),
        Cell(one.expected, "text"),
        Cell(amount),
    ]
