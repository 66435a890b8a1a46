"""Reading the vendor's envelope: {"status": …, "reason": …, "data": {…}}.

Only what a verdict needs is decoded here; the record's other fields stay bytes until they are
normalised, so that money never passes through a float.

Two ways lead to one answer: msgspec for what the vendor's page shows, and `answers.opening` for
what is odd: `data` that is no object, a number of a thousand digits, a byte order mark, GBK, NaN.

Source: vendor page recordGroup; vendor/notes.md §3.4 for `status` as text or as a number.
"""

from __future__ import annotations

import re

import msgspec

from harvester.answers.opening import REFUSED, is_nothing, is_utf8, members, plain, value_of

# Values of a terminationCode that mean "established": SIP 200, and "0" in the platform's own
# numbering, which this endpoint used until 2023 at least (vendor/notes.md §4).
_SUCCESS_CODES = ("0", "200", "0.0", "200.0")

# A time of noughts ("0000-00-00 00:00:00", 0) is how some databases write that there is none.
_A_DATE = re.compile("[1-9]")
_DATE_LENGTH = 10
_AN_ERROR = 300  # the HTTP codes from here on

# A number may be written with a fraction of noughts: 0.0 is 0.
_WHOLE = re.compile(r"^(-?[0-9]+)\.0+$")

# The vendor's codes: 0, or a negative number.
_VENDORS_OWN = re.compile(r"0|-[0-9]+")


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """One answer of the vendor, as far as a verdict needs it."""

    status: str
    voice_id: str | None
    """The id of the record in `data`; None if `data` is null, empty, or has no id."""
    has_data: bool
    over: bool
    plain: bytes | None = None
    """The answer as JSON in UTF-8, where it came otherwise."""


class _Record(msgspec.Struct, gc=False):
    voiceId: object = None  # noqa: N815 - the vendor's name
    answerTime: object = None  # noqa: N815
    hangupTime: object = None  # noqa: N815
    terminationCode: object = None  # noqa: N815


class _Answer(msgspec.Struct, gc=False):
    status: str | int | None = None
    data: _Record | None = None


_decode = msgspec.json.Decoder(_Answer).decode


def open_envelope(
    body: bytes, http_status: int, content_type: str | None = None
) -> Envelope | None:
    """The vendor's envelope in `body`, or None if this is something else (HTML, a list, torn)."""
    # msgspec skips unknown fields without looking whether they are UTF-8.
    if not body.isascii() and not is_utf8(body, content_type):
        return _open_slowly(body, http_status, content_type)
    try:
        answer = _decode(body)
    except REFUSED:
        return _open_slowly(body, http_status, content_type)
    data = answer.data
    if data is not None and data.voiceId is None:
        # An empty record is none at all; the typed way can't tell it from one without an id.
        return _open_slowly(body, http_status, content_type)
    status = _text(answer.status)
    if status is None or not (http_status < _AN_ERROR or _is_vendors(status)):
        return None
    return _envelope(status, data)


def is_over(hangup_time: str | None, answer_time: str | None, code: str | None) -> bool:
    """Whether a call has ended: it has a hang-up, or it never was answered and failed.

    A code that says "established" while nobody answered is a call that still rings.
    """
    if _is_time(hangup_time):
        return True
    return not _is_time(answer_time) and bool(code) and code not in _SUCCESS_CODES


def _open_slowly(body: bytes, http_status: int, content_type: str | None) -> Envelope | None:
    """An envelope that msgspec refuses or that needs a closer look."""
    made = plain(body, content_type)
    try:
        answer = members(made.decode("utf-8", "surrogateescape"))
        status = _text_of(_WHOLE.sub(r"\1", answer.get("status", "null")))
        if status is None or not (http_status < _AN_ERROR or _is_vendors(status)):
            return None
        data = answer.get("data", "null")
        if is_nothing(data):
            return Envelope(status, None, has_data=False, over=False)
        if data[0] != "{":
            return Envelope(status, None, has_data=True, over=False)
        fields = members(data)
    except (ValueError, RecursionError):
        return None
    record = _Record(
        **{name: _text_of(fields.get(name, "null")) for name in _Record.__struct_fields__}
    )
    return _envelope(status, record, None if made is body else made)


def _envelope(status: str, data: _Record | None, made: bytes | None = None) -> Envelope:
    if data is None:
        return Envelope(status, None, has_data=False, over=False)
    sent = data.hangupTime
    # A time as the vendor writes it begins with its year: most calls need no closer look.
    over = (type(sent) is str and "1" <= sent[:1] <= "9") or is_over(
        _text(sent), _text(data.answerTime), _text(data.terminationCode)
    )
    return Envelope(status, _text(data.voiceId), True, over, made)


def _is_vendors(status: str) -> bool:
    """Whether this is the vendor's status, not a web server's own error page in JSON.

    Such a page, {"status": 404, "error": …} or {"status": "error", …}, comes under an HTTP error
    and names a code that the vendor's numbering doesn't have.
    """
    return _VENDORS_OWN.fullmatch(status) is not None


def _is_time(text: str | None) -> bool:
    if not text:
        return False
    return "1" <= text[0] <= "9" or _A_DATE.search(text[:_DATE_LENGTH]) is not None


def _text(value: object) -> str | None:
    """A scalar as text; absent for null, "" and what is no scalar."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None


def _text_of(literal: str) -> str | None:
    """As `_text`, of a JSON literal."""
    try:
        return _text(value_of(literal))
    except ValueError:
        return None
