"""Options of days and months, and the clock that they are read by."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from harvester.errors import UsageError

if TYPE_CHECKING:
    from harvester.analysis.period import Period
    from harvester.analysis.scope import Scope

From = Annotated[
    str | None, typer.Option("--from", metavar="DATE", help="First day, as 2026-11-01.")
]
To = Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last day, included.")]
Month = Annotated[
    str | None,
    typer.Option(
        "--month", metavar="MONTH", help="A whole month, as 2026-11: its --from and --to."
    ),
]
Zone = Annotated[
    str | None,
    typer.Option("--zone", metavar="NAME", help="Time zone of days and months (billing.zone)."),
]
DateBy = Annotated[
    str | None,
    typer.Option(
        "--date-by",
        metavar="TIME",
        help="Which time dates a call: submit, answer or hangup (billing.date_by).",
    ),
]

_YEARS = range(1970, 2200)
"""Of days that can be asked for; no call has others."""


def period(first: str | None, last: str | None, month: str | None) -> Period:
    """The days that the options name.  Raises UsageError."""
    from harvester.analysis.period import Period

    if month is not None:
        if first is not None or last is not None:
            raise UsageError(
                f"--month {month} and {'--from' if first is not None else '--to'} both name days: "
                "leave out one of them.",
                code="usage.date",
            )
        return _month(month)
    found = Period(day("--from", first), day("--to", last))
    if found.first is not None and found.last is not None and found.last < found.first:
        raise UsageError(
            f"--to {found.last} is before --from {found.first}: no day is between.",
            code="usage.date",
        )
    return found


def in_words(days: Period) -> str:
    """A period behind a name: ", 2026-11-01 to 2026-11-30", ", from 2026-11-01", ""."""
    match days.first, days.last:
        case None, None:
            return ""
        case first, None:
            return f", from {first}"
        case None, last:
            return f", to {last}"
        case first, last:
            return f", {first} to {last}" if first != last else f", {first}"


def scope_as_json(scope: Scope) -> dict[str, object]:
    """The days and the clock of a command, for machines."""
    first, last = scope.period.first, scope.period.last
    return {
        "timezone": scope.clock.zone,
        "date_by": scope.clock.date_by,
        "clock": scope.told,
        "from": first and first.isoformat(),
        "to": last and last.isoformat(),
    }


def _month(text: str) -> Period:
    from harvester.analysis.period import Period

    first = _parsed(text, "%Y-%m")
    if first is None:
        raise UsageError(
            f"--month {text!r} is not a month: write it as 2026-11.", code="usage.date"
        )
    next_first = (first + timedelta(days=31)).replace(day=1)
    return Period(first, next_first - timedelta(days=1))


def day(option: str, text: str | None) -> date | None:
    """The day that an option names.  Raises UsageError."""
    if text is None:
        return None
    found = _parsed(text, "%Y-%m-%d")
    if found is None:
        raise UsageError(
            f"{option} {text!r} is not a date: write it as 2026-11-01.", code="usage.date"
        )
    return found


def _parsed(text: str, form: str) -> date | None:
    try:
        found = datetime.strptime(text, form).date()  # noqa: DTZ007 - a day has no zone
    except ValueError:
        return None
    return found if found.year in _YEARS else None
