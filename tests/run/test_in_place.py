"""An output that is moved away below a run: exit 6 and what to do, never 0."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harvester.config import Secrets, load
from harvester.errors import AlreadyRunning, StoreError
from harvester.pipeline.engine.progress import Progress
from harvester.pipeline.run.in_place import InPlace
from harvester.pipeline.run.requests import RunRequest
from harvester.pipeline.run.run import Result, run
from harvester.simulator import make_ids
from harvester.state.lock import OutputLock
from harvester.storage.output import Output
from tests.run.test_cli_commands import harvester
from tests.support.fakes import House
from tests.support.harvesting import FAST
from tests.support.simulated import ALL_RECORDS, END, Simulator

IDS = sorted(make_ids(400, 12, end=END))
SECRETS = Secrets("bDqJFiq9", "7bz1lzh9")


def gone(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def renamed(path: Path) -> None:
    path.rename(path.with_name(f"{path.name}.old"))


def replaced(path: Path) -> None:
    """By a copy of itself, as a backup that is put back would."""
    copy = path.with_name(f"{path.name}.copy")
    shutil.copytree(path, copy) if path.is_dir() else shutil.copy2(path, copy)
    renamed(path)
    copy.rename(path)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


CASES = [
    (way, place)
    for way in (gone, renamed, replaced)
    for place in (
        "",
        "cdr",
        "runs",
        "runs/this",
        "state",
        "state/lock",
        "state/state.db",
        "state/state.db-wal",
        "state/lists",
        "state/lists/list-1.parquet",
    )
]


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Output]:
    with closing(House(tmp_path / "out", ["1", "2"])) as house:
        house.output.run("this").mkdir()
        house.output.lock.touch()
        yield house.output


def noted(output: Output) -> InPlace:
    found = InPlace(output)
    found.note_run(output.run("this"))
    found.note_state("list-1.parquet", None)
    return found


@pytest.mark.parametrize(
    ("way", "place"),
    [*CASES, (emptied, "state/state.db")],
    ids=lambda one: getattr(one, "__name__", one) or "out",
)
def test_whatever_is_not_in_its_place_is_named_with_a_remedy(
    output: Output, way: Callable[[Path], None], place: str
) -> None:
    in_place = noted(output)
    assert in_place.trouble() is None
    way(output.root / place)
    trouble = in_place.trouble()
    assert trouble is not None
    assert f"{output.root / place} was moved, removed or replaced" in str(trouble)
    assert "run the same command again" in str(trouble).lower().replace("\n", " ")


def test_what_is_written_put_back_or_added_is_no_trouble(output: Output) -> None:
    in_place = noted(output)
    output.status.write_text("{}")
    output.run("this").joinpath("log.jsonl").write_text("{}")
    with output.database.open("ab") as file:
        file.write(b"\0" * 4096)
    (output.lists / "list-2.parquet").touch()
    assert in_place.trouble() is None
    away = output.state.with_name("away")
    output.state.rename(away)
    assert in_place.trouble() is not None
    away.rename(output.state)
    assert in_place.trouble() is None


def test_what_is_gone_before_it_is_noted_is_trouble_too(output: Output) -> None:
    gone(output.lists)
    with pytest.raises(StoreError, match="lists was moved"):
        InPlace(output)


class Meanwhile:
    """Does something to the output once, when a run has so much done."""

    def __init__(self, done: int, act: Callable[[], None]) -> None:
        self._done = done
        self._act: Callable[[], None] | None = act

    def message(self, level: str, event: str, **fields: object) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        if self._act is not None and progress.resolved >= self._done:
            act, self._act = self._act, None
            act()


class WhileBooksAreDrawnUp(Meanwhile):
    """Does something to the output when all is fetched and compared, and about to be noted."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__(len(IDS) + 1, act)
        self.acted = False

    def message(self, level: str, event: str, **fields: object) -> None:
        if event == "new_fields" and self._act is not None:
            self._act()
            self.acted = True


def harvest(root: Path, vendor: Simulator, events: Meanwhile, **more: object) -> Result:
    ids = root.parent / "ids.txt"
    ids.write_text("\n".join(IDS))
    named = {name.replace("__", ".", 1): value for name, value in more.items()}
    flags = {**FAST, "output.dir": str(root), "vendor.base_url": vendor.base_url, **named}
    return run(load(flags=flags).config, SECRETS, RunRequest(sources=(str(ids),)), events)


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as up:
        yield up


@pytest.mark.parametrize("place", ["state/state.db", "runs/*", "state/lists", "state", "cdr"])
def test_a_run_whose_last_record_came_when_it_was_gone_already_ends_with_6(
    vendor: Simulator, tmp_path: Path, place: str
) -> None:
    root = tmp_path / "out"

    def act() -> None:
        renamed(next(root.glob(place)))

    with pytest.raises(StoreError, match="was moved, removed or replaced") as raised:
        harvest(root, vendor, Meanwhile(len(IDS), act))
    assert raised.value.exit_code == 6
    assert not list(root.glob("runs/*/summary.json"))


@pytest.mark.parametrize("place", ["state/lock", "cdr"])
def test_a_run_below_which_it_goes_while_its_books_are_drawn_up_does_not_end_with_0(
    tmp_path: Path, place: str
) -> None:
    root = tmp_path / "out"
    events = WhileBooksAreDrawnUp(lambda: renamed(root / place))
    with (
        Simulator(rate_limit=0, seed=8) as drifting,  # its records have fields that are new
        pytest.raises(StoreError, match="was moved, removed or replaced") as raised,
    ):
        harvest(root, drifting, events)
    assert events.acted
    assert raised.value.exit_code == 6


def test_it_is_noticed_long_before_the_end_and_what_was_kept_can_be_rebuilt_from(
    vendor: Simulator, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    before = vendor.stats()["requests"]
    events = Meanwhile(20, lambda: gone(root / "state" / "lock"))
    with pytest.raises(StoreError, match="Never remove the lock by hand"):
        harvest(root, vendor, events, pace__rate_per_s=50.0)
    asked = vendor.stats()["requests"] - before
    assert asked < len(IDS) / 2 + 50, "within 2 s and the grace, not at the end"
    assert (next(root.glob("runs/2*")) / "state.parquet").exists()
    # And the same command goes on: nothing that was acknowledged is fetched again.
    assert harvest(root, vendor, Meanwhile(0, lambda: None)).exit_code == 0
    assert vendor.stats()["requests"] - before == len(IDS)


def test_what_only_a_runs_folder_knows_is_not_forgotten_by_a_fresh_start(
    vendor: Simulator, tmp_path: Path
) -> None:
    root = tmp_path / "out"
    vendor.post_faults(refuse="-22")
    assert harvest(root, vendor, Meanwhile(0, lambda: None)).exit_code == 3
    vendor.post_faults(refuse=None)
    gone(root / "state")
    assert not list(root.glob("cdr/*")), "there is no data to tell of them"
    with pytest.raises(StoreError, match="would be forgotten") as refused:
        harvest(root, vendor, Meanwhile(0, lambda: None))
    assert "harvester rebuild" in str(refused.value)
    rebuilt = harvester("rebuild", "--out", "out", cwd=tmp_path)
    assert rebuilt.returncode == 0, rebuilt.stderr
    told = json.loads(harvester("status", "--out", "out", "--json", cwd=tmp_path).stdout)
    assert told["dead"] == len(IDS)
    # What such a folder knows nothing of may begin afresh.
    gone(root / "state")
    for kept in root.glob("runs/*/state.parquet"):
        kept.unlink()
    assert harvest(root, vendor, Meanwhile(0, lambda: None)).exit_code == 0


class Unlucky(OutputLock):
    """Its file is removed just before it is locked."""

    times = 0

    def _take(self) -> bool:
        self.times += 1
        if self.times == 1:
            self._path.unlink()
        return super()._take()


def test_a_lock_whose_file_was_removed_before_it_was_taken_is_taken_once_more(
    tmp_path: Path,
) -> None:
    with Unlucky(tmp_path / "lock") as lock:
        assert lock.times == 2
        with pytest.raises(AlreadyRunning):
            OutputLock(tmp_path / "lock")


def test_a_database_that_got_smaller_since_it_was_looked_at_last_was_written_over(
    output: Output,
) -> None:
    """Nothing vacuums it: it only grows."""
    size = output.database.stat().st_size
    in_place = noted(output)
    for wanted, is_trouble in ((size + 8192, False), (size + 8192, False), (size + 4096, True)):
        os.truncate(output.database, wanted)
        assert (in_place.trouble() is not None) is is_trouble, wanted
