"""A rebuild after files are lost: what can be known comes back, and what can't is said."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from harvester.analysis.verify.verify import Order as VerifyOrder
from harvester.analysis.verify.verify import verify
from harvester.answers.answer import PAGES
from harvester.config import Vendor
from harvester.errors import StoreError
from harvester.inputs.discover import find
from harvester.operations.compact import Order, compact
from harvester.operations.drop import Order as DropOrder
from harvester.operations.drop import drop
from harvester.operations.plan import survey
from harvester.operations.publish import publish_journal
from harvester.operations.rebuild import rebuild
from harvester.pipeline.engine.acknowledger import keep
from harvester.pipeline.run.prepare_list import list_input
from harvester.pipeline.run.state_snapshot import write_snapshot
from harvester.state import run_records
from harvester.state.acknowledge import acknowledge
from harvester.state.database import open_database
from harvester.state.id_counts import count_ids
from harvester.state.values import Batch, DeadLetter, Entry
from harvester.storage import dropped
from harvester.storage.disk import RealDisk
from harvester.storage.run_summary import SUMMARY
from tests.run.test_latest import latest, recipe
from tests.support.changes import change, current, rows_of
from tests.support.cut_disk import CutDisk, Gone
from tests.support.events import SignallingEvents
from tests.support.fakes import ACCOUNT, House, config_of
from tests.support.nights import (
    DAYS,
    FETCHED_MS,
    answer,
    damage,
    night,
    nights,
    publisher,
    run_of,
)
from tests.support.summaries import summary_of

REFETCH = "20261001T000000Z-00000a"
THIRD = "26090112000000099"
ALL = Order(min_files=2, older_than_s=0)
ONE, OTHER = (f"{DAYS[day].replace('-', '')[2:]}120000000000{row}" for day, row in ((0, 0), (1, 1)))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Two nights of three dates, and two changes."""
    with closing(nights(tmp_path / "out", count=2)) as made:
        change(made, {ONE: "1.5"}, REFETCH)
        change(made, {ONE: "2.5", OTHER: "3"}, REFETCH)
        made.close()
        yield made


def file_of(house: House, voice_id: str) -> Path:
    (found,) = (
        path
        for path in house.output.cdr.glob("*/*.parquet")
        if voice_id in pq.read_table(path, partitioning=None)["voice_id"].to_pylist()
    )
    return found


def reopened(house: House) -> House:
    house.db = open_database(house.output.database, ACCOUNT)
    return house


@pytest.mark.parametrize("compacted", [False, True])
def test_rows_of_a_lost_file_come_back_out_of_their_changes(house: House, compacted: bool) -> None:
    first, now = rows_of(house), current(house)
    if compacted:
        compact(house.config, ALL, SignallingEvents())
    lost = file_of(house, ONE)
    gone = set(pq.read_table(lost, partitioning=None)["voice_id"].to_pylist())
    lost.unlink()
    done = rebuild(house.config)
    assert done.put_back == 1
    rows = rows_of(house)
    assert rows.keys() == (first.keys() - gone) | {ONE}
    # As it was delivered first, and in its folder, with the time at which it was fetched.
    assert rows[ONE] == first[ONE]
    assert current(house)[ONE] == now[ONE]
    assert damage(house) == []
    assert rebuild(house.config, force=True).put_back == 0, "it is there now"
    compact(house.config, ALL, SignallingEvents())
    assert rows_of(house)[ONE] == now[ONE], "and its changes are folded into it"
    assert damage(house) == []


def test_a_rebuild_that_is_cut_while_rows_come_back_is_finished_by_the_next(
    house: House, tmp_path: Path
) -> None:
    first, now = rows_of(house), current(house)
    for voice_id in (ONE, OTHER):
        file_of(house, voice_id).unlink()
    kept = rows_of(house).keys()
    for after in range(1, 30):
        out = Path(shutil.copytree(house.output.root, tmp_path / f"cut-{after}"))
        config = config_of(out)
        cut = CutDisk(after, with_syncs=True)
        try:
            rebuild(config, disk=cut)
        except Gone:
            rebuild(config, force=True)
        with closing(House(out)) as again:
            rows = rows_of(again)
            assert rows.keys() == kept | {ONE, OTHER}, after
            assert [rows[one] for one in (ONE, OTHER)] == [first[one] for one in (ONE, OTHER)]
            assert current(again)[ONE] == now[ONE]
        assert damage(again) == [], after
        if cut.left > 0:
            break
    assert cut.left > 0, "every step was cut once"
    assert after > 8


def test_what_left_with_its_date_does_not_come_back(house: House) -> None:
    before = date.fromisoformat(DAYS[1])
    drop(house.config, DropOrder(before=before, is_meant=True), SignallingEvents())
    file_of(house, OTHER).unlink()
    assert rebuild(house.config).put_back == 1
    assert ONE not in rows_of(house)


def summaries(house: House, changed: int) -> None:
    """Those of the two nights, with 12 rows each, and of the refetch that found the changes."""
    told = ((run_of(0), 12, 0), (run_of(1), 12, 0), (REFETCH, 0, changed))
    for run_id, rows, changes in told:
        text = summary_of(run_id, data={"rows": rows}) | {"refetch": {"changed": changes}}
        folder = house.output.run(run_id)
        folder.mkdir(parents=True)
        (folder / SUMMARY).write_text(json.dumps(text))


def test_it_says_which_rows_and_changes_are_nowhere(house: House) -> None:
    summaries(house, changed=3)
    assert not any("nowhere" in one for one in rebuild(house.config, force=True).unknown)
    file_of(house, ONE).unlink()  # with 4 rows, one of which comes back
    for path in house.output.changes.glob("*/*.parquet"):
        if pq.read_metadata(path).num_rows == 2:
            path.unlink()
    told = rebuild(house.config).unknown
    assert any(one.startswith("3 calls that runs had delivered") for one in told), told
    assert any(one.startswith("2 changes that runs had found") for one in told), told


def test_what_left_by_a_drop_is_not_missed(house: House) -> None:
    summaries(house, changed=3)
    before = date.fromisoformat(DAYS[1])
    drop(house.config, DropOrder(before=before, is_meant=True), SignallingEvents())
    (left,) = dropped.read(house.output.dropped)
    assert left.changes == {REFETCH: 2}
    told = rebuild(house.config, force=True).unknown
    assert not any("calls that runs" in one or "changes that" in one for one in told), told


def test_calls_that_left_after_numbers_were_erased_in_them_are_not_missed(house: House) -> None:
    summaries(house, changed=3)
    ids = pq.read_table(file_of(house, ONE), partitioning=None)["voice_id"].to_pylist()
    dropped.write_erased(house.output.dropped, 99, ids, RealDisk())
    before = date.fromisoformat(DAYS[1])
    drop(house.config, DropOrder(before=before, is_meant=True), SignallingEvents())
    told = rebuild(house.config, force=True).unknown
    assert not any("nowhere" in one for one in told), told


def test_whoever_follows_the_files_begins_anew_after_a_rebuild(house: House) -> None:
    with closing(reopened(house)):
        ((newest,),) = house.db.execute("SELECT max(id) FROM publication")
    rebuild(house.config, force=True)
    assert latest(house)["since"] > newest, "a number that no job can have seen"
    shutil.rmtree(house.output.state)
    told = latest(house)["since"]
    rebuild(house.config)
    assert latest(house)["since"] > newest
    assert latest(house)["through"] >= told - 1


def test_after_a_rebuild_that_lost_something_verify_says_so(house: House) -> None:
    summaries(house, changed=3)
    for path in house.output.changes.glob("*/*.parquet"):
        path.unlink()
    rebuild(house.config)
    found = verify(house.output, VerifyOrder("UTC", "400MB", deep=True)).findings
    (told,) = (one for one in found if one.kind == "lost")
    assert "3 changes" in told.what
    assert told.severity == "note"


def test_nothing_begins_while_the_ids_of_a_drop_are_lost(house: House) -> None:
    before = date.fromisoformat(DAYS[1])
    drop(house.config, DropOrder(before=before, is_meant=True), SignallingEvents())
    (file,) = dropped.files(house.output.dropped)
    file.unlink()
    for begin in (
        lambda: publish_journal(house.config, SignallingEvents()),
        lambda: survey(house.config, ()),
    ):
        with pytest.raises(StoreError, match=r"\.parquet is missing.*from a backup") as told:
            begin()
        assert told.value.code == "data.dropped"
    done = rebuild(house.config)
    assert any(f"which calls {file.name} named" in one for one in done.unknown)
    publish_journal(house.config, SignallingEvents())


def test_a_copy_and_a_table_are_right_after_files_were_lost(house: House, tmp_path: Path) -> None:
    publish_journal(house.config, SignallingEvents())
    copy, target = recipe("copy"), tmp_path / "copied"
    target.mkdir()
    copy(house.output.root, target)
    file_of(house, OTHER).unlink()
    rebuild(house.config)
    copy(house.output.root, target)
    recipe("load")(house.output.root, tmp_path / "table.duckdb")

    def files(root: Path) -> set[str]:
        return {path.relative_to(root).as_posix() for path in root.glob("c*/*/*.parquet")}

    assert files(target) == files(house.output.root)
    anew = latest(house)
    assert anew["since"] == anew["through"]
    assert {one["path"] for one in anew["new"]} == files(house.output.root)
    with closing(reopened(house)):
        change(house, {ONE: "7"}, REFETCH)
    publish_journal(house.config, SignallingEvents())
    copy(house.output.root, target)
    assert files(target) == files(house.output.root)
    assert latest(house)["since"] == anew["through"]


def test_a_dead_letter_that_a_change_has_corrected_does_not_rise_again(tmp_path: Path) -> None:
    with closing(nights(tmp_path / "out", count=2)) as house:
        going_on = f'{{"status":0,"data":{{"voiceId":"{THIRD}"}}}}'.encode()
        entries = [Entry(THIRD, FETCHED_MS, False, going_on)]
        sent = ("", 0)
        keep(
            house.db,
            run_of(1),
            Batch(entries=entries),
            work_list=None,
            counters=Counter(),
            requests_of_day=sent,
        )
        publisher(house).publish()
        letters = [
            DeadLetter(voice_id, "no_record", "", 1, 1, 1, run_of(0), published=True)
            for voice_id in (ONE, THIRD)
        ]
        batch = Batch(dead_letters=letters)
        sent = ("", 0)
        acknowledge(house.db, "", batch, work_list=None, counters={}, requests_of_day=sent)
        house.output.run(run_of(1)).mkdir(parents=True)
        write_snapshot(house.db, house.output.run(run_of(1)) / "state.parquet")
        # As a refetch of those that are not final finds it; the snapshot is older.
        change(house, {ONE: "1"}, REFETCH, before={"is_final": False}, is_final=True)
    rebuild(house.config, force=True)
    with closing(reopened(house)):
        ids = [row[0] for row in house.db.execute("SELECT id FROM dead_letter")]
    assert ids == [THIRD]


def test_calls_without_a_price_are_counted_as_they_are_now(tmp_path: Path) -> None:
    def unrated(house: House) -> int:
        return count_ids(house.db, 0).delivered_unrated

    with closing(nights(tmp_path / "out", count=1)) as house:
        change(house, {ONE: "0", OTHER: "0"}, REFETCH, is_rated=False)
        assert unrated(house) == 2
        change(house, {ONE: "1"}, REFETCH, is_rated=True)
        assert unrated(house) == 1
    rebuild(house.config, force=True)
    with closing(reopened(house)):
        assert unrated(house) == 1
    before = date.fromisoformat(DAYS[2])
    drop(house.config, DropOrder(before=before, is_meant=True), SignallingEvents())
    with closing(reopened(house)):
        assert unrated(house) == 0


def test_fetched_at_is_kept(house: House) -> None:
    """What came back was not fetched anew, and nothing must look as if it had been."""
    row: dict[str, Any] = rows_of(house)[ONE]
    assert row["fetched_at"] < datetime(2026, 10, 1, tzinfo=UTC)


def altered(path: Path, column: str) -> None:
    """Flip a bit of a Parquet file so that it can be read, and says something else."""
    good, before = path.read_bytes(), pq.read_table(path, partitioning=None)
    chunk = before.schema.get_field_index(column)
    meta = pq.read_metadata(path).row_group(0).column(chunk)
    begin = meta.dictionary_page_offset or meta.data_page_offset
    for at in range(begin, begin + meta.total_compressed_size):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        try:
            after = pq.read_table(path, partitioning=None)
        except (OSError, ValueError):
            continue
        if after.schema == before.schema and after[column] != before[column]:
            return
    raise AssertionError("no bit of the column makes another value")


def test_nothing_is_listed_by_ids_of_a_drop_that_were_changed(house: House) -> None:
    before = date.fromisoformat(DAYS[1])
    drop(house.config, DropOrder(before=before, is_meant=True), SignallingEvents())
    (file,) = dropped.files(house.output.dropped)
    assert dropped.checked_files(house.output.dropped) == [file]
    good = file.read_bytes()
    altered(file, "voice_id")
    for command in (
        lambda: dropped.checked_files(house.output.dropped),
        lambda: rebuild(house.config, force=True),
    ):
        with pytest.raises(StoreError, match=r"drop-[0-9]+\.parquet was changed since") as told:
            command()
        assert told.value.code == "data.dropped"
    assert any("was changed since it was written" in one for one in damage(house))
    file.write_bytes(good)
    assert damage(house) == []


def test_a_file_of_dropped_that_was_renamed_stops_a_rebuild(house: House) -> None:
    before = date.fromisoformat(DAYS[1])
    drop(house.config, DropOrder(before=before, is_meant=True), SignallingEvents())
    (file,) = dropped.files(house.output.dropped)
    renamed = file.rename(file.with_name(f"old-{file.name}"))
    (renamed.parent / ".DS_Store").touch()
    with pytest.raises(StoreError, match=r"old-drop-[0-9]+\.parquet was not named by") as told:
        rebuild(house.config)
    assert told.value.code == "data.dropped"
    renamed.rename(file)
    rebuild(house.config, force=True)
    assert damage(house) == []


def test_without_a_state_a_part_that_was_changed_stops_a_rebuild(house: House) -> None:
    part = file_of(house, ONE)
    altered(part, "cost")
    shutil.rmtree(house.output.state)
    with pytest.raises(StoreError, match=rf"{part.name}: changed since it was written") as told:
        rebuild(house.config)
    assert told.value.code == "data.untrusted"


def test_after_a_rebuild_the_cost_of_older_runs_is_that_of_their_summaries(house: House) -> None:
    rows = [row for row in rows_of(house).values() if row["run_id"] == run_of(0)]
    cost = {
        currency: str(sum(row["cost"] for row in rows if row["currency"] == currency))
        for currency in {row["currency"] for row in rows}
    }
    folder = house.output.run(run_of(0))
    folder.mkdir(0o700, parents=True)
    (folder / SUMMARY).touch(0o600)

    def told(costs: dict[str, str], count: int = len(rows)) -> list[str]:
        data = {"rows": count, "cost": costs}
        (folder / SUMMARY).write_text(json.dumps(summary_of(run_of(0), data=data)))
        return damage(house)

    rebuild(house.config, force=True)
    assert told(cost) == []
    currency = next(iter(cost))
    (wrong,) = told(cost | {currency: "77"})
    assert f"cost in {currency}" in wrong
    assert "7700000000" in wrong
    assert told(cost | {currency: "77"}, len(rows) + 1) == [], "some are lost, which is told apart"


def test_lost_calls_in_which_numbers_were_erased_are_not_fetched_again(house: House) -> None:
    summaries(house, changed=3)
    lost = file_of(house, OTHER)
    ids = pq.read_table(lost, partitioning=None)["voice_id"].to_pylist()
    dropped.write_erased(house.output.dropped, 99, ids, RealDisk())
    lost.unlink()
    told = rebuild(house.config).unknown
    # One of the four comes back out of its change.
    assert any(one.startswith("3 calls in which numbers were erased") for one in told), told
    assert not any(one.startswith("3 calls that runs") for one in told), told
    source = house.output.root / "ids.txt"
    source.write_text("\n".join([*ids, "77"]))
    with closing(reopened(house)):
        listing = list_input(
            house.db,
            house.output,
            house.config.input,
            house.config.plan,
            find([str(source)], spool=house.output.staging),
            house.output.runs,
        )
    assert listing.work_list is not None
    assert listing.work_list.rows == 1


def test_a_row_that_comes_back_out_of_a_later_change_is_not_counted_as_lost(house: House) -> None:
    summaries(house, changed=3)
    file_of(house, ONE).unlink()
    first = min(
        house.output.changes.glob("*/*.parquet"), key=lambda path: pq.read_metadata(path).num_rows
    )
    first.unlink()
    told = rebuild(house.config).unknown
    assert any(one.startswith("3 calls that runs had delivered") for one in told), told


def test_a_dead_letter_whose_row_was_folded_does_not_rise_again(tmp_path: Path) -> None:
    with closing(nights(tmp_path / "out", count=2)) as house:
        letter = DeadLetter(ONE, "no_record", "", 1, 1, 1, run_of(0), published=True)
        batch = Batch(dead_letters=[letter])
        acknowledge(house.db, "", batch, work_list=None, counters={}, requests_of_day=("", 0))
        house.output.run(run_of(1)).mkdir(parents=True)
        write_snapshot(house.db, house.output.run(run_of(1)) / "state.parquet")
        change(house, {ONE: "1"}, REFETCH, before={"is_final": False}, is_final=True)
    compact(house.config, ALL, SignallingEvents())
    for path in house.output.changes.glob("*/*.parquet"):
        path.unlink()
    shutil.rmtree(house.output.state)
    rebuild(house.config)
    with closing(reopened(house)):
        assert list(house.db.execute("SELECT id FROM dead_letter")) == []


def test_a_snapshot_that_is_cut_is_named_with_what_to_do(house: House) -> None:
    folder = house.output.run(run_of(1))
    folder.mkdir(parents=True)
    with closing(reopened(house)):
        write_snapshot(house.db, folder / "state.parquet")
    text = (folder / "state.parquet").read_bytes()
    (folder / "state.parquet").write_bytes(text[:50])
    with pytest.raises(StoreError, match="Move it away and run `harvester rebuild` again") as told:
        rebuild(house.config, force=True)
    assert told.value.code == "state.damaged"


@pytest.mark.parametrize(
    ("first_ended", "later", "is_told"),
    [
        # Killed; a later run that went by no pages has compared nothing.
        (False, {"exit_code": 0}, True),
        (False, {"exit_code": 5, "by_pages": {}}, True),
        # One that went by pages to its end has found the list to be right.
        (False, {"exit_code": 0, "by_pages": {}}, False),
        (False, {"exit_code": 3, "by_pages": {}}, False),
        (True, {"exit_code": 0}, False),
    ],
)
def test_what_a_killed_run_took_by_pages_is_doubted_until_another_has_compared_the_list(
    tmp_path: Path, *, first_ended: bool, later: dict[str, Any], is_told: bool
) -> None:
    with closing(House(tmp_path / "out")) as house:
        run_records.begin_run(house.db, run_of(0), 1)
        taken = [
            Entry(ONE, FETCHED_MS, True, answer(ONE, DAYS[0], ""), fetched_by=PAGES),
            Entry(OTHER, FETCHED_MS, True, answer(OTHER, DAYS[1], "")),
        ]
        nothing: dict[str, Any] = {}
        keep(
            house.db,
            run_of(0),
            Batch(entries=taken),
            work_list=None,
            counters=nothing,
            requests_of_day=("", 0),
        )
        publisher(house).publish()
        night(house, 1, rows=1, days=DAYS[:1])
    told_by = {run_of(1): later, **({run_of(0): {"exit_code": 5}} if first_ended else {})}
    for run_id, more in told_by.items():
        house.output.run(run_id).mkdir(parents=True)
        (house.output.run(run_id) / SUMMARY).write_text(json.dumps(summary_of(run_id) | more))
    told = [one for one in rebuild(house.config, force=True).unknown if "in runs that" in one]
    assert [one.partition(" that came")[0] for one in told] == ["whether 1 records"] * is_told


def test_without_data_the_account_is_that_of_the_newest_run(tmp_path: Path) -> None:
    for number, account in enumerate(("before", "since")):
        folder = tmp_path / "out" / "runs" / run_of(number)
        folder.mkdir(parents=True)
        told = summary_of(run_of(number), account=account)
        (folder / SUMMARY).write_text(json.dumps(told))
    config = replace(config_of(tmp_path / "out"), vendor=Vendor())
    assert rebuild(config).account == "since"


def test_records_of_a_list_that_differed_are_named_with_what_fetches_them_again(
    house: House,
) -> None:
    folder = house.output.run(run_of(0))
    folder.mkdir(0o700, parents=True)
    doubted = summary_of(run_of(0)) | {"by_pages": {"fetched_again": 1020}}
    (folder / SUMMARY).write_text(json.dumps(doubted))
    (told,) = (one for one in rebuild(house.config, force=True).unknown if "by pages" in one)
    assert "1020 records" in told
    assert "harvester refetch delivered --ids pages.csv" in told
