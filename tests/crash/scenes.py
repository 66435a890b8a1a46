"""What is hurt, and the one oracle for all of it.

A scene is an output as it is before a command, and that command.  A trial is a copy of it in which
the command is hurt at one durable step.  The oracle: a reader never sees half a file or a row
twice; the same command runs again and completes; then every id is in the data exactly once or dead
for its true reason, nothing more is asked, and `verify --deep` finds nothing.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq

from harvester.analysis.verify.verify import Order, verify
from harvester.config import load
from harvester.dataset.footer import FOOTER_SCHEMA_VERSION
from harvester.dataset.group_record import GROUP_RECORD, GROUP_RECORD_1
from harvester.dataset.packing import NO_DATE
from harvester.operations.listed_numbers import read_numbers
from harvester.operations.number_places import where
from harvester.simulator import Fates, make_ids
from harvester.simulator.billing import parse_billing
from harvester.simulator.calls import Fate, call_of
from harvester.state.belongs import keep_data_version
from harvester.state.database import open_database
from harvester.storage.output import Output, make_folders
from tests.crash.faultfs import FaultFs, Step, chosen
from tests.support import forked
from tests.support.changes import change, rows_of
from tests.support.drop_once import last_date
from tests.support.fakes import House
from tests.support.harvesting import Ended, Harvest
from tests.support.outputs import make_version_1, wait_for_requests
from tests.support.simulated import END, ROOT, Simulator

POINTS = int(os.environ.get("CRASH_POINTS", "3")) or None
"""So many steps of each scene, drawn by lot; None (CRASH_POINTS=0): all."""
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
FATES = "dead_param=0.05,open_then_final=0.1,open_forever=0,no_record=0,dead_empty=0,dead_range=0"
RERATED = "rerated=0.4"
"""Of the answered calls, those that cost more from their second answer on."""
IDS = sorted(make_ids(240, 3, end=END, days=3))
REFETCH = {"what": "delivered", "since_ms": 0}
FIRST, SECOND = IDS[:120], IDS[80:]
MANY_DATES = sorted(make_ids(120, 4, end=END, days=50))
DELIVERED = sorted(make_ids(160, 6, end=END, days=3))
"""Of a scene of their own: the vendor counts its answers to each."""
VENDOR_SEED = 5

Process = Literal[
    "harvest_once",
    "worklist.build_child",
    "rebuild_once",
    "compact_once",
    "drop_once",
    "erase_once",
    "lift_once",
]
"""The process that is hurt, by a part of its command line."""


@dataclass(frozen=True, slots=True)
class Scene:
    """An output as it is before a command, and that command."""

    name: str
    before: Path | None
    order: Mapping[str, object]
    """Of the run; of the run that follows, if the command is another one."""
    ids: Sequence[str]
    """What must be in the data in the end, if the vendor has it."""
    other: Literal["", "rebuild_once", "compact_once", "drop_once", "erase_once", "lift_once"] = ""
    """The command, if it is no run; it sends nothing."""


def make_scenes(folder: Path, vendor: Simulator) -> dict[str, Scene]:
    """A first night; one after an unfinished one; the dead, and delivered ids, fetched again; a
    rebuild; a compaction that folds changes in; a drop; an erasure; a night with a state database
    of version 1.
    """
    first, second = folder / "first.txt", folder / "second.txt"
    many, delivered = folder / "many.txt", folder / "delivered.txt"
    inputs = ((first, FIRST), (second, SECOND), (many, MANY_DATES), (delivered, DELIVERED))
    for file, ids in inputs:
        file.write_text("\n".join(ids))
    unfinished = harvest_of(folder / "unfinished", vendor, pace__rate_per_s=100.0)
    # By a signal: a run that ends by itself leaves nothing in the journal.
    process = unfinished.start(first)
    wait_for_requests(vendor, vendor.stats()["requests"] + 70)
    process.terminate()
    assert unfinished.ended(process).code == 143
    finished = harvest_of(folder / "finished", vendor)
    assert finished.run(first).code == 3
    older = shutil.copytree(finished.out / "state", folder / "older")
    compacted = harvest_of(folder / "compacted", vendor)
    shutil.copytree(finished.out, compacted.out)
    old_version = Path(shutil.copytree(finished.out, folder / "old version"))
    make_version_1(old_version / "state" / "state.db")
    # So the next one sweeps what this one has left, and finds files of both kinds.
    assert other_command("compact_once", compacted.out).code == 0
    finish(compacted, second)
    make_changes(compacted.out)
    dropping = Path(shutil.copytree(compacted.out, folder / "dropping"))
    finish(finished, second)
    overtaken = Path(shutil.copytree(finished.out, folder / "overtaken"))
    shutil.rmtree(overtaken / "state")
    shutil.copytree(older, overtaken / "state")
    complete = harvest_of(folder / "complete", vendor)
    finish(complete, delivered)
    columns = harvest_of(folder / "older columns", vendor)
    make_folders(Output(columns.out), 0o750)
    with closing(open_database(Output(columns.out).database, "default")) as db:
        keep_data_version(db, GROUP_RECORD_1.version)
    finish(columns, first)
    make_changes(columns.out)
    order = {"sources": [str(second)]}
    return {
        "begin": Scene("begin", None, {"sources": [str(first)]}, FIRST),
        "many dates": Scene("many dates", None, {"sources": [str(many)]}, MANY_DATES),
        "go on": Scene("go on", unfinished.out, order, IDS),
        "refetch dead": Scene("refetch dead", finished.out, {"refetch": {"what": "dead"}}, IDS),
        "refetch": Scene("refetch", complete.out, {"refetch": REFETCH}, DELIVERED),
        "rebuild": Scene("rebuild", overtaken, order, IDS, other="rebuild_once"),
        "compact": Scene("compact", compacted.out, order, IDS, other="compact_once"),
        "drop": Scene("drop", dropping, order, ids_that_stay(compacted), other="drop_once"),
        "erase": Scene("erase", compacted.out, order, IDS, other="erase_once"),
        "lift": Scene("lift", columns.out, {"sources": [str(first)]}, FIRST, other="lift_once"),
        "migrate": Scene("migrate", old_version, order, IDS),
    }


@dataclass(slots=True)
class Trial:
    """One copy of a scene, to be hurt at one step."""

    scene: Scene
    step: Step
    fault: FaultFs
    harvest: Harvest
    vendor: Simulator

    def hurt(self, environment: dict[str, str]) -> Ended:
        """Run the command with the fault in it."""
        return _command(self.scene, self.harvest, environment)

    def ended_sooner(self) -> bool:
        """Two runs take a few steps more or less (a batch, a status.json): this one took less."""
        return len(self.fault.steps()) < self.step.number

    def complete(self) -> None:
        """A reader looks, then the same command runs again, and the oracle judges."""
        look_as_a_reader(self.harvest)
        if self.scene.other:
            self.again()
        if self.scene.name == "erase":
            self.look_for_numbers()
        asked_before = self.vendor.stats()["requests"]
        done = self.harvest.run(**dict(self.scene.order))
        assert done.code in (0, 3), (self.step, done.err)
        asked = self.vendor.stats()["requests"] - asked_before
        # The data and its newest snapshot tell all that was known of a finished harvest.
        assert asked <= (0 if self.scene.other else len(IDS)), (self.step, asked)
        if self.scene.name == "refetch":
            self.look_at_changes()
        if self.scene.name == "lift":
            assert versions_of(self.harvest.out) == {str(GROUP_RECORD.version)}, self.step
        if self.scene.name == "compact":
            look_at_folds(self.harvest)
        finish(self.harvest)
        assert self.harvest.ids() == in_data(self.scene.ids), self.step
        assert damage_of(self.harvest.out) == [], self.step

    def look_at_changes(self) -> None:
        """Each call that costs more now has one change, from what it cost to what it costs."""
        out = self.harvest.out
        rows = {row["voice_id"]: row for row in self.harvest.rows()}
        found = [
            row
            for path in out.glob("changes/*/*.parquet")
            for row in pq.ParquetFile(path).read().to_pylist()
        ]
        ids = [row["voice_id"] for row in found]
        assert len(ids) == len(set(ids)), (self.step, "a change is there twice")
        bill = parse_billing(RERATED)
        dearer = {
            one for one, row in rows.items() if row["cost"] and bill.draw(VENDOR_SEED, one).rerated
        }
        assert set(ids) == dearer, self.step
        for row in found:
            assert row["new"]["cost"] > row["old"]["cost"], self.step
            assert row["old"]["cost"] == rows[row["voice_id"]]["cost"], self.step

    def look_for_numbers(self) -> None:
        """No place holds one, nor the bytes of the state database; a receipt says so."""
        out = self.harvest.out
        listed = read_numbers(erased_numbers())
        assert where(load(flags={"output.dir": str(out)}).config, listed, "explain") == (), (
            self.step
        )
        assert not any(one.encode() in (out / "state/state.db").read_bytes() for one in listed)
        assert list(out.glob("runs/erase-*/erasure.json")) != [], self.step

    def again(self) -> None:
        """Nothing may begin on half a state; a rebuild that was whole needs no other."""
        again = _command(self.scene, self.harvest, None)
        if again.code != 0:
            assert self.scene.other == "rebuild_once", (self.step, again.err)
            assert "there is nothing to rebuild" in again.err, (self.step, again.err)


def trials(
    tmp_path: Path,
    vendor: Simulator,
    scene: Scene,
    process: Process,
    purpose: str,
    *,
    only: int | None = POINTS,
) -> Iterator[Trial]:
    """Copies of the scene, one for each chosen step of its command; None: for all of these."""
    whole = _traced(tmp_path, vendor, scene, process)
    steps = whole.fault.steps()
    # Of the dead a list is made from the ledger alone.
    assert steps or (scene.name, process) == ("refetch dead", "worklist.build_child")
    dice = random.Random(f"{SEED} {purpose} {process} {scene.name}")
    found = chosen(steps, only=only, dice=dice)
    with counted(f"{purpose}, {scene.name}, {process}: {len(found)} of {len(steps)} steps"):
        for step in found:
            yield _trial(whole.fault, step, whole.harvest.out, scene, vendor)


def sync_trials(tmp_path: Path, vendor: Simulator, scene: Scene, count: int) -> Iterator[Trial]:
    """Copies of the scene, one for each of its first `count` syncs (or some of them)."""
    whole = _traced(tmp_path, vendor, scene, "harvest_once")
    syncs = [step for step in whole.fault.steps() if step.name.startswith("sync")][:count]
    assert len(syncs) == count, "the scene is too short"
    found = random.Random(f"{SEED} syncs").sample(syncs, min(POINTS or count, count))
    with counted(f"syncs, {scene.name}: {len(found)} of the first {count}"):
        for step in found:
            yield _trial(whole.fault, step, whole.harvest.out, scene, vendor)


def careless_trials(
    tmp_path: Path,
    vendor: Simulator,
    scene: Scene,
    forgotten: str,
    process: Process = "harvest_once",
) -> Iterator[Trial]:
    """Late moments of a command that forgets a kind of sync (see `FaultFs.environment`)."""
    whole = _traced(tmp_path, vendor, scene, process, forget=forgotten)
    steps = whole.fault.steps()
    late = steps[len(steps) // 2 :]
    for step in random.Random(f"{SEED} {forgotten}").sample(late, min(16, len(late))):
        yield _trial(whole.fault, step, whole.harvest.out, scene, vendor)


@contextmanager
def counted(what: str) -> Iterator[None]:
    """Say what is tried, for the books of docs/reliability.md (`make crash` shows it)."""
    print(f"SEED={SEED}; {what}")
    yield
    print(f"done: {what}")


def make_changes(out: Path) -> None:
    """Two rounds of other costs, of some calls in both."""
    db = open_database(Output(out).database, "", is_claimed=False)
    with closing(House(out, (), db)) as house:
        ids = sorted(rows_of(house))
        change(house, dict.fromkeys(ids[::4], "1.5"), "20260101T000000Z-00000a")
        change(house, dict.fromkeys(ids[::6], "2.25"), "20260102T000000Z-00000b")


def look_at_folds(harvest: Harvest) -> None:
    """Each call that was changed is as its newest change says."""
    ids = sorted(harvest.ids())
    costs = {row["voice_id"]: row["cost"] for row in harvest.rows()}
    wanted = dict.fromkeys(ids[::4], Decimal("1.5")) | dict.fromkeys(ids[::6], Decimal("2.25"))
    assert {one: costs[one] for one in wanted} == wanted


def rows_by_date(out: Path) -> Counter[str]:
    """What a reader has to count."""
    counted: Counter[str] = Counter()
    for path in out.glob("cdr/*/*.parquet"):
        counted[path.parent.name.partition("=")[2]] += pq.read_metadata(path).num_rows
    return counted


def versions_of(out: Path) -> set[str]:
    """Those of the columns that files of cdr/ and changes/ are written in."""
    paths = [*out.glob("cdr/*/*.parquet"), *out.glob("changes/*/*.parquet")]
    footers = [pq.read_metadata(path).metadata for path in paths]
    return {footer[FOOTER_SCHEMA_VERSION.encode()].decode() for footer in footers}


def ids_that_stay(harvest: Harvest) -> list[str]:
    """The calls of the last date, and those without one."""
    found: list[str] = []
    for day in (last_date(harvest.out), NO_DATE):
        for path in harvest.out.glob(f"cdr/submit_date={day}/*.parquet"):
            found += pq.ParquetFile(path).read(["voice_id"])["voice_id"].to_pylist()
    return sorted(found)


def harvest_of(out: Path, vendor: Simulator, **flags: object) -> Harvest:
    """A harvest with small publications and impatient open calls."""
    wanted = {"output__publish_records": 40, "open_calls__delays_s": [0.01], **flags}
    return Harvest(out, vendor.base_url, **wanted)


def finish(harvest: Harvest, *sources: object) -> None:
    """Run until nothing is asked any more."""
    for _ in range(5):
        done = harvest.run(*sources)
        assert done.code in (0, 3), done.err
        if not done.summary["run"]["attempted"]:
            return
    raise AssertionError("the harvest never came to an end")


def look_as_a_reader(harvest: Harvest) -> None:
    """No half file, no row twice."""
    ids: list[str] = []
    for path in harvest.out.glob("cdr/**/*"):
        if path.is_file():
            ids += pq.ParquetFile(path).read(["voice_id"])["voice_id"].to_pylist()
    assert len(ids) == len(set(ids)), "a reader saw a row twice"


def in_data(ids: Sequence[str]) -> list[str]:
    """Those that the vendor has a record of."""
    return [i for i in ids if call_of(VENDOR_SEED, i, _fates()).fate is not Fate.DEAD_PARAM]


def erased_numbers() -> list[str]:
    """Those that the scene of an erasure is about: of calls of each date."""
    return [call_of(VENDOR_SEED, one, _fates()).callee for one in in_data(IDS)[::40]]


def _fates() -> Fates:
    shares = {name: float(share) for name, share in (f.split("=") for f in FATES.split(","))}
    return Fates(**shares)


def damage_of(out: Path) -> list[str]:
    """What `verify --deep` finds."""
    audit = verify(Output(out), Order("UTC", "400MB", deep=True))
    return [f"{f.kind}: {f.what} {f.where}" for f in audit.findings if f.severity == "damage"]


def other_command(name: str, out: Path, environment: dict[str, str] | None = None) -> Ended:
    """A command that is no run, in a process of its own."""
    words = [sys.executable, "-W", "error", "-m", f"tests.support.{name}", str(out)]
    told = forked.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    return Ended(told.returncode, told.stdout, told.stderr)


def _traced(
    tmp_path: Path, vendor: Simulator, scene: Scene, process: Process, forget: str | None = None
) -> Trial:
    """The command unhurt, for its steps."""
    out = tmp_path / "out"
    fault = FaultFs(tmp_path / "fault", out)
    whole = _trial(fault, Step(0, ""), out, scene, vendor)
    done = whole.hurt(fault.environment(process=process, forget=forget))
    assert done.code in (0, 3), done.err
    return whole


def _trial(fault: FaultFs, step: Step, out: Path, scene: Scene, vendor: Simulator) -> Trial:
    shutil.rmtree(out, ignore_errors=True)
    if scene.before is not None:
        shutil.copytree(scene.before, out)
    vendor.post_faults(forget=True)
    return Trial(scene, step, fault, harvest_of(out, vendor), vendor)


def _command(scene: Scene, harvest: Harvest, environment: dict[str, str] | None) -> Ended:
    if not scene.other:
        harvest.environment = environment
        done = harvest.run(**dict(scene.order))
        harvest.environment = None
        return done
    return other_command(scene.other, harvest.out, environment)
