"""runs/<run_id>/state.parquet: what the data set does not hold, as it stood at a run's end.

Open calls, dead letters and deferred ids live in state.db alone; this copy is what a state that
was lost is rebuilt from.  Its footer says what the output belongs to and, by the number of the run,
which of two is newer.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from harvester.dataset.origin import footer_of, identity_in
from harvester.errors import StoreError, disk_code
from harvester.identity import Identity
from harvester.state import run_records, unresolved
from harvester.state.belongs import read_identity
from harvester.state.values import DeadLetter, Deferred, OpenCall
from harvester.storage.atomic_files import NewFile

_MS = pa.timestamp("ms", tz="UTC")
SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),  # open, dead or deferred
        pa.field("voice_id", pa.string(), nullable=False),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("attempts", pa.int32()),
        pa.field("first_at", _MS, nullable=False),
        pa.field("last_at", _MS),
        pa.field("due_at", _MS),
        pa.field("unknown_at", _MS),
        pa.field("unrated_at", _MS),
        pa.field("runs", pa.int32()),
        pa.field("days", pa.string()),
        pa.field("published", pa.bool_()),
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("answer", pa.binary()),
    ]
)
_PORTION = 2_000
_NUMBER = re.compile(rb"[0-9]{1,15}")
FOOTER_FIRST_PUBLICATION = "cdr.first_publication"
"""Key of the footer: that of the run at whose end it was written."""


def write_snapshot(db: sqlite3.Connection, path: Path) -> int:
    """Write the three tables to `path`, private to the owner; returns the rows."""
    try:
        with NewFile(path) as new:
            rows = _write(db, new.stream)
            new.commit()
    except OSError as exc:
        raise StoreError(
            f"{path} can't be written: {exc.strerror}. Free some space.", code=disk_code(exc)
        ) from exc
    return rows


def _write(db: sqlite3.Connection, file: BinaryIO) -> int:
    rows = 0
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        source = _rows(db)
        while portion := list(islice(source, _PORTION)):
            rows += len(portion)
            writer.write_table(pa.Table.from_pylist(portion, SCHEMA))
        writer.add_key_value_metadata(_footer(db))
    return rows


def snapshot_number(path: Path) -> int | None:
    """The number of the run that left the snapshot at `path`; None where it does not say."""
    number = _metadata(path).get(FOOTER_FIRST_PUBLICATION.encode(), b"")
    return int(number) if _NUMBER.fullmatch(number) else None


def snapshot_identity(path: Path) -> Identity:
    """What the snapshot at `path` says that the output belongs to."""
    try:
        return identity_in(_metadata(path))
    except ValueError:
        return Identity()


def value_of(row: dict[str, Any]) -> OpenCall | DeadLetter | Deferred:
    """What a row of a snapshot was written for; an older version's may lack columns."""
    match row["kind"]:
        case "open":
            return _open_call(row)
        case "dead":
            return _dead_letter(row)
        case _:
            return _deferred(row)


def _metadata(path: Path) -> dict[bytes, bytes]:
    try:
        return dict(pq.read_metadata(path).metadata or {})
    except (OSError, pa.ArrowException):
        return {}


def _footer(db: sqlite3.Connection) -> dict[str, str]:
    footer = footer_of(read_identity(db))
    for run in run_records.last_runs(db, 1):
        footer[FOOTER_FIRST_PUBLICATION] = str(run.first_publication)
    return footer


def _rows(db: sqlite3.Connection) -> Iterator[dict[str, object]]:
    for call in unresolved.all_open_calls(db):
        yield _open_row(call)
    for letter in unresolved.all_dead_letters(db):
        yield _dead_row(letter)
    for item in unresolved.all_deferred(db):
        yield _deferred_row(item)


def _open_row(call: OpenCall) -> dict[str, object]:
    return {
        "kind": "open",
        "voice_id": call.voice_id,
        "attempts": call.fetches,
        "first_at": call.first_ms,
        "last_at": call.answer_ms,
        "due_at": call.due_ms,
        "unknown_at": call.unknown_ms,
        "unrated_at": call.unrated_ms,
        "run_id": call.run_id,
        "answer": call.answer,
    }


def _dead_row(letter: DeadLetter) -> dict[str, object]:
    return {
        "kind": "dead",
        "voice_id": letter.voice_id,
        "reason": letter.reason,
        "detail": letter.detail,
        "attempts": letter.attempts,
        "first_at": letter.first_ms,
        "last_at": letter.died_ms,
        "published": letter.published,
        "run_id": letter.run_id,
        "answer": letter.body,
    }


def _deferred_row(item: Deferred) -> dict[str, object]:
    return {
        "kind": "deferred",
        "voice_id": item.voice_id,
        "reason": item.cause,
        "detail": item.detail,
        "first_at": item.first_ms,
        "last_at": item.last_ms,
        "runs": item.runs,
        "days": ",".join(item.days),
        "run_id": item.run_id,
    }


def _open_call(row: dict[str, Any]) -> OpenCall:
    answer, first_ms = row["answer"], _ms(row["first_at"])
    unknown = _ms_or_none(row.get("unknown_at"))
    if answer is None and unknown is None:
        unknown = first_ms
    return OpenCall(
        voice_id=row["voice_id"],
        due_ms=_ms(row["due_at"]),
        first_ms=first_ms,
        fetches=row["attempts"],
        run_id=row["run_id"],
        answer=answer,
        answer_ms=_ms_or_none(row["last_at"]),
        unknown_ms=unknown,
        unrated_ms=_ms_or_none(row.get("unrated_at")),
    )


def _dead_letter(row: dict[str, Any]) -> DeadLetter:
    return DeadLetter(
        voice_id=row["voice_id"],
        reason=row["reason"],
        detail=row["detail"],
        attempts=row["attempts"],
        first_ms=_ms(row["first_at"]),
        died_ms=_ms(row["last_at"]),
        run_id=row["run_id"],
        published=row["published"],
        body=row["answer"],
    )


def _deferred(row: dict[str, Any]) -> Deferred:
    return Deferred(
        voice_id=row["voice_id"],
        cause=row["reason"],
        detail=row["detail"],
        first_ms=_ms(row["first_at"]),
        last_ms=_ms(row["last_at"]),
        run_id=row["run_id"],
        runs=row["runs"],
        days=tuple(row["days"].split(",")) if row["days"] else (),
    )


def _ms_or_none(instant: datetime | None) -> int | None:
    return None if instant is None else _ms(instant)


def _ms(instant: datetime) -> int:
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
