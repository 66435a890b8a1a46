"""What the list of an input's bad lines tells, and where it is found."""

from __future__ import annotations

import io
import json
from pathlib import Path

from harvester.inputs.bad_line_list import (
    EXAMPLES,
    BadLines,
    first_examples,
    keep_bad_lines,
    newest_list,
    read_bad_lines,
    worst_first,
)
from harvester.inputs.bad_lines import LISTED_AT_MOST, BadIds


def line(file: str, number: int, reason: str = "not_an_id") -> str:
    told = {"file": file, "line": number, "reason": reason, "excerpt": f"x{number}"}
    return json.dumps(told) + "\n"


def test_bad_lines_are_counted_by_reason_and_file_and_the_first_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "bad_ids.jsonl"
    lines = [line("a.txt", number) for number in range(1, 5)]
    lines += [line("b.txt", number, "too_long") for number in range(1, 4)]
    path.write_text("".join(lines))
    found = read_bad_lines(path)
    assert found.count == 7
    assert found.by_reason == {"not_an_id": 4, "too_long": 3}
    assert found.by_file == {"a.txt": 4, "b.txt": 3}
    assert found.examples == [
        *(f"a.txt:{number}: not an id: x{number}" for number in range(1, 5)),
        "b.txt:1: too long: x1",
    ]
    assert first_examples(path) == tuple(found.examples)
    assert len(found.examples) == EXAMPLES == 5


def test_a_list_that_is_gone_or_broken_tells_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bad_ids.jsonl"
    assert read_bad_lines(path) == BadLines()
    assert first_examples(path) == ()
    path.write_text(line("a.txt", 1) + '{"file": "a')
    assert read_bad_lines(path) == BadLines()


def listed(runs: Path, run_id: str, count: int) -> Path:
    (runs / run_id).mkdir()
    path = runs / run_id / "bad_ids.jsonl"
    path.write_text("".join(line("a.txt", number) for number in range(count)))
    return path


def test_the_newest_list_of_so_many_lines_is_found(tmp_path: Path) -> None:
    assert newest_list(tmp_path, 2) == ""
    listed(tmp_path, "1", 2)
    listed(tmp_path, "9", 3)
    for run_id in "628547":
        listed(tmp_path, run_id, 2)
    assert newest_list(tmp_path, 2) == str(tmp_path / "8" / "bad_ids.jsonl")
    assert newest_list(tmp_path, 4) == ""


def test_a_list_that_ends_at_its_most_is_that_of_all_the_more_lines(tmp_path: Path) -> None:
    full = listed(tmp_path, "1", LISTED_AT_MOST)
    assert newest_list(tmp_path, LISTED_AT_MOST + 500) == str(full)
    assert newest_list(tmp_path, LISTED_AT_MOST - 1) == ""


def test_a_list_that_can_not_be_kept_stops_nothing(tmp_path: Path) -> None:
    """The run's folder may be gone: the run says so elsewhere."""
    listed(tmp_path, "1", 2)
    own = keep_bad_lines(tmp_path, "2", 2)
    assert own == tmp_path / "2" / "bad_ids.jsonl"
    assert not own.exists()


def test_files_are_ranked_by_their_bad_lines() -> None:
    by_file = {"c": 1, "none": 0, "b": 7, "a": 1}
    assert list(worst_first(by_file).items()) == [("b", 7), ("a", 1), ("c", 1)]


def test_another_count_lists_into_what_room_is_left() -> None:
    out = io.StringIO()
    bad = BadIds(out, listed_at_most=3)
    bad.add(1, "empty", b"")
    own = bad.apart()
    for line in range(2, 6):
        own.add(line, "empty", b"")
    assert [json.loads(line)["line"] for line in out.getvalue().splitlines()] == [1, 2, 3]
    assert (bad.total, own.total) == (1, 4)
