"""Reading the vendor's envelope: {"status": …, "reason": …, "data": {…}}.

Only what a verdict needs is decoded here; the record's other fields stay bytes until they are
normalised, so that money never passes through a float.

Source: vendor page recordGroup; vendor/notes.md §3.4 for `status` as text or as a number.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

# Values of a terminationCode that mean "established": SIP 200, and "0" in the platform's own
# numbering, which this endpoint used until 2023 at least (vendor/notes.md §4).
_SUCCESS_CODES = ("0", "200")


@dataclass(frozen=True, slots=True)
class Envelope:
    """One answer of the vendor, as far as a verdict needs it."""

    status: str
    voice_id: str | None
    """The id of the record in `data`; None if `data` is null, empty, or has no id."""
    has_data: bool
    over: bool


class _Record(msgspec.Struct, gc=False):
    voiceId: object = None  # noqa: N815 - the vendor's name
    answerTime: object = None  # noqa: N815
    hangupTime: object = None  # noqa: N815
    terminationCode: object = None  # noqa: N815


class _Answer(msgspec.Struct, gc=False):
    status: str | int | None = None
    data: _Record | None = None


class _LooseAnswer(msgspec.Struct, gc=False):
    status: object = None
    reason: object = msgspec.UNSET
    data: object = msgspec.UNSET


_decode = msgspec.json.Decoder(_Answer).decode
_decode_loosely = msgspec.json.Decoder(_LooseAnswer).decode
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def open_envelope(body: bytes, http_status: int) -> Envelope | None:
    """The vendor's envelope in `body`, or None if this is something else (HTML, a list, torn)."""
    if not _is_utf8(body):
        return None
    try:
        answer = _decode(body)
    except _NOT_JSON:
        return _open_loosely(body, http_status)
    if answer.status is None or _is_servers_own(answer.status, http_status):
        return None
    status = _status_text(answer.status)
    data = answer.data
    if data is None:
        return Envelope(status, None, has_data=False, over=False)
    return Envelope(
        status,
        _text(data.voiceId),
        has_data=bool(data.voiceId) or not _is_empty(body),
        over=is_over(_text(data.hangupTime), _text(data.answerTime), _text(data.terminationCode)),
    )


def is_over(hangup_time: str | None, answer_time: str | None, code: str | None) -> bool:
    """Whether a call has ended: it has a hang-up, or it never was answered and failed.

    A code that says "established" while nobody answered is a call that still rings.
    """
    if hangup_time:
        return True
    return not answer_time and bool(code) and code not in _SUCCESS_CODES


def _open_loosely(body: bytes, http_status: int) -> Envelope | None:
    """An envelope whose `data` is no object, or whose `status` is neither text nor integer."""
    try:
        answer = _decode_loosely(body)
    except _NOT_JSON:
        return None
    if not isinstance(answer.status, str | int) or isinstance(answer.status, bool):
        return None
    if _is_servers_own(answer.status, http_status):
        return None
    return Envelope(
        _status_text(answer.status),
        None,
        has_data=answer.data not in (msgspec.UNSET, None, "", [], {}),
        over=False,
    )


def _is_utf8(body: bytes) -> bool:
    """JSON is UTF-8 (RFC 8259 §8.1).  msgspec skips unknown fields without looking at this."""
    if body.isascii():
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_servers_own(status: str | int, http_status: int) -> bool:
    """Whether this is a web server's error page in JSON, {"status": 404, "error": …}.

    Such a page repeats the HTTP code; the vendor's codes are 0 or negative.
    """
    return http_status >= 300 and _status_text(status) == str(http_status)


def _status_text(status: str | int) -> str:
    return status.strip() if isinstance(status, str) else str(status)


def _text(value: object) -> str | None:
    """A scalar as text; absent for null, "" and what is no scalar."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None


def _is_empty(body: bytes) -> bool:
    """Whether `data` is {}: an empty object is the same as none (it holds no record)."""
    return _decode_loosely(body).data == {}
