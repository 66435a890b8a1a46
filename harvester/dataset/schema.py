"""The columns of a normalized call detail record, and the vendor field behind each.

Field names and meanings: https://itniotech.com/api/voice/recordGroup.  `costEur` is what a sister
brand on the same platform sends for `cost`.  A change of `SCHEMA` needs a new `SCHEMA_VERSION`,
which every file carries in its footer.
"""

from __future__ import annotations

import pyarrow as pa

from harvester.money import PRECISION, SCALE

SCHEMA_VERSION = 1

# Keys of the file footer.
FOOTER_SCHEMA_VERSION = "cdr.schema_version"
FOOTER_TOOL = "cdr.tool"
FOOTER_PUBLICATION = "cdr.publication"
FOOTER_ROWS = "cdr.rows"
FOOTER_PRESUMED = "cdr.presumed_currency"
FOOTER_MIN_VOICE_ID = "cdr.min_voice_id"
FOOTER_MAX_VOICE_ID = "cdr.max_voice_id"
# What the output belongs to: the fields of `identity.Identity.encoded`.
FOOTER_ACCOUNT = "cdr.account"
FOOTER_TIMEZONE = "cdr.partition_timezone"
FOOTER_BASE_URLS = "cdr.base_urls"

TIME = pa.timestamp("ms", "UTC")
MONEY = pa.decimal128(PRECISION, SCALE)
SECONDS = pa.int32()
TEXT = pa.string()

TEXT_COLUMNS = {
    "callee": "callee",
    "displayNum": "display_num",
    "code": "code",
    "terminationCode": "termination_code",
    "terminationReason": "termination_reason",
    "currency": "currency",
    "billPeriod": "bill_period",
    "voiceFileId": "voice_file_id",
    "feedbackValue": "feedback_key",
    "calledInfo": "called_info",
}
TIME_COLUMNS = {
    "submitTime": "submit_time",
    "callTime": "call_time",
    "ringingTime": "ringing_time",
    "answerTime": "answer_time",
    "hangupTime": "hangup_time",
}
SECONDS_COLUMNS = {
    "callDuration": "call_duration_s",
    "chargedDuration": "charged_duration_s",
}
MONEY_COLUMNS = {
    "cost": "cost",
    "rate": "rate",
    "baseCost": "base_cost",
    "settleRate": "settle_rate",
    "quoteExchange": "quote_exchange",
    "settlePay": "settle_pay",
}

# Every field that has a column.  voiceId is missing on purpose: the id that was asked for is the
# record's key, and the vendor room has already seen that the answer names the same.
COLUMN_OF = {**TEXT_COLUMNS, **TIME_COLUMNS, **SECONDS_COLUMNS, **MONEY_COLUMNS}
COST_EUR = "costEur"
FIELDS = ("voiceId", *COLUMN_OF, COST_EUR)
"""All fields that are known, in the order in which `unparsed` lists them; others are `extra`."""

SCHEMA = pa.schema(
    [
        pa.field("voice_id", TEXT, nullable=False),
        pa.field("account", TEXT),
        pa.field("callee", TEXT),
        pa.field("display_num", TEXT),
        pa.field("code", TEXT),
        pa.field("destination_country", TEXT),
        pa.field("destination_region", TEXT),
        pa.field("submit_time", TIME),
        pa.field("call_time", TIME),
        pa.field("ringing_time", TIME),
        pa.field("answer_time", TIME),
        pa.field("hangup_time", TIME),
        pa.field("utc_offset_min", pa.int16()),
        pa.field("call_duration_s", SECONDS),
        pa.field("charged_duration_s", SECONDS),
        pa.field("answered", pa.bool_()),
        pa.field("termination_code", TEXT),
        pa.field("sip_code", pa.int16()),
        pa.field("termination_reason", TEXT),
        pa.field("cost", MONEY),
        pa.field("rate", MONEY),
        pa.field("base_cost", MONEY),
        pa.field("settle_rate", MONEY),
        pa.field("quote_exchange", MONEY),
        pa.field("settle_pay", MONEY),
        pa.field("currency", TEXT),
        pa.field("bill_period", TEXT),
        pa.field("bill_initial_s", SECONDS),
        pa.field("bill_increment_s", SECONDS),
        pa.field("voice_file_id", TEXT),
        pa.field("feedback_key", TEXT),
        pa.field("called_info", TEXT),
        pa.field("is_final", pa.bool_(), nullable=False),
        pa.field("extra", TEXT),
        pa.field("unparsed", TEXT),
        pa.field("fetched_at", TIME, nullable=False),
        pa.field("run_id", TEXT, nullable=False),
    ]
)
