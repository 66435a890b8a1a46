"""The requests for records: of one id, GET recordGroup/{voiceId}, and of a window of time, a page
of the vendor's list, POST recordGroupQuery; both under vendor.base_url.

Theory of operation.  A page of the list says how many records its window has (`total`), and brings
some of them, whole, a hundred at most.  Neither is believed by itself: what is made of both is
`pipeline.listing.windows`' business.  Here an answer becomes a `Page`, or the verdict that any
answer may be: busy, refused, throttled, torn, a status that nobody knows (`client.judge`).

Each record is kept as sent, in an envelope of its own, so that whatever reads an answer to a single
id reads it as well: money never passes through a float here either.

An answer that is well-formed and no page (no total, no records, records of another window) is a
failure of the way, to be tried again: a cache that lies, or a program that failed halfway.

Sources: the vendor's page https://itniotech.com/api/voice/recordGroup, and those on
recordGroupQuery (docs/internals/vendor-rules.md): `current` and `size` are required by some
versions and optional in others, so both are always sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from msgspec import Raw

from harvester.answers.literals import instant_of, seconds_of
from harvester.answers.opening import REFUSED, elements, is_utf8, members, text_of, value_of
from harvester.client.envelope import Envelope, open_envelope
from harvester.client.judge import judge
from harvester.client.transport import Reply, Request
from harvester.client.verdicts import NetworkFailure, NoRecord, RawRecord, Record, Verdict
from harvester.vendor_clock import CLOCK

_PATH = "recordGroup/"
_LIST_PATH = "recordGroupQuery"
LARGEST_SIZE = 100
"""Records of a page, at most."""
TIMES = ("submitTime", "callTime", "ringingTime", "answerTime", "hangupTime")
"""The times of a call: the vendor does not say by which of them a window is cut."""

_SLACK_MS = 1_000
_DAY_MS = 86_400_000
_NOT_A_PAGE = NetworkFailure("not_a_page")
OTHER_WINDOW = NetworkFailure("other_window")
"""A page of other calls than were asked for: a cache gave it, or a list that heeds no window."""


class Query(msgspec.Struct, frozen=True, gc=False):
    """A page that is asked for.  Times are whole Unix seconds."""

    start_s: int
    end_s: int
    current: int = 1
    size: int = LARGEST_SIZE
    by: str | None = None
    """The time that a window is known to be cut by; None: not known."""


class Listed(msgspec.Struct, frozen=True, gc=False):
    """A call of a page."""

    record: RawRecord
    submit_ms: int | None
    """Its submitTime, where that can be read."""
    odd_hangup: bool = False
    """Its hangupTime is in a form that nobody knows."""


class Page(msgspec.Struct, frozen=True, gc=False):
    """What the vendor says of a window.  Each number is its own word, not ours."""

    total: int
    calls: tuple[Listed, ...]
    records: int
    """How many came, those without an id among them."""
    size: int | None = None
    """Of its pages, as it says; None: it does not."""
    current: int | None = None


def record_request(voice_id: str) -> Request:
    """The request for the record of `voice_id`, which holds only unreserved characters.

    So there is nothing to quote: `inputs.voice_id` takes no other id.
    """
    return Request("GET", _PATH + voice_id)


def page_request(query: Query) -> Request:
    """The request for one page."""
    body = {
        "current": query.current,
        "size": query.size,
        "params": {"strTime": _iso(query.start_s), "endTime": _iso(query.end_s)},
    }
    return Request("POST", _LIST_PATH, msgspec.json.encode(body))


def judge_page(query: Query, reply: Reply, now: float) -> Page | Verdict:
    """What `reply` means; `now` is the Unix time, in seconds.

    A status that says that there is no data is a page of nothing.
    """
    found: list[Page | NetworkFailure] = []

    def opens(
        body: bytes, http_status: int, now: float, content_type: str | None = None
    ) -> Envelope | None:
        envelope, data = _opened(body, http_status, now, content_type)
        if envelope is not None and envelope.status == "0":
            found.append(_page(query, data, now))
        return envelope

    verdict = judge(None, reply, now, opens)
    if found:
        # Status 0; but a Retry-After beside what is no page still asks for a pause.
        is_page = isinstance(found[0], Page)
        return found[0] if is_page or isinstance(verdict, _ONES_OWN) else verdict
    return Page(0, (), 0) if isinstance(verdict, NoRecord) else verdict


_ONES_OWN = (Record, NoRecord, NetworkFailure)


def _iso(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).astimezone(CLOCK).isoformat(timespec="seconds")


_NULL = Raw(b"null")


class _Data(msgspec.Struct, gc=False):
    # Not `Raw | None`: that takes nothing but null.
    total: Raw = _NULL
    size: Raw = _NULL
    current: Raw = _NULL
    records: list[Raw] | None = None


class _Answer(msgspec.Struct, gc=False):
    status: str | int | None = None
    data: _Data | None = None


class _Literals(msgspec.Struct, gc=False):
    """`data` of a page, as JSON texts."""

    total: str = "null"
    size: str = "null"
    current: str = "null"
    records: tuple[str, ...] | None = None


_decode = msgspec.json.Decoder(_Answer).decode


def _opened(
    body: bytes, http_status: int, now: float, content_type: str | None
) -> tuple[Envelope | None, _Literals]:
    """The envelope without its data, and the data."""
    try:
        # msgspec does not look at what it skips.
        is_plain = body.isascii() or is_utf8(body, content_type)
        status, found = _quickly(body) if is_plain else _slowly(body, content_type)
    except (ValueError, *REFUSED):
        try:
            status, found = _slowly(body, content_type)
        except (ValueError, RecursionError):
            return None, _Literals()
    bare = f'{{"status":{status}}}'.encode("utf-8", "surrogateescape")
    return open_envelope(bare, http_status, now), found


def _quickly(body: bytes) -> tuple[str, _Literals]:
    answer = _decode(body)
    status = msgspec.json.encode(answer.status).decode()
    return status, _Literals() if answer.data is None else _literals(answer.data)


def _slowly(body: bytes, content_type: str | None) -> tuple[str, _Literals]:
    parts = members(text_of(body, content_type))
    return parts.get("status", "null"), _read(parts.get("data", "null"))


def _literals(data: _Data) -> _Literals:
    records = data.records
    return _Literals(
        _text(data.total),
        _text(data.size),
        _text(data.current),
        None if records is None else tuple(_text(one) for one in records),
    )


def _text(raw: Raw) -> str:
    return bytes(raw).decode()


def _read(literal: str) -> _Literals:
    """The slow way: `data` that is odd somewhere."""
    if not literal.startswith("{"):
        return _Literals()
    parts = members(literal)
    records = parts.get("records", "null")
    return _Literals(
        parts.get("total", "null"),
        parts.get("size", "null"),
        parts.get("current", "null"),
        tuple(elements(records)) if records.startswith("[") else None,
    )


def _page(query: Query, data: _Literals, now: float) -> Page | NetworkFailure:
    total = _whole(data.total)
    if total is None:
        return _NOT_A_PAGE
    records = data.records
    if records is None:
        if total:
            return _NOT_A_PAGE
        records = ()
    calls = []
    for literal in records:
        raw = f'{{"status":"0","data":{literal}}}'.encode("utf-8", "surrogateescape")
        envelope = open_envelope(raw, 200, now)
        if envelope is None or not envelope.records:
            continue
        fields = _fields(literal)
        if _is_of_another_window(query, fields):
            return OTHER_WINDOW
        at_ms = _instant(fields.get("submitTime"))
        calls.append(Listed(envelope.records[0], at_ms, envelope.odd_hangup))
    return Page(total, tuple(calls), len(records), _whole(data.size), _whole(data.current))


def _fields(literal: str) -> Mapping[str, str]:
    try:
        found = msgspec.json.decode(literal.encode(), type=dict[str, Raw])
        return {name: bytes(found[name]).decode() for name in TIMES if name in found}
    except (ValueError, *REFUSED):
        try:
            return members(literal)
        except (ValueError, RecursionError):
            return {}


def _is_of_another_window(query: Query, fields: Mapping[str, str]) -> bool:
    """Whether a record can't have been asked for: its times can be read, and none lies inside.

    Where it is not known which time counts it may be one that no record shows, but not days away.
    """
    slack_ms = _DAY_MS if query.by is None else _SLACK_MS
    least, most = query.start_s * 1000 - slack_ms, query.end_s * 1000 + 1000 + slack_ms
    names = TIMES if query.by is None else (query.by,)
    told = [fields[name] for name in names if fields.get(name, "null") not in ("null", '""')]
    read = [_instant(literal) for literal in told]
    return bool(read) and all(ms is not None and not least <= ms <= most for ms in read)


def _instant(literal: str | None) -> int | None:
    try:
        return instant_of(value_of(literal or "null") or "")[0]
    except ValueError:
        return None


def _whole(literal: str) -> int | None:
    """A number from 0 on, or a text that is one; None for anything else."""
    try:
        text = value_of(literal)
        return None if not text else seconds_of(text.strip())  # the rule of whole numbers
    except ValueError:
        return None
