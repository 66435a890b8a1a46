"""`harvester explain`: all that is known of one id, and where it is known from."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from harvester.analysis.places import Places
from harvester.analysis.query.lookup import find_in_journal, find_on_list, find_rows
from harvester.answers.answer import Answer
from harvester.dataset.changes import NEW, OLD
from harvester.dataset.group_record import GROUP_RECORD, of_version
from harvester.dataset.kind import RecordKind
from harvester.dataset.normalize import normalize
from harvester.errors import UsageError
from harvester.state import publications, unresolved, work_lists
from harvester.state.belongs import data_version
from harvester.state.database import get_meta
from harvester.state.lock import OutputLock
from harvester.state.read_only import view_ledger
from harvester.storage.dropped import drop_of
from harvester.storage.ownership import READ, refuse_closed

Row = dict[str, str | int | bool | None]
_WHY = ("new", "carried over", "delivered before")
"""By an id's rank on the work list."""


class OnList(msgspec.Struct, frozen=True, kw_only=True):
    """Its place on the work list in force."""

    position: int
    """Its row, counted from 0."""
    why: str
    """"new": of the newest input, or a dead letter that is fetched again; "carried over" from an
    earlier one; "delivered before", and fetched again."""
    resolved: bool


class InData(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the data set."""

    file: str
    row_group: int
    publication: int
    run_id: str
    fetched_at: str
    row: Row


class InJournal(msgspec.Struct, frozen=True, kw_only=True):
    """Acknowledged, but not published yet."""

    run_id: str
    fetched_at: str
    row: Row


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What has changed since it was delivered: a row of changes/."""

    file: str
    publication: int
    run_id: str
    changed_at: str
    reason: str
    changed: tuple[str, ...]
    """The columns that differ."""
    old: Row
    new: Row


class DroppedOn(msgspec.Struct, frozen=True, kw_only=True):
    """It left the data set, by `harvester drop`."""

    at: str
    before: str
    """The date that was given."""
    archive: str | None
    """The folder that its date was copied to; None: it was deleted."""


class Open(msgspec.Struct, frozen=True, kw_only=True):
    """A call that wasn't over or rated, or that the vendor did not know, when fetched last."""

    run_id: str
    fetches: int
    first_at: str
    due_at: str
    answered_at: str | None
    unrated_since: str | None
    """When it was first found over, but without a price; None where that is not what it is."""
    last_answer: Row | None
    """The last answer's record, normalised; None where the vendor knew none."""


class Dead(msgspec.Struct, frozen=True, kw_only=True):
    """A permanent failure, or it failed in too many runs."""

    run_id: str
    reason: str
    detail: str
    attempts: int
    first_at: str
    died_at: str
    published: bool
    retrying: bool
    body: str | None


class Deferred(msgspec.Struct, frozen=True, kw_only=True):
    """It failed in some run, stays pending, and is fetched again."""

    run_id: str
    cause: str
    detail: str
    first_at: str
    last_at: str
    runs: int
    days: tuple[str, ...]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one id.  What isn't the case is None, or empty."""

    voice_id: str
    state: str
    """delivered, open, dead, pending, dropped, unknown; or lost, which must not be."""
    on_list: OnList | None
    data: tuple[InData, ...]
    changes: tuple[Change, ...]
    """The oldest first."""
    journal: InJournal | None
    again: InJournal | None
    """An answer to a later fetch that is not compared yet."""
    dropped: DroppedOn | None
    open: Open | None
    dead: Dead | None
    deferred: Deferred | None
    next: str
    """What will happen to it, or what to type."""


def explain(places: Places, voice_id: str) -> Explanation:
    """Look `voice_id` up everywhere; change nothing.

    Raises AlreadyRunning while a run holds the output, UsageError where there is none, StoreError
    if something can't be read.
    """
    refuse_closed(places.root, [places.state, places.database, places.lock], READ)
    if not places.database.is_file():
        raise UsageError(
            f"{places.root} has no state: there is no {places.database}. Name the right folder "
            "with --out or -c; if there is data, `harvester rebuild` makes the state again.",
            code="state.missing",
        )
    scratch = places.staging if places.staging.is_dir() else None
    with OutputLock(places.lock, "explain"), view_ledger(places.database, scratch) as db:
        return _explain(db, places, voice_id)


def _explain(db: sqlite3.Connection, places: Places, voice_id: str) -> Explanation:
    account = get_meta(db, "account") or ""
    kind = of_version(data_version(db, GROUP_RECORD.version))
    on_list = _on_list(db, places, voice_id)
    data = _in_data(db, places, voice_id)
    journal = _in_journal(db, account, kind, voice_id, "new")
    open_ = _open(db, account, kind, voice_id)
    dead = _dead(db, voice_id)
    deferred = _deferred(db, voice_id)
    dropped = _dropped(places, voice_id)
    state = _state(
        is_dropped=dropped is not None,
        delivered=bool(data) or journal is not None,
        is_open=open_ is not None,
        is_dead=dead is not None and not dead.retrying,
        on_list=on_list,
        is_deferred=deferred is not None,
    )
    return Explanation(
        voice_id=voice_id,
        state=state,
        on_list=on_list,
        data=data,
        changes=_changes(db, places, voice_id),
        journal=journal,
        again=_in_journal(db, account, kind, voice_id, "again"),
        dropped=dropped,
        open=open_,
        dead=dead,
        deferred=deferred,
        next=_next(state, published_dead=dead is not None and dead.published),
    )


def _state(
    *,
    is_dropped: bool,
    delivered: bool,
    is_open: bool,
    is_dead: bool,
    on_list: OnList | None,
    is_deferred: bool,
) -> str:
    if is_dropped and not delivered:
        return "dropped"
    # Dead before delivered: the last answer of an open call that died is in the data as well.
    if is_dead:
        return "dead"
    if delivered:
        return "delivered"
    if is_open:
        return "open"
    if on_list is not None and on_list.resolved:
        return "lost"
    return "pending" if on_list is not None or is_deferred else "unknown"


_NEXT = {
    "delivered": "Nothing: its record is kept.",
    "dropped": "Nothing: it left the data set, and is not fetched again.",
    "open": "The first run after its due time fetches it again.",
    "dead": "Nothing, unless you fetch it again: `harvester refetch dead`.",
    "pending": "The next run fetches it; on the work list it needs no input.",
    "lost": "Resolved on the list, but without an outcome: run `harvester verify --deep`.",
    "unknown": "Not known: it is neither on the list nor in the data. Put it in an input and run.",
}


def _next(state: str, *, published_dead: bool) -> str:
    if state == "dead" and published_dead:
        return "Nothing: its last answer is in the data, with is_final = false."
    return _NEXT[state]


def _on_list(db: sqlite3.Connection, places: Places, voice_id: str) -> OnList | None:
    work_list = work_lists.current_list(db)
    if work_list is None:
        return None
    found = find_on_list(db, work_list, places.lists / work_list.path, voice_id)
    return (
        None if found is None else OnList(position=found[0], why=_WHY[found[1]], resolved=found[2])
    )


def _in_data(db: sqlite3.Connection, places: Places, voice_id: str) -> tuple[InData, ...]:
    parts = {
        places.cdr / part.path: part for part in publications.current_parts(db, places.place_of)
    }
    return tuple(
        InData(
            file=str(found.path),
            row_group=found.row_group,
            publication=parts[found.path].publication,
            run_id=found.row["run_id"],
            fetched_at=found.row["fetched_at"].isoformat(),
            row=_plain(found.row),
        )
        for found in find_rows(parts, voice_id)
    )


def _changes(db: sqlite3.Connection, places: Places, voice_id: str) -> tuple[Change, ...]:
    parts = publications.current_parts(db, places.place_of, changes=True)
    found = find_rows([places.place_of(part.path) for part in parts], voice_id)
    changes = [
        Change(
            file=str(one.path),
            publication=one.row["publication"],
            run_id=one.row["run_id"],
            changed_at=one.row["changed_at"].isoformat(),
            reason=one.row["reason"],
            changed=tuple(one.row["changed"]),
            old=_plain(one.row[OLD]),
            new=_plain(one.row[NEW]),
        )
        for one in found
    ]
    return tuple(sorted(changes, key=lambda change: change.publication))


def _dropped(places: Places, voice_id: str) -> DroppedOn | None:
    found = drop_of(places.dropped, voice_id)
    if found is None:
        return None
    return DroppedOn(at=_instant(found.at_ms), before=found.before, archive=found.archive)


def _in_journal(
    db: sqlite3.Connection, account: str, kind: RecordKind, voice_id: str, of: str
) -> InJournal | None:
    answer = find_in_journal(db, voice_id, of)
    if answer is None:
        return None
    return InJournal(
        run_id=answer.run_id,
        fetched_at=_instant(answer.fetched_at_ms),
        row=_row(answer, account, kind),
    )


def _open(db: sqlite3.Connection, account: str, kind: RecordKind, voice_id: str) -> Open | None:
    call = unresolved.open_call(db, voice_id)
    if call is None:
        return None
    last = call.last_answer
    return Open(
        run_id=call.run_id,
        fetches=call.fetches,
        first_at=_instant(call.first_ms),
        due_at=_instant(call.due_ms),
        answered_at=None if call.answer_ms is None else _instant(call.answer_ms),
        unrated_since=None if call.unrated_ms is None else _instant(call.unrated_ms),
        last_answer=None if last is None else _row(last, account, kind),
    )


def _dead(db: sqlite3.Connection, voice_id: str) -> Dead | None:
    letter = unresolved.dead_letter(db, voice_id)
    if letter is None:
        return None
    return Dead(
        run_id=letter.run_id,
        reason=letter.reason,
        detail=letter.detail,
        attempts=letter.attempts,
        first_at=_instant(letter.first_ms),
        died_at=_instant(letter.died_ms),
        published=letter.published,
        retrying=letter.retrying,
        body=None if letter.body is None else letter.body.decode("utf-8", "replace"),
    )


def _deferred(db: sqlite3.Connection, voice_id: str) -> Deferred | None:
    item = unresolved.deferred(db, voice_id)
    if item is None:
        return None
    return Deferred(
        run_id=item.run_id,
        cause=item.cause,
        detail=item.detail,
        first_at=_instant(item.first_ms),
        last_at=_instant(item.last_ms),
        runs=item.runs,
        days=item.days,
    )


def _row(answer: Answer, account: str, kind: RecordKind) -> Row:
    return _plain(normalize([answer], account, kind).table.to_pylist()[0])


def _plain(row: Mapping[str, Any]) -> Row:
    """A row as JSON can hold it: instants as ISO 8601, money as its decimal text."""
    return {name: _value(value) for name, value in row.items()}


def _value(value: Any) -> str | int | bool | None:  # noqa: ANN401 - whatever a column holds
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value if isinstance(value, str | int) or value is None else str(value)


def _instant(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
