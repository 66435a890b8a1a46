"""An input without ids is no error: a warning, and open calls and carried over ids are fetched."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester.cli.commands.plan import screen
from harvester.errors import SourceError
from harvester.inputs.discover import find
from harvester.inputs.worklist.build import make
from harvester.inputs.worklist.spec import ListSpec
from harvester.operations.doctor import examine
from harvester.operations.plan import make_plan
from harvester.pipeline.run.prepare_list import list_input
from harvester.simulator import make_ids
from harvester.state import work_lists
from tests.run.test_cli_commands import KEYS, harvester
from tests.support.fakes import House, config_of
from tests.support.harvesting import Ended, Harvest
from tests.support.outputs import look
from tests.support.simulated import ALL_RECORDS, END, Simulator

IDS = sorted(make_ids(40, 6, end=END))


def _parquet(path: Path) -> None:
    pq.write_table(pa.table({"voiceId": pa.array([], pa.string())}), path)


def _text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


EMPTY: dict[str, Callable[[Path], object]] = {
    "nothing.txt": Path.touch,
    "nothing.csv": Path.touch,
    "nothing.tsv": Path.touch,
    "nothing.jsonl": Path.touch,
    "nothing.parquet": Path.touch,
    "nothing.txt.gz": Path.touch,
    "nothing.csv.zst": Path.touch,
    "bom.txt": lambda path: path.write_bytes(b"\xef\xbb\xbf"),
    "packed.txt.gz": lambda path: path.write_bytes(gzip.compress(b"")),
    "comments.txt": _text("# a feed of ours\n\n   \n# the end"),
    "blank.txt": _text("\n\r\n \t \n\n"),
    "header.csv": _text("voiceId,day\n"),
    "blank.csv": _text("\n\n"),
    "header.csv.gz": lambda path: path.write_bytes(gzip.compress(b"voiceId\r\n")),
    "header.tsv": _text("day\tvoiceId"),
    "blank.jsonl": _text("\n\n"),
    "rows.parquet": _parquet,
}


@pytest.mark.parametrize("name", EMPTY)
def test_a_file_of_any_form_without_a_line_gives_the_list_of_what_was_carried_over(
    tmp_path: Path, name: str
) -> None:
    EMPTY[name](tmp_path / name)
    the_list = tmp_path / "list.out"
    pq.write_table(pa.table({"voice_id": IDS[:3]}), tmp_path / "left.out")
    made = make(
        ListSpec(
            files=tuple(find([str(tmp_path / name)], spool=tmp_path)),
            column="voiceId",
            data_glob=None,
            resolved=(),
            carried_over=str(tmp_path / "left.out"),
            retried=None,
            scratch=str(tmp_path),
            memory_limit="200MB",
            list_path=str(the_list),
            input_path=str(tmp_path / "input.out"),
            bad_ids_path=str(tmp_path / "bad.out"),
        )
    )
    assert (made.lines, made.bad, made.distinct, made.listed, made.carried_over) == (0, 0, 0, 0, 3)
    assert pq.read_table(the_list)["voice_id"].to_pylist() == IDS[:3]


@pytest.mark.parametrize("source", ["missing.txt", "missing/", "*.none", "a/**/*.csv", "folder/x"])
def test_a_name_that_matches_nothing_is_refused_unless_it_may_be(
    tmp_path: Path, source: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "ids.txt").write_text(IDS[0])
    sources = [str(tmp_path / source), str(tmp_path / "ids.txt")]
    with pytest.raises(SourceError, match=r"input\.allow_empty = true"):
        find(sources, spool=tmp_path, allow_empty=False)
    with pytest.raises(SourceError, match=r"(?s)^((?!allow_empty).)*$"):
        find(sources, spool=tmp_path)
    assert [file.path for file in find(sources, spool=tmp_path, allow_empty=True)] == sources[1:]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("source", ["ids/*.txt", "ids/none.txt", "ids/**/*.txt"])
def test_a_folder_that_may_not_be_read_is_not_taken_for_an_empty_one(
    tmp_path: Path, source: str
) -> None:
    folder = tmp_path / "ids"
    folder.mkdir()
    folder.chmod(0)
    try:
        with pytest.raises(SourceError, match="Permission denied"):
            find([str(tmp_path / source)], spool=tmp_path, allow_empty=True)
    finally:
        folder.chmod(0o700)


def test_a_folder_without_a_file_is_empty_and_one_of_other_files_is_not(tmp_path: Path) -> None:
    (tmp_path / "done").mkdir()
    (tmp_path / ".gitkeep").touch()
    assert find([str(tmp_path)], spool=tmp_path / "spool") == []
    (tmp_path / "ids.xlsx").touch()
    for allow_empty in (False, True):
        with pytest.raises(SourceError, match=r"ids\.xlsx"):
            find([str(tmp_path)], spool=tmp_path / "spool", allow_empty=allow_empty)


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as up:
        yield up


def files(folder: Path) -> tuple[Path, Path]:
    full, empty = folder / "ids.txt", folder / "empty.txt"
    full.write_text("\n".join(IDS))
    empty.touch()
    return full, empty


def test_carried_over_ids_are_fetched_without_new_ones_and_decide_the_exit_code(
    vendor: Simulator, tmp_path: Path
) -> None:
    full, empty = files(tmp_path)
    out = tmp_path / "out"
    assert Harvest(out, vendor.base_url, pace__per_day=10).run(full).code == 8
    left_alone = Harvest(out, vendor.base_url).run(empty, only=True)
    assert left_alone.code == 0, left_alone.err
    assert left_alone.summary["requests"] == 0
    assert left_alone.summary["list"]["pending"] == 30
    assert Harvest(out, vendor.base_url, pace__per_day=20).run(empty).code == 8
    vendor.post_faults(refuse="-22")
    died = Harvest(out, vendor.base_url).run(empty)
    vendor.post_faults(refuse=None)
    assert died.code == 3, died.err
    assert "warning no_ids" in died.err
    assert str(empty) in died.err
    assert died.summary["input"]["lines"] == 0
    assert died.summary["run"]["dead"] == 20
    assert died.summary["list"]["pending"] == 0


def test_what_reads_no_input_needs_none_and_what_reads_it_does(
    vendor: Simulator, tmp_path: Path
) -> None:
    full, _ = files(tmp_path)
    out = tmp_path / "out"
    assert Harvest(out, vendor.base_url, pace__per_day=10).run(full).code == 8
    flags: dict[str, Any] = {"input__paths": [str(tmp_path / "gone-*.txt")]}
    refused = Harvest(out, vendor.base_url, **flags).run()
    assert refused.code == 2
    assert "no file matches" in refused.err
    rest = Harvest(out, vendor.base_url, **flags).run(carried_over_only=True)
    assert rest.code == 0, rest.err
    assert rest.summary["requests"] == 30
    assert "no_ids" not in rest.err
    allowed = Harvest(out, vendor.base_url, **flags, input__allow_empty=True).run()
    assert allowed.code == 0, allowed.err
    assert "gone-*.txt" in allowed.err
    assert "warning no_ids" in allowed.err
    assert allowed.summary["input"]["lines"] == 0


def test_nothing_at_all_on_a_new_output_is_exit_0_and_stdin_may_be_empty(
    vendor: Simulator, tmp_path: Path
) -> None:
    flags = ["--out", "out", "--base-url", vendor.base_url]
    for source, stdin in (("-", ""), ("/dev/null", "")):
        done = harvester("run", source, *flags, "-q", cwd=tmp_path, env=KEYS, stdin=stdin)
        assert done.returncode == 0, done.stderr
        assert "the input holds no ids" in done.stderr
        assert len(done.stderr.splitlines()) == 1, "a warning and no more"
        assert "new ids last came 2" in done.stderr, "there were none yet: since the first run"
    told = json.loads(harvester("status", "--out", "out", "--json", cwd=tmp_path).stdout)
    assert (told["pending"], told["dead"]) == (0, 0)


def listed(house: House, ids: list[str] | None, name: str = "ids.txt") -> int | None:
    """When new ids last came, after a list was made for these."""
    path = house.output.root.parent / name
    path.write_text("\n".join(ids or []))
    run_dir = house.output.runs / "run"
    run_dir.mkdir(exist_ok=True)
    found = None if ids is None else find([str(path)], spool=run_dir)
    list_input(house.db, house.output, house.config.input, house.config.plan, found, run_dir)
    return work_lists.last_new_ids_ms(house.db)


def test_new_ids_are_those_that_were_never_on_a_list(tmp_path: Path) -> None:
    with closing(House(tmp_path / "out")) as house:

        def forgotten() -> None:
            house.db.execute("UPDATE meta SET value = '7' WHERE key = 'new_ids_ms'")

        assert listed(house, []) is None
        assert (listed(house, IDS[:4]) or 0) > 1_000_000
        forgotten()
        assert listed(house, []) == 7
        assert listed(house, IDS[1:3]) == 7, "carried over, and in the input as well"
        assert listed(house, IDS[:4]) == 7
        assert listed(house, None) == 7
        assert (listed(house, IDS[2:5]) or 0) > 1_000_000
        # A database of before it was noted: by its inputs, or else by its first run.
        house.db.execute("DELETE FROM meta WHERE key = 'new_ids_ms'")
        house.db.execute("UPDATE input SET first_listed_ms = 5 WHERE listed > 0")
        assert work_lists.last_new_ids_ms(house.db) == 5
        house.db.execute("DELETE FROM input")
        house.db.execute("INSERT INTO run VALUES ('a', 3, NULL, NULL, 1, '{}')")
        assert work_lists.last_new_ids_ms(house.db) == 3


def test_the_metric_stays_where_it_was_while_nothing_new_comes(
    vendor: Simulator, tmp_path: Path
) -> None:
    full, empty = files(tmp_path)
    metrics = tmp_path / "cdr.prom"
    harvest = Harvest(tmp_path / "out", vendor.base_url, monitor__metrics_file=str(metrics))

    def told(ended: Ended) -> float:
        assert ended.code == 0, ended.err
        name = "cdr_harvester_last_new_ids_timestamp_seconds "
        lines = metrics.read_text().splitlines()
        return next(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    first = told(harvest.run(full))
    (noted,) = look(harvest.out, "SELECT value FROM meta WHERE key = 'new_ids_ms'")[0]
    assert first == int(noted) / 1000
    assert told(harvest.run(empty)) == first
    # Also where a night ends before it has an output in its hands.
    refused = harvest.run(tmp_path / "missing.txt")
    assert refused.code == 2
    assert f"_new_ids_timestamp_seconds {first}" in metrics.read_text()


def test_plan_and_doctor_say_the_same(tmp_path: Path) -> None:
    _, empty = files(tmp_path)
    out = tmp_path / "out"
    plan = make_plan(config_of(out), [str(empty)])
    assert plan.input is not None
    assert (plan.input.lines, plan.to_fetch) == (0, 0)
    assert "no ids: open calls and carried over ids are fetched" in "\n".join(
        line.text for line in screen(plan)
    )
    gone = str(tmp_path / "gone.txt")
    assert make_plan(config_of(out, input__paths=[gone]), [], carried_over_only=True).input is None
    allowing = config_of(out, input__allow_empty=True)
    assert make_plan(allowing, [gone]).input == plan.input

    def checked(config: Any, source: str) -> tuple[str, str]:
        found = next(one for one in examine(config, None, [source]) if one.name == "input")
        return found.state, found.said

    for config, source in ((config_of(out), str(empty)), (allowing, gone)):
        state, said = checked(config, source)
        assert state == "warn"
        assert "the input holds no ids" in said
    assert checked(config_of(out), gone)[0] == "fail"
    assert not (out / "state").exists()


def test_options_that_contradict_each_other_are_refused_and_the_old_name_is_taken(
    tmp_path: Path,
) -> None:
    (tmp_path / "empty.txt").touch()
    for words in (["empty.txt"], ["--input-only"], ["--only"]):
        for command in ("plan", "run"):
            refused = harvester(command, *words, "--carried-over-only", cwd=tmp_path, env=KEYS)
            assert refused.returncode == 2
            assert "--carried-over-only reads no input" in refused.stderr
    for word in ("--only", "--input-only"):
        planned = harvester("plan", "empty.txt", word, "--json", cwd=tmp_path)
        assert json.loads(planned.stdout)["only"] is True
    shown = harvester("run", "--help", cwd=tmp_path).stdout
    assert "--input-only" in shown
    assert "--only " not in shown.replace("--carried-over-only", "").replace("--input-only", "")
