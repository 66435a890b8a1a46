"""The work list: what is on it, in which order, and that its books balance."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harvester.config import buffer_bytes
from harvester.errors import ConfigError, HarvesterError, SourceError, StoreError
from harvester.inputs.discover import IdFile, find
from harvester.inputs.worklist import build_child
from harvester.inputs.worklist.build import _distinct, make
from harvester.inputs.worklist.build_process import make_list
from harvester.inputs.worklist.reader import write_ids
from harvester.inputs.worklist.spec import Chosen, ListResult, ListSpec, Selection
from harvester.storage.duckdb_engine import parts

INSTANT = pa.timestamp("ms", tz="UTC")


class Place:
    """A folder with everything that a list is made from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.list_path = folder / "out" / "list.parquet"
        self.input_path = folder / "out" / "input.parquet"
        self.bad_path = folder / "out" / "bad_ids.jsonl"
        self.scratch = folder / "scratch"
        self.scratch.mkdir(parents=True)
        self.list_path.parent.mkdir()

    def file(self, name: str, lines: Sequence[str]) -> IdFile:
        path = self.folder / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return find([str(path)], spool=self.scratch)[0]

    def ids(self, name: str, ids: Sequence[str]) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_ids(path, [ids])
        return str(path)

    def spec(self, *files: IdFile, **given: object) -> ListSpec:
        fields: dict[str, object] = {
            "files": files,
            "column": "voiceId",
            "data_glob": None,
            "resolved": (),
            "carried_over": None,
            "retried": None,
            "list_path": str(self.list_path),
            "input_path": str(self.input_path),
            "bad_ids_path": str(self.bad_path),
            "scratch": str(self.scratch),
            "memory_limit": "400MB",
        }
        return ListSpec(**{**fields, **given})  # type: ignore[arg-type]

    def rows(self) -> list[tuple[int, str]]:
        table = pq.read_table(self.list_path)
        return list(zip(table["rank"].to_pylist(), table["voice_id"].to_pylist(), strict=True))

    def input(self) -> list[str]:
        return [str(one) for one in pq.read_table(self.input_path)["voice_id"].to_pylist()]

    def bad(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.bad_path.read_text().splitlines()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "place")


# Most tests call `make`, as the child does; the child itself is tested further below.


def test_the_list_holds_each_id_once_in_order_of_bytes(place: Place) -> None:
    a = place.file("a.txt", ["b", "10", "9", "b", "_a", "-a", "B"])
    b = place.file("b.txt", ["10", "a", "bad line"])
    result = make(place.spec(a, b))
    expected = ["-a", "10", "9", "B", "_a", "a", "b"]
    assert place.rows() == [(0, one) for one in expected]
    assert place.input() == expected
    assert (result.lines, result.bad, result.duplicate, result.distinct) == (10, 1, 2, 7)
    assert (result.resolved, result.listed, result.carried_over) == (0, 7, 0)
    assert result.bad_by_reason == {"forbidden_character": 1}
    assert [(f.file, f.lines, f.bad) for f in result.files] == [(a.path, 7, 0), (b.path, 3, 1)]
    assert place.bad() == [
        {"file": b.path, "line": 3, "reason": "forbidden_character", "excerpt": "bad line"}
    ]


def test_what_a_selections_own_list_holds_beside_ids_of_the_data_is_outside(place: Place) -> None:
    parts = (place.ids("data.parquet", ["a1", "a2", "a3"]),)
    rows = pq.read_table(parts[0]).append_column("submit_time", pa.nulls(3, INSTANT))
    for flag in ("is_final", "is_rated"):
        rows = rows.append_column(flag, pa.array([True] * 3))
    pq.write_table(rows, parts[0])
    own = place.file("own.txt", ["a2", "a3", "a3", "a9", "no id", "nor this"])
    selection = Selection(what="delivered", parts=parts, files=(own,))
    result = make(place.spec(selection=selection))
    assert place.rows() == [(2, "a2"), (2, "a3")]
    assert result.again == 2
    assert result.chosen == Chosen(population=2, left_out=0, outside=3, outside_ids=("a9",))
    assert (result.lines, result.bad) == (0, 0), "the control totals are those of the input"
    assert [one["line"] for one in place.bad()] == [5, 6]


YOUNG = ["2611220000001000001", "22611212359591000002", "2611230000001000003"]
OLD = ["2611212359581000004", "21611212359591000005", "abc-1", "123", "2612220000001000006"]
"""The last one is dated so late that it is no date."""
HELD = ("261121235958", "261123235959")


def test_ids_that_are_too_young_are_held_back_and_counted(place: Place) -> None:
    file = place.file("a.txt", [*YOUNG, *OLD, YOUNG[0]])
    result = make(place.spec(file, too_young=HELD))
    assert place.rows() == [(0, one) for one in sorted(OLD)]
    assert place.input() == sorted({*YOUNG, *OLD})
    assert (result.lines, result.duplicate, result.distinct) == (9, 1, 8)
    assert (result.resolved, result.listed, result.too_young) == (0, 5, 3)


def test_what_is_resolved_listed_before_or_asked_again_is_not_held_back(place: Place) -> None:
    resolved, carried_over, retried, young = [*YOUNG, "2611230000001000009"]
    file = place.file("a.txt", [resolved, carried_over, young])
    result = make(
        place.spec(
            file,
            resolved=(place.ids("settled.parquet", [resolved]),),
            carried_over=place.ids("left.parquet", [carried_over]),
            retried=place.ids("again.parquet", [retried]),
            too_young=HELD,
        )
    )
    assert place.rows() == [(0, one) for one in sorted([carried_over, retried])]
    assert (result.resolved, result.listed, result.too_young) == (1, 1, 1)
    assert (result.distinct, result.retried, result.carried_over) == (3, 1, 0)


def test_settled_ids_are_not_listed_but_are_input(place: Place) -> None:
    place.ids("data/cdr/submit_date=2026-09-01/part-1.parquet", ["1", "2", "99"])
    place.ids("data/cdr/submit_date=2026-09-02/part-2.parquet", ["2", "3"])
    journal = place.ids("journal.parquet", ["4", "4"])
    file = place.file("a.txt", ["5", "4", "3", "2", "1", "1"])
    glob = str(place.folder / "data/cdr/*/*.parquet")
    result = make(place.spec(file, data_glob=glob, resolved=(journal,)))
    assert place.rows() == [(0, "5")]
    assert place.input() == ["1", "2", "3", "4", "5"]
    assert (result.distinct, result.resolved, result.listed, result.duplicate) == (5, 4, 1, 1)


def test_a_data_set_without_a_part_settles_nothing(place: Place) -> None:
    file = place.file("a.txt", ["1"])
    make(place.spec(file, data_glob=str(place.folder / "nothing/*/*.parquet")))
    assert place.rows() == [(0, "1")]


def test_what_is_left_over_has_rank_1_unless_this_input_holds_it_or_it_is_settled(
    place: Place,
) -> None:
    carried_over = place.ids("left.parquet", ["9", "1", "3", "8", "0"])
    settled = place.ids("settled.parquet", ["8", "2"])
    file = place.file("a.txt", ["3", "2", "5"])
    result = make(place.spec(file, carried_over=carried_over, resolved=(settled,)))
    assert place.rows() == [(0, "3"), (0, "5"), (1, "0"), (1, "1"), (1, "9")]
    assert (result.listed, result.resolved, result.carried_over) == (2, 1, 3)
    assert place.input() == ["2", "3", "5"]


def test_dead_letters_that_are_asked_again_have_rank_0(place: Place) -> None:
    asked = place.ids("asked.parquet", ["1", "2", "3", "4"])
    carried_over = place.ids("left.parquet", ["2", "9"])
    settled = place.ids("settled.parquet", ["4"])
    file = place.file("a.txt", ["3", "5"])
    spec = place.spec(file, retried=asked, carried_over=carried_over, resolved=(settled,))
    result = make(spec)
    assert place.rows() == [(0, "1"), (0, "2"), (0, "3"), (0, "5"), (1, "9")]
    # 3 is in the input, so it is listed; 4 is settled, and would be delivered twice.
    assert (result.listed, result.retried, result.carried_over) == (2, 2, 1)
    assert place.input() == ["3", "5"]


def test_a_list_can_be_made_without_an_input(place: Place) -> None:
    carried_over = place.ids("left.parquet", ["2", "1"])
    result = make(place.spec(carried_over=carried_over))
    assert place.rows() == [(1, "1"), (1, "2")]
    assert (result.lines, result.distinct, result.carried_over) == (0, 0, 2)
    make(place.spec(input_path=None))
    assert place.rows() == []


def test_an_input_without_any_line_is_one_of_no_ids(place: Place) -> None:
    a, b = place.file("a.txt", []), place.file("b.txt", ["# only", ""])
    result = make(place.spec(a, b))
    assert (result.lines, result.distinct, result.listed) == (0, 0, 0)
    assert [(file.lines, file.bad) for file in result.files] == [(0, 0), (0, 0)]
    assert place.rows() == []


def test_an_empty_file_beside_one_with_ids_is_no_fault(place: Place) -> None:
    make(place.spec(place.file("a.txt", []), place.file("b.txt", ["1"])))
    assert place.rows() == [(0, "1")]


def test_an_input_of_bad_lines_alone_is_refused_and_lists_nothing(place: Place) -> None:
    with pytest.raises(SourceError, match=r"a\.txt: not one voiceId in 1 line"):
        make(place.spec(place.file("a.txt", ["a b"])))
    assert not place.list_path.exists()


def test_a_failure_leaves_the_former_list_and_no_half_one(place: Place) -> None:
    make(place.spec(place.file("a.txt", ["1"])))
    before = sorted(path.name for path in place.list_path.parent.iterdir())
    with pytest.raises(SourceError, match=r"b\.jsonl"):
        make(place.spec(place.file("a.txt", ["2"]), place.file("b.jsonl", ["no json"])))
    assert place.rows() == [(0, "1")]
    assert sorted(path.name for path in place.list_path.parent.iterdir()) == before


def test_many_rows_keep_their_order_across_groups_and_batches(place: Place) -> None:
    ids = [f"{number:020}" for number in range(400_000)]
    file = place.file("a.txt", ids[::-1] + ids[:1000])
    settled = place.ids("settled.parquet", [one for n, one in enumerate(ids) if n % 3 == 0])
    carried_over = place.ids("left.parquet", [f"x{one}" for one in ids] + ids[:5])
    result = make(place.spec(file, resolved=(settled,), carried_over=carried_over))
    open_ids = [one for n, one in enumerate(ids) if n % 3]
    assert place.rows() == [(0, i) for i in open_ids] + [(1, f"x{one}") for one in ids]
    assert place.input() == ids
    assert (result.lines, result.duplicate, result.listed) == (401_000, 1000, len(open_ids))
    metadata = pq.ParquetFile(place.list_path).metadata
    sizes = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    assert set(sizes[:-1]) == {122_880}


@pytest.mark.parametrize("name", ["it's", 'quo"te', "br[ack]et", "st*ar?", "sp ace;--", "ü😀"])
def test_folders_of_any_name_will_do(tmp_path: Path, name: str) -> None:
    place = Place(tmp_path / name)
    (tmp_path / "decoy").mkdir()
    write_ids(tmp_path / "decoy" / "p.parquet", [["5"]])
    place.ids("cdr/d=1/part-1.parquet", ["1"])
    folder = str(place.folder)
    if "*" in name:
        folder = folder.replace("*", "[*]").replace("?", "[?]")
    spec = place.spec(
        place.file("a.txt", ["1", "2", "3", "5"]),
        data_glob=f"{folder}/cdr/*/*.parquet",
        resolved=(place.ids("settled.parquet", ["2"]),),
        carried_over=place.ids("left.parquet", ["4"]),
    )
    make_list(spec)
    assert place.rows() == [(0, "3"), (0, "5"), (1, "4")]


def test_the_outputs_are_for_their_owner_only(place: Place) -> None:
    make(place.spec(place.file("a.txt", ["1"])))
    for path in place.list_path.parent.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


@given(st.lists(st.lists(st.sampled_from(["1", "2", "3", "4"]), max_size=3)))
def test_equal_ids_are_one_across_the_borders_of_batches(groups: list[list[str]]) -> None:
    ids = iter(sorted(one for group in groups for one in group))
    batches = [
        pa.RecordBatch.from_pydict({"voice_id": pa.array([next(ids) for _ in group], pa.string())})
        for group in groups
    ]
    kept = [one for batch in _distinct(iter(batches)) for one in batch.column(0).to_pylist()]
    assert kept == sorted({one for group in groups for one in group})


BAD = ("a b", "é", "x" * 65)
ids_of_few = st.lists(st.sampled_from([f"{n:02}" for n in range(12)] + ["A", "a", "_a"]))
lines_of_few = st.lists(
    st.one_of(
        st.sampled_from([f"{n:02}" for n in range(12)] + ["A", "a", "_a"]),
        st.sampled_from(["", "# no", "a b", "é", " 03 ", "x" * 65]),
    )
)


def _is_refused(file: list[str]) -> bool:
    """Whether a file is none of ids: nothing but bad lines, or more than half of twenty."""
    lines = [line for line in file if line.strip() and line[0] != "#"]
    bad = sum(line in BAD for line in lines)
    return bad > 0 and (bad == len(lines) or (len(lines) >= 20 and 2 * bad > len(lines)))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    files=st.lists(lines_of_few, max_size=3),
    data=st.lists(ids_of_few, max_size=2),
    resolved=ids_of_few,
    carried_over=st.none() | ids_of_few,
    retried=st.none() | ids_of_few,
    again=st.none() | ids_of_few,
)
def test_the_list_is_what_sets_would_give_and_its_books_balance(
    tmp_path_factory: pytest.TempPathFactory,
    files: list[list[str]],
    data: list[list[str]],
    resolved: list[str],
    carried_over: list[str] | None,
    retried: list[str] | None,
    again: list[str] | None,
) -> None:
    place = Place(tmp_path_factory.mktemp("sets") / "place")
    for number, ids in enumerate(data):
        place.ids(f"cdr/d={number}/part.parquet", ids)
    lines = [line for file in files for line in file if line.strip() and line[0] != "#"]
    good = [line.strip() for line in lines if line not in BAD]
    spec = place.spec(
        *[place.file(f"{number}.txt", file) for number, file in enumerate(files)],
        data_glob=str(place.folder / "cdr/*/*.parquet"),
        resolved=(place.ids("settled.parquet", resolved),),
        carried_over=None if carried_over is None else place.ids("left.parquet", carried_over),
        retried=None if retried is None else place.ids("asked.parquet", retried),
        again=None if again is None else place.ids("again.parquet", again),
    )
    if any(_is_refused(file) for file in files):
        with pytest.raises(SourceError, match=r"[0-9]\.txt: (not one|no) voiceId in"):
            make(spec)
        assert not place.list_path.exists()
        return
    result = make(spec)

    done = set(resolved).union(*data)
    listed = set(good) - done
    of_dead = set(retried or ()) - set(good) - done
    later = set(carried_over or ()) - set(good) - set(retried or ()) - done
    # What is fetched again may be settled, but is on the list once.
    known = set(again or ()) - listed - of_dead - later
    assert place.rows() == [
        *((0, one) for one in sorted(listed | of_dead)),
        *((1, one) for one in sorted(later)),
        *((2, one) for one in sorted(known)),
    ]
    assert result.again == len(known)
    assert place.input() == sorted(set(good))
    assert result.lines == len(lines) == result.bad + result.duplicate + result.distinct
    assert result.bad == len(lines) - len(good) == len(place.bad())
    assert result.distinct == len(set(good)) == result.resolved + result.listed
    assert (result.listed, result.retried, result.carried_over) == (
        len(listed),
        len(of_dead),
        len(later),
    )


# The child

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


def test_the_child_makes_the_same_list(place: Place) -> None:
    spec = place.spec(place.file("a.txt", ["2", "1", "2", "a b"]))
    there = make_list(spec)
    rows = place.rows()
    assert make(spec) == there
    assert place.rows() == rows == [(0, "1"), (0, "2")]


def test_the_parent_never_loads_duckdb_nor_arrow(place: Place) -> None:
    spec = place.spec(place.file("a.txt", ["1"]))
    program = textwrap.dedent("""
        import json, sys
        import msgspec
        import harvester.inputs.voice_id, harvester.inputs.discover, harvester.inputs.fingerprint
        from harvester.inputs.worklist.build_process import ListSpec, make_list
        result = make_list(msgspec.convert(json.loads(sys.argv[1]), ListSpec))
        import_of_arrow = "pyarrow" in sys.modules
        import harvester.inputs.worklist.reader
        print(result.listed, import_of_arrow, "duckdb" in sys.modules)
    """)
    spoken = subprocess.run(
        [sys.executable, "-c", program, json.dumps(msgspec.to_builtins(spec))],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert spoken.stdout.split() == ["1", "False", "False"]


def test_a_file_whose_name_is_no_utf8_is_read_and_named(place: Place) -> None:
    path = os.fsdecode(os.fsencode(place.folder) + b"/caf\xe9.txt")
    Path(path).write_text("1\na b\n")
    result = make_list(place.spec(*find([path], spool=place.scratch)))
    assert result.files[0].file == path
    assert place.bad()[0]["file"] == path


def test_faults_of_the_input_come_back_as_such(place: Place) -> None:
    with pytest.raises(SourceError, match=r"b\.csv: there is no column 'voiceId'"):
        make_list(place.spec(place.file("b.csv", ["a,b", "1,2"])))


def test_too_little_memory_comes_back_with_what_to_raise(place: Place) -> None:
    file = place.file("a.txt", [f"{number * 7919 % 1000003:020}" for number in range(300_000)])
    with pytest.raises(StoreError, match=r"plan\.memory_limit = 2MB"):
        make_list(place.spec(file, memory_limit="2MB"))
    assert not place.list_path.exists()


def test_settled_files_that_cant_be_read_are_named(place: Place) -> None:
    broken = place.folder / "broken.parquet"
    broken.write_text("no Parquet at all")
    with pytest.raises(StoreError, match=r"broken\.parquet"):
        make_list(place.spec(place.file("a.txt", ["1"]), resolved=(str(broken),)))


def test_a_place_that_cant_be_written_is_named(place: Place) -> None:
    with pytest.raises(StoreError, match=r"nowhere/list\.parquet"):
        make_list(place.spec(place.file("a.txt", ["1"]), list_path="/nowhere/list.parquet"))


@needs_proc
def test_the_child_gets_no_setting_and_no_secret(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARVESTER_API_SECRET", "s3cret")
    monkeypatch.setenv("HARVESTER_API_KEY_FILE", "/run/key")
    pipe = place.folder / "pipe.txt"
    os.mkfifo(pipe)
    with running(place.spec(IdFile(str(pipe), "txt"))) as parent:
        (maker,) = children(parent.pid)
        environ = Path(f"/proc/{maker}/environ").read_bytes()
        assert b"PATH=" in environ
        assert b"HARVESTER_" not in environ
        pipe.write_text("1\n")
        parent.wait()


class running:  # noqa: N801 - reads as the verb that it is
    """A parent process that waits for a list, in a process group of its own."""

    _PROGRAM = textwrap.dedent("""
        import json, sys
        import msgspec
        from harvester.inputs.worklist.build_process import ListSpec, make_list
        spec = msgspec.convert(json.loads(sys.argv[1]), ListSpec)
        try:
            make_list(spec)
        except KeyboardInterrupt:
            print("interrupted")
        else:
            print("made")
    """)

    def __init__(self, spec: ListSpec) -> None:
        self._spec = spec

    def __enter__(self) -> subprocess.Popen[str]:
        self._parent = subprocess.Popen(
            [sys.executable, "-c", self._PROGRAM, json.dumps(msgspec.to_builtins(self._spec))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        # The child has loaded everything and opens the input: half a list is being written.
        path = Path(self._spec.list_path)
        until(lambda: any(path.parent.glob(f".{path.name}.*")))
        return self._parent

    def __exit__(self, *_: object) -> None:
        if self._parent.poll() is None:
            os.killpg(self._parent.pid, signal.SIGKILL)
        self._parent.communicate()


def until(holds: Callable[[], object]) -> None:
    for _ in range(3000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to hold")


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def endless(place: Place) -> ListSpec:
    """A list whose input never ends: a pipe that nobody writes to."""
    pipe = place.folder / "pipe.txt"
    os.mkfifo(pipe)
    return place.spec(IdFile(str(pipe), "txt"))


@needs_proc
def test_an_interrupt_of_the_group_ends_both_without_a_word_of_the_child(
    place: Place, endless: ListSpec
) -> None:
    with running(endless) as parent:
        (maker,) = children(parent.pid)
        os.killpg(parent.pid, signal.SIGINT)
        out, err = parent.communicate(timeout=60)
        assert (out, err) == ("interrupted\n", "")
        assert gone(maker)
    assert not place.list_path.exists()


@needs_proc
def test_an_interrupt_of_the_child_alone_is_one_of_the_parent(endless: ListSpec) -> None:
    with running(endless) as parent:
        (maker,) = children(parent.pid)
        os.kill(maker, signal.SIGINT)
        assert parent.communicate(timeout=60) == ("interrupted\n", "")


@needs_proc
def test_the_child_ends_when_its_parent_is_killed(place: Place, endless: ListSpec) -> None:
    with running(endless) as parent:
        (maker,) = children(parent.pid)
        parent.kill()
        until(lambda: gone(maker))
    assert not place.list_path.exists()


@needs_proc
def test_a_killed_child_is_told_as_want_of_memory_and_leaves_no_list(
    place: Place, endless: ListSpec
) -> None:
    with running(endless) as parent:
        (maker,) = children(parent.pid)
        os.kill(maker, signal.SIGKILL)
        _, err = parent.communicate(timeout=60)
        assert "StoreError: the work-list builder process was killed" in err
    assert not place.list_path.exists()


def test_a_child_that_fails_unexpectedly_says_how(place: Place) -> None:
    with pytest.raises(HarvesterError, match=r"(?s)exit 1.*ValidationError.*threads") as failed:
        make_list(place.spec(place.file("a.txt", ["1"]), threads="two"))
    assert type(failed.value) is HarvesterError


def test_a_full_disk_is_told_as_such(place: Place) -> None:
    spec = place.spec()
    for error in (
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
    ):
        assert build_child._trouble(spec, error)["code"] == "output.full"
    full = "failed to offload data block of size 256.0 KiB (1.0 MiB/1.0 MiB used)."
    assert build_child._out_of_room(spec, MemoryError(full))["code"] == "output.full"
    assert build_child._out_of_room(spec, MemoryError(""))["code"] == "limit.memory"


# The engine's arguments


@pytest.mark.parametrize(
    ("limit", "bytes_"),
    [
        ("400MB", 250_000_000),
        ("800MB", 650_000_000),
        ("200MB", 100_000_000),
        ("1GB", 850_000_000),
        ("1GiB", 2**30 - 150_000_000),
        ("500MiB", 500 * 2**20 - 150_000_000),
        ("500000KiB", 362_000_000),
        ("500000KB", 350_000_000),
    ],
)
def test_duckdb_gets_the_limit_less_what_stands_beside_it(limit: str, bytes_: int) -> None:
    assert buffer_bytes(limit) == bytes_


def test_a_limit_that_is_no_size_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"plan\.memory_limit"):
        buffer_bytes("lots")


def test_parts_are_named_one_by_one(place: Place) -> None:
    one = place.ids("o[1]/cdr/d=1/part.parquet", ["1"])
    assert parts(str(place.folder / "o[1]/cdr/*/*.parquet")) == [one.replace("[1]", "[[]1]")]
    assert parts(str(place.folder / "none/*/*.parquet")) == []
    assert parts(None) == []


def test_the_result_crosses_the_border_whole() -> None:
    result = ListResult(
        lines=1,
        bad=1,
        duplicate=0,
        distinct=0,
        resolved=0,
        listed=0,
        retried=0,
        carried_over=0,
        bad_by_reason={"empty": 1},
        files=(),
    )
    assert (
        msgspec.convert(json.loads(json.dumps(msgspec.to_builtins(result))), ListResult) == result
    )


def test_the_list_has_the_columns_that_readers_expect(place: Place) -> None:
    make(place.spec(place.file("a.txt", ["1"])))
    assert pq.read_schema(place.list_path).equals(
        pa.schema([("rank", pa.int8()), ("voice_id", pa.string())])
    )
