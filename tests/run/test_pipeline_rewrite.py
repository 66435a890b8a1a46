"""A rewrite, step by step: what is durable when, what a crash leaves, and what is refused."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from itertools import chain, repeat
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import pyarrow.parquet as pq
import pytest

from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.origin import identity_in
from harvester.dataset.usage import UsageTotals
from harvester.errors import StoreError
from harvester.identity import Identity
from harvester.operations.compact import Order, choose
from harvester.pipeline.publish import merging
from harvester.pipeline.publish.merging import Contents, Gathered, Source, read_contents
from harvester.pipeline.publish.rewrite import Folder, Rewriter, sweep_retired
from harvester.pipeline.run.recovery import compare_with_data, open_output
from harvester.state import publications
from harvester.state.database import open_database
from harvester.state.values import Note
from harvester.state.writer import InlineLedger
from harvester.storage.disk import RealDisk, why_no_exchange
from harvester.storage.output import ASIDE
from tests.support.fakes import ACCOUNT, House
from tests.support.nights import DAYS, damage, nights, publisher

EARLIER_MS = 1_700_000_000_000
NOW = datetime(2026, 11, 2, tzinfo=UTC)


class PowerCut(BaseException):
    """The machine is gone at this point."""


class Traced(RealDisk):
    """The real disk, a list of what was done to it, and a step at which it is over."""

    def __init__(self, cut_at: str = "") -> None:
        self.trace: list[str] = []
        self._cut_at = cut_at

    def _note(self, step: str) -> None:
        self.trace.append(step)
        if step == self._cut_at:
            raise PowerCut

    def sync_file(self, file: BinaryIO) -> None:
        super().sync_file(file)
        self._note("sync a file")

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        self._note(f"sync {path.name}/")

    def link(self, source: Path, target: Path) -> None:
        super().link(source, target)
        self._note(f"link {target.name}")

    def exchange(self, one: Path, other: Path) -> None:
        super().exchange(one, other)
        self._note(f"exchange {other.name}")

    def rename_folder(self, source: Path, target: Path) -> None:
        super().rename_folder(source, target)
        self._note(f"rename {target.parent.name}/{target.name}")

    def remove_folder(self, path: Path) -> None:
        super().remove_folder(path)
        self._note(f"remove {path.name}")


class TracedLedger(InlineLedger):
    """The real ledger; what it is called for stands among the steps of a disk."""

    disk: Traced

    def submit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        done = super().submit(function, *args, **kwargs)
        self.disk._note(function.__name__)
        return done


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = nights(tmp_path / "out")
    yield made
    made.close()


def folders(house: House, most_rows: int = 1_000_000) -> Sequence[Folder]:
    parts = publications.current_parts(house.db, house.output.place_of)
    order = Order(min_files=2, older_than_s=0, most_rows=most_rows)
    return choose(parts, order, "UTC", NOW).folders


def rewriter(house: House, disk: RealDisk | None = None) -> Rewriter:
    ledger = TracedLedger(house.db, house.output.database)
    ledger.disk = disk if isinstance(disk, Traced) else Traced()
    return Rewriter(
        ledger,
        house.output,
        house.config.output,
        house.state_id,
        disk=disk,
        now_ms=lambda: EARLIER_MS,
    )


def reopened(house: House) -> House:
    """As the next start finds it, and leaves it."""
    house.db.close()
    with open_output(house.config):
        pass
    house.db = open_database(house.output.database, ACCOUNT)
    return house


def names(house: House, day: str = DAYS[0]) -> set[str]:
    return {path.name for path in house.output.cdr.glob(f"submit_date={day}/*")}


def all_contents(house: House) -> merging.Contents:
    found = merging.Contents()
    for part in publications.current_parts(house.db, house.output.place_of):
        source = Source(house.output.cdr / part.path, part.sha256, part.publication)
        found += read_contents(source, GROUP_RECORD)
    return found


def test_nothing_is_committed_before_it_is_durable_and_nothing_goes_before_all_came(
    house: House,
) -> None:
    disk = Traced()
    rewriter(house, disk).rewrite(folders(house), Note("compact"))
    number = "11"
    staged = ["sync a file", f"sync submit_date={DAYS[0]}/"]
    steps = [f"{step}" for step in disk.trace]
    assert steps[:3] == ["prepare_rewrite", *staged]
    commit = steps.index("commit_rewrite")
    assert steps[commit - 2 : commit] == [f"sync {number}/", "sync staging/"]
    assert steps[commit + 1 :] == [
        *(f"exchange submit_date={day}" for day in DAYS),
        "sync cdr/",
        f"sync {number}/",
        f"rename retired/{number}",
        "sync retired/",
        "sync staging/",
        "sync state/",
        "retire",
    ]


def test_the_rows_are_the_same_in_fewer_files_sorted_under_names_that_are_new(house: House) -> None:
    before, old, ids = all_contents(house), names(house), house.published()
    done = rewriter(house).rewrite(folders(house), Note("compact"))
    assert done is not None
    assert (len(done.go), len(done.come)) == (30, 3)
    assert all_contents(house) == before
    assert sorted(house.published()) == sorted(ids)
    assert not old & names(house)
    assert names(house) == {f"part-{house.state_id[:8]}-11-0-r11.parquet"}
    for path in house.output.cdr.glob("*/*"):
        found = pq.read_table(path)["voice_id"].to_pylist()
        assert found == sorted(found)
        assert path.stat().st_mode & 0o777 == house.config.output.file_mode
    house.close()
    assert damage(house) == []


def test_a_file_that_stays_as_it_is_gets_a_new_name_and_keeps_its_publication(
    house: House,
) -> None:
    big = folders(house)
    alone = big[0].go[3]
    rest = tuple(part for part in big[0].go if part is not alone)
    inode = (house.output.cdr / alone.path).stat().st_ino
    for expected in ("-r11", "-r12"):
        parts = publications.current_parts(house.db, house.output.place_of)
        of_day = [part for part in parts if part.folder == alone.folder]
        same = next(part for part in of_day if part.sha256 == alone.sha256)
        others = tuple(part for part in of_day if part is not same)
        assert rewriter(house).rewrite([Folder((others, (same,)))], Note("compact")) is not None
        (kept,) = [
            path
            for path in house.output.cdr.glob(f"{alone.folder}/*")
            if path.stat().st_ino == inode
        ]
        stem = Path(alone.path).stem
        assert kept.name == f"{stem}{expected}.parquet"
    assert len(rest) == 9
    known = publications.known_parts(house.db)[f"{alone.folder}/{kept.name}"]
    assert (known.publication, known.rewrite, known.brought_by) == (alone.publication, 12, 12)
    house.close()
    assert damage(house) == []


CUTS = [
    "prepare_rewrite",
    "sync a file",
    f"sync submit_date={DAYS[1]}/",
    "sync 11/",
    "sync staging/",
    "commit_rewrite",
    *(f"exchange submit_date={day}" for day in DAYS),
    "sync cdr/",
    "rename retired/11",
    "sync retired/",
    "retire",
]


@pytest.mark.parametrize("cut", CUTS)
def test_cut_off_after_any_step_the_next_start_is_as_before_or_as_after(
    house: House, cut: str
) -> None:
    before, ids = all_contents(house), sorted(house.published())
    with pytest.raises(PowerCut):
        rewriter(house, Traced(cut)).rewrite(folders(house), Note("compact"))
    assert sorted(house.published()) == ids, "a reader never counts wrong"
    assert all_contents(house) == before, "nor does who goes by the state"
    compare_with_data(house.db, house.output)
    is_committed = CUTS.index(cut) >= CUTS.index("commit_rewrite")
    reopened(house)
    assert sorted(house.published()) == ids
    assert len(names(house)) == (1 if is_committed else 10)
    assert not list(house.output.staging.iterdir())
    house.close()
    assert damage(house) == []


@pytest.mark.parametrize("exchanged", [0, 1])
@pytest.mark.parametrize("how", ["gone", "damaged", "folder gone", "all gone"])
def test_a_staged_file_that_is_lost_is_made_again_from_the_data(
    house: House, exchanged: int, how: str
) -> None:
    ids = sorted(house.published())
    cut = f"exchange submit_date={DAYS[0]}" if exchanged else "commit_rewrite"
    with pytest.raises(PowerCut):
        rewriter(house, Traced(cut)).rewrite(folders(house, most_rows=12), Note("compact"))
    folder = house.output.staging / "11" / f"submit_date={DAYS[2]}"
    file = min(folder.iterdir())
    if how == "gone":
        file.unlink()
    elif how == "damaged":
        file.write_bytes(b"half")
    else:
        shutil.rmtree(folder if how == "folder gone" else folder.parent)
    reopened(house)
    assert sorted(house.published()) == ids
    house.close()
    assert damage(house) == []


def test_rows_that_are_not_those_of_the_old_files_stop_it_and_nothing_is_changed(
    house: House,
) -> None:
    ids, old = sorted(house.published()), names(house)

    class Losing(Rewriter):
        def _prove(self, path: Path, back: Contents, gathered: Gathered) -> None:
            lost = UsageTotals(rows=1)
            super()._prove(path, msgspec.structs.replace(back, usage=back.usage + -lost), gathered)

    losing = Losing(
        InlineLedger(house.db, house.output.database),
        house.output,
        house.config.output,
        house.state_id,
    )
    with pytest.raises(StoreError, match=r"must hold \(39 rows, not 40,") as raised:
        losing.rewrite(folders(house), Note("compact"))
    assert raised.value.exit_code == 6
    assert (sorted(house.published()), names(house)) == (ids, old)
    assert publications.unfinished(house.db) == []
    house.close()
    assert damage(house) == []


def test_a_file_that_is_not_as_it_was_published_is_not_copied_into_a_new_one(house: House) -> None:
    part = folders(house)[1].go[2]
    path = house.output.cdr / part.path
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match="has changed since it was written") as raised:
        rewriter(house).rewrite(folders(house), Note("compact"))
    assert part.path in str(raised.value)
    assert len(names(house)) == 10
    assert not list(house.output.staging.iterdir())


def test_where_nobody_reads_folders_are_renamed_and_none_is_exchanged(house: House) -> None:
    ids, disk = sorted(house.published()), Traced()
    rewriter(house, disk).rewrite(folders(house), Note("compact", by_renames=True))
    assert not [step for step in disk.trace if step.startswith("exchange")]
    assert [step for step in disk.trace if step.startswith("rename")] == [
        *(
            step
            for day in DAYS
            for step in (f"rename 11/submit_date={day}{ASIDE}", f"rename cdr/submit_date={day}")
        ),
        "rename retired/11",
    ]
    assert sorted(house.published()) == ids
    house.close()
    assert damage(house) == []


def test_one_that_is_finished_later_is_so_by_renames_as_well(house: House) -> None:
    cut = Traced("commit_rewrite")
    with pytest.raises(PowerCut):
        rewriter(house, cut).rewrite(folders(house), Note("compact", by_renames=True))
    (unfinished,) = publications.unfinished(house.db)
    disk = Traced()
    rewriter(house, disk).finish(unfinished)
    assert not [step for step in disk.trace if step.startswith("exchange")]
    assert f"rename cdr/submit_date={DAYS[0]}" in disk.trace
    house.close()
    assert damage(house) == []


def test_a_new_file_says_what_the_output_belongs_to(house: House) -> None:
    identity = Identity(account=ACCOUNT, timezone="UTC", addresses=("https://x",))
    Rewriter(
        InlineLedger(house.db, house.output.database),
        house.output,
        house.config.output,
        house.state_id,
        identity=identity,
    ).rewrite(folders(house), Note("compact"))
    for path in house.output.cdr.glob("*/*"):
        assert identity_in(pq.read_metadata(path).metadata) == identity


def test_what_lies_beside_it_is_made_before_the_commit_point_and_goes_if_that_fails(
    house: House,
) -> None:
    disk, left = Traced(), house.output.dropped / "erase-11.parquet"

    def beside(number: int) -> None:
        assert "commit_rewrite" not in disk.trace
        left.parent.mkdir()
        left.with_name(f"erase-{number}.parquet").touch()
        raise StoreError("no room", code="disk.full")

    with pytest.raises(StoreError, match="no room"):
        rewriter(house, disk).rewrite(folders(house), Note("erase"), beside=beside)
    assert not left.exists()
    assert publications.unfinished(house.db) == []
    assert len(names(house)) == 10
    assert not list(house.output.staging.iterdir())


def test_what_somebody_put_into_a_folder_by_hand_does_not_leave_with_it(house: House) -> None:
    chosen = folders(house)
    strange = house.output.cdr / f"submit_date={DAYS[1]}" / "mine.parquet"
    strange.write_bytes(b"x")
    with pytest.raises(StoreError, match=r"mine\.parquet") as raised:
        rewriter(house).rewrite(chosen, Note("compact"))
    assert raised.value.code == "data.unknown_file"
    assert strange.exists()
    assert len(names(house)) == 10


def test_whoever_stops_it_before_the_commit_point_leaves_all_as_it_was(house: House) -> None:
    for asked in range(1, 30, 7):
        calls = chain(repeat(False, asked), repeat(True))
        assert rewriter(house).rewrite(folders(house), Note("compact"), calls.__next__) is None
    assert len(names(house)) == 10
    assert not list(house.output.staging.iterdir())
    house.close()
    assert damage(house) == []


def test_a_full_disk_leaves_all_as_it_was_and_frees_what_it_took(house: House) -> None:
    class Full(RealDisk):
        def sync_folder(self, path: Path) -> None:
            if path.name == f"submit_date={DAYS[1]}":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super().sync_folder(path)

    with pytest.raises(StoreError, match="disk is full"):
        rewriter(house, Full()).rewrite(folders(house), Note("compact"))
    assert not list(house.output.staging.iterdir())
    house.close()
    assert damage(house) == []


def test_the_folder_is_for_those_for_whom_the_old_one_was(house: House) -> None:
    folder = house.output.cdr / f"submit_date={DAYS[0]}"
    folder.chmod(0o2755)
    if os.geteuid() == 0:
        os.chown(folder, -1, 12_345)
    before = folder.stat()
    rewriter(house).rewrite(folders(house), Note("compact"))
    after = folder.stat()
    assert after.st_ino != before.st_ino
    assert (after.st_mode, after.st_gid) == (before.st_mode, before.st_gid)


def test_retired_files_are_kept_for_the_grace_and_then_go(house: House) -> None:
    rewriter(house).rewrite(folders(house), Note("compact"))
    ledger = InlineLedger(house.db, house.output.database)
    retired = house.output.retired / "11"
    assert len(list(retired.glob("*/*"))) == 30
    sweep_retired(ledger, house.output, 60, EARLIER_MS + 59_999)
    assert retired.exists()
    assert sum(one.state == "retired" for one in publications.known_parts(house.db).values()) == 30
    sweep_retired(ledger, house.output, 60, EARLIER_MS + 60_000)
    assert not retired.exists()
    assert {one.state for one in publications.known_parts(house.db).values()} == {"live"}
    house.close()
    assert damage(house) == []


@pytest.mark.parametrize("is_known", [True, False])
def test_what_was_retired_by_a_clock_that_was_ahead_goes_as_well(
    house: House, is_known: bool
) -> None:
    rewriter(house).rewrite(folders(house), Note("compact"))
    ledger, retired = InlineLedger(house.db, house.output.database), house.output.retired / "11"
    if not is_known:  # a state that was made again
        publications.forget_retired(house.db, 11)
        os.utime(retired, ns=(EARLIER_MS * 1_000_000, EARLIER_MS * 1_000_000))
    now_ms = EARLIER_MS - 3 * 365 * 86_400_000
    sweep_retired(ledger, house.output, 60, now_ms)
    sweep_retired(ledger, house.output, 60, now_ms + 59_999)
    assert retired.exists(), "its grace begins when the clock is right"
    sweep_retired(ledger, house.output, 60, now_ms + 60_000)
    assert not retired.exists()
    house.close()
    assert damage(house) == []


@pytest.mark.parametrize("cut", ["remove 11", "sync retired/"])
def test_a_sweep_that_is_cut_off_is_done_again(house: House, cut: str) -> None:
    rewriter(house).rewrite(folders(house), Note("compact"))
    ledger = InlineLedger(house.db, house.output.database)
    with pytest.raises(PowerCut):
        sweep_retired(ledger, house.output, 60, EARLIER_MS + 60_000, Traced(cut))
    house.db.close()
    assert damage(house) == []
    house.db = open_database(house.output.database, ACCOUNT)
    sweep_retired(
        InlineLedger(house.db, house.output.database), house.output, 60, EARLIER_MS + 60_000
    )
    assert publications.retired_at(house.db) == {}


def test_the_next_start_sweeps_by_the_setting(house: House) -> None:
    rewriter(house).rewrite(folders(house), Note("compact"))
    reopened(house)
    assert list(house.output.retired.iterdir()) == [], "it is years old by this machine's clock"


def test_a_publication_after_a_rewrite_and_a_rewrite_after_that(house: House) -> None:
    rewriter(house).rewrite(folders(house), Note("compact"))
    assert publisher(house).publish() is None
    again = folders(house)
    assert again == (), "nothing is left to merge"


def test_a_file_system_that_cannot_exchange_says_so(tmp_path: Path) -> None:
    assert not why_no_exchange(tmp_path)

    class Unable(RealDisk):
        def exchange(self, one: Path, other: Path) -> None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    assert why_no_exchange(tmp_path, Unable()) == "Invalid argument"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("step", ["link", "exchange"])
def test_a_disk_that_fails_is_not_taken_for_one_that_cannot_exchange(
    tmp_path: Path, step: str, number: int
) -> None:
    class Failing(RealDisk):
        def link(self, source: Path, target: Path) -> None:
            self._fail("link")
            super().link(source, target)

        def exchange(self, one: Path, other: Path) -> None:
            self._fail("exchange")

        def _fail(self, asked: str) -> None:
            if asked == step:
                raise OSError(number, os.strerror(number))

    with pytest.raises(OSError, match=re.escape(os.strerror(number))):
        why_no_exchange(tmp_path, Failing())
    assert not list(tmp_path.iterdir())


def test_contents_differ_wherever_a_row_is_another(house: House) -> None:
    part = folders(house)[0].go[0]
    table = pq.ParquetFile(house.output.cdr / part.path).read()
    whole = merging.contents_of(table, GROUP_RECORD)
    assert merging.contents_of(table.take([3, 1, 0, 2]), GROUP_RECORD) == whole
    assert merging.contents_of(table.take([0, 1, 2]), GROUP_RECORD) != whole
    assert merging.contents_of(table.take([0, 1, 2, 2]), GROUP_RECORD) != whole
