"""From an answer to a verdict: the table of docs/internals/vendor-rules.md.

The body is read first, whatever the HTTP code: the vendor reports business errors under HTTP 200,
and some of its clients have read an envelope under other codes (docs/internals/vendor-rules.md).
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from harvester.client.envelope import Envelope, OpenEnvelope, open_envelope, usual_record
from harvester.client.transport import Reply
from harvester.client.verdicts import (
    Busy,
    Dead,
    NetworkFailure,
    NoRecord,
    Record,
    Refusal,
    Throttled,
    TimeRefused,
    UnknownStatus,
    Verdict,
)

MAX_RETRY_AFTER_S = 300.0
"""The longest pause that a Retry-After may cost us; a proxy's "come back tomorrow" is not ours."""

_STATUS_SHOWN = 40

_DEAD = {"-22": "parameter_exception", "-14": "bad_query_id", "-25": "out_of_time_range"}
_REFUSED = frozenset({"-1", "-2", "-13", "-29", "-30", "-31", "-32"})
_FORBIDDEN = frozenset({401, 403, 407})
_WRONG_ADDRESS = frozenset({404, 405, 410})


def judge(
    voice_id: str | None, reply: Reply, now: float, opens: OpenEnvelope = open_envelope
) -> Verdict:
    """What `reply` means.  `now` is the Unix time, in seconds.

    `voice_id` is the id that was asked for; None: none by name, so that any records are an answer.
    """
    body, content_type = reply.body, reply.content_type
    if voice_id is not None:
        usual = usual_record(body, voice_id, now, content_type)
        if usual is not None:
            return Record(True, False, (usual,))
    envelope = opens(body, reply.status, now, content_type)
    if envelope is not None and envelope.status == "0":
        records = envelope.records
        if len(records) == 1 and records[0].voice_id == voice_id:
            return Record(records[0].over, envelope.odd_hangup, records)
    verdict: Verdict
    if envelope is None:
        verdict = _judge_http(reply.status)
    elif envelope.status == "0":
        verdict = _judge_record(voice_id, envelope)
    else:
        verdict = _judge_status(voice_id, envelope)
    if reply.retry_after and _is_unsettled(verdict):
        return Throttled(retry_after_s(reply.retry_after, now))
    return verdict


def retry_after_s(value: str | None, now: float) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110 §10.2.3), within 0…300; None if unsaid.

    `value` is a number of seconds or an HTTP date; `now` is the Unix time.
    """
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_RETRY_AFTER_S)
    at = http_date(text)
    if at is None:
        return None
    return min(max(at - now, 0.0), MAX_RETRY_AFTER_S)


def http_date(text: str | None) -> float | None:
    """An HTTP date (RFC 9110 §5.6.7) as Unix time in seconds; None if it is none."""
    try:
        at = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return (at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()


def _judge_status(voice_id: str | None, envelope: Envelope) -> Verdict:
    status = envelope.status
    if status == "-18":
        return Busy("-18")
    if status == "-16":
        return TimeRefused()
    if status == "-15":
        return Throttled(None)
    if status == "-24":
        return NoRecord()
    if status in _DEAD:
        return _judge_no(voice_id, envelope)
    if status in _REFUSED:
        return Refusal(status)
    # It goes into dead letters and messages, and could be anything: half a character, an escape
    # sequence, a megabyte.
    return UnknownStatus(ascii(status)[1:-1][:_STATUS_SHOWN])


def _judge_record(voice_id: str | None, envelope: Envelope) -> Verdict:
    """What status 0 means where it did not bring the one record that was asked for."""
    records = envelope.records
    if voice_id is None and records:
        return Record(all(one.over for one in records), envelope.odd_hangup, records)
    if not envelope.has_data:
        return NoRecord()
    # Another call's record, or one without an id: a cache that lies.  Taking it would bill the
    # wrong call, and keeping it would put a stranger's numbers in our files.
    return NetworkFailure("other_record")


def _judge_no(voice_id: str | None, envelope: Envelope) -> Verdict:
    if envelope.voice_id not in (None, voice_id):
        return NetworkFailure("other_record")
    return Dead(_DEAD[envelope.status], is_named=envelope.voice_id is not None)


def _judge_http(status: int) -> Verdict:
    if status in _FORBIDDEN or status in _WRONG_ADDRESS or 300 <= status < 400:
        return Refusal(f"http_{status}")
    if status == 429:
        return Throttled(None)
    if 500 <= status < 600:
        return Busy(f"http_{status}")
    if 400 <= status < 500:
        return NetworkFailure(f"http_{status}")
    return NetworkFailure("not_an_envelope")


def _is_unsettled(verdict: Verdict) -> bool:
    """Whether a Retry-After turns this answer into a push-back.

    A record or a final no stays what it is, and a -16 is put right at once.  But "no such record,
    come back later" is no proof that there is none: it is asked again, not held against the id.
    """
    return not isinstance(verdict, Record | Dead | TimeRefused)
