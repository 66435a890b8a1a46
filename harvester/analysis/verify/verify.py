"""`harvester verify`: does all hold that docs/internals/commit-protocol.md says?

Theory of operation.  The output's lock is held throughout, so that nothing moves; the ledger is
viewed, not opened, and nothing is recovered or repaired.  First what lies where, then the ledger
against itself, then every id and every sum.  What could only repeat an earlier finding (sums and
missing ids, when a file is gone) is left out and said to be left out.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from harvester.analysis.places import Places
from harvester.analysis.verify.check_drops import check_drops, with_left
from harvester.analysis.verify.check_files import Expected, FileCheck, check_files
from harvester.analysis.verify.check_ids import IdCheck, check_ids
from harvester.analysis.verify.check_permissions import check_modes
from harvester.analysis.verify.check_runs import check_runs, check_summaries
from harvester.analysis.verify.check_state import (
    JournalCheck,
    check_inputs,
    check_journal,
    check_list,
    check_publications,
    check_states,
)
from harvester.analysis.verify.dataset_scan import Content
from harvester.analysis.verify.findings import OLDER_STATE, Finding, damage, note
from harvester.dataset.files import list_parts
from harvester.dataset.group_record import GROUP_RECORD, of_version
from harvester.errors import StoreError, UsageError
from harvester.state import publications, run_records, work_lists
from harvester.state.belongs import data_version, read_identity
from harvester.state.database import get_meta, newest_number
from harvester.state.lock import OutputLock
from harvester.state.read_only import view_ledger
from harvester.state.restore import is_rebuilt
from harvester.state.values import WorkList
from harvester.storage import dropped
from harvester.storage.ownership import READ, refuse_closed
from harvester.storage.run_summary import summaries


@dataclass(frozen=True, slots=True)
class Order:
    """How to verify."""

    partition_timezone: str
    memory_limit: str
    deep: bool = False


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What was looked at, and what was found."""

    findings: tuple[Finding, ...]
    files: int = 0
    rows: int = 0
    bytes: int = 0
    in_journal: int = 0
    ids: int = 0
    """Distinct ids; with `deep` those of the work list are among them."""
    runs: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether every invariant holds."""
        return all(finding.severity == "note" for finding in self.findings)


Tell = Callable[[str, int, int], None]
"""Is told what is looked at just now: its name, how many are done, and of how many (0: unknown)."""


def _say_nothing(what: str, done: int, total: int) -> None:
    del what, done, total


def verify(places: Places, order: Order, tell: Tell = _say_nothing) -> VerifyResult:
    """Look at everything; change nothing.

    Raises AlreadyRunning while a run holds the output, UsageError where there is none, StoreError
    if the disk can't be read.
    """
    refuse_closed(
        places.root, [places.state, places.database, places.lock, places.cdr, places.runs], READ
    )
    if not places.cdr.is_dir() and not places.state.is_dir():
        raise UsageError(
            f"{places.root} holds no data yet. Name the right folder with --out or -c, or begin "
            f"with `harvester run IDS`.",
            code="output.no_data",
        )
    with OutputLock(places.lock, "verify") if places.state.is_dir() else nullcontext():
        modes = list(check_modes(places))
        if not places.database.is_file():
            return VerifyResult((*_without_state(places), *modes))
        with ExitStack() as stack:
            scratch = stack.enter_context(_scratch(places))
            try:
                db = stack.enter_context(view_ledger(places.database, scratch))
            except StoreError as exc:
                where = places.database
                return VerifyResult(
                    (damage("state_database", str(exc), where, OLDER_STATE), *modes)
                )
            return _verified(db, places, order, scratch, modes, tell)


def _verified(  # noqa: PLR0917 - what verify has, handed on
    db: sqlite3.Connection,
    places: Places,
    order: Order,
    scratch: Path,
    modes: list[Finding],
    tell: Tell,
) -> VerifyResult:
    expected = _expected(db, places, order.partition_timezone)
    files = check_files(
        places, expected, deep=order.deep, tell=lambda done, total: tell("files", done, total)
    )
    tell("the journal and the list", 0, 0)
    journal = check_journal(db, expected.account)
    of_list = list(check_list(db, places))
    tell("every id and every sum", 0, 0)
    work_list = _list_of(db, places) if order.deep and not of_list else None
    with closing(
        Content(
            files.readable,
            [
                places.place_of(part.path)
                for part in publications.current_parts(db, places.place_of, changes=True)
            ],
            dropped.files(places.dropped),
            memory_limit=order.memory_limit,
            scratch=scratch,
        )
    ) as content:
        ids, of_content = _check_content(db, places, content, work_list, files, journal)
    found = [
        *files.findings,
        *journal.findings,
        *check_publications(db),
        *of_list,
        *check_inputs(db),
        *check_drops(db, places),
        *check_states(db),
        *of_content,
        *check_summaries(db, places),
        *modes,
    ]
    return VerifyResult(
        tuple(sorted(found, key=lambda finding: finding.severity)),
        files=len(expected.live) + len(expected.changes),
        rows=sum(part.rows for part in expected.live),
        bytes=sum(part.bytes for part in (*expected.live, *expected.changes)),
        in_journal=journal.records,
        ids=ids,
        runs=len(run_records.all_runs(db)),
    )


def _check_content(  # noqa: PLR0917 - what is compared
    db: sqlite3.Connection,
    places: Places,
    content: Content,
    work_list: tuple[WorkList, Path] | None,
    files: FileCheck,
    journal: JournalCheck,
) -> tuple[int, list[Finding]]:
    """Every id and every sum: the distinct ids that were looked at, and what was found."""
    complete = files.complete and journal.readable
    totals = journal.totals
    try:
        totals = with_left(totals, dropped.read(places.dropped))
        check = check_ids(
            db, content, work_list=work_list, complete=complete, rebuilt=is_rebuilt(db)
        )
        usage = content.usage() if files.can_sum and journal.readable else None
    except StoreError as exc:
        check = IdCheck([damage("unreadable", str(exc), "cdr/", "Run `verify --deep`.")], 0)
        usage = None
    found = [*check.findings, *check_runs(db, usage, totals, summaries(places.runs))]
    if usage is None:
        what = (
            "the sums of the runs were not compared, nor was it counted which ids are missing: "
            "with what is damaged above, they can't agree"
        )
        found.append(note("not_checked", what, "cdr/", "Put that right, then verify again."))
    return check.ids, found


def _expected(db: sqlite3.Connection, places: Places, partition_timezone: str) -> Expected:
    return Expected(
        publications.current_parts(db, places.place_of),
        publications.current_parts(db, places.place_of, changes=True),
        frozenset(publications.committed_paths(db)),
        get_meta(db, "state_id") or "",
        newest_number(db, "publication"),
        get_meta(db, "account") or "",
        partition_timezone,
        read_identity(db),
        of_version(data_version(db, GROUP_RECORD.version)),
    )


def _list_of(db: sqlite3.Connection, places: Places) -> tuple[WorkList, Path] | None:
    work_list = work_lists.current_list(db)
    return None if work_list is None else (work_list, places.lists / work_list.path)


def _without_state(places: Places) -> Iterator[Finding]:
    listing = list_parts(places.cdr, GROUP_RECORD)
    if listing.parts or listing.foreign:
        what = (
            f"there is data ({len(listing.parts)} file(s)), but no state: it is unknown what was "
            "fetched"
        )
        remedy = (
            "Restore state/ from a backup, or make it again from the data: `harvester rebuild`."
        )
        yield damage("no_state", what, places.database, remedy)
    else:
        yield note("empty", "nothing was fetched yet", places.root)


@contextmanager
def _scratch(places: Places) -> Iterator[Path]:
    """A folder for what doesn't fit into memory; a run that comes after a kill empties it.

    Where the output can only be read (a snapshot, a disk that was set so), the system's own.
    """
    home = places.staging if os.access(places.staging, os.W_OK | os.X_OK) else None
    with tempfile.TemporaryDirectory(prefix="verify-", dir=home) as folder:
        yield Path(folder)
