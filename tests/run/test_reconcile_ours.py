"""What is in no file of the data set, as the state database has it: each id with its state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from harvester.cli.commands.reconcile import screen
from harvester.pipeline.listing import rows as listed_rows
from harvester.pipeline.listing.days import of_days
from harvester.reconciling.figures import Days, Reconciled, alive, fold, meanings
from harvester.reconciling.ours import Books, write_states
from harvester.reconciling.regions import Sources, compared
from harvester.state import run_records, unresolved, work_lists
from harvester.state.acknowledge import acknowledge
from harvester.state.database import transaction
from harvester.state.values import (
    Batch,
    DeadLetter,
    Deferred,
    Entry,
    InputRecord,
    OpenCall,
    WorkList,
)
from harvester.storage.duckdb_engine import Room
from tests.support.fakes import ACCOUNT, House

DAYS = of_days(date(2026, 11, 1), date(2026, 11, 30))
NOON = datetime(2026, 11, 3, 4, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)
ANSWER = (
    b'{"status":"0","data":{"voiceId":"journal","submitTime":"2026-11-03T12:00:00+08:00",'
    b'"chargedDuration":"60","cost":"0.5","currency":"USD"}}'
)
LIST = ["again", "deferred", "late", "old", "resolved"]
STATES = {
    "journal": "delivered",
    "open": "open",
    "open-deferred": "open",
    "unrated": "unrated",
    "dead": "dead",
    "published": "published",
    "again": "pending",
    "deferred": "pending",
    "late": "pending",
    "old": "pending",
}


def put_in_force(made: House) -> None:
    """LIST, its last id carried over, and one of the data set that is fetched again."""
    ids = [*LIST, "in-data"]
    ranks = pa.array([0, 0, 0, 1, 0, 2], pa.int8())
    table = pa.table({"rank": ranks, "voice_id": pa.array(ids)})
    pq.write_table(table, made.output.lists / "list-1.parquet")
    work_lists.replace_list(made.db, WorkList(1, "key", "list-1.parquet", None, 4, 0, 1, again=1))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """An output with an id in each state."""
    made = House(tmp_path / "out")
    with closing(made.db) as db:
        put_in_force(made)
        run_records.begin_run(db, "run-1", 1)
        letters = [
            DeadLetter(one, "gave_up", "", 1, NOON_MS, 1, "run-1", published=one == "published")
            for one in ("dead", "published", "again")
        ]
        calls = [
            OpenCall("open", 5, NOON_MS, 1, "run-1"),
            OpenCall("open-deferred", 5, NOON_MS, 1, "run-1"),
            OpenCall("unrated", 5, NOON_MS, 1, "run-1", ANSWER, 7, None, 7),
        ]
        waiting = [
            Deferred(one, "timeout", "", NOON_MS, 1, "run-1")
            for one in ("open-deferred", "deferred", "lost")
        ]
        batch = Batch(
            entries=[
                Entry("journal", NOON_MS, True, ANSWER),
                # The last answer of an open call that died, not published yet.
                Entry("published", NOON_MS, False, ANSWER),
            ],
            again=[Entry("in-data", NOON_MS, True, ANSWER)],
            open_calls=calls,
            dead_letters=letters,
            deferred=waiting,
            resolved_rows={0: [4]},
        )
        work_list = work_lists.current_list(db)
        acknowledge(db, "run-1", batch, work_list=work_list, counters={}, requests_of_day=("", 0))
        with transaction(db):
            again = [letter for letter in letters if letter.voice_id == "again"]
            unresolved.put_dead_letters(db, [replace(again[0], retrying=True)])
        yield made


def states(house: House, tmp_path: Path) -> Path:
    path = tmp_path / "states.parquet"
    write_states(Books(house.db, ACCOUNT, house.kind, house.output.lists), path)
    return path


def test_each_id_has_its_state_and_when_it_was_first_seen(house: House, tmp_path: Path) -> None:
    rows = pq.read_table(states(house, tmp_path)).to_pylist()
    found = {row["voice_id"]: row for row in rows if row["state"] != "waiting"}
    assert sum(row["voice_id"] == "published" for row in rows) == 2, "it has a row as well"
    assert {key: row["state"] for key, row in found.items()} == STATES
    waits = sorted(row["voice_id"] for row in rows if row["state"] == "waiting")
    assert waits == ["again", "deferred", "lost", "open-deferred"]
    journal = found["journal"]
    assert (journal["submit_time"], journal["cost"]) == (NOON, Decimal("0.5"))
    assert (journal["charged_duration_s"], journal["currency"]) == (60, "USD")
    assert found["dead"]["seen_at"] == found["open"]["seen_at"] == NOON


@pytest.mark.parametrize(("key", "days"), [("ours", 0), (None, 1)])
def test_what_is_pending_was_seen_first_when_its_input_was_listed_first(
    tmp_path: Path, key: str | None, days: int
) -> None:
    """Ids of another input came a day later; a list of no input is as old as the newest ids."""
    made = House(tmp_path / "out")
    with closing(made.db) as db:
        put_in_force(made)
        first = WorkList(2, "ours", "list-1.parquet", None, 4, 0, 1, again=1)
        record = InputRecord("ours", 4, 0, 0, 4, 0, 4, NOON_MS)
        work_lists.replace_list(db, first, input_record=record, new_ids_ms=NOON_MS)
        now = replace(first, id=3, input_key=key)
        work_lists.replace_list(db, now, new_ids_ms=NOON_MS + 86_400_000)
        rows = pq.read_table(states(made, tmp_path)).to_pylist()
    assert {row["seen_at"] for row in rows} == {NOON + timedelta(days=days)}
    assert sorted(row["voice_id"] for row in rows) == LIST


def test_what_stands_where_the_price_will_stand_is_no_cost_before_it_is_published(
    tmp_path: Path,
) -> None:
    made = House(tmp_path / "out")
    with closing(made.db) as db:
        run_records.begin_run(db, "run-1", 1)
        filler = ANSWER.replace(b'"cost":"0.5"', b'"cost":"-1"')
        assert filler != ANSWER
        entries = [
            Entry("paid", NOON_MS, True, ANSWER),
            Entry("waits", NOON_MS, True, filler, is_rated=False),
            Entry("unanswered", NOON_MS, True, filler),
        ]
        batch = Batch(entries=entries)
        acknowledge(db, "run-1", batch, work_list=None, counters={}, requests_of_day=("", 0))
        rows = pq.read_table(states(made, tmp_path)).to_pylist()
    costs = {row["voice_id"]: row["cost"] for row in rows}
    assert costs == {"paid": Decimal("0.5"), "waits": None, "unanswered": None}


def test_what_is_dead_here_and_alive_there_is_told(house: House, tmp_path: Path) -> None:
    ids = [*STATES, "lost", "stranger"]
    listed = [
        {
            "voice_id": one,
            "submit_time": NOON,
            "answered": True,
            "charged_duration_s": 90,
            "cost": Decimal("0.25"),
            "currency": "USD",
            "is_final": True,
            "is_rated": True,
            "asked_at": NOON,
        }
        for one in ids
    ]
    path = tmp_path / "listed.parquet"
    pq.write_table(pa.Table.from_pylist(listed, listed_rows.SCHEMA), path)
    sources = Sources(
        listed=[path],
        files=[],
        changes=[],
        states=states(house, tmp_path),
        dropped=[],
        dialer=None,
        sent=None,
    )
    with compared(sources, DAYS, Room("400MB", tmp_path)) as lists:
        regions = fold(lists.groups(), meanings(has_dialer=False), {})
    assert {name: one.calls for name, one in regions.items() if one.calls} == {"V": 1, "VB": 11}
    told = {"delivered": 1, "open": 2, "unrated": 1, "dead": 2, "pending": 5}
    assert regions["VB"].states == told
    assert alive(regions) == {"dead": 2, "pending": 5, "open": 2, "unrated": 1}
    assert regions["VB"].minutes == Decimal("16.5")
    assert regions["VB"].cost == {"USD": Decimal("2.75")}


def test_what_nobody_can_date_may_be_of_any_days_and_is_left_out_of_none(tmp_path: Path) -> None:
    """Pending ids whose digits tell nothing, on a list of before the first run."""
    made = House(tmp_path / "out")
    with closing(made.db):
        put_in_force(made)
        sources = Sources(
            listed=[],
            files=[],
            changes=[],
            states=states(made, tmp_path),
            dropped=[],
            dialer=None,
            sent=None,
        )
    with compared(sources, DAYS, Room("400MB", tmp_path)) as lists:
        regions = fold(lists.groups(), meanings(has_dialer=False), {})
    assert regions["B"].states == {"pending": len(LIST)}
    assert (regions["B"].oldest_ms, regions["B"].newest_ms) == (None, None)


def shown(**changes: object) -> str:
    plain = Reconciled(
        output="out",
        days=Days(
            first="2026-11-01",
            last="2026-11-30",
            listed=30,
            oldest_listing_ms=NOON_MS,
            least_age_days=12,
            not_listed=(),
        ),
        regions=fold([], meanings(has_dialer=False), {}),
        vendor=0,
        ours=0,
        dialer=None,
        together=0,
        differing=0,
        allow=0,
        requests=0,
        by_day=(),
        exit_code=0,
        code="",
        message="",
    )
    return "\n".join(line.text for line in screen(replace(plain, **changes)))


def test_the_screen_says_what_to_do_about_calls_that_are_alive_there() -> None:
    told = shown(alive={"dead": 3, "pending": 2})
    assert "Of V, 3 are dead here, alive there: `harvester refetch dead`" in told
    assert "Of V, 2 are pending here" in told
    assert "Next: `harvester refetch dead`" in told
    assert "Next: nothing to do." in shown()
    assert "may come late" not in shown()
