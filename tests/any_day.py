"""The suite at other times: `make any-day`, and in CI one of its moments, drawn by the date.

Under libfaketime (Debian's package `faketime`) every process of a test has its clock moved by the
same offset, counted from now, so that the suite begins at the moment.  The monotonic clock is moved
as well (libfaketime 0.9.10 breaks time.sleep where it is not: EINVAL), and times of files are not.
So a wait for a lock that is meant to time out never does, and new files look old.

`python -m tests.any_day [--moment NAME | --moment drawn | --list] [argument of pytest …]`
"""

from __future__ import annotations

import argparse
import calendar
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from tests.support.ways import TIME_ZONE

_MINUTE = timedelta(minutes=1)


def moments(now: datetime) -> dict[str, datetime]:
    """Ten instants after `now` (aware), by name: the next of their kind, in UTC."""
    tomorrow = (now.astimezone(UTC) + timedelta(days=1)).replace(second=0, microsecond=0)
    noon = tomorrow.replace(hour=12, minute=0)
    forward, back = _clock_changes(noon)
    year_end = _next(noon, lambda day: (day.month, day.day) == (12, 31))
    return {
        "month-end": _next(noon, _is_a_month_end).replace(hour=23, minute=58),
        "year-end": year_end.replace(hour=23, minute=58),
        # The vendor's day, and with it the count of `pace.per_day`, begins at 16:00 UTC.
        "vendors-year-end": year_end.replace(hour=15, minute=58),
        "leap-day": _next(noon, lambda day: (day.month, day.day) == (2, 29)),
        "before-the-vendors-midnight": tomorrow.replace(hour=15, minute=59),
        "after-the-vendors-midnight": tomorrow.replace(hour=16, minute=1),
        "before-midnight": tomorrow.replace(hour=23, minute=59),
        "clock-forward": forward - _MINUTE,
        "clock-back": back - _MINUTE,
        # Past the end of 32-bit seconds as well.
        "years-ahead": datetime(max(now.year + 9, 2039), 6, 15, 9, 30, tzinfo=UTC),
    }


def drawn(now: datetime) -> str:
    """The moment whose turn it is on the date of `now`: each of them in ten days."""
    names = list(moments(now))
    return names[now.astimezone(UTC).toordinal() % len(names)]


def command(at: datetime, now: datetime, words: list[str]) -> list[str]:
    """`words` as they are run with the clock moved from `now` to `at`."""
    offset_s = round((at - now).total_seconds())
    return ["faketime", "-f", f"+{offset_s}s", *words]


def main() -> int:
    """Run pytest at the moments that are asked for, one after the other; 1 if any failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.any_day", description=__doc__)
    names = list(moments(datetime.now(UTC)))
    parser.add_argument("--moment", choices=[*names, "drawn"], help="drawn: by today's date")
    parser.add_argument("--list", action="store_true", help="only show the moments")
    asked, pytest_words = parser.parse_known_args()
    if asked.list:
        print("\n".join(f"{at:%Y-%m-%d %H:%M} {name}" for name, at in _now_moments().items()))
        return 0
    if shutil.which("faketime") is None:
        print(
            "any-day: the program `faketime` is not here: apt-get install faketime", file=sys.stderr
        )
        return 2
    wanted = [drawn(datetime.now(UTC)) if asked.moment == "drawn" else asked.moment]
    wanted = wanted if asked.moment else names
    failed = [name for name in wanted if not _passes(name, pytest_words)]
    print(f"any-day: {len(wanted) - len(failed)} of {len(wanted)} moments passed", *failed)
    return 1 if failed else 0


def _passes(name: str, pytest_words: list[str]) -> bool:
    # Anew each time: the moments before took their time.
    at, now = _now_moments()[name], datetime.now(UTC)
    print(f"any-day: {name}, {at:%Y-%m-%d %H:%M} UTC", flush=True)
    words = [sys.executable, "-m", "pytest", *pytest_words]
    return subprocess.run(command(at, now, words), check=False).returncode == 0


def _now_moments() -> dict[str, datetime]:
    return moments(datetime.now(UTC))


def _next(day: datetime, is_it: Callable[[datetime], bool]) -> datetime:
    while not is_it(day):
        day += timedelta(days=1)
    return day


def _is_a_month_end(day: datetime) -> bool:
    # A month of 30 days, and not the year's end, which has its own moment.
    return day.day == 30 == calendar.monthrange(day.year, day.month)[1]


def _clock_changes(after: datetime) -> tuple[datetime, datetime]:
    """When the clocks of the suite's time zone next go forward, and when back; to the hour."""
    zone = ZoneInfo(TIME_ZONE)
    found: dict[bool, datetime] = {}
    hour = after.replace(minute=0)
    while len(found) < 2:
        hour += timedelta(hours=1)
        # Of local times: what the clocks show more than the minute that went by.
        before, now = (at.astimezone(zone).replace(tzinfo=None) for at in (hour - _MINUTE, hour))
        if now - before != _MINUTE:
            found.setdefault(now - before > _MINUTE, hour)
    return found[True], found[False]


if __name__ == "__main__":
    sys.exit(main())
