"""Rows of an older version get the columns of a newer one."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from harvester.answers.answer import Answer
from harvester.dataset.changes import NEW, OLD, changes_of
from harvester.dataset.group_record import GROUP_RECORD, GROUP_RECORD_1
from harvester.dataset.kind import SECONDS, TEXT, Column, Reads, RecordKind
from harvester.dataset.normalize import normalize
from harvester.pipeline.publish.in_changes import InChanges
from harvester.pipeline.publish.lifting import Lift

NEWER = replace(
    GROUP_RECORD,
    version=3,
    columns=(
        *GROUP_RECORD.columns,
        Column(name="pdd_s", type=SECONDS, field="pdd", reads=Reads.SECONDS, meaning="ringing"),
        Column(name="trunk", type=TEXT, field="trunk", reads=Reads.TEXT, meaning="the trunk"),
    ),
)


def rows(*data: str, kind: RecordKind = GROUP_RECORD) -> pa.Table:
    answers = [
        Answer(f"{at:020}", f'{{"status":0,"data":{{{one}}}}}'.encode(), 1, "run", is_final=True)
        for at, one in enumerate(data)
    ]
    return normalize(answers, "acme", kind).table


def test_a_field_that_has_a_column_now_leaves_extra() -> None:
    before = rows('"pdd":"7","trunk":5,"other":[1.10]', '"pdd":"soon","cost":"x"', '"cost":"1"')
    lift = Lift(GROUP_RECORD, NEWER)
    after = lift.edited(before).rows
    assert after.schema == NEWER.schema
    assert after["pdd_s"].to_pylist() == [7, None, None]
    assert after["trunk"].to_pylist() == ["5", None, None]
    assert after["extra"].to_pylist() == ['{"other":[1.10]}', None, None]
    assert after["unparsed"].to_pylist() == [None, '{"cost": "x", "pdd": "soon"}', None]
    kept = [name for name in before.schema.names if name not in {"extra", "unparsed"}]
    assert after.select(kept) == before.select(kept)


def test_it_is_what_the_newer_version_would_have_written() -> None:
    data = ('"pdd":"7","trunk":"a","cost":"0.1"', '"trunk":null,"odd":{}', '"pdd":-1')
    lifted = Lift(GROUP_RECORD, NEWER).edited(rows(*data)).rows
    assert lifted.to_pylist() == rows(*data, kind=NEWER).to_pylist()


TALKED = '"callDuration":60,"hangupTime":"2026-09-01 12:00:00","currency":"USD"'


@pytest.mark.parametrize(
    ("more", "is_rated"),
    [
        ("", False),
        (',"cost":"-1"', False),
        (',"cost":"0","rate":"0.1"', False),
        (',"cost":"0","rate":"0.1","chargedDuration":60', True),
        (',"cost":"0","rate":"0","chargedDuration":60', False),
        (',"cost":"0.01"', True),
        (',"cost":"much"', True),
    ],
)
def test_whether_it_is_rated_follows_from_the_row_by_the_rule(more: str, is_rated: bool) -> None:
    before = rows(TALKED + more, kind=GROUP_RECORD_1)
    after = Lift(GROUP_RECORD_1, GROUP_RECORD).edited(before).rows
    assert after["is_rated"].to_pylist() == [is_rated]


def test_calls_of_nobody_and_calls_that_never_ended_are_rated() -> None:
    before = rows('"callDuration":0', TALKED, kind=GROUP_RECORD_1)
    running = pa.array([True, False])
    before = before.set_column(before.schema.names.index("is_final"), "is_final", running)
    before = before.cast(GROUP_RECORD_1.schema)
    after = Lift(GROUP_RECORD_1, GROUP_RECORD).edited(before).rows
    assert after["is_rated"].to_pylist() == [True, True]


@pytest.mark.parametrize(
    ("footer", "known"),
    [
        ({b"cdr.presumed_currency": b"0"}, [False, False]),
        ({b"cdr.presumed_currency": b"2"}, [True, True]),
        ({b"cdr.presumed_currency": b"1"}, [None, False]),
        ({}, [None, False]),
        ({b"cdr.presumed_currency": b"0", b"cdr.presumed_currency_of": b"1"}, [None, False]),
    ],
)
def test_whether_a_currency_was_presumed_is_as_far_known_as_the_footer_says(
    footer: dict[bytes, bytes], known: list[bool | None]
) -> None:
    lift = Lift(GROUP_RECORD_1, GROUP_RECORD)
    lift.begin(footer, 2)
    after = lift.edited(rows('"currency":"USD"', '"currency":"EUR"', kind=GROUP_RECORD_1)).rows
    assert after["currency_presumed"].to_pylist() == known


def test_old_and_new_of_a_change_are_lifted_both() -> None:
    old, new = rows(TALKED, kind=GROUP_RECORD_1), rows('"cost":"1"', kind=GROUP_RECORD_1)
    of = changes_of(GROUP_RECORD_1)
    change = pa.Table.from_pylist(
        [
            {
                "voice_id": "0",
                "changed_at": 0,
                "publication": 1,
                "run_id": "run",
                "reason": "vendor",
                "changed": ["cost"],
                OLD: old.to_pylist()[0],
                NEW: new.to_pylist()[0],
            }
        ],
        of.schema,
    )
    done = InChanges(Lift(GROUP_RECORD_1, GROUP_RECORD)).edited(change)
    assert done.rows.schema == changes_of(GROUP_RECORD).schema
    (row,) = done.rows.to_pylist()
    assert (row[OLD]["is_rated"], row[NEW]["is_rated"]) == (False, True)
    assert done.gone == done.came


@pytest.mark.parametrize(
    ("hangup", "is_rated"),
    [
        # A minute that somebody talked, and no price.
        ("2026-09-01T12:01:05+00:00", False),
        ("2026-09-01T12:00:05+00:00", True),
        # What is to come is no time of the call: nobody talked.
        ("2026-10-01T12:00:00+00:00", True),
    ],
)
def test_without_a_duration_the_times_say_whether_somebody_talked(
    hangup: str, is_rated: bool
) -> None:
    fetched_ms = 1_788_350_400_000  # 2026-09-02
    times = f'"answerTime":"2026-09-01T12:00:05+00:00","hangupTime":"{hangup}"'
    body = f'{{"data":{{"submitTime":"2026-09-01T12:00:00+00:00",{times}}}}}'.encode()
    answer = Answer("1", body, fetched_ms, "run", is_final=True)
    before = normalize([answer], "acme", GROUP_RECORD_1).table
    after = Lift(GROUP_RECORD_1, GROUP_RECORD).edited(before).rows
    assert after["is_rated"].to_pylist() == [is_rated]


@pytest.mark.parametrize(
    ("data", "unparsed"),
    [
        ('"pdd":"soon"', '{"pdd":"soon"}'),
        ('"cost":"x"', '{"cost":"x"}'),
        ('"pdd":"später","cost":"teuer, ü"', '{"cost": "teuer, ü", "pdd": "später"}'),
        ('"pdd":"7"', None),
    ],
)
def test_what_could_not_be_typed_is_kept_as_it_was_sent(data: str, unparsed: str | None) -> None:
    after = Lift(GROUP_RECORD, NEWER).edited(rows(data)).rows
    (found,) = after["unparsed"].to_pylist()
    assert found == unparsed


def test_rows_that_lack_no_field_keep_what_they_hold() -> None:
    before = rows('"odd":1,"cost":"x"', kind=GROUP_RECORD_1)
    after = Lift(GROUP_RECORD_1, GROUP_RECORD).edited(before).rows
    assert after["extra"].to_pylist() == ['{"odd":1}']
    assert after["unparsed"].to_pylist() == before["unparsed"].to_pylist()
    assert after["fetched_by"].to_pylist() == ["single"]
