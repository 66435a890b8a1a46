"""The record of the vendor's `recordGroup`: one call, all of its legs.

Field names and meanings: https://itniotech.com/api/voice/recordGroup.  `costEur` is what a sister
brand on the same platform sends for `cost`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from harvester.answers import literals
from harvester.dataset import kind
from harvester.dataset.columns import each_distinct
from harvester.dataset.kind import (
    Column,
    Draft,
    Encoding,
    Partition,
    Personal,
    Reads,
    RecordKind,
    UsageColumns,
)
from harvester.errors import StoreError

NO_FEEDBACK = "-1"
DEFAULT_CURRENCY = "USD"
EUR = "EUR"


def _derive(draft: Draft) -> None:
    columns = draft.columns
    columns["destination_country"], columns["destination_region"] = each_distinct(
        columns["code"], [kind.TEXT, kind.TEXT], literals.split_code
    )
    columns["bill_initial_s"], columns["bill_increment_s"] = each_distinct(
        columns["bill_period"], [kind.SECONDS, kind.SECONDS], literals.period_of
    )
    # The text has its column, but the numbers that it should hold do not: that is evidence too.
    odd = pc.and_(columns["bill_period"].is_valid(), columns["bill_initial_s"].is_null())
    for position in pc.indices_nonzero(odd).to_pylist():
        draft.refuse(position, "billPeriod", columns["bill_period"][position].as_py())
    (columns["sip_code"],) = each_distinct(
        columns["termination_code"], [pa.int16()], lambda text: (literals.sip_code_of(text),)
    )
    talked = pc.fill_null(pc.greater(columns["call_duration_s"], 0), False)
    columns["answered"] = pc.or_(columns["answer_time"].is_valid(), talked)
    feedback = columns["feedback_key"]
    columns["feedback_key"] = pc.if_else(
        pc.equal(feedback, NO_FEEDBACK), pa.scalar(None, kind.TEXT), feedback
    )


_COLUMNS = (
    Column(
        name="voice_id",
        type=kind.TEXT,
        field="voiceId",
        personal=Personal.OURS,
        nullable=False,
        meaning="the id that was requested; an answer with another one is not taken",
    ),
    kind.ACCOUNT,
    Column(
        name="callee",
        type=kind.TEXT,
        field="callee",
        reads=Reads.TEXT,
        personal=Personal.NUMBER,
        meaning="callee, as sent",
    ),
    Column(
        name="display_num",
        type=kind.TEXT,
        field="displayNum",
        reads=Reads.TEXT,
        encoding=Encoding.DICTIONARY,
        personal=Personal.NUMBER,
        meaning="displayNum, as sent",
    ),
    Column(
        name="code",
        type=kind.TEXT,
        field="code",
        reads=Reads.TEXT,
        encoding=Encoding.DICTIONARY,
        meaning='code, as sent: "Afghanistan(Kandahar)"',
    ),
    Column(
        name="destination_country",
        type=kind.TEXT,
        encoding=Encoding.DICTIONARY,
        meaning="code up to its last outermost parentheses; whole where there are none",
    ),
    Column(
        name="destination_region",
        type=kind.TEXT,
        encoding=Encoding.DICTIONARY,
        meaning="what stands in them; null where there are none",
    ),
    Column(
        name="submit_time",
        type=kind.TIME,
        field="submitTime",
        reads=Reads.TIME,
        encoding=Encoding.DELTA,
        meaning="submitTime: ISO 8601 with any offset, Z or fractions (cut at ms); text without"
        " an offset is +08:00, the vendor's clock. [Fillers](#times-that-do-not-count) "
        "are null",
    ),
    Column(
        name="call_time",
        type=kind.TIME,
        field="callTime",
        reads=Reads.TIME,
        encoding=Encoding.DELTA,
        meaning="callTime, read as submitTime",
    ),
    Column(
        name="ringing_time",
        type=kind.TIME,
        field="ringingTime",
        reads=Reads.TIME,
        encoding=Encoding.DELTA,
        meaning="ringingTime, read as submitTime",
    ),
    Column(
        name="answer_time",
        type=kind.TIME,
        field="answerTime",
        reads=Reads.TIME,
        encoding=Encoding.DELTA,
        meaning="answerTime, read as submitTime",
    ),
    Column(
        name="hangup_time",
        type=kind.TIME,
        field="hangupTime",
        reads=Reads.TIME,
        encoding=Encoding.DELTA,
        meaning="hangupTime, read as submitTime",
    ),
    Column(
        name="utc_offset_min",
        type=pa.int16(),
        encoding=Encoding.DICTIONARY,
        meaning="the offset that submitTime was sent with, in minutes; null if none",
    ),
    Column(
        name="call_duration_s",
        type=kind.SECONDS,
        field="callDuration",
        reads=Reads.SECONDS,
        encoding=Encoding.DICTIONARY,
        meaning="callDuration: number or numeric text, 0 or more",
    ),
    Column(
        name="charged_duration_s",
        type=kind.SECONDS,
        field="chargedDuration",
        reads=Reads.SECONDS,
        encoding=Encoding.DICTIONARY,
        meaning="chargedDuration: number or numeric text, 0 or more",
    ),
    Column(
        name="answered",
        type=pa.bool_(),
        meaning="answer_time is there, or call_duration_s is above 0",
    ),
    Column(
        name="termination_code",
        type=kind.TEXT,
        field="terminationCode",
        reads=Reads.TEXT,
        encoding=Encoding.DICTIONARY,
        meaning="terminationCode, as sent, number or text",
    ),
    Column(
        name="sip_code",
        type=pa.int16(),
        encoding=Encoding.DICTIONARY,
        meaning="termination_code where it is 100 to 699",
    ),
    Column(
        name="termination_reason",
        type=kind.TEXT,
        field="terminationReason",
        reads=Reads.TEXT,
        encoding=Encoding.DICTIONARY,
        meaning="terminationReason",
    ),
    Column(
        name="cost",
        type=kind.MONEY,
        field="cost",
        reads=Reads.MONEY,
        encoding=Encoding.DICTIONARY,
        meaning="cost, from its digits as sent, never through a float; `costEur` of a sister brand",
    ),
    Column(
        name="rate",
        type=kind.MONEY,
        field="rate",
        reads=Reads.MONEY,
        encoding=Encoding.DICTIONARY,
        meaning="rate, from its digits as sent",
    ),
    Column(
        name="base_cost",
        type=kind.MONEY,
        field="baseCost",
        reads=Reads.MONEY,
        encoding=Encoding.DICTIONARY,
        meaning="baseCost, from its digits as sent",
    ),
    Column(
        name="settle_rate",
        type=kind.MONEY,
        field="settleRate",
        reads=Reads.MONEY,
        encoding=Encoding.DICTIONARY,
        meaning="settleRate, from its digits as sent",
    ),
    Column(
        name="quote_exchange",
        type=kind.MONEY,
        field="quoteExchange",
        reads=Reads.MONEY,
        encoding=Encoding.DICTIONARY,
        meaning="quoteExchange, from its digits as sent",
    ),
    Column(
        name="settle_pay",
        type=kind.MONEY,
        field="settlePay",
        reads=Reads.MONEY,
        encoding=Encoding.DICTIONARY,
        meaning="settlePay, from its digits as sent",
    ),
    Column(
        name="currency",
        type=kind.TEXT,
        field="currency",
        reads=Reads.TEXT,
        encoding=Encoding.DICTIONARY,
        meaning='currency as sent; "USD" where the vendor leaves it out, "EUR" with `costEur`',
    ),
    Column(
        name="bill_period",
        type=kind.TEXT,
        field="billPeriod",
        reads=Reads.TEXT,
        encoding=Encoding.DICTIONARY,
        meaning='billPeriod, as sent: "20+20"',
    ),
    Column(
        name="bill_initial_s",
        type=kind.SECONDS,
        encoding=Encoding.DICTIONARY,
        meaning="its first number",
    ),
    Column(
        name="bill_increment_s",
        type=kind.SECONDS,
        encoding=Encoding.DICTIONARY,
        meaning="its second number",
    ),
    Column(
        name="voice_file_id",
        type=kind.TEXT,
        field="voiceFileId",
        reads=Reads.TEXT,
        meaning="voiceFileId",
    ),
    Column(
        name="feedback_key",
        type=kind.TEXT,
        field="feedbackValue",
        reads=Reads.TEXT,
        encoding=Encoding.DICTIONARY,
        meaning='feedbackValue; null for "-1"',
    ),
    Column(
        name="called_info",
        type=kind.TEXT,
        field="calledInfo",
        reads=Reads.TEXT,
        meaning="calledInfo",
    ),
    kind.IS_FINAL,
    kind.EXTRA,
    kind.UNPARSED,
    kind.FETCHED_AT,
    kind.RUN_ID,
)


def _with_more(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """The columns of version 2, from those of version 1: none moved but for room."""
    after = {
        kind.IS_FINAL: (kind.IS_RATED, kind.CURRENCY_PRESUMED),
        kind.FETCHED_AT: (kind.FETCHED_BY,),
    }
    return tuple(each for one in columns for each in (one, *after.get(one, ())))


GROUP_RECORD_1 = RecordKind(
    name="recordGroup",
    version=1,
    key="voice_id",
    columns=_COLUMNS,
    partition=Partition(column="submit_time", folder="submit_date"),
    usage=UsageColumns(
        call_duration="call_duration_s",
        charged_duration="charged_duration_s",
        cost="cost",
        currency="currency",
        default_currency=DEFAULT_CURRENCY,
        other_cost="costEur",
        other_currency=EUR,
        answered="answered",
    ),
    offset="utc_offset_min",
    derive=_derive,
)
"""What harvesters before 0.2.0 write; an output that one of them began goes on so."""

GROUP_RECORD = replace(GROUP_RECORD_1, version=2, columns=_with_more(GROUP_RECORD_1.columns))
"""The newest version: what new outputs are written in."""

VERSIONS: Mapping[int, RecordKind] = {one.version: one for one in (GROUP_RECORD_1, GROUP_RECORD)}
"""Every version that outputs may have."""
KINDS = {(one.name, one.version): one for one in VERSIONS.values()}
"""All kinds that there are, by name and version: a process of its own is told these."""


def of_version(version: int) -> RecordKind:
    """The kind in this version of its columns.  Raises StoreError if it is a newer harvester's."""
    if version not in VERSIONS:
        raise StoreError(
            f"the data set was written by a newer cdr-harvester (version {version} of its columns, "
            f"this one knows {GROUP_RECORD.version}). Nothing was changed: install the newer "
            "version.",
            code="state.newer",
        )
    return VERSIONS[version]
