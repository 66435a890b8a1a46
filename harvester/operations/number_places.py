"""Where an output holds phone numbers that somebody asks about, place by place.

Theory of operation.  An access request and an erasure ask the same question, so there is one answer
to it: `held` goes through every place that can hold a number.  What a place would hold without the
numbers is made by one function for each form (`hidden_values`, `hidden_snapshot`,
`hidden_bad_lines`, `ListedNumbers.hidden_rows`): it is counted here, and written by `erase`.

Nothing is changed here.  Places that hold no number by their making are not gone through: lists and
files of ids, logs, summaries and metrics.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from harvester.config import Config
from harvester.dataset.changes import changes_of, records_in
from harvester.dataset.files import unreadable
from harvester.dataset.group_record import GROUP_RECORD, of_version
from harvester.dataset.kind import RecordKind
from harvester.errors import StoreError
from harvester.inputs.bad_line_list import BAD_IDS
from harvester.operations.listed_numbers import ListedNumbers
from harvester.pipeline.publish.merging import Source, whole_part
from harvester.pipeline.run.belonging import own_settings
from harvester.pipeline.run.recovery import REBUILDING
from harvester.state import publications, unresolved
from harvester.state.belongs import data_version
from harvester.state.database import copies_of
from harvester.state.journal import DAMAGED, answers_of
from harvester.state.read_only import looking
from harvester.state.values import DeadLetter, Deferred, OpenCall
from harvester.storage.disk import store_error
from harvester.storage.output import Output

DATA = "data"
CHANGES = "changes"
RETIRED = "retired"
JOURNAL = "journal"
OPEN = "open calls"
DEAD = "dead letters"
DEFERRED = "failed ids"
SNAPSHOTS = "snapshots"
BAD_LINES = "bad lines"
COPIES = "copies of the state"
OLD_STATES = "old states"
PLACES = (
    DATA,
    CHANGES,
    RETIRED,
    JOURNAL,
    OPEN,
    DEAD,
    DEFERRED,
    SNAPSHOTS,
    BAD_LINES,
    COPIES,
    OLD_STATES,
)
NOT_LOOKED_INTO = frozenset({COPIES, OLD_STATES})
"""Whole databases of another time: they may hold whatever answers came by then."""


class Held(msgspec.Struct, frozen=True):
    """A file that holds one of the numbers, or may."""

    place: str
    path: Path
    ids: tuple[str, ...] = ()
    """The calls of the rows that do, sorted."""
    rows: int = 0


class Place(msgspec.Struct, frozen=True):
    """All of one kind."""

    place: str
    files: tuple[str, ...]
    """Relative to the output."""
    rows: int
    ids: tuple[str, ...]
    """Of calls, sorted."""


class HiddenValues(msgspec.Struct, frozen=True):
    """What is kept of ids that are not resolved, without the numbers; only what held one."""

    open_calls: tuple[OpenCall, ...]
    dead_letters: tuple[DeadLetter, ...]
    deferred: tuple[Deferred, ...]


class HiddenSnapshot(msgspec.Struct, frozen=True):
    """A run's state.parquet without the numbers."""

    rows: pa.Table
    """With the keys of its footer."""
    ids: tuple[str, ...]
    """Of the rows that held one."""


def where(config: Config, numbers: tuple[str, ...], command: str) -> tuple[Place, ...]:
    """The places of the output that hold one of `numbers`; nothing is changed.

    Raises AlreadyRunning, StoreError, ConfigError.
    """
    output = Output(Path(config.output.dir))
    with looking(output, command) as db:
        own_settings(db, output, config, rebind=None)
        kind = of_version(data_version(db, GROUP_RECORD.version))
        return places(held(db, output, kind, ListedNumbers(numbers, kind)), output)


def places(found: Iterable[Held], output: Output) -> tuple[Place, ...]:
    """The files by the place that they belong to."""
    by_place: dict[str, list[Held]] = {}
    for one in found:
        by_place.setdefault(one.place, []).append(one)
    return tuple(
        Place(
            name,
            tuple(sorted({str(one.path.relative_to(output.root)) for one in by_place[name]})),
            sum(one.rows for one in by_place[name]),
            tuple(sorted({voice_id for one in by_place[name] for voice_id in one.ids})),
        )
        for name in PLACES
        if name in by_place
    )


def held(
    db: sqlite3.Connection, output: Output, kind: RecordKind, listed: ListedNumbers
) -> Iterator[Held]:
    """Every file that holds one of the numbers, or may.  Raises StoreError."""
    yield from _in_parts(db, output, kind, listed)
    yield from in_retired(output, kind, listed)
    yield from _in_journal(db, output, listed)
    hidden = hidden_values(db, listed)
    yield from _some(OPEN, output.database, [one.voice_id for one in hidden.open_calls])
    yield from _some(DEAD, output.database, [one.voice_id for one in hidden.dead_letters])
    yield from _some(DEFERRED, output.database, [one.voice_id for one in hidden.deferred])
    for path in sorted(output.runs.glob("*/state.parquet")):
        yield from _some(SNAPSHOTS, path, hidden_snapshot(path, listed).ids)
    for path in sorted(output.runs.glob(f"*/{BAD_IDS}")):
        lines = hidden_bad_lines(path, listed)[1]
        if lines:
            yield Held(BAD_LINES, path, rows=lines)
    yield from (Held(COPIES, path) for path in copies_of(output.database))
    yield from (Held(OLD_STATES, path) for path in sorted(output.root.glob("state.old-*")))
    if (output.state / REBUILDING).exists():
        yield Held(OLD_STATES, output.state / REBUILDING)


def in_retired(output: Output, kind: RecordKind, listed: ListedNumbers) -> Iterator[Held]:
    """The files that hold one among those that rewrites took out of the data set."""
    for path in sorted(output.retired.glob("*/*/*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                yield from _some(RETIRED, path, _ids_in(file, kind, listed))
        except (OSError, pa.ArrowException) as exc:
            raise unreadable(path, exc) from exc


def hidden_values(db: sqlite3.Connection, listed: ListedNumbers) -> HiddenValues:
    """See `HiddenValues`."""
    replace = msgspec.structs.replace
    open_calls, letters, deferred = [], [], []
    for call in unresolved.all_open_calls(db):
        body = call.answer and listed.answer(call.answer, call.voice_id)
        if body != call.answer:
            open_calls.append(replace(call, answer=body))
    for letter in unresolved.all_dead_letters(db):
        body = letter.body and listed.answer(letter.body, letter.voice_id)
        detail = listed.text(letter.detail, letter.voice_id)
        if (body, detail) != (letter.body, letter.detail):
            letters.append(replace(letter, body=body, detail=detail))
    for item in unresolved.all_deferred(db):
        detail = listed.text(item.detail, item.voice_id)
        if detail != item.detail:
            deferred.append(replace(item, detail=detail))
    return HiddenValues(tuple(open_calls), tuple(letters), tuple(deferred))


def hidden_snapshot(path: Path, listed: ListedNumbers) -> HiddenSnapshot:
    """See `HiddenSnapshot`.  Raises StoreError if it can't be read."""
    try:
        with pq.ParquetFile(path) as file:
            rows = file.read(use_threads=False)
            footer = file.metadata.metadata or {}
    except (OSError, pa.ArrowException) as exc:
        raise unreadable(path, exc) from exc
    changed: set[str] = set()

    def hidden(row: dict[str, Any]) -> dict[str, Any]:
        voice_id, detail, answer = row["voice_id"], row.get("detail"), row.get("answer")
        found = row | {
            name: value
            for name, value in (
                ("detail", detail and listed.text(detail, voice_id)),
                ("answer", answer and listed.answer(answer, voice_id)),
            )
            if name in row
        }
        if found != row:
            changed.add(voice_id)
        return found

    told = pa.Table.from_pylist(list(map(hidden, rows.to_pylist())), rows.schema)
    kept = {key: value for key, value in footer.items() if key != b"ARROW:schema"}
    return HiddenSnapshot(told.replace_schema_metadata(kept), tuple(sorted(changed)))


def hidden_bad_lines(path: Path, listed: ListedNumbers) -> tuple[bytes, int]:
    """A run's list of bad lines without the numbers, and how many lines held one."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as exc:
        raise store_error("reading", path, exc) from exc
    told = [_hidden_line(line, listed) for line in lines]
    return b"".join(told), sum(one != line for one, line in zip(told, lines, strict=True))


def _hidden_line(line: bytes, listed: ListedNumbers) -> bytes:
    try:
        entry = json.loads(line)
        excerpt = entry["excerpt"]
        hidden = listed.text(excerpt)
    except (ValueError, KeyError, TypeError):  # no line of ours
        return listed.text(line.decode("utf-8", "surrogateescape")).encode(
            "utf-8", "surrogateescape"
        )
    return line if hidden == excerpt else json.dumps(entry | {"excerpt": hidden}).encode() + b"\n"


def _in_parts(
    db: sqlite3.Connection, output: Output, kind: RecordKind, listed: ListedNumbers
) -> Iterator[Held]:
    for place, of in ((DATA, kind), (CHANGES, changes_of(kind))):
        for part in publications.current_parts(db, output.place_of, changes=place == CHANGES):
            path = output.place_of(part.path)
            with whole_part(Source(path, part.sha256, part.publication), of) as file:
                ids = _ids_in(file, kind, listed)
            yield from _some(place, path, ids)


def _ids_in(file: pq.ParquetFile, kind: RecordKind, listed: ListedNumbers) -> list[str]:
    """The id of each row that holds a number; of a change, if the old or the new row does."""
    found: list[str] = []
    for group in range(file.num_row_groups):
        rows = file.read_row_group(group, use_threads=False)
        for records in records_in(rows):
            changed = listed.hidden_rows(records).changed
            found += records[kind.key].filter(changed).to_pylist()
    return found


def _in_journal(db: sqlite3.Connection, output: Output, listed: ListedNumbers) -> Iterator[Held]:
    ids = []
    for blob in publications.journal_blobs(db):
        try:
            answers = answers_of(blob)
        except DAMAGED as exc:
            raise StoreError(
                f"{output.database} is damaged: answers in its journal can't be read, so it is "
                "unknown which numbers they hold. Nothing was changed: restore state/ from a "
                "backup; `harvester verify` shows what else is wrong.",
                code="state.damaged",
            ) from exc
        ids += [
            answer.voice_id
            for answer in answers
            if listed.answer(answer.body, answer.voice_id) != answer.body
        ]
    yield from _some(JOURNAL, output.database, ids)


def _some(place: str, path: Path, ids: Iterable[str]) -> Iterator[Held]:
    rows = list(ids)
    if rows:
        yield Held(place, path, tuple(sorted(set(rows))), len(rows))
