"""What one publication puts into the data set, and what it says of that."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harvester.identity import Identity
from harvester.pipeline.publish.publisher import Published, Publisher
from harvester.state import publications, run_records
from harvester.state.acknowledge import acknowledge
from harvester.state.values import Batch, Compared, Entry, Note
from harvester.state.writer import InlineLedger
from harvester.storage import dropped
from harvester.storage.disk import RealDisk
from tests.support.fakes import ACCOUNT, House

FETCHED_MS = 1_800_000_000_000
RUN, LATER = "20261101T000000Z-00000a", "20261102T000000Z-00000b"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with closing(House(tmp_path / "out")) as made:
        for number, run in enumerate((RUN, LATER)):
            run_records.begin_run(made.db, run, number)
        yield made


def call(voice_id: str, at: int = 0, day: str = "2026-11-01", **fields: Any) -> Entry:
    """An answered call of a minute; fields that are None are left out."""
    said = {
        "submitTime": f"{day}T10:00:00Z",
        "answerTime": f"{day}T10:00:05Z",
        "hangupTime": f"{day}T10:01:05Z",
        "callDuration": 60,
        "chargedDuration": 60,
        "cost": "0.01",
        "currency": "USD",
        **fields,
    }
    data = {name: value for name, value in said.items() if value is not None}
    return Entry(voice_id, FETCHED_MS + at, True, json.dumps({"data": data}).encode())


def keep(house: House, *entries: Entry, again: bool = False) -> None:
    """Keep these answers, of a run of their own kind, in the journal."""
    run = LATER if again else RUN
    batch = Batch(again=list(entries)) if again else Batch(entries=list(entries))
    acknowledge(house.db, run, batch, work_list=None, counters={}, requests_of_day=("", 0))


def publisher(
    house: House, identity: Identity | None = None, disk: RealDisk | None = None
) -> Publisher:
    return Publisher(
        InlineLedger(house.db, house.output.database),
        house.output,
        house.config.output,
        ACCOUNT,
        house.state_id,
        identity=identity,
        disk=disk,
    )


def publish(
    house: House,
    *entries: Entry,
    again: bool = False,
    identity: Identity | None = None,
    disk: RealDisk | None = None,
) -> Published:
    """Keep these answers, of a run of their own kind, and publish them."""
    keep(house, *entries, again=again)
    done = publisher(house, identity, disk).publish()
    assert done is not None
    assert publications.journal_size(house.db) == (0, 0)
    assert list(house.output.staging.iterdir()) == []
    return done


def newest_note(house: House) -> Note:
    return publications.notes_since(house.db, 0)[-1][1]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.parquet"))


def test_it_tells_what_it_has_put_there_and_keeps_that_with_its_number(house: House) -> None:
    done = publish(
        house,
        call("a", novelty=1),
        call("b", currency=None, rate="much"),
        call("c", day="2026-11-02", cost=None),
    )
    parts = files(house.output.cdr)
    assert [path.parent.name for path in parts] == [
        "submit_date=2026-11-01",
        "submit_date=2026-11-02",
    ]
    assert (done.records, done.files) == (3, 2)
    assert done.bytes == sum(path.stat().st_size for path in parts)
    assert (done.unparsed, done.extra) == ({"rate": 1}, {"novelty": 1})
    assert (done.without_cost, done.presumed_currency, done.is_change) == (1, 1, False)
    assert newest_note(house) == Note(
        records=3, unparsed={"rate": 1}, extra={"novelty": 1}, without_cost=1, presumed=1
    )
    assert {path.stat().st_mode & 0o777 for path in parts} == {house.config.output.file_mode}


def test_a_name_that_could_be_a_number_is_not_kept(house: House) -> None:
    named: dict[str, Any] = {"491701112223": 1}
    publish(house, call("a", **named))
    assert newest_note(house).extra == {"odd": 1}


def test_its_files_say_what_they_belong_to_and_who_published_them(house: House) -> None:
    identity = Identity(account=ACCOUNT, timezone="UTC", addresses=("https://x",))
    publish(house, call("a"), identity=identity)
    (path,) = files(house.output.cdr)
    footer = pq.read_metadata(path).metadata
    assert footer[b"cdr.account"] == ACCOUNT.encode()
    assert footer[b"cdr.partition_timezone"] == b"UTC"
    number = publications.newest_number(house.db)
    assert footer[b"cdr.publication"] == str(number).encode()
    assert path.name == f"part-{house.state_id[:8]}-{number}-0.parquet"


def test_answers_about_delivered_calls_become_changes_where_they_differ(house: House) -> None:
    publish(house, call("a"), call("b"), call("c", cost=None))
    done = publish(
        house, call("a", 1), call("b", 1, cost="0.03"), call("c", 1, cost=None), again=True
    )
    (path,) = files(house.output.changes)
    assert pq.read_table(path, partitioning=None)["voice_id"].to_pylist() == ["b"]
    assert path.stat().st_mode & 0o777 == house.config.output.file_mode
    assert (done.records, done.files, done.is_change) == (3, 1, True)
    note = newest_note(house)
    assert note.records == 3
    assert (note.compared[LATER].same, note.compared[LATER].changed) == (2, 1)
    # Of calls that were delivered without a cost it was said then.
    assert (done.without_cost, note.without_cost) == (1, 0)


def test_answers_that_say_the_same_leave_no_file(house: House) -> None:
    publish(house, call("a"))
    done = publish(house, call("a", 1), again=True)
    assert (done.records, done.files, done.bytes) == (1, 0, 0)
    assert not house.output.changes.exists()
    assert newest_note(house).compared == {LATER: Compared(same=1)}


def test_what_has_changed_is_compared_with_the_newest_that_is_known(house: House) -> None:
    publish(house, call("a"))
    publish(house, call("a", 1, cost="0.02"), again=True)
    assert publish(house, call("a", 2, cost="0.02"), again=True).files == 0
    assert publish(house, call("a", 3), again=True).files == 1


def test_of_two_answers_about_a_call_the_one_that_came_last_is_compared(house: House) -> None:
    publish(house, call("a"), call("b"))
    answers = [call("a", 1, cost="0.05"), call("b", 2, cost="0.07"), call("a", 3, cost="0.09")]
    publish(house, *answers, again=True)
    (path,) = files(house.output.changes)
    found = pq.read_table(path, partitioning=None).to_pylist()
    assert {one["voice_id"]: str(one["new"]["cost"])[:4] for one in found} == {
        "a": "0.09",
        "b": "0.07",
    }
    compared = newest_note(house).compared[LATER]
    assert (compared.same, compared.changed) == (1, 2)


class Recording(RealDisk):
    """The real disk, and what was moved and synced, relative to the output."""

    def __init__(self, house: House) -> None:
        self._root = house.output.root
        self.done: list[str] = []

    def move(self, source: Path, target: Path) -> None:
        super().move(source, target)
        self.done.append(f"move to {target.parent.relative_to(self._root)}")

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        self.done.append(f"sync {path.relative_to(self._root)}")


@pytest.mark.parametrize(
    ("again", "root", "folder"),
    [(False, "cdr", "submit_date=2026-11-01"), (True, "changes", "change_date=2027-01-15")],
)
def test_the_names_of_new_files_are_durable_before_the_journal_forgets_them(
    house: House, again: bool, root: str, folder: str
) -> None:
    """Up to the folder that cdr/ or changes/ itself may just have been made in."""
    if again:
        publish(house, call("a"))
    disk = Recording(house)
    publish(house, call("a", cost="0.02"), again=again, disk=disk)
    assert disk.done == [
        "sync state/staging",
        f"move to {root}/{folder}",
        f"sync {root}/{folder}",
        f"sync {root}",
        "sync .",
    ]


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("is_staged", [False, True])
def test_a_stop_is_heeded_up_to_the_commit_point_and_leaves_all_in_the_journal(
    house: House, again: bool, is_staged: bool
) -> None:
    if again:
        publish(house, call("a"))
    before, data = publications.all_publications(house.db), files(house.output.root)
    keep(house, call("a", cost="0.02"), again=again)
    staging = house.output.staging
    stopping = publisher(house).publish(lambda: not is_staged or any(staging.iterdir()))
    assert stopping is None
    assert publications.journal_size(house.db)[0] == 1
    assert publications.all_publications(house.db) == before
    assert list(staging.iterdir()) == []
    assert files(house.output.root) == data
    assert publisher(house).publish() is not None


def test_a_stop_is_not_heeded_past_the_commit_point(house: House) -> None:
    keep(house, call("a"))

    def should_stop() -> bool:
        return bool(publications.unfinished(house.db) or files(house.output.cdr))

    assert publisher(house).publish(should_stop) is not None
    assert [one.state for one in publications.all_publications(house.db)] == ["live"]
    assert publications.journal_size(house.db) == (0, 0)


def test_a_start_forgets_what_was_never_committed_with_the_ids_that_it_would_have_left(
    house: House,
) -> None:
    """Else calls that no drop has taken would count as resolved."""
    publish(house, call("a"))
    one, other = (publications.prepare_rewrite(house.db) for _ in range(2))
    disk, folder = RealDisk(), house.output.dropped
    dropped.write_erased(folder, one, ["a"], disk)
    dropped.write_erased(folder, other + 1, ["b"], disk)
    (house.output.staging / "7").mkdir()
    assert publisher(house).recover() == 0
    assert dropped.numbers(folder) == [other + 1]
    assert [one.state for one in publications.all_publications(house.db)] == ["live"]
    assert list(house.output.staging.iterdir()) == []


@pytest.mark.parametrize("again", [False, True])
def test_a_start_finishes_what_is_committed(house: House, again: bool) -> None:
    """Whether the power went before or after its files were in their place."""
    if again:
        publish(house, call("a"))

    class Gone(BaseException):
        """The power is cut."""

    class Cut(RealDisk):
        def move(self, source: Path, target: Path) -> None:
            raise Gone

    keep(house, call("a", cost="0.02"), call("b", 1, cost="0.02"), again=again)
    with pytest.raises(Gone):
        publisher(house, disk=Cut()).publish()
    disk = Recording(house)
    assert publisher(house, disk=disk).recover() == 1
    root = house.output.changes if again else house.output.cdr
    assert len(files(root)) == 1
    assert disk.done[-2:] == [f"sync {root.name}", "sync ."]
    assert publications.journal_size(house.db) == (0, 0)
    assert publisher(house).recover() == 0
