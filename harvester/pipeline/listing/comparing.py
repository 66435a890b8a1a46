"""Whether a record of the list is the record that a request for its id brings.

Theory of operation.  Both are normalised as any answer is, so that what is compared are typed
values: "0.02" and "0.020000" are one price.  Left out is how and when a record was fetched.  The
offset that submitTime is written with has a column: +08:00 and Z are two rows.

What has no column counts here, unlike in `dataset.changes`: there one new field of the vendor would
make every call a changed one, here it would make rows that depend on the way in which they were
fetched.  So a field that only one way has, or each with another value, is a difference,
`extra.NAME`; who can do without it leaves it out by `output.omit_fields`.  A value that could not
be typed counts as sent, under the name of its column.

A terminationCode counts by what it means: "0" and "200" both say that a call was put through, and a
sister brand writes one in its list and the other in answers about one id.  What is derived from the
code counts as the code does.  Once it is known which spellings there are, a new one is a
difference: nobody would put it into the form of the others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation

import msgspec
import pyarrow as pa

from harvester.answers.answer import Answer
from harvester.answers.opening import data_of, members, places, value_of
from harvester.answers.times import SUCCESS_CODES
from harvester.client.verdicts import RawRecord
from harvester.dataset.changes import NOT_COMPARED
from harvester.dataset.kind import RecordKind
from harvester.dataset.normalize import normalize
from harvester.redact import field_or_odd

CODE_FIELD = "terminationCode"
CODE_COLUMN = "termination_code"
_OF_CODE = (CODE_COLUMN, "sip_code")
_EXTRA, _UNPARSED = "extra", "unparsed"
_AT_MS = 4_102_444_800_000
"""When both were fetched, as far as the times in them are held against it."""


def differences(
    kind: RecordKind,
    listed: RawRecord,
    single: RawRecord,
    codes: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """The columns in which the records differ, in the order of the kind; then `extra.NAME`.

    `codes`: the spellings that `in_single_form` knows; None: they are still to be found out.
    """
    rows = normalize([_answer(listed), _answer(single)], "", kind).table
    differ = {
        name for name in rows.column_names if name not in NOT_COMPARED and _differs(rows, name)
    }
    if CODE_COLUMN in differ:
        is_known = codes is None or codes.get(code_of(listed.raw) or "") == code_of(single.raw)
        if is_known and _mean_the_same(*_pair(rows, CODE_COLUMN)):
            differ.difference_update(_OF_CODE)
    differ |= _columns_of(kind, _unequal(*map(_texts, _pair(rows, _UNPARSED))))
    named = tuple(name for name in rows.column_names if name in differ)
    extra = _unequal(*map(_meanings, _pair(rows, _EXTRA)))
    return (*named, *sorted({f"{_EXTRA}.{field_or_odd(name)}" for name in extra}))


def code_of(raw: bytes) -> str | None:
    """The terminationCode of a record as it is spelt; None where it has none that can be read."""
    try:
        return value_of(data_of(raw).get(CODE_FIELD, "null")) or None
    except (ValueError, RecursionError):
        return None


def in_single_form(raw: bytes, codes: Mapping[str, str]) -> bytes:
    """A page's record with its terminationCode as an answer about its id alone spells it.

    `codes`: spellings of the list -> those of such answers.  No other byte is another one.
    """
    if not codes:
        return raw
    text = raw.decode("utf-8", "surrogateescape")
    try:
        at, end = places(text)["data"]
        data = text[at:end]
        begin, until = places(data)[CODE_FIELD]
        spelt = codes.get(value_of(data[begin:until]) or "")
    except (KeyError, ValueError, RecursionError):
        return raw
    if spelt is None or spelt == value_of(data[begin:until]):
        return raw
    made = f"{text[: at + begin]}{json.dumps(spelt)}{text[at + until :]}"
    return made.encode("utf-8", "surrogateescape")


def _answer(record: RawRecord) -> Answer:
    return Answer(record.voice_id, record.raw, _AT_MS, "", record.over, record.is_rated)


def _pair(rows: pa.Table, name: str) -> tuple[object, object]:
    one, other = rows[name].to_pylist()
    return one, other


def _differs(rows: pa.Table, name: str) -> bool:
    one, other = _pair(rows, name)
    return one != other


def _mean_the_same(*codes: object) -> bool:
    return all(code in SUCCESS_CODES for code in codes)


def _texts(unparsed: object) -> dict[str, object]:
    """Field -> the text as sent."""
    found: dict[str, object] = json.loads(str(unparsed)) if unparsed else {}
    return found


def _meanings(extra: object) -> dict[str, object]:
    """Field -> its value, a number or a text that is one as that number."""
    found = members(str(extra)) if extra else {}
    return {name: _meaning(literal) for name, literal in found.items()}


def _meaning(literal: str) -> object:
    try:
        text = value_of(literal)
    except ValueError:
        try:
            return msgspec.json.decode(literal)
        except (ValueError, RecursionError):
            return literal
    try:
        return None if not text else Decimal(text)
    except InvalidOperation:
        return text


def _unequal(one: Mapping[str, object], other: Mapping[str, object]) -> set[str]:
    """Fields that are not in both with one value; "", null and a missing field are all absent."""
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def _columns_of(kind: RecordKind, fields: set[str]) -> set[str]:
    """The columns of fields that could not be typed; `unparsed` for what has no column."""
    column = {one.field: one.name for one in kind.columns if one.field}
    return {column.get(name, _UNPARSED) for name in fields}
