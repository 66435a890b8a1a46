"""What a voiceId is, what is wrong with a line that is none, and what an id's digits tell.

A voiceId is text, never a number: documented samples have 19 and 20 digits, and one of them
exceeds 64 bits.  It becomes a part of a URL's path, so the grammar lets nothing through that could
mean something there.

Of what the grammar would let through, some is no id all the same: `NULL` and its like, a negative
number, a dash or a rule of them, the name of the column itself.  Nothing that begins with a digit
is such a word.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Literal, NewType

from harvester.vendor_clock import CLOCK

VoiceId = NewType("VoiceId", str)

GRAMMAR = "[0-9A-Za-z_-]{1,64}"
"""A voiceId after trimming; the same text serves Python's `re` and Arrow's RE2."""

PLAIN = "[0-9][0-9A-Za-z_-]{0,63}"
"""Of these, the ones that need no second look."""

ID_CHARS = 64
EXCERPT_CHARS = 80

Reason = Literal[
    "empty",
    "too_long",
    "forbidden_character",
    "not_utf8",
    "nul_byte",
    "placeholder",
    "torn_row",
    "not_json",
    "no_field",
    "not_text",
    "not_a_whole_number",
]
"""Why a line holds no id: the words of `bad_ids.jsonl` and of the summary."""

# White space, and what shows as nothing: marks of byte order and direction, joiners, soft hyphens.
# They come with text that was copied from a web page, a chat or an address book.
INVISIBLE = (
    "\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e"
    "\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069\ufeff"
)
_SPACES = (
    " \t\n\v\f\r\x1c\x1d\x1e\x1f\x85\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007"
    "\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""All that Python takes for white space."""
_AROUND = _SPACES + INVISIBLE

_NO_IDS = "[-_]+|-[0-9]+|null|none|nan|nil|na|undefined|totals?|subtotal|sum|count|eof|ids?"

_VOICE_ID = re.compile(GRAMMAR)
_UNDECODED = re.compile("[\udc80-\udcff]")
_DIGITS = re.compile("[0-9]{19,20}")

# The vendor's ids start in these years.  A window makes nearly every id readable in one way only:
# "1|2110…" would else be the year 2021 after a type digit, or 2012 without one.
_FIRST_YEAR, _LAST_YEAR = 2015, 2049


def no_ids(*columns: str) -> str:
    """A pattern of texts that are no ids though the grammar would take them.

    `columns`: names under which the ids stand, in whatever spelling.
    """
    names = sorted({same_name(name) for name in ("voiceId", "voiceIds", *columns)})
    # A name that is no id by the grammar needs no pattern, nor one that could be an id.
    spelt = ["_*".join(["", *name, ""]) for name in names if re.fullmatch("[a-z][a-z0-9-]*", name)]
    return "(?i:" + "|".join([_NO_IDS, *spelt]) + ")"


def same_name(name: str) -> str:
    """What two spellings of a column's name have in common: case, blanks and underscores go."""
    return "".join(char for char in name.casefold() if char != "_" and char not in _AROUND)


def trimmed(text: str) -> str:
    """`text` without white space and invisible characters around it, nor quotes around the rest."""
    inner = text.strip(_AROUND)
    if len(inner) > 1 and inner[0] == inner[-1] and inner[0] in "\"'":
        return inner[1:-1].strip(_AROUND)
    return inner


def clean(text: str, words: str = no_ids()) -> VoiceId | None:
    """The voiceId that `text` holds, `trimmed`; None if it holds none, or one of `words`."""
    inner = trimmed(text)
    if not _VOICE_ID.fullmatch(inner) or re.fullmatch(words, inner):
        return None
    return VoiceId(inner)


def fault(text: str, words: str = no_ids()) -> Reason | None:
    """Why `clean` refuses `text`; None if it doesn't.

    Bytes that were no UTF-8 are expected as Python's `surrogateescape` leaves them.
    """
    if clean(text, words) is not None:
        return None
    return _fault(trimmed(text))


def _fault(inner: str) -> Reason:
    if not inner:
        return "empty"
    if len(inner) > ID_CHARS:
        return "too_long"
    if "\0" in inner:
        return "nul_byte"
    if _VOICE_ID.fullmatch(inner):
        return "placeholder"
    return "not_utf8" if _UNDECODED.search(inner) else "forbidden_character"


def excerpt(text: str) -> str:
    """The start of a bad line, fit to be printed: at most 80 characters, all of them harmless.

    What a terminal or a reader could act on (escape sequences, line ends, direction marks) is
    written as an escape, and so is a byte that is no UTF-8.
    """
    shown = ""
    for position, char in enumerate(text):
        piece = _printable(char)
        rest = len(text) - position - 1
        if len(shown) + len(piece) + (1 if rest else 0) > EXCERPT_CHARS:
            return shown + "…"
        shown += piece
    return shown


def dated(voice_id: str) -> datetime | None:
    """The instant (UTC) that an id's own digits tell, or None if they form no date.

    An id of 19 or 20 digits begins with yyMMddHHmmss at +08:00, after a type digit that may be
    missing (docs/internals/vendor-rules.md: in samples, promised nowhere).  Where both readings
    make a date the later one counts: who asks wants to know whether an id is *surely* old.
    """
    if not _DIGITS.fullmatch(voice_id):
        return None
    readings = [_instant(voice_id[start : start + 12]) for start in (0, 1)]
    return max((found for found in readings if found), default=None)


def _instant(digits: str) -> datetime | None:
    """`yyMMddHHmmss` of the vendor's clock as UTC; None if that is no instant of our years."""
    numbers = [int(digits[i : i + 2]) for i in range(0, 12, 2)]
    year = 2000 + numbers[0]
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        return None
    try:
        found = datetime(year, *numbers[1:], tzinfo=CLOCK)  # type: ignore[arg-type,misc]
    except ValueError:
        return None
    return found.astimezone(UTC)


def _printable(char: str) -> str:
    if char == "\\":
        return "\\\\"
    if _UNDECODED.match(char):
        return f"\\x{ord(char) - 0xDC00:02x}"
    if char.isprintable():
        return char
    return (
        char.encode("unicode_escape").decode("ascii") if char.isascii() else f"\\u{ord(char):04x}"
    )
