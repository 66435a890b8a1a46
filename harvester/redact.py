"""What must not be seen, and how it is masked: secrets, signatures and phone numbers; one policy.

Theory of operation.  A vendor, a proxy in its place, or a library may repeat our headers or a
customer's number in what it says, so whatever is quoted goes through one of these functions, each
named for what it promises.

A secret is masked in any text, `[secret]`.  All are masked in one pass, the longest first, so that
no mask is masked itself.  One of under `SHORT` characters hides nothing from anybody who guesses,
and stands in every other word: it is masked only where it stands alone, between characters that
are no letters and no digits, and the text can still be read.

A signature is 32 hex digits that stand alone.

A phone number has `LEAST_DIGITS` digits or more: a local one has as few.  How they may be grouped
depends on what else the text holds:

- our own words and a library's (logs, errors of DuckDB) are full of figures: digits in one run, or
  grouped behind a plus; `[digits]`.  A run's name begins with eight, and stays.
- a quoted answer: grouped in any of the usual ways; `***`.
- an export with --mask: grouped in more ways still, in digits of any script; `tel_` and a keyed
  hash, so that one number has one mask.
- on the screen and the page of an audit: the first three digits and the last two.
- a name that a metric or a warning is counted by: "odd", whatever it is.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from harvester.run_name import STAMP, TAIL

if TYPE_CHECKING:
    from harvester.config import Secrets

SECRET = "[secret]"  # noqa: S105 - the mask, no secret
DIGITS = "[digits]"
ODD = "odd"
SHORT = 4
"""Characters of a secret that is masked only where it stands alone."""
LEAST_DIGITS = 7
LEAST_NUMBER = 10 ** (LEAST_DIGITS - 1)

_FURTHER = f"{{{LEAST_DIGITS - 1},}}"
_SIGNATURE = r"(?<![0-9A-Za-z])[0-9a-fA-F]{32}(?![0-9A-Za-z])"
_RUN_OF_DIGITS = f"[0-9]{{{LEAST_DIGITS},}}"
_GROUPED = rf"[0-9](?:[ ()./_,-]{{0,2}}[0-9]){_FURTHER}"

_RUN_NAME = rf"(?<![0-9]){STAMP}(?:{TAIL})?"
_IN_A_LINE = re.compile(rf"({_RUN_NAME})|{_SIGNATURE}|\+{_GROUPED}|{_RUN_OF_DIGITS}")
_LONG_NUMBER = re.compile(_RUN_OF_DIGITS)
# Texts, not patterns: a run that meets nothing odd needs none of them, and each takes its time.
_ANSWERS_SIGNATURE = _SIGNATURE.encode()
_ANSWERS_NUMBER = _GROUPED.encode()

_NO_NUMBER = f"(?!.*[0-9]{{{LEAST_DIGITS}}})"
_LABEL = re.compile(rf"{_NO_NUMBER}[0-9a-z_-]{{1,40}}")
_FIELD_NAME = rf"{_NO_NUMBER}[A-Za-z_][0-9A-Za-z_.-]{{0,39}}"

HASH_PREFIX = "tel_"
HASH_BITS = 80
"""A billion numbers have two alike with a chance of one in two million."""

BETWEEN = r"[\s().\-/\u2010-\u2015]{0,3}"
"""Pattern of what may stand between two digits of a number."""
NUMBER_WITHIN = rf"\d(?:{BETWEEN}\d){{{LEAST_DIGITS - 1}}}"
"""Pattern of what makes a text hold a number, in an export."""
_DATE = r"(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_TIME = r"[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
NO_NUMBER = rf"(?<![0-9+]){_DATE}(?:[T ]{_TIME})?(?![0-9])"
"""Pattern of a date, with or without a time."""
# What comes first wins: a date within a longer run of digits is part of that run.
_EXPORTED = rf"({NO_NUMBER})|\+?\(?\d(?:{BETWEEN}\d){_FURTHER}"
AMOUNT = re.compile(r"-?[0-9]{1,6}(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,2})?")
"""Pattern of an amount of money as a vendor writes it, in a field for one."""
WRITTEN = re.compile(r"[\d\s()+.\-/\u2010-\u2015]*")
"""Pattern of a text in which nothing but one number can stand."""


def without_secrets(text: str, secrets: Sequence[str]) -> str:
    """`text` with every one of `secrets` masked, also as repr() and JSON write it."""
    pattern = _pattern(tuple(secrets))
    return text if pattern is None else pattern.sub(SECRET, text)


def line_to_keep(text: str, secrets: Sequence[str]) -> str:
    """`text` without secrets, signatures and numbers: fit for a log.  Runs' names stay."""
    text = without_secrets(text, secrets)
    return _IN_A_LINE.sub(lambda found: found[1] or DIGITS, text)


def without_long_numbers(text: str) -> str:
    """`text`, such as a library's error, with every run of seven digits or more masked."""
    return _LONG_NUMBER.sub(DIGITS, text)


def answer_without_secrets(text: bytes, secrets: Secrets) -> bytes:
    """A quoted answer with the key, the secret and whatever looks like a signature masked."""
    # One character for each byte, whatever they mean: a key and a secret are ASCII.
    readable = without_secrets(text.decode("latin-1"), (secrets.api_key, secrets.api_secret))
    return re.sub(_ANSWERS_SIGNATURE, b"[signature]", readable.encode("latin-1"))


def answer_without_numbers(text: bytes) -> bytes:
    """A quoted answer with whatever could be a phone number masked, however it is grouped."""
    return re.sub(_ANSWERS_NUMBER, b"***", text)


def label_or_odd(text: str) -> str:
    """`text` as a metric's label if it is a word of ours, which holds no number; else "odd"."""
    return text if _LABEL.fullmatch(text) else ODD


def field_or_odd(text: str) -> str:
    """`text` if it can be a field's name, and holds no number; else "odd"."""
    return text if re.fullmatch(_FIELD_NAME, text) else ODD


def number_in_part(number: str) -> str:
    """A phone number by its first three and last two digits: enough to find it by, not to call."""
    return f"{number[:3]}{'*' * (len(number) - 5)}{number[-2:]}" if len(number) > 7 else "***"


class NumberHashes:
    """One key's masks of phone numbers: `tel_` and the first 80 bits, in hex, of a keyed hash.

    HMAC-SHA256(key, digits).  Only the digits count: a plus, spaces, dots, dashes, slashes and
    parentheses are ways of writing a number, so +49 151 1234567 and 491511234567 have one mask.
    Zeros in front are digits like all others: what they mean depends on who dialled.
    """

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def number(self, text: str) -> str:
        """The mask of a phone number, or of whatever else stands in a number's place."""
        digits = "".join(filter(str.isdecimal, text))
        said = ascii_digits(digits) if digits and WRITTEN.fullmatch(text) else text
        hashed = hmac.digest(self._key, said.encode("utf-8", "surrogatepass"), "sha256")
        return HASH_PREFIX + hashed[: HASH_BITS // 8].hex()

    def text(self, text: str, voice_id: str = "") -> str:
        """`text` with every number in it masked, but for dates, times and its own `voice_id`."""

        def masked(found: re.Match[str]) -> str:
            return found[0] if found[1] or found[0] == voice_id else self.number(found[0])

        return _compiled(_EXPORTED).sub(masked, text)


@lru_cache(8)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


@lru_cache(8)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    written = {
        form
        for secret in filter(None, secrets)
        for form in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1])
    }
    ranked = sorted(written, key=lambda form: (-len(form), form))
    return re.compile("|".join(map(_one, ranked))) if ranked else None


def _one(form: str) -> str:
    found = re.escape(form)
    return found if len(form) >= SHORT else f"(?<![0-9A-Za-z]){found}(?![0-9A-Za-z])"


def ascii_digits(digits: str) -> str:
    """Digits of any script as 0 to 9."""
    return digits if digits.isascii() else "".join(str(int(digit)) for digit in digits)
