"""Opening an answer: from bytes as they came to the literals of its members.

Theory of operation.  The verdict, the control totals and the rows each have a quick way of their
own for what the vendor's page shows (msgspec, into a struct of the fields that they need).  What
their quick way refuses comes here, all of it; so none of them can read an answer that the others
don't.  Two steps:

1. `plain` makes JSON in UTF-8 out of the bytes: without a byte order mark and what stands around
   the object, from UTF-16 and UTF-32, and from GBK and GB18030 (the vendor is Chinese) where the
   header says so or the bytes do.  A control character within a string is written as its escape.
2. `members` cuts an object into name -> literal, and `value_of` reads a literal.

What is damaged costs its own field and no other: a byte that is no UTF-8 stays in its literal as a
lone surrogate (PEP 383), and NaN and Infinity stay as they are; `value_of` refuses both.

An answer whose bytes say nothing is never guessed: a text that is no UTF-8 is taken for Chinese
only where nearly all of it is made of the characters that Chinese is written with every day.

Sources: RFC 8259 §8.1 (JSON is UTF-8); GB 2312, whose first 55 rows are those characters.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import NoReturn

import msgspec
from msgspec import Raw

REFUSED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a quick way raises for an answer that is to be opened with care."""

_GB_HEADER = r"charset\s*=\s*[\"']?\s*(?:x-)?(?:gb|cp_?936|ms_?936|windows-936|euc-?cn)"
_LAST_OF_TWO_BYTES = "\u07ff"  # UTF-8 writes Chinese in three
_LAST_COMMON_ROW = 0xD7
_A_WORD, _NEARLY_ALL = 2, 2 / 3

_AROUND = " \t\r\n\v\f\0\u00a0\u3000\ufeff"
_WHITESPACE = " \t\r\n"
_CONTROL = re.compile(r"[\x00-\x1f]")
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_ESCAPED_OR_CONTROL = re.compile(r"\\.|[\x00-\x1f]", re.DOTALL)


class _Envelope(msgspec.Struct, gc=False):
    data: Raw


_envelope = msgspec.json.Decoder(_Envelope).decode
_members = msgspec.json.Decoder(dict[str, Raw]).decode


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


# Numbers stay as they are written: they need no arithmetic, and an integer may be too long for it.
_decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
_by_the_letter = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse)


def is_utf8(body: bytes, content_type: str | None = None) -> bool:
    """Whether `body` is UTF-8 beyond doubt, a header that says otherwise being one."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return not _says_gb(content_type)


def plain(body: bytes, content_type: str | None = None) -> bytes:
    """`body` as JSON in UTF-8 with nothing around; `body` itself where it is that already.

    Bytes that belong to no text stay as they are.  Never raises; what is no JSON is none after it.
    """
    text = _text(body, content_type).strip(_AROUND)
    if _CONTROL.search(text):
        text = _STRING.sub(_with_escapes, text)
    made = text.encode("utf-8", "surrogateescape")
    return body if made == body else made


def members(text: str) -> dict[str, str]:
    """A JSON object as name -> literal; the last of equal names counts.

    Raises ValueError where `text` is none, RecursionError where it is nested without end.
    """
    return {name: text[at:end] for name, (at, end) in places(text).items()}


def places(text: str) -> dict[str, tuple[int, int]]:
    """Where the literals of `members` stand: name -> (begin, end).  Raises as that does."""
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        raise ValueError("not an object")
    found: dict[str, tuple[int, int]] = {}
    at = _skip(text, at + 1)
    goes_on = text[at : at + 1] != "}"
    while goes_on:
        name, at = _scan_name(text, at)
        _, end = _decoder.raw_decode(text, at)
        found[name] = (at, end)
        at = _skip(text, end)
        goes_on = text[at : at + 1] == ","
        if goes_on:
            at = _skip(text, at + 1)
    if text[at : at + 1] != "}":
        raise ValueError("no comma between members")
    if _skip(text, at + 1) != len(text):
        raise ValueError("text after the object")
    return found


def elements(text: str) -> list[str]:
    """The literals of a JSON array.  Raises ValueError or RecursionError, as `members`."""
    at = _skip(text, 0)
    if text[at : at + 1] != "[":
        raise ValueError("not an array")
    literals: list[str] = []
    at = _skip(text, at + 1)
    goes_on = text[at : at + 1] != "]"
    while goes_on:
        _, end = _decoder.raw_decode(text, at)
        literals.append(text[at:end])
        at = _skip(text, end)
        goes_on = text[at : at + 1] == ","
        if goes_on:
            at = _skip(text, at + 1)
    if text[at : at + 1] != "]":
        raise ValueError("no comma between elements")
    if _skip(text, at + 1) != len(text):
        raise ValueError("text after the array")
    return literals


def text_of(body: bytes, content_type: str | None = None) -> str:
    """`plain` as text, for `members`."""
    return plain(body, content_type).decode("utf-8", "surrogateescape")


def quick_data_of(body: bytes) -> dict[str, Raw]:
    """The members of an answer's `data`, where msgspec takes it.  Raises one of `REFUSED`."""
    return _members(_envelope(body).data)


def data_of(body: bytes) -> dict[str, str]:
    """The members of an answer's `data`.  Raises ValueError or RecursionError where it has none."""
    try:
        return {name: bytes(raw).decode() for name, raw in quick_data_of(body).items()}
    except REFUSED:
        return members(members(text_of(body)).get("data", ""))


def value_of(literal: str) -> str | None:
    """A JSON literal as text, a number as its digits; null is None.

    Raises ValueError for what is neither, and for a string that UTF-8 can't hold.
    """
    first = literal[0]
    if first == '"':
        if "\\" not in literal and literal.isascii():
            return literal[1:-1]
        text = str(_decoder.decode(literal))
        text.encode()  # UnicodeEncodeError is a ValueError
        return text
    if first in "{[tfNI" or literal[1:2] == "I":
        raise ValueError("neither text nor number")
    return {"null": None, "-0": "0"}.get(literal, literal)


def is_json(literal: str) -> bool:
    """Whether a literal of `members` is JSON by the letter, with neither NaN nor Infinity in it."""
    if "NaN" not in literal and "Infinity" not in literal:
        return True
    try:
        _by_the_letter.decode(literal)
    except (ValueError, RecursionError):
        return False
    return True


def is_nothing(literal: str) -> bool:
    """Whether a literal is null, false or empty."""
    return literal in ("null", "false", '""') or not _decoder.decode(literal)


def _text(body: bytes, content_type: str | None) -> str:
    """The text of a body; a byte that belongs to none is a lone surrogate."""
    coding = json.detect_encoding(body)
    if not coding.startswith("utf-8"):
        wide = _strictly(body, coding)
        if wide is not None and wide.lstrip(_AROUND).startswith("{"):
            return wide
    says_gb = _says_gb(content_type)
    text = _strictly(body, "utf-8")
    if text is not None:
        # A header is often wrong, and Chinese in UTF-8 can't be mistaken.  What could be either
        # is what the header says.
        if not says_gb or max(text, default="") > _LAST_OF_TWO_BYTES:
            return text
        return _strictly(body, "gb18030") or text
    text = body.decode("utf-8", "surrogateescape")
    damage = _damage(text)
    if sum(_LAST_OF_TWO_BYTES < character < "\ud800" for character in text) > damage:
        return text  # what UTF-8 writes in three bytes does not come about by chance
    chinese = body.decode("gb18030", "surrogateescape")
    if _damage(chinese) < damage and (says_gb or _is_everyday_chinese(chinese)):
        return chinese
    return text


def _strictly(body: bytes, coding: str) -> str | None:
    try:
        return body.decode(coding)
    except UnicodeDecodeError:
        return None


@lru_cache(maxsize=64)  # a vendor writes few headers
def _says_gb(content_type: str | None) -> bool:
    return content_type is not None and (
        re.search(_GB_HEADER, content_type, re.IGNORECASE) is not None
    )


def _damage(text: str) -> int:
    return sum("\udc80" <= character <= "\udcff" for character in text)


def _is_everyday_chinese(text: str) -> bool:
    foreign = [character for character in text if character > "\x7f"]
    common = sum(_is_common(character) for character in foreign)
    return common >= max(_A_WORD, _NEARLY_ALL * len(foreign))


def _is_common(character: str) -> bool:
    try:
        return character.encode("gb2312")[0] <= _LAST_COMMON_ROW
    except UnicodeEncodeError:
        return False


def _with_escapes(string: re.Match[str]) -> str:
    return _ESCAPED_OR_CONTROL.sub(_escape, string[0])


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    return character if character[0] == "\\" else f"\\u{ord(character):04x}"


def _scan_name(text: str, at: int) -> tuple[str, int]:
    if text[at : at + 1] != '"':
        raise ValueError("a name must be a string")
    name, at = _decoder.raw_decode(text, at)
    at = _skip(text, at)
    if text[at : at + 1] != ":":
        raise ValueError("no colon after a name")
    return name, _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    while text[at : at + 1] and text[at] in _WHITESPACE:
        at += 1
    return at
