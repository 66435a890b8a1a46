"""A bad line and a dead id are reported by one run: after that they are counted, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from harvester.cli.ui.status_screen import idle_screen
from harvester.config import load
from harvester.inputs.bad_line_list import keep_bad_lines, unreported_lines
from harvester.operations.status import read_output_status
from harvester.pipeline.engine.progress import Progress
from harvester.pipeline.run.requests import RunRequest
from harvester.pipeline.run.run import Result, run
from harvester.simulator import make_ids
from harvester.state import unresolved
from harvester.storage.output import Output
from tests.run.test_in_place import SECRETS
from tests.support.fakes import House
from tests.support.harvesting import FAST
from tests.support.outputs import edit
from tests.support.simulated import ALL_RECORDS, END, Simulator

IDS = sorted(make_ids(40, 8, end=END))
Run = tuple[str, int, int | None, int]
"""Its id, when it began, its exit code (None: killed), its first publication."""


@pytest.mark.parametrize(
    ("runs", "unreported"),
    [
        ([("r", 1, 3, 1)], 0),
        ([("r", 1, 0, 1)], 0),
        ([("r", 1, None, 1)], 1),
        ([("r", 1, 8, 1)], 1),
        ([("r", 1, 5, 1)], 1),
        ([("r", 1, 6, 1)], 1),
        ([("r", 1, 130, 1)], 1),
        ([("r", 1, 8, 1), ("s", 2, 5, 2), ("t", 3, None, 2)], 1),
        ([("r", 1, 8, 1), ("s", 2, 3, 2)], 0),
        ([("r", 1, None, 1), ("s", 2, 3, 1)], 0),
        ([("q", 1, 3, 1), ("r", 2, None, 1)], 1),
        ([("q", 1, 3, 1), ("r", 1, None, 1)], 1),
        ([("q", 9_000, 3, 1), ("r", 2, 8, 2), ("s", 3, 3, 3)], 0),
        # The success before it began when the clock was 30 days ahead.
        ([("q", 9_000, 3, 1), ("r", 2, None, 2)], 1),
        # And the one behind it when the clock was 30 days behind.
        ([("r", 9_000, None, 1), ("s", 2, 3, 2)], 0),
        # The run in which it died is not known: the state was rebuilt from what a run had kept.
        ([("q", 1, None, 1)], 0),
    ],
)
def test_a_death_is_reported_by_the_first_run_that_ends_with_0_or_3(
    tmp_path: Path, runs: list[Run], unreported: int
) -> None:
    with closing(House(tmp_path / "out")) as house:
        for run_id, started, code, first in runs:
            row = (run_id, started, None if code is None else started + 1, code, first)
            house.db.execute("INSERT INTO run VALUES (?, ?, ?, ?, ?, '{}')", row)
        for voice_id, retrying in (("1", 0), ("2", 1)):
            house.db.execute(
                "INSERT INTO dead_letter VALUES (?, 'not_found', '', 1, 1, 1, 'r', 0, ?, NULL)",
                (voice_id, retrying),
            )
        assert unresolved.unreported_deaths(house.db) == unreported


def write(path: Path, *lines: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_a_bad_line_is_known_by_its_file_its_place_and_its_text(tmp_path: Path) -> None:
    before = write(
        tmp_path / "a" / "bad_ids.jsonl",
        '{"file": "x.txt", "line": 3, "reason": "empty", "excerpt": ""}',
        '{"file": "/o/state/staging/stdin-abc1.txt", "line": 1, "reason": "empty", "excerpt": ""}',
    )
    same = write(
        tmp_path / "b" / "bad_ids.jsonl",
        '{"file": "/o/state/staging/stdin-zz_9.txt", "line": 1, "reason": "empty", "excerpt": ""}',
        '{"file": "x.txt", "line": 3, "reason": "empty", "excerpt": ""}',
    )
    assert unreported_lines(same, [before]) == 0
    assert unreported_lines(same, []) == 2
    assert unreported_lines(same, [tmp_path / "gone.jsonl"]) == 2
    for line in (
        '{"file": "y.txt", "line": 3, "reason": "empty", "excerpt": ""}',
        '{"file": "x.txt", "line": 4, "reason": "empty", "excerpt": ""}',
        '{"file": "x.txt", "line": 3, "reason": "empty", "excerpt": " "}',
    ):
        assert unreported_lines(write(tmp_path / "c" / "bad_ids.jsonl", line), [before, same]) == 1
    assert unreported_lines(tmp_path / "gone.jsonl", [before]) == 0


def test_a_run_that_read_no_line_itself_keeps_the_list_of_the_one_that_did(tmp_path: Path) -> None:
    for run_id, lines in (("1", ["a"]), ("2", ["b", "c"]), ("3", [])):
        write(tmp_path / run_id / "bad_ids.jsonl", *lines)
    (tmp_path / "4").mkdir()
    assert keep_bad_lines(tmp_path, "4", 2).read_text() == "b\nc\n"
    assert keep_bad_lines(tmp_path, "1", 2).read_text() == "a\n", "its own"
    assert not keep_bad_lines(tmp_path, "5", 7).exists()


class Told:
    """The warnings of a run."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.bad: dict[str, object] = {}

    def message(self, level: str, event: str, **fields: object) -> None:
        if level != "info":
            self.warnings.append(event)
        if event == "bad_ids":
            self.bad = {name: fields[name] for name in ("count", "new")}

    def progress(self, progress: Progress) -> None:
        pass


@pytest.fixture(scope="module")
def vendor() -> Iterator[Simulator]:
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as up:
        yield up


def harvest(
    vendor: Simulator, folder: Path, *, refuse: str | None = None, **more: object
) -> tuple[Result, Told]:
    """A night: all files of the folder, as every night."""
    vendor.post_faults(refuse=refuse)
    flags = {**FAST, "output.dir": str(folder / "out"), "vendor.base_url": vendor.base_url, **more}
    told = Told()
    request = RunRequest(sources=(str(folder / "ids"),))
    return run(load(flags=flags).config, SECRETS, request, told), told


def killed(folder: Path) -> None:
    """The last run, as if it had not come to its end."""
    edit(
        folder / "out",
        "UPDATE run SET ended_ms = NULL, exit_code = NULL WHERE id = (SELECT MAX(id) FROM run)",
    )


def test_the_same_files_every_night_report_what_is_new_and_status_shows_all(
    vendor: Simulator, tmp_path: Path
) -> None:
    write(tmp_path / "ids" / "1.txt", *IDS[:3], "no id", "none, either")
    first, told = harvest(vendor, tmp_path, refuse="-22")
    assert (first.exit_code, first.summary.newly_dead) == (3, 3)
    assert (told.warnings, told.bad) == (["bad_ids"], {"count": 2, "new": 2})

    # The same again: nothing to say.
    again, told = harvest(vendor, tmp_path)
    assert (again.exit_code, again.summary.newly_dead) == (0, 0)
    assert (told.warnings, told.bad) == ([], {"count": 2, "new": 0})

    # Another file beside it, with a bad line of its own.
    write(tmp_path / "ids" / "2.txt", *IDS[3:6], "no id")
    more, told = harvest(vendor, tmp_path)
    assert more.exit_code == 0
    assert (told.warnings, told.bad) == (["bad_ids"], {"count": 3, "new": 1})

    standing = read_output_status(Output(tmp_path / "out"))
    assert (standing.ids.dead, standing.bad_lines) == (3, 3)
    shown = "\n".join(line.text for line in idle_screen(standing, 1_800_000_000.0))
    assert f"3  of the last input, without a voiceId; {standing.bad_lines_file} lists" in shown
    assert len(Path(standing.bad_lines_file).read_text().splitlines()) == 3


def test_a_run_that_was_killed_has_reported_nothing(vendor: Simulator, tmp_path: Path) -> None:
    write(tmp_path / "ids" / "1.txt", *IDS[10:13], "no id")
    harvest(vendor, tmp_path, refuse="-22")
    killed(tmp_path)
    after, told = harvest(vendor, tmp_path)
    assert (after.exit_code, after.summary.newly_dead) == (3, 3)
    assert told.bad == {"count": 1, "new": 1}
    assert "bad_ids" in told.warnings
    last, told = harvest(vendor, tmp_path)
    assert (last.exit_code, told.warnings) == (0, [])


def test_a_run_that_ended_with_something_else_to_say_leaves_its_dead_to_the_next(
    vendor: Simulator, tmp_path: Path
) -> None:
    write(tmp_path / "ids" / "1.txt", *IDS[20:30])
    some, _ = harvest(vendor, tmp_path, refuse="-22", **{"pace.per_day": 4})
    # How many depends on which connections are reused: a no on one of these is confirmed first.
    dead = some.summary.newly_dead
    assert some.exit_code == 8
    assert 1 <= dead <= 4
    rest, _ = harvest(vendor, tmp_path)
    assert (rest.exit_code, rest.summary.newly_dead) == (3, dead)
    assert harvest(vendor, tmp_path)[0].exit_code == 0
