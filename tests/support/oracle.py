"""What a harvest of the simulator must come to, known without harvesting.

Everything follows from the simulator's typed truth, docs/vendor-api.md and docs/schema.md; no
answer is parsed, and nothing of the client is imported.  A difference between a run and this page
is a bug in one of them, and worth a look at both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

from harvester.simulator import SimulatorOptions
from harvester.simulator.calls import DEAD_STATUS, Call, Fate, as_open, call_of
from harvester.simulator.drift import Sent, Statement, state
from harvester.simulator.ids import time_in_id

State = Literal["delivered", "open", "dead"]
Row = dict[str, Any]

NO_DATE = "__HIVE_DEFAULT_PARTITION__"
SETTLES_NO_RECORD = timedelta(days=3)

# Columns whose value is what the field says, as it is.
_AS_SENT = {
    "callee": "callee",
    "display_num": "displayNum",
    "code": "code",
    "call_duration_s": "callDuration",
    "charged_duration_s": "chargedDuration",
    "termination_code": "terminationCode",
    "termination_reason": "terminationReason",
    "rate": "rate",
    "base_cost": "baseCost",
    "settle_rate": "settleRate",
    "quote_exchange": "quoteExchange",
    "settle_pay": "settlePay",
    "bill_period": "billPeriod",
    "voice_file_id": "voiceFileId",
    "called_info": "calledInfo",
}
_TIMES = {
    "submit_time": "submitTime",
    "call_time": "callTime",
    "ringing_time": "ringingTime",
    "answer_time": "answerTime",
    "hangup_time": "hangupTime",
}


@dataclass(frozen=True, slots=True)
class Expected:
    """Where an id must be."""

    voice_id: str
    fate: Fate
    first: State
    """After it was asked once without fault."""
    last: State
    """After it was asked often enough; an open call that never ends stays open until it is old."""
    status: str | None
    """The vendor's status that killed it; "no_record" where it knows no such call."""
    row: Row | None
    """Its row: the final one, or, where no end ever comes, the one with is_final false."""


def expected(
    options: SimulatorOptions,
    voice_id: str,
    *,
    now: datetime,
    account: str = "default",
    partition_timezone: str = "UTC",
) -> Expected:
    """What becomes of `voice_id` in a harvest that asks it at `now` (aware) for the first time."""
    call = call_of(options.seed, voice_id, options.fates, options.bill)
    match call.fate:
        case Fate.DEAD_PARAM | Fate.DEAD_EMPTY | Fate.DEAD_RANGE:
            return Expected(voice_id, call.fate, "dead", "dead", DEAD_STATUS[call.fate], None)
        case Fate.NO_RECORD:
            first: State = "dead" if _is_long_ago(voice_id, now) else "open"
            return Expected(voice_id, call.fate, first, "dead", "no_record", None)
        case Fate.OPEN_FOREVER:
            row = _row(options, as_open(call), account, partition_timezone, is_final=False)
            return Expected(voice_id, call.fate, "open", "open", None, row)
        case Fate.OPEN_THEN_FINAL | Fate.RECORD:
            row = _row(options, call, account, partition_timezone, is_final=True)
            return Expected(voice_id, call.fate, _first(options, call), "delivered", None, row)


def expect_all(
    options: SimulatorOptions,
    voice_ids: Iterable[str],
    *,
    now: datetime,
    account: str = "default",
    partition_timezone: str = "UTC",
) -> Iterator[Expected]:
    """`expected` for each of `voice_ids`."""
    for voice_id in voice_ids:
        yield expected(
            options, voice_id, now=now, account=account, partition_timezone=partition_timezone
        )


def row_of(said: Statement, call: Call, *, is_final: bool) -> Row:
    """The normalized row of a statement: columns of docs/schema.md without those of the run."""
    fields = said.fields
    row: Row = {"voice_id": call.voice_id}
    row |= {column: _value(fields, name) for column, name in _AS_SENT.items()}
    row |= {column: _cut(_value(fields, name)) for column, name in _TIMES.items()}
    has_code = row["code"] is not None
    period = fields["billPeriod"]
    typed_period = period.value is not None and period.unparsed is None
    key = _value(fields, "feedbackValue")
    return row | {
        "destination_country": call.place.country if has_code else None,
        "destination_region": call.place.region if has_code else None,
        "utc_offset_min": said.submit_offset_min,
        "answered": row["answer_time"] is not None or (row["call_duration_s"] or 0) > 0,
        "sip_code": _sip_code(row["termination_code"]),
        "cost": _value(fields, "costEur" if "costEur" in fields else "cost"),
        "currency": "EUR" if "costEur" in fields else _value(fields, "currency") or "USD",
        "bill_initial_s": call.bill_initial_s if typed_period else None,
        "bill_increment_s": call.bill_increment_s if typed_period else None,
        "feedback_key": None if key == "-1" else key,
        "is_final": is_final,
        "is_rated": True,
        "currency_presumed": "costEur" not in fields and _value(fields, "currency") is None,
        "fetched_by": "single",
        "extra": _extra(said),
        "unparsed": _unparsed(fields),
    }


def _row(
    options: SimulatorOptions, call: Call, account: str, partition_timezone: str, *, is_final: bool
) -> Row:
    said = state(call, options.seed, drift=options.drift, wild=options.wild)
    row = row_of(said, call, is_final=is_final)
    submitted: datetime | None = row["submit_time"]
    day = submitted and submitted.astimezone(ZoneInfo(partition_timezone)).date().isoformat()
    return row | {"account": account, "submit_date": day or NO_DATE}


def _first(options: SimulatorOptions, call: Call) -> State:
    if call.fate is Fate.RECORD:
        return "delivered"
    ends_at_once = (
        options.open_asks == 0 if options.final_after_s is None else options.final_after_s == 0
    )
    return "delivered" if ends_at_once else "open"


def _is_long_ago(voice_id: str, now: datetime) -> bool:
    told = time_in_id(voice_id)
    return told is not None and now - told > SETTLES_NO_RECORD


def _value(fields: dict[str, Sent], name: str) -> object:
    return fields[name].value if name in fields else None


def _cut(value: object) -> datetime | None:
    """An instant in UTC, cut (not rounded) at the millisecond."""
    if not isinstance(value, datetime):
        return None
    return value.astimezone(UTC).replace(microsecond=value.microsecond // 1000 * 1000)


def _sip_code(code: object) -> int | None:
    if not isinstance(code, str) or not code.isdigit():
        return None
    return int(code) if 100 <= int(code) <= 699 else None


def _extra(said: Statement) -> dict[str, Any] | None:
    if not said.extra:
        return None
    return {name: json.loads(text, parse_float=Decimal) for name, text in said.extra.items()}


def _unparsed(fields: dict[str, Sent]) -> dict[str, str] | None:
    texts = {name: sent.unparsed for name, sent in fields.items() if sent.unparsed is not None}
    return texts or None
