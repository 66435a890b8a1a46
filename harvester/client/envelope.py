"""Reading the vendor's envelope: {"status": …, "reason": …, "data": {…}}.

Only what a verdict needs is decoded here; the record's other fields stay bytes until they are
normalised, so that money never passes through a float.

Two ways lead to one answer: msgspec for what the vendor's page shows, and `answers.opening` for
what is odd: `data` that is no object, a number of a thousand digits, a byte order mark, GBK, NaN.

Source: docs/internals/vendor-rules.md, for `status` as text or as a number as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

import msgspec

from harvester.answers.opening import (
    REFUSED,
    data_of,
    is_nothing,
    is_utf8,
    members,
    plain,
    value_of,
)
from harvester.answers.rating import is_surely_rated, is_unrated
from harvester.answers.times import Call, Ending, ending_of, is_usual_ending
from harvester.client.verdicts import RawRecord

_AN_ERROR = 300  # the HTTP codes from here on

# A number may be written with a fraction of noughts: 0.0 is 0.
_WHOLE = re.compile(r"^(-?[0-9]+)\.0+$")

_TEXT = (str, type(None))
_NOT_READ = "not read"
"""Stands for an answerTime that there may be."""

# The vendor's codes: 0, or a negative number.
_VENDORS_OWN = re.compile(r"0|-[0-9]+")


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """One answer of the vendor, as far as a verdict needs it."""

    status: str
    records: tuple[RawRecord, ...]
    """Those of `data` that name their id; of a recordGroup there is one at most."""
    has_data: bool
    """False if `data` is null or empty; where it is something without an id, `records` is empty."""
    odd_hangup: bool = False
    """A hangupTime is in a form that nobody knows; so that call is over by what it cost."""

    @property
    def voice_id(self) -> str | None:
        """The id of the first record, if there is one."""
        return self.records[0].voice_id if self.records else None


OpenEnvelope: TypeAlias = Callable[[bytes, int, float, str | None], Envelope | None]
"""Opens an answer of one kind; see `open_envelope`."""


class _Record(msgspec.Struct, gc=False):
    voiceId: object = None  # noqa: N815 - the vendor's name
    submitTime: object = None  # noqa: N815
    answerTime: object = None  # noqa: N815
    hangupTime: object = None  # noqa: N815
    terminationCode: object = None  # noqa: N815
    callDuration: object = None  # noqa: N815
    cost: object = None
    costEur: object = None  # noqa: N815


class _Answer(msgspec.Struct, gc=False):
    status: str | int | None = None
    data: _Record | None = None


class _UsualRecord(msgspec.Struct, gc=False):
    voiceId: object = None  # noqa: N815
    submitTime: object = None  # noqa: N815
    hangupTime: object = None  # noqa: N815
    callDuration: object = None  # noqa: N815
    cost: object = None
    costEur: object = None  # noqa: N815


class _UsualAnswer(msgspec.Struct, gc=False):
    status: str | int | None = None
    data: _UsualRecord | None = None


_decode = msgspec.json.Decoder(_Answer).decode
_decode_usual = msgspec.json.Decoder(_UsualAnswer).decode


def usual_record(
    body: bytes, voice_id: str, now: float, content_type: str | None = None
) -> RawRecord | None:
    """What `open_envelope` finds in most answers: the record of this id, over and rated, no more.

    None: look there.  Apart from it, for every answer passes here: fewer fields are decoded, and no
    envelope is made.
    """
    if not body.isascii() and not is_utf8(body, content_type):
        return None
    try:
        answer = _decode_usual(body)
    except REFUSED:
        return None
    data = answer.data
    if (
        data is not None
        and data.voiceId == voice_id
        and answer.status == "0"
        and is_usual_ending(data.hangupTime, data.submitTime, now)
        and is_surely_rated(data.cost, data.costEur, data.callDuration, _NOT_READ)
    ):
        return RawRecord(voice_id, body, True)
    return None


def open_envelope(
    body: bytes, http_status: int, now: float, content_type: str | None = None
) -> Envelope | None:
    """The vendor's envelope in `body`, or None if this is something else (HTML, a list, torn).

    `now` is the Unix time of the fetch, in seconds.
    """
    # msgspec skips unknown fields without looking whether they are UTF-8.
    if not body.isascii() and not is_utf8(body, content_type):
        return _open_slowly(body, http_status, now, content_type)
    try:
        answer = _decode(body)
    except REFUSED:
        return _open_slowly(body, http_status, now, content_type)
    data = answer.data
    over = False
    if data is not None:
        is_usual = is_usual_ending(data.hangupTime, data.submitTime, now)
        known = True if is_usual else _is_over(data, now)
        # An empty record is none at all; the typed way can't tell it from one without an id.
        if known is None or data.voiceId is None:
            return _open_slowly(body, http_status, now, content_type)
        over = known
    status = _text(answer.status)
    if status is None or not (http_status < _AN_ERROR or _is_vendors(status)):
        return None
    if data is None:
        return Envelope(status, (), False)
    rated = not over or _is_rated(data, body, now)
    return Envelope(status, _records(_text(data.voiceId), body, over, rated), True)


def _records(voice_id: str | None, raw: bytes, over: bool, rated: bool) -> tuple[RawRecord, ...]:
    return (RawRecord(voice_id, raw, over, rated),) if voice_id else ()


def _is_rated(data: _Record, body: bytes, now: float) -> bool:
    """Whether a call that is over has its price; most show it at a glance."""
    if is_surely_rated(data.cost, data.costEur, data.callDuration, data.answerTime):
        return True
    try:
        fields = data_of(body)
    except (ValueError, RecursionError):
        return True  # nested as deep as may be: what one decoder took is too much for the other
    return not is_unrated(fields, int(now * 1000))


def _is_over(data: _Record, now: float) -> bool | None:
    """Whether the call is over; None where that takes a look at its literals."""
    hangup, submit, answer = data.hangupTime, data.submitTime, data.answerTime
    if not (isinstance(hangup, _TEXT) and isinstance(submit, _TEXT) and isinstance(answer, _TEXT)):
        return None
    call = Call(hangup, answer, submit, _text(data.terminationCode))
    ending = ending_of(call, int(now * 1000))
    return None if ending.odd else ending.over


def _open_slowly(
    body: bytes, http_status: int, now: float, content_type: str | None
) -> Envelope | None:
    """An envelope that msgspec refuses or that needs a closer look."""
    made = plain(body, content_type)
    try:
        answer = members(made.decode("utf-8", "surrogateescape"))
        status = _text_of(_WHOLE.sub(r"\1", answer.get("status", "null")))
        if status is None or not (http_status < _AN_ERROR or _is_vendors(status)):
            return None
        data = answer.get("data", "null")
        if is_nothing(data):
            return Envelope(status, (), False)
        fields = members(data) if data[0] == "{" else {}
    except (ValueError, RecursionError):
        return None
    ending = _ending(fields, now)
    voice_id = _text_of(fields.get("voiceId", "null"))
    rated = not ending.over or not is_unrated(fields, int(now * 1000))
    return Envelope(status, _records(voice_id, made, ending.over, rated), True, ending.odd)


def _ending(fields: Mapping[str, str], now: float) -> Ending:
    def sent(name: str) -> str | None:
        literal = fields.get(name, "null")
        try:
            return value_of(literal)
        except ValueError:
            return literal

    call = Call(
        sent("hangupTime"),
        sent("answerTime"),
        sent("submitTime"),
        _text_of(fields.get("terminationCode", "null")),
        sent("callDuration"),
        sent("chargedDuration"),
        sent("cost") or sent("costEur"),
    )
    return ending_of(call, int(now * 1000))


def _is_vendors(status: str) -> bool:
    """Whether this is the vendor's status, not a web server's own error page in JSON.

    Such a page, {"status": 404, "error": …} or {"status": "error", …}, comes under an HTTP error
    and names a code that the vendor's numbering doesn't have.
    """
    return _VENDORS_OWN.fullmatch(status) is not None


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
