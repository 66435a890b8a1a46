"""From input files to the work list in force: what a second look at the same files finds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harvester.errors import UsageError
from harvester.inputs.discover import IdFile
from harvester.inputs.id_dates import stamp_of
from harvester.inputs.worklist.reader import ListFile
from harvester.inputs.worklist.spec import Chosen
from harvester.pipeline.run.prepare_list import (
    Listing,
    list_again,
    list_input,
    list_retry,
    list_taken,
)
from harvester.pipeline.run.refetch import Ordered, selection_of
from harvester.pipeline.run.requests import RefetchRequest
from harvester.state import listings, publications, unresolved, work_lists
from harvester.state.database import set_meta, transaction
from harvester.state.values import CHUNK_ROWS, DeadLetter
from tests.support.fakes import House, config_of
from tests.support.nights import nights

A, B, C = "2203031113381000002", "12205181141482000029", "22121121451211349002"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "out")
    yield made
    made.db.close()


def listed(house: House, *files: Path) -> Listing:
    run_dir = house.output.runs / "run"
    run_dir.mkdir(exist_ok=True)
    found = [IdFile(str(path), "txt") for path in files]
    return list_input(house.db, house.output, house.config.input, house.config.plan, found, run_dir)


def test_an_input_that_holds_other_ids_makes_another_list_though_size_and_mtime_are_the_same(
    house: House, tmp_path: Path
) -> None:
    path = tmp_path / "ids.txt"
    path.write_text(f"{A}\n")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    first = listed(house, path).work_list
    assert listed(house, path).work_list == first
    for one in (C, A, C):
        # In place and within the same moment, mtime kept: only ctime moves, if that does.
        path.write_text(f"{one[:19]}\n")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        again = listed(house, path)
        assert again.result is not None
        assert again.work_list != first
        first = again.work_list


@pytest.mark.skipif("FAKETIME" in os.environ, reason="libfaketime moves no times of files")
def test_a_file_that_has_rested_is_not_read_again_and_one_of_an_older_ledger_is(
    house: House, tmp_path: Path
) -> None:
    path = tmp_path / "ids.txt"
    path.write_text(f"{A}\n")
    listed(house, path)
    assert work_lists.known_stamps(house.db) == {}, "it is younger than two seconds"
    house.db.execute("ALTER TABLE input_file DROP COLUMN ctime_ns")
    status = path.stat()
    row = (str(path.resolve()), status.st_ino, status.st_size, status.st_mtime_ns, "no hash")
    house.db.execute("INSERT INTO input_file VALUES (?, ?, ?, ?, ?)", row)
    house.db.execute("ALTER TABLE input_file ADD COLUMN ctime_ns INTEGER NOT NULL DEFAULT 0")
    assert listed(house, path).result is None, "the same input, by what it holds"


def test_without_an_input_the_list_in_force_counts_with_the_books_of_its_input(
    house: House, tmp_path: Path
) -> None:
    config = house.config

    def found() -> Listing:
        return list_input(house.db, house.output, config.input, config.plan, None, run_dir(house))

    assert found() == Listing(None, None, None)
    path = tmp_path / "ids.txt"
    path.write_text(f"{A}\n{B}\nno id\n")
    made = listed(house, path)
    assert made.input is not None
    assert (made.input.lines, made.input.bad, made.input.listed) == (3, 1, 2)
    assert found() == Listing(house.work_list, made.input, None)
    path.write_text(f"{C}\n")
    other = listed(house, path)
    assert (house.work_list.listed, house.work_list.carried_over) == (1, 2)
    assert found() == Listing(house.work_list, other.input, None)
    # A list that was made for no input has no books of one.
    list_retry(house.db, house.output, config.input, config.plan, None, run_dir(house))
    assert found() == Listing(house.work_list, None, None)


def test_new_ids_last_came_with_the_last_input_that_had_one_that_was_on_no_list(
    house: House, tmp_path: Path
) -> None:
    """What was pending anyway is none, whether it is named again or carried over."""
    path = tmp_path / "ids.txt"

    def came(*ids: str) -> bool:
        set_meta(house.db, "new_ids_ms", "7")
        path.write_text("\n".join(ids))
        listed(house, path)
        return work_lists.last_new_ids_ms(house.db) != 7

    assert came(A, B)
    assert not came(A)
    assert not came(A, B)
    assert not came()
    assert came(A, C)
    assert not came(B, C)


# --- lists that are made for something else -------------------------------------------------------


def ids_of(house: House) -> list[str]:
    """The ids on the list in force, in its order."""
    with ListFile(house.output.lists / house.work_list.path) as ids:
        return list(ids.chunk(0, CHUNK_ROWS)[0])


def run_dir(house: House) -> Path:
    folder = house.output.runs / "run"
    folder.mkdir(exist_ok=True)
    return folder


def stamped(ago: timedelta) -> str:
    """The id of a call that was made so long ago."""
    return stamp_of(datetime.now(UTC) - ago) + "1000001"


@pytest.mark.parametrize(("skew", "held"), [("0", 1), ("7200", 0), ("-7200", 1)])
def test_ids_are_too_young_by_the_clock_of_the_vendor_if_that_is_ahead(
    house: House, tmp_path: Path, skew: str, held: int
) -> None:
    house.config = config_of(house.output.root, input__min_age_s=3600.0)
    set_meta(house.db, "clock_skew_s", skew)
    young, old = stamped(timedelta(minutes=10)), stamped(timedelta(hours=2))
    # Dated beyond tomorrow it is not dated by its digits.
    never = stamped(timedelta(days=-3))
    path = tmp_path / "ids.txt"
    path.write_text(f"{young}\n{old}\n{never}")
    found = listed(house, path).input
    assert found is not None
    # A clock of theirs that is behind is no reason to wait longer: ids are fetched too early then.
    assert found.too_young == held
    assert found.listed == 3 - held
    # While any is too young, the same input makes a new list.
    assert (listed(house, path).result is None) is (held == 0)


def test_dead_letters_of_a_reason_come_before_what_is_pending(house: House, tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text(f"{C}\n")
    listed(house, path)
    letters = [DeadLetter(A, "one", "", 1, 0, 0, "run"), DeadLetter(B, "other", "", 1, 0, 0, "run")]
    unresolved.put_dead_letters(house.db, letters)
    config = house.config
    made = list_retry(house.db, house.output, config.input, config.plan, "one", run_dir(house))
    assert made.work_list == house.work_list
    assert (made.input, house.work_list.input_key) == (None, None)
    assert (house.work_list.retried, house.work_list.carried_over) == (1, 1)
    assert ids_of(house) == [A, C]
    # It is pending from now on, and no dead one; the other one is.
    assert unresolved.is_retrying(house.db, A)
    assert [one.voice_id for one in unresolved.dead_letters(house.db)] == [B]
    made = list_retry(house.db, house.output, config.input, config.plan, None, run_dir(house))
    assert unresolved.count_dead(house.db) == {}
    # The first one is pending already; the other one is new.
    assert sorted(ids_of(house)) == sorted([A, B, C])


@pytest.fixture
def full(tmp_path: Path) -> Iterator[House]:
    """An output with records of one night."""
    made = nights(tmp_path / "full", count=1)
    yield made
    made.close()


def again(house: House, key: str, **more: Any) -> Listing:
    request = RefetchRequest(what="delivered", since_ms=0, **more)
    selection = selection_of(house.db, house.output, house.kind, request, None, 0, "salt")
    config = house.config
    return list_again(
        house.db, house.output, config.input, config.plan, selection, key, run_dir(house)
    )


def test_ids_to_be_fetched_again_come_last_and_what_they_are_for_is_kept(
    full: House, tmp_path: Path
) -> None:
    path = tmp_path / "ids.txt"
    path.write_text(f"{A}\n")
    listed(full, path)
    made = again(full, "one")
    assert made.result is not None
    assert (full.work_list.carried_over, full.work_list.again) == (1, 12)
    assert ids_of(full) == [A, *sorted(full.published())]
    ordered = work_lists.refetched_for(full.db, Ordered)
    assert ordered == Ordered(
        key="one",
        what="delivered",
        chosen=Chosen(population=12),
        since=publications.newest_number(full.db),
    )
    assert again(full, "one") == Listing(full.work_list, None, None), "it goes on"
    with pytest.raises(UsageError, match="12 ids of another refetch are pending") as raised:
        again(full, "other", share=0.5)
    assert raised.value.code == "usage.conflict"
    assert again(full, "other").result is not None
    assert full.work_list.again == 12, "each is listed once"


def test_a_sample_is_of_no_other_refetch_and_says_its_share(full: House) -> None:
    made = again(full, "sample", share=0.25)
    assert made.result is not None
    assert 0 < made.result.again < 12
    assert full.work_list.again == made.result.again
    ordered = work_lists.refetched_for(full.db, Ordered)
    assert ordered is not None
    assert (ordered.share, ordered.chosen.population) == (0.25, 12)


def test_what_pages_brought_is_listed_again_once(full: House) -> None:
    taken = sorted(full.published())[:5]
    with transaction(full.db):
        listings.keep_taken(full.db, "run", taken[:2])
        listings.keep_taken(full.db, "run", [*taken[2:], A])
    config = full.config
    count = list_taken(full.db, full.output, full.kind, config.input, config.plan, run_dir(full))
    assert count == 5, "what has no record is not fetched again"
    assert ids_of(full) == taken
    assert listings.count_taken(full.db) == 0
    assert list(full.output.staging.glob("taken-*")) == []
