"""voiceIds to rehearse with, in the vendor's form, as many as wanted and never one twice.

Three forms occur in the vendor's samples: 12 digits of time (yyMMddHHmmss at +08:00) with a
sequence of 7 or of 8 digits, and a type digit "1" before 12 + 7.  They are made by arithmetic on
their number, so that a hundred million of them need no memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

from harvester.errors import UsageError

VENDOR_ZONE = timezone(timedelta(hours=8))

_DAY_S = 86_400
_SEQUENCES = 10_000_000
_STRIDE = 7_368_787  # shares no factor with 10^7, so n * stride visits every sequence number once


def make_ids(
    count: int, seed: int = 1, *, end: date, days: int = 45, shuffled: bool = False
) -> Iterator[str]:
    """`count` distinct voiceIds of the `days` days up to and including `end`, at +08:00.

    The same (count, seed, days, end) gives the same ids: no clock is looked at.  They come in
    order of time, or `shuffled`.  Raises UsageError where the numbers make no sense.
    """
    _check(count, days, end)
    midnight = datetime(end.year, end.month, end.day, tzinfo=VENDOR_ZONE)
    first_s = int(midnight.timestamp()) - (days - 1) * _DAY_S
    return _ids(count, seed, first_s, days * _DAY_S, _step(count, seed) if shuffled else 1)


def ids_of_second(at: datetime, count: int) -> Iterator[str]:
    """`count` distinct voiceIds of one second."""
    told = _tell(int(at.timestamp()))
    return (f"{told}{number:07d}5" for number in range(count))


def write_ids(
    path: Path,
    count: int,
    seed: int = 1,
    *,
    end: date,
    days: int = 45,
    shuffled: bool = False,
    twin_of: Callable[[str], str | None] | None = None,
) -> int:
    """Write ids to `path`, one a line (a .csv gets a heading); returns how many.

    Behind an id comes its twin, if `twin_of` says that it has one.
    """
    written = 0
    with path.open("w", encoding="ascii", newline="\n") as file:
        if path.suffix == ".csv":
            file.write("voiceId\n")
        for voice_id in make_ids(count, seed, end=end, days=days, shuffled=shuffled):
            twin = twin_of(voice_id) if twin_of is not None else None
            for one in filter(None, (voice_id, twin)):
                file.write(f"{one}\n")
                written += 1
    return written


def last_whole_day(now: datetime | None = None) -> date:
    """The vendor's day before `now` (aware; default: the machine's clock).

    Ids up to its end are never of the future, whatever the hour.
    """
    return (now or datetime.now(UTC)).astimezone(VENDOR_ZONE).date() - timedelta(days=1)


def time_in_id(voice_id: str) -> datetime | None:
    """The instant that an id's own digits tell, or None where they tell none."""
    if not (voice_id.isascii() and voice_id.isdigit() and 19 <= len(voice_id) <= 21):
        return None
    # Without type digit first: read with it, an id of 2026 has a month over 12, and the reverse.
    for start in (0, 1):
        moment = _moment(voice_id[start : start + 12])
        if moment is not None:
            return moment
    return None


def double_of(voice_id: str) -> str | None:
    """The id under which a made-up call is billed once more, a second later.

    Ends in a digit that no made-up id of its length has; None for an id of another form.
    """
    told = time_in_id(voice_id)
    if told is None:
        return None
    start = 12 if _moment(voice_id[:12]) is not None else 13
    double = f"{_tell(int(told.timestamp()) + 1)}{voice_id[start : start + 7]}9"
    return double if original_of(double) == voice_id else None


def original_of(voice_id: str) -> str | None:
    """The made-up id whose `double_of` is `voice_id`, or None."""
    if len(voice_id) != 20 or not voice_id.endswith("9") or not voice_id.isdecimal():
        return None
    told = _moment(voice_id[:12]) if voice_id.isascii() else None
    if told is None:
        return None
    return _form(_tell(int(told.timestamp()) - 1), int(voice_id[12:19]))


def _moment(digits: str) -> datetime | None:
    year, month, day, hour, minute, second = (int(digits[i : i + 2]) for i in range(0, 12, 2))
    try:
        return datetime(2000 + year, month, day, hour, minute, second, tzinfo=VENDOR_ZONE)
    except ValueError:
        return None


def _ids(count: int, seed: int, first_s: int, span_s: int, step: int) -> Iterator[str]:
    offset = (seed * 1_000_003) % _SEQUENCES
    place, told_s, told = 0, -1, ""
    for _ in range(count):
        second = first_s + place * span_s // count
        if second != told_s:
            told_s, told = second, _tell(second)
        # Ids of one second are neighbours in `place`, and so never share a sequence number.
        yield _form(told, (place * _STRIDE + offset) % _SEQUENCES)
        place = (place + step) % count


def _form(told: str, sequence: int) -> str:
    style = sequence * 31 // 7 % 20
    if style < 10:
        return f"{told}{sequence:07d}"
    if style < 17:
        return f"1{told}{sequence:07d}"
    return f"{told}{sequence:07d}{sequence % 9}"


def _tell(second: int) -> str:
    return datetime.fromtimestamp(second, VENDOR_ZONE).strftime("%y%m%d%H%M%S")


def _step(count: int, seed: int) -> int:
    """A stride that visits every place once, in an order that looks like none."""
    if count < 2:
        return 1
    step = int(count * 0.618) + seed % 97
    while math.gcd(step, count) != 1:
        step += 1
    return step


def _check(count: int, days: int, last: date) -> None:
    if count < 0:
        raise UsageError(f"{count} ids can't be made: give a number of 0 or more.")
    if days < 1:
        raise UsageError(f"ids can't be spread over {days} days: give 1 or more.")
    # Two digits of year that begin with 1 would read as a type digit, and forms could collide.
    if last.year - days // 365 - 1 < 2020 or last.year > 2099:
        raise UsageError(
            f"ids can't be of the {days} days up to {last}: give days of 2021 to 2099."
        )
    if count > days * _DAY_S * _SEQUENCES:
        raise UsageError(f"{count} ids don't fit into {days} days: give more days.")
