"""An answer with several records, by an envelope reader made up here: judged, settled, kept, typed.

The vendor's recordGroup gives one record; nothing on the way counts on it but who asks for one id.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from harvester.answers.answer import Answer
from harvester.client.envelope import Envelope
from harvester.client.judge import judge
from harvester.client.transport import Reply
from harvester.client.verdicts import NetworkFailure, NoRecord, RawRecord, Record, UnknownStatus
from harvester.config import OpenCalls, Retry
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.normalize import normalize
from harvester.inputs.voice_id import dated
from harvester.pipeline.engine.settle import Outcome, Policy, settle
from harvester.pipeline.engine.task import Answered, Task
from harvester.state import journal
from harvester.state.values import Batch

NOW = 1_836_000_000.0
POLICY = Policy("run-1", OpenCalls(), Retry(), dated)
CALLS = (
    b'{"voiceId":"1","cost":"0.10","end":1}',
    b'{"voiceId":"2","cost":0.20,"end":1}',
    b'{"voiceId":"3","cost":"0.30"}',
)


class _Call(msgspec.Struct):
    voiceId: str  # noqa: N815 - the vendor's name
    end: int = 0


class _Page(msgspec.Struct):
    status: str
    records: list[msgspec.Raw]


def page(*calls: bytes, status: bytes = b"0") -> Reply:
    return Reply(200, b'{"status":"%s","records":[%s]}' % (status, b",".join(calls)))


def open_page(body: bytes, http_status: int, now: float, content_type: str | None) -> Envelope:
    """As `open_envelope`, of an answer that lists records."""
    del http_status, now, content_type
    found = msgspec.json.decode(body, type=_Page)
    records = []
    for raw in found.records:
        call = msgspec.json.decode(raw, type=_Call)
        whole = b'{"status":"0","data":%s}' % bytes(raw)
        records.append(RawRecord(call.voiceId, whole, call.end > 0))
    return Envelope(found.status, tuple(records), bool(records))


def judged(reply: Reply, voice_id: str | None = None) -> object:
    return judge(voice_id, reply, NOW, open_page)


def test_an_answer_may_bring_any_number_of_records() -> None:
    verdict = judged(page(*CALLS))
    assert isinstance(verdict, Record)
    assert [(one.voice_id, one.over) for one in verdict.records] == [
        ("1", True),
        ("2", True),
        ("3", False),
    ]
    assert not verdict.over, "one of them goes on"
    assert judged(page(*CALLS[:2])) == Record(over=True)
    assert judged(page()) == NoRecord()
    assert judged(page(*CALLS, status=b"-99")) == UnknownStatus("-99")


def test_whoever_asks_for_one_id_gets_its_record_and_no_other() -> None:
    assert judged(page(CALLS[0]), "1") == Record(over=True)
    assert judged(page(CALLS[0]), "2") == NetworkFailure("other_record")
    assert judged(page(*CALLS), "1") == NetworkFailure("other_record")


def test_each_of_them_is_settled_kept_and_normalized() -> None:
    verdict = judged(page(*CALLS))
    assert isinstance(verdict, Record)
    batch, at_ms = Batch(), int(NOW * 1000)
    outcomes = [
        settle(batch, Task(one.voice_id), Answered(one.raw, one.over, at_ms), POLICY, None).outcome
        for one in verdict.records
    ]
    assert outcomes == [Outcome.DELIVERED, Outcome.DELIVERED, Outcome.OPEN]
    assert [call.voice_id for call in batch.open_calls] == ["3"]
    kept = journal.decode(journal.encode(batch.entries)[0], "run-1")
    first = verdict.records[:2]
    assert kept == [Answer(one.voice_id, one.raw, at_ms, "run-1", True) for one in first]
    rows = normalize(kept, "acme", GROUP_RECORD).table.to_pylist()
    assert [(row["voice_id"], row["cost"]) for row in rows] == [
        ("1", Decimal("0.10")),
        ("2", Decimal("0.20")),
    ]
