"""Answers become rows: nothing rounded, nothing dropped, nothing fatal, by either way."""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harvester.answers import literals
from harvester.answers.answer import PAGES, SINGLE, Answer
from harvester.dataset.columns import TIME_RULE, typed
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.normalize import Normalized, normalize
from harvester.dataset.parse import reader_of
from harvester.dataset.usage import UsageTotals, answer_totals, currency_name, usage_of

FIELDS = GROUP_RECORD.fields
TEXT_FIELDS = [name for name, _ in GROUP_RECORD.texts]
TIME_FIELDS = [name for name, _ in GROUP_RECORD.times]
SECONDS_FIELDS = [name for name, _ in GROUP_RECORD.seconds]
COLUMN_OF = {one.field: one.name for one in GROUP_RECORD.columns if one.reads is not None}
COST_EUR = "costEur"
GOLDEN = sorted((Path(__file__).parents[1] / "golden").glob("*.toml"))
PROVENANCE = {
    *("voice_id", "account", "is_final", "is_rated", "fetched_at", "fetched_by", "run_id"),
    "currency_presumed",  # has a test of its own
}


def answer(body: bytes) -> Answer:
    return Answer("2203031113381000002", body, 1_836_000_000_123, "run-1", is_final=True)


def envelope(members: list[tuple[str, str]]) -> bytes:
    """An answer whose `data` has these members: (name, JSON text)."""
    inner = ",".join(f"{json.dumps(name)}:{literal}" for name, literal in members)
    return f'{{"status":"0","reason":"success","data":{{{inner}}}}}'.encode()


def rows(*bodies: bytes, by_value: bool = False) -> list[dict[str, Any]]:
    result = normalize([answer(body) for body in bodies], "acme", GROUP_RECORD, by_value=by_value)
    found: list[dict[str, Any]] = result.table.to_pylist()
    return found


def shown(value: object) -> str:
    if isinstance(value, Decimal):
        return format(value, "f")
    iso = getattr(value, "isoformat", None)
    return str(iso(timespec="milliseconds")) if iso else str(value)


# --- golden cases -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
@pytest.mark.parametrize("by_value", [False, True], ids=["fast", "scalar"])
def test_golden_answer_becomes_its_row(path: Path, by_value: bool) -> None:
    case = tomllib.loads(path.read_text())
    (row,) = rows(case["body"].encode(), by_value=by_value)
    found = {name: shown(value) for name, value in row.items() if value is not None}
    assert {name: text for name, text in found.items() if name not in PROVENANCE} == case["row"]


def test_all_golden_answers_in_one_batch_give_the_rows_that_they_give_alone() -> None:
    bodies = [tomllib.loads(path.read_text())["body"].encode() for path in GOLDEN]
    assert rows(*bodies) == [row for body in bodies for row in rows(body)]


@pytest.mark.parametrize("by_value", [False, True], ids=["fast", "scalar"])
def test_a_currency_is_presumed_where_the_vendor_names_none(by_value: bool) -> None:
    cases = [
        ('{"cost": "1"}', True),
        ('{"cost": "1", "currency": null}', True),
        ('{"cost": "1", "currency": ""}', True),
        ("{}", True),
        ('{"cost": "1", "currency": "USD"}', False),
        ('{"cost": "1", "currency": "EUR"}', False),
        ('{"cost": "1", "currency": "no currency"}', False),  # kept as it was sent
        ('{"cost": "1", "currency": {"a": 1}}', False),  # null: named, but not as text
        ('{"costEur": "1"}', False),  # named by its field
        ('{"costEur": ""}', True),
        ('{"costEur": "one"}', False),
        ("[]", False),  # no record that could name one
    ]
    bodies = [f'{{"status":"0","data":{data}}}'.encode() for data, _ in cases]
    expected = [presumed for _, presumed in cases]
    # All at once, and each alone: odd ones are read in another way than a batch without any.
    found = normalize([answer(body) for body in bodies], "acme", GROUP_RECORD, by_value=by_value)
    assert found.presumed.to_pylist() == expected
    assert found.table["currency_presumed"].to_pylist() == expected
    alone = [
        normalize([answer(one)], "acme", GROUP_RECORD, by_value=by_value).presumed for one in bodies
    ]
    assert [one.to_pylist() for one in alone] == [[presumed] for presumed in expected]
    usd = [row["currency"] == "USD" for row in found.table.to_pylist()]
    assert all(is_usd for is_usd, presumed in zip(usd, expected, strict=True) if presumed)


# --- the shape --------------------------------------------------------------------------------


@pytest.mark.parametrize("by_value", [False, True], ids=["fast", "scalar"])
@pytest.mark.parametrize(
    ("cost", "is_without"),
    [
        ("", True),
        ('"cost":null', True),
        ('"cost":""', True),
        ('"cost":null,"costEur":null', True),
        ('"cost":"0"', False),
        ('"cost":0.01', False),
        ('"costEur":"0.01"', False),
        # What was sent in an odd form is told as that.
        ('"cost":"much"', False),
        ('"cost":["0.01"]', False),
        ('"costEur":"much"', False),
        ('"cost":null,"costEur":{}', False),
    ],
)
def test_a_cost_is_missed_where_an_answered_call_was_sent_without_one(
    cost: str, is_without: bool, by_value: bool
) -> None:
    talked, rang = (
        f'{{"data":{{"callDuration":{seconds}{"," * bool(cost)}{cost}}}}}'.encode()
        for seconds in (60, 0)
    )
    bodies = [talked, rang, b'{"data":{"callDuration":60,"cost":"1"}}', talked]
    answers = [answer(body) for body in bodies]
    found = normalize(answers, "acme", GROUP_RECORD, by_value=by_value)
    assert found.without_cost == 2 * is_without


def test_the_table_has_the_schema_and_the_order_of_the_answers() -> None:
    answers = [
        Answer(
            str(9 - n),
            envelope([("cost", f'"{n}"')]),
            n,
            f"run-{n}",
            n % 2 == 0,
            n % 3 == 0,
            PAGES if n == 4 else SINGLE,
        )
        for n in range(9)
    ]
    table = normalize(answers, "acme", GROUP_RECORD).table
    assert table.schema.equals(GROUP_RECORD.schema)
    assert table["voice_id"].to_pylist() == [str(9 - n) for n in range(9)]
    assert table["cost"].to_pylist() == [Decimal(n) for n in range(9)]
    assert table["is_final"].to_pylist() == [n % 2 == 0 for n in range(9)]
    assert table["is_rated"].to_pylist() == [n % 3 == 0 for n in range(9)]
    ways = ["pages" if n == 4 else "single" for n in range(9)]
    assert table["fetched_by"].to_pylist() == ways
    assert table["run_id"].to_pylist() == [f"run-{n}" for n in range(9)]
    assert set(table["account"].to_pylist()) == {"acme"}
    assert [at.timestamp() for at in table["fetched_at"].to_pylist()] == [
        n / 1000 for n in range(9)
    ]


def test_no_answers_make_an_empty_table_of_the_schema() -> None:
    table = normalize([], "acme", GROUP_RECORD).table
    assert table.schema.equals(GROUP_RECORD.schema)
    assert table.num_rows == 0


def test_unparsed_values_and_unknown_fields_are_counted_by_their_names() -> None:
    result = normalize(
        [
            answer(envelope([("cost", '"1,2"'), ("new", "1"), ("callee", "true")])),
            answer(envelope([("cost", '"x"'), ("new", "null"), ("newer", "[]")])),
            answer(envelope([("cost", '"1.2"')])),
        ],
        "acme",
        GROUP_RECORD,
    )
    assert result.unparsed == {"cost": 2, "callee": 1}
    assert result.extra == {"new": 2, "newer": 1}


# --- bodies that are hardly JSON --------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"null",
        b"[]",
        b'{"status":"0"}',
        b'{"status":"0","data":null}',
        b'{"status":"0","data":{"callee":"1"',
        b'{"data":{"callee":nan}}',
        b'{"data":{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'\xff\xfe{"data":{}}',
    ],
    ids=range(9),
)
def test_a_body_that_is_no_record_is_kept_whole_and_nothing_is_raised(body: bytes) -> None:
    (row,) = rows(body)
    (kept,) = json.loads(row["unparsed"]).values()
    assert kept
    assert row["currency"] is None
    assert answer_totals(body, GROUP_RECORD) == (0, 0, None, None)


def test_bytes_that_are_not_utf8_lose_only_their_own_field() -> None:
    body = b'{"data":{"callee":"\xff","cost":0.10,"new":"\xfe","\xfd":1,"calledInfo":"ok"}}'
    (row,) = rows(body)
    assert (row["callee"], row["cost"], row["called_info"]) == (None, Decimal("0.1"), "ok")
    assert json.loads(row["unparsed"]) == {"callee": '"\\udcff"'}
    assert json.loads(row["extra"]) == {"new": '"\\udcfe"', "\\udcfd": 1}


# --- properties -------------------------------------------------------------------------------

WORDS = st.text(st.characters(codec="utf-8"), max_size=12)
DIGITS = st.integers(0, 10**30).map(str)
NUMBERS = st.builds(
    lambda sign, whole, fraction, exponent: f"{sign}{whole}{fraction}{exponent}",
    st.sampled_from(["", "-"]),
    st.one_of(st.integers(0, 999), st.integers(0, 10**26)).map(str),
    st.one_of(st.just(""), DIGITS.map(lambda digits: f".{digits}")),
    st.one_of(st.just(""), st.integers(-40, 40).map(lambda n: f"e{n}"), st.just("E+999999999")),
)
TIMES = st.builds(
    "{:04}-{:02}-{:02}{}{:02}:{:02}:{:02}{}{}".format,
    st.one_of(st.integers(2020, 2028), st.integers(0, 9999)),
    st.integers(0, 13),
    st.one_of(st.integers(27, 32), st.integers(0, 32)),
    st.sampled_from("T Tt"),
    st.integers(0, 24),
    st.integers(0, 60),
    st.integers(0, 60),
    st.sampled_from(["", ".1", ".123", ".9999", ".12345678901", "."]),
    st.sampled_from(
        ["+08:00", "+08:00", "-03:30", "+0800", "+08", "+08:0", "Z", "z", "", "+24:00", " Z"]
    ),
)
ODD_WORDS = st.sampled_from(
    ["", "-1", "0", "200", "486", "20+20", "1,20", "+1", " 1", "A(B)", "USD", "2026-09-02", "1e3"]
)
STRINGS = st.one_of(
    st.one_of(WORDS, NUMBERS, TIMES, ODD_WORDS).flatmap(
        lambda text: st.booleans().map(lambda plain: json.dumps(text, ensure_ascii=plain))
    ),
    st.sampled_from(['"\\ud800"', '"a\\udfffb"', '"\\u0000"', '"\\ud83d\\ude00"', '"\\/"']),
)
NESTED = st.sampled_from(["true", "false", "[]", "{}", '{"a": [1.10, "\\ud800"]}', "[ null ]"])
LITERALS = st.one_of(STRINGS, NUMBERS, NESTED, st.just("null"))
NAMES = st.one_of(st.sampled_from(FIELDS), WORDS, st.just("\ud800"))
MEMBERS = st.lists(st.tuples(NAMES, LITERALS), max_size=12)
WRONG_NUMBER = st.sampled_from(['"007"', '"00001.50"', "0.00000001", '"-0"', "-0", "-0.0"])


def same(one: Normalized, other: Normalized) -> bool:
    return (
        one.table.equals(other.table)
        and one.unparsed == other.unparsed
        and one.extra == other.extra
    )


@settings(max_examples=120, deadline=None)
@given(st.lists(MEMBERS.map(envelope), min_size=1, max_size=6))
@example([envelope([("callee", "-0"), ("cost", "-0")])])
@example([envelope([("costEur", "0"), ("cost", '"1"')]), envelope([("costEur", '"1"')])])
def test_the_fast_way_gives_what_the_scalar_rules_give(bodies: list[bytes]) -> None:
    answers = [answer(body) for body in bodies]
    assert same(
        normalize(answers, "acme", GROUP_RECORD),
        normalize(answers, "acme", GROUP_RECORD, by_value=True),
    )


def test_every_spelling_of_a_time_is_read_as_the_scalar_rules_read_it() -> None:
    days = ["2024-02-29", "2023-02-29", "2026-09-02", "2026-13-01", "0000-01-01", "9999-12-31"]
    fractions = ["", ".", ".1", ".12", ".123", ".1239", ".123456789", ",5"]
    offsets = ["", "Z", "z", "+08", "+0800", "+08:00", "-00:30", "+24:00", "+8", "-0560", "+08:0"]
    spelt = [
        f"{day}{gap}23:59{seconds}{offset}"
        for day, gap, seconds, offset in product(
            days, "T ", ["", *(f":59{fraction}" for fraction in fractions)], offsets
        )
    ]
    answers = [answer(envelope([("submitTime", json.dumps(text))])) for text in spelt]
    quick, by_value = (
        normalize(answers, "acme", GROUP_RECORD),
        normalize(answers, "acme", GROUP_RECORD, by_value=True),
    )
    assert same(quick, by_value)
    # 2 of the days, both gaps, 7 of the fractions, or no seconds, and 7 of the offsets exist.
    assert len(spelt) - quick.table["submit_time"].null_count == 2 * 2 * 8 * 7
    sent = quick.table["utc_offset_min"]
    assert len(spelt) - sent.null_count == 2 * 2 * 8 * 6, "one of the offsets is none"


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([*COLUMN_OF, COST_EUR]), st.one_of(LITERALS, WRONG_NUMBER))
def test_every_value_in_every_field_ends_in_its_column_or_in_unparsed(
    name: str, literal: str
) -> None:
    (row,) = rows(envelope([(name, literal)]))
    unparsed = json.loads(row["unparsed"] or "{}")
    value = row[COLUMN_OF.get(name, "cost")]
    absent = literal in ("null", '""') or (name == "feedbackValue" and literal in ('"-1"', "-1"))
    assert set(unparsed) <= {name}
    if absent:
        assert value in (None, "USD")
        assert not unparsed
    elif unparsed:
        # A bill period keeps its text: what could not be read are the numbers in it.
        assert value is None or name == "billPeriod"
        assert unparsed[name] == as_sent(literal)
    else:
        assert value == meaning(name, literal)


def as_sent(literal: str) -> str:
    """A string's value, where UTF-8 can hold it; any other value's JSON text."""
    value = json.loads(literal, parse_int=str, parse_float=str)
    if literal[0] != '"' or not encodable(value):
        return "0" if literal == "-0" else literal
    return str(value)


def encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def meaning(name: str, literal: str) -> object:
    text = as_sent(literal)
    if name in TEXT_FIELDS:
        return text
    if name in SECONDS_FIELDS:
        return literals.seconds_of(text)
    if name in TIME_FIELDS:
        ms = literals.instant_of(text)[0]
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    return Decimal(text)


@settings(deadline=None)
@given(
    st.sampled_from(GROUP_RECORD.money_fields),
    st.decimals(-(10**10) + 1, 10**10 - 1, places=8),
    st.sampled_from(['"{:f}"', "{:f}", "{:e}", '"{:e}"']),
)
def test_money_survives_to_the_last_digit_as_text_or_as_number(
    name: str, amount: Decimal, form: str
) -> None:
    (row,) = rows(envelope([(name, form.format(amount))]))
    assert row[COLUMN_OF.get(name, "cost")] == amount
    assert row["unparsed"] is None


@settings(deadline=None)
@given(MEMBERS)
def test_fields_that_the_page_does_not_name_stay_untouched_in_extra(
    members: list[tuple[str, str]],
) -> None:
    (row,) = rows(envelope(members))
    extra = json.loads(row["extra"] or "{}", parse_int=str, parse_float=str)
    last = dict(members)
    # A name that UTF-8 can't hold is there in another form.
    unknown = [name for name in last if name not in FIELDS and encodable(name)]
    assert [name for name in extra if name != COST_EUR and name in last] == unknown
    for name in unknown:
        assert extra[name] == json.loads(last[name], parse_int=str, parse_float=str)


@settings(max_examples=120, deadline=None)
@given(MEMBERS)
@example([("costEur", "0"), ("cost", "null")])
@example([("costEur", "0"), ("cost", '"1"')])
@example([("costEur", "true")])
@example([("currency", "true"), ("cost", "1")])
@example([("currency", "0"), ("cost", "1")])
def test_the_books_read_an_answer_as_its_row_says(members: list[tuple[str, str]]) -> None:
    body = envelope(members)
    (row,) = rows(body)
    usage = answer_totals(body, GROUP_RECORD)
    assert usage.call_duration_s == (row["call_duration_s"] or 0)
    assert usage.charged_duration_s == (row["charged_duration_s"] or 0)
    assert usage.cost == row["cost"]
    assert usage.currency == row["currency"]


@settings(max_examples=120, deadline=None)
@given(st.lists(MEMBERS, max_size=6))
@example([[("cost", "1.5")], [("cost", '"-1.5"')]])
@example([[("cost", "1")], [("callDuration", "true"), ("cost", '"2"')], [("cost", "[]")]])
def test_the_usage_of_many_answers_is_the_sum_of_each(many: list[list[tuple[str, str]]]) -> None:
    bodies = [envelope(members) for members in many]
    expected = UsageTotals()
    for each in (answer_totals(one, GROUP_RECORD) for one in bodies):
        cost = {}
        if each.cost is not None:
            cost[currency_name(each.currency)] = int(each.cost * 10**8)
        expected += UsageTotals(1, each.call_duration_s, each.charged_duration_s, cost)
    assert usage_of(bodies, GROUP_RECORD) == expected


@settings(max_examples=120, deadline=None)
@given(MEMBERS)
def test_each_way_of_reading_gives_what_the_next_one_gives(members: list[tuple[str, str]]) -> None:
    body = envelope(members)
    # A lone surrogate in a field that nobody knows sends the same members down the slowest way.
    slowest = reader_of(GROUP_RECORD).read_record(envelope([*members, ("\udfff", '"\\udfff"')]))
    record = reader_of(GROUP_RECORD).read_record(body)
    assert slowest.row == record.row
    assert slowest.unparsed == record.unparsed
    batch = reader_of(GROUP_RECORD).read([body])
    assert [str(values[0]) for values in batch.columns.values()] == [str(v) for v in record.row]


USUAL = "2026-09-02T10:00:05+08:00"


def column_of(texts: list[str], nulls: list[int]) -> pa.Array:
    """A column whose nulls have bytes, as the format allows."""
    sent = pa.array(texts, pa.string())
    valid = sum(1 << at for at in range(len(texts)) if at not in nulls)
    validity = pa.py_buffer(valid.to_bytes(8, "little"))
    return pa.Array.from_buffers(pa.string(), len(texts), [validity, *sent.buffers()[1:]])


@pytest.mark.parametrize(
    "column",
    [
        pa.array([USUAL] * 3),
        pa.array([USUAL, None, "2026-09-02 10:00:05-03:30", None]),
        pa.array([USUAL, "2026-02-30T10:00:05+08:00"]),
        pa.array(["2024-02-29T10:00:05+08:00", USUAL]),
        pa.array([USUAL, USUAL[:-1], USUAL + "0"]),
        pa.array([USUAL[:-1], USUAL + "0"]),
        pa.array([USUAL, "2026-09-02T10:00:05.12345"]),
        pa.array([None, None], pa.string()),
        pa.array([USUAL, USUAL, "x" * 25]).slice(1),
        column_of(["x" * 25, USUAL, USUAL], nulls=[0]),
        column_of([USUAL, USUAL, "x" * 25], nulls=[0]),
        column_of([USUAL, USUAL, USUAL], nulls=[1]),
    ],
    ids=str,
)
def test_a_column_of_times_is_read_as_each_of_its_texts(column: pa.Array) -> None:
    at_once, one_by_one = (typed(column, TIME_RULE, by_value=by) for by in (False, True))
    assert at_once.array.equals(one_by_one.array)
    assert at_once.failed == one_by_one.failed
