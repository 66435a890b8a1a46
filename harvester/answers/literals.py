"""What a single text of the vendor means.  These rules are the truth: the Arrow fast path in
`columns` may only take what it is sure to read in the same way.

Each rule gives the exact value or raises ValueError; none of them rounds, guesses or repairs.  A
text is either a JSON string's value or a JSON number's literal: money is never seen as a float.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

from harvester.money import PRECISION, SCALE
from harvester.vendor_clock import CLOCK

INT32_MAX = 2**31 - 1

PLAIN_AMOUNT = rf"-?[0-9]{{1,{PRECISION - SCALE}}}(?:\.[0-9]{{1,{SCALE}}})?"
"""Amounts that every reader of decimals takes alike, and exactly."""

_PLAIN = re.compile(PLAIN_AMOUNT)
_DECIMAL = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?)([0-9]+))?")
_INSTANT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]+))?)?"
    r"(?:(Z|z)|([+-])([0-9]{2})(?::?([0-9]{2}))?)?(?:\[[\w/+-]+\])?"
)
_PERIOD = re.compile(r"[ \t]*([0-9]{1,10})[ \t]*\+[ \t]*([0-9]{1,10})[ \t]*")
_SIP = re.compile(r"[1-6][0-9]{2}")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
# One day of room at either end: the date of an instant must exist in every time zone.
_FIRST = datetime(1, 1, 2, tzinfo=UTC)
_LAST = datetime(9999, 12, 30, 23, 59, 59, tzinfo=UTC)


def decimal_of(literal: str) -> Decimal:
    """The exact amount: grammar `-?digits[.digits][e±n]`.

    Raises ValueError for another grammar, and for an amount that decimal(18, 8) can't hold exactly.
    """
    if _PLAIN.fullmatch(literal):
        return Decimal(literal) + 0  # the sum knows no minus zero
    sign, digits, exponent = _scientific(literal)
    zeros = exponent + SCALE
    if zeros < 0:
        raise ValueError(f"more than {SCALE} fractional digits")
    if len(digits) + zeros > PRECISION:
        raise ValueError(f"more than {PRECISION} digits")
    return Decimal(f"{sign}{digits}{'0' * zeros}E-{SCALE}")


def seconds_of(literal: str) -> int:
    """A duration in whole seconds, 0 … 2^31-1; "13.0" is 13.  Raises ValueError."""
    sign, digits, exponent = _scientific(literal)
    if not digits:
        return 0
    if sign or exponent < 0 or len(digits) + exponent > 10:
        raise ValueError("not a whole number of seconds from 0")
    return _int32(digits + "0" * exponent)


def instant_of(text: str) -> tuple[int, int | None]:
    """An ISO 8601 date and time as (ms since 1970 UTC, the offset in minutes it was sent with).

    Seconds may be missing, as Java leaves out those that are 0, and it puts the name of a zone
    behind the offset.  Fractions are cut at ms.  Without an offset it is the vendor's clock,
    +08:00, and the offset None.  Raises ValueError for dates and times that don't exist, leap
    seconds among them, and for those outside the years 1 … 9999.
    """
    found = _INSTANT.fullmatch(text)
    if found is None:
        raise ValueError("not an ISO 8601 date and time")
    year, month, day, hour, minute, second, fraction, zulu, sign, hours, minutes = found.groups()
    offset = 0 if zulu else _offset_min(sign, hours, minutes)
    zone = CLOCK if offset is None else timezone(timedelta(minutes=offset))
    whole = datetime(
        int(year), int(month), int(day), int(hour), int(minute), int(second or 0), tzinfo=zone
    )
    if not _FIRST <= whole <= _LAST:
        raise ValueError("outside the years 1 to 9999")
    ms = int((fraction or "0")[:3].ljust(3, "0"))
    return (whole - _EPOCH) // _MS + ms, offset


_NOTHING = frozenset(
    ["null", "none", "nil", "undefined", "nan", "n/a", "na", "unknown", "pending", "tbd"]
)


def says_nothing(text: str) -> bool:
    """Whether a text is one of those that programs write where they have no value."""
    text = text.strip().casefold()
    return text in _NOTHING or not any(one.isalnum() for one in text)


def split_code(code: str) -> tuple[str | None, str | None]:
    """The destination as (country, region), split at the parentheses that end it.

    "Congo (DRC)(Kinshasa)" is ("Congo (DRC)", "Kinshasa"); without parentheses at the end, or with
    unbalanced ones, the country is the whole and the region None.
    """
    whole = code.strip()
    at = _last_group(whole) if whole.endswith(")") else None
    if not at:
        return whole or None, None
    return whole[:at].strip() or None, whole[at + 1 : -1].strip() or None


def period_of(text: str) -> tuple[int, int]:
    """A billing period such as "20+20" as (initial, increment) in seconds.  Raises ValueError."""
    found = _PERIOD.fullmatch(text)
    if found is None:
        raise ValueError("not a billing period")
    return _int32(found[1]), _int32(found[2])


def sip_code_of(text: str) -> int:
    """A termination code in SIP's range, 100 … 699.  Raises ValueError for any other."""
    if _SIP.fullmatch(text) is None:
        raise ValueError("not a SIP status code")
    return int(text)


def _scientific(literal: str) -> tuple[str, str, int]:
    """A number as (sign, digits without zeros at either end, exponent of the last digit).

    Works on the text: "1e999999999" must cost nothing.  Zero has no sign and no digits.
    """
    found = _DECIMAL.fullmatch(literal)
    if found is None:
        raise ValueError("not a decimal number")
    sign, whole, fraction, exponent_sign, exponent = found.groups(default="")
    significant = (whole + fraction).lstrip("0")
    digits = significant.rstrip("0")
    if not digits:
        return "", "", 0
    magnitude = exponent.lstrip("0")
    # No mantissa that fits into an answer makes up for ten digits of exponent.
    if len(magnitude) > 9:
        raise ValueError("exponent out of range")
    power = int(exponent_sign + (magnitude or "0"))
    return sign, digits, power - len(fraction) + len(significant) - len(digits)


def _offset_min(sign: str | None, hours: str | None, minutes: str | None) -> int | None:
    if hours is None:
        return None
    hour, minute = int(hours), int(minutes or "0")
    if hour > 23 or minute > 59:
        raise ValueError("no such offset")
    return (hour * 60 + minute) * (-1 if sign == "-" else 1)


def _int32(digits: str) -> int:
    value = int(digits)
    if value > INT32_MAX:
        raise ValueError("too large")
    return value


def _last_group(text: str) -> int | None:
    """Where the last outermost "(" of balanced parentheses stands."""
    depth, at = 0, None
    for position, character in enumerate(text):
        if character == "(":
            if depth == 0:
                at = position
            depth += 1
        elif character == ")":
            depth -= 1
            if depth < 0:
                return None
    return at if depth == 0 else None
