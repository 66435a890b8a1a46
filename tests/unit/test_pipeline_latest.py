"""runs/latest.json: which files a job that copies the data set gets, and which it must let go."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harvester.pipeline.publish.latest import begin_anew, write_anew, write_latest
from harvester.state.database import open_database
from harvester.state.values import Note
from harvester.storage.output import Output, make_folders

DAY, CHANGED = "submit_date=2026-11-01", "change_date=2026-11-02"


class Told:
    """An output of which only the state database is real."""

    def __init__(self, root: Path) -> None:
        self.output = Output(root)
        make_folders(self.output, 0o750)
        self.db: sqlite3.Connection = open_database(self.output.database, "acme")
        self._rows = 0

    def publication(self, note: Note | None = None, kind: str = "append", **more: str) -> int:
        text = None if note is None else msgspec.json.encode(note).decode()
        cursor = self.db.execute(
            "INSERT INTO publication (lo, hi, state, kind, note) VALUES (1, 0, ?, ?, ?)",
            (more.get("state", "live"), kind, text),
        )
        return int(cursor.lastrowid or 0)

    def file(self, number: int, folder: str = DAY, *, rewrite: bool = False) -> str:
        """A file that a publication, or a rewrite, brought; its path."""
        end = f"-r{number}" if rewrite else ""
        path = f"{folder}/part-0123abcd-{number}-0{end}.parquet"
        self._rows += 1
        self.db.execute(
            "INSERT INTO file (path, publication, rows, bytes, sha256, state, rewrite) "
            "VALUES (?, ?, ?, 7, 'hash', 'live', ?)",
            (path, number, self._rows, number if rewrite else None),
        )
        return path

    def merged(self, *paths: str, state: str = "live") -> str:
        """A rewrite that makes one file of these; its path."""
        number = self.publication(kind="rewrite", state=state)
        path = self.file(number, paths[0].partition("/")[0], rewrite=True)
        note = msgspec.json.encode(Note("compact", made_of={path: paths})).decode()
        self.db.execute("UPDATE publication SET note = ? WHERE id = ?", (note, number))
        self._retire(paths)
        return path

    def dropped(self, *paths: str) -> None:
        self.publication(Note("drop", went=paths), "rewrite")
        self._retire(paths)

    def _retire(self, paths: tuple[str, ...]) -> None:
        for path in paths:
            self.db.execute("UPDATE file SET state = 'retired' WHERE path = ?", (path,))

    def latest(self) -> dict[str, Any]:
        """What stands there after the output was let go."""
        write_latest(self.db, self.output)
        return self.told()

    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.output.runs / "latest.json").read_text())
        return found


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    made = Told(tmp_path / "out")
    with closing(made.db):
        yield made


def told_of(found: dict[str, Any]) -> tuple[int, int, list[str], list[str]]:
    new = [one["path"] for one in found["new"]]
    return found["since"], found["through"], new, found["superseded"]


def test_a_file_is_told_with_all_that_a_copy_needs(told: Told) -> None:
    path = told.file(told.publication())
    found = told.latest()
    assert found["version"] == 1
    assert found["new"] == [
        {
            "path": f"cdr/{path}",
            "date": "2026-11-01",
            "rows": 1,
            "bytes": 7,
            "sha256": "hash",
            "publication": 1,
        }
    ]
    assert told_of(found) == (0, 1, [f"cdr/{path}"], [])


def test_only_what_came_since_the_last_time_is_told(told: Told) -> None:
    first = told.file(told.publication())
    told.latest()
    changed = told.file(told.publication(kind="change"), CHANGED)
    second = told.file(told.publication())
    assert told_of(told.latest()) == (1, 3, [f"cdr/{second}", f"changes/{changed}"], [])
    assert told_of(told.latest())[:2] == (1, 3), "nothing was published since"
    merged = told.merged(first, second)
    assert told_of(told.latest()) == (
        3,
        4,
        [f"cdr/{merged}"],
        [f"cdr/{first}", f"cdr/{second}"],
    )
    assert told.told()["new"][0]["publication"] == 4


def test_a_file_that_came_and_went_in_between_was_with_nobody(told: Told) -> None:
    first = told.file(told.publication())
    told.latest()
    second = told.file(told.publication())
    merged = told.merged(first, second)
    last = told.merged(merged)
    assert told_of(told.latest()) == (1, 4, [f"cdr/{last}"], [f"cdr/{first}"])


def test_files_whose_calls_left_are_superseded_too(told: Told) -> None:
    first = told.file(told.publication())
    changed = told.file(told.publication(kind="change"), CHANGED)
    told.latest()
    told.dropped(first, changed)
    assert told_of(told.latest()) == (2, 3, [], [f"cdr/{first}", f"changes/{changed}"])


def test_what_was_told_once_is_not_superseded_again(told: Told) -> None:
    first = told.file(told.publication())
    told.latest()
    told.merged(first)
    told.latest()
    third = told.file(told.publication())
    assert told_of(told.latest()) == (2, 3, [f"cdr/{third}"], [])


def test_after_a_rebuild_all_is_told_anew_to_whoever_has_seen_any_number(told: Told) -> None:
    first = told.file(told.publication())
    told.latest()
    merged = told.merged(first)
    other = told.file(told.publication())
    begin_anew(told.db, 9)
    write_anew(told.db, told.output)
    names = sorted([f"cdr/{merged}", f"cdr/{other}"])
    since, through, new, superseded = told_of(told.told())
    assert (since, through, sorted(new), superseded) == (9, 9, names, [])
    before = told.told()
    assert told.latest() == before, "no publication has a higher number yet"


def test_a_file_that_is_still_in_its_place_is_not_told_as_superseded(told: Told) -> None:
    """A rewrite that is past its commit point, and not finished, takes it away by and by."""
    first = told.file(told.publication())
    told.latest()
    told.merged(first, state="committed")
    told.publication()
    assert told.latest()["superseded"] == []


def test_a_file_that_has_a_new_name_is_of_the_rewrite_that_gave_it(told: Told) -> None:
    """It stays as it was, and its name still begins with the publication that wrote it."""
    first = told.publication()
    old = told.file(first)
    told.latest()
    number = told.publication(kind="rewrite")
    new = old.replace(".parquet", f"-r{number}.parquet")
    told.db.execute("UPDATE file SET path = ?, rewrite = ? WHERE path = ?", (new, number, old))
    note = msgspec.json.encode(Note("compact", made_of={new: (old,)})).decode()
    told.db.execute("UPDATE publication SET note = ? WHERE id = ?", (note, number))
    assert told_of(told.latest()) == (first, number, [f"cdr/{new}"], [f"cdr/{old}"])
    assert told.told()["new"][0]["publication"] == number
