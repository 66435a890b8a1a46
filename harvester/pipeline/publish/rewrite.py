"""Rewrite: files of the data set take the place of others, and no reader ever counts wrong.

Theory of operation (docs/internals/commit-protocol.md).  A rewrite is a publication that names
files that come and files that go:

    W1  transaction: publication `prepared`
    W2  a whole new folder in staging for each partition; what is in it is proved to be what was
        in the old one, but for what an edit took out and put there; files and folders are synced
    W3  transaction: files that come `committed`, files that go superseded    <- commit point
    W4  each folder changes places with the one in cdr/ or changes/, in one step, or leaves in one
        step if nothing comes for it; both parents are synced; what came out is moved to retired/
    W5  transaction: `live`, and what went `retired`
    W6  a later start removes what was retired long enough ago (`sweep_retired`)

Before W3 a crash leaves nothing that counts.  After it the rewrite is only ever finished.  An
exchange that is done twice is undone: so what lies in a folder of cdr/ is looked at first, and as
no name is ever used again (not even by a file that a rewrite leaves as it is: it gets a new name)
the names say whether it was exchanged.  A staged folder that is lost is made again from the files
that are still in place, by the recipe in the publication's note.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from harvester.config import Output as OutputConfig
from harvester.dataset import footer as keys
from harvester.dataset.changes import changes_of
from harvester.dataset.files import holds
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.kind import RecordKind
from harvester.dataset.origin import footer_of
from harvester.dataset.parts import explained, write_part
from harvester.errors import StoreError
from harvester.identity import Identity
from harvester.pipeline.publish.ledger import Ledger
from harvester.pipeline.publish.merging import (
    Contents,
    Edit,
    Gathered,
    Source,
    Unchanged,
    gather,
    read_contents,
)
from harvester.state import publications
from harvester.state.values import Note, PartRecord, Publication
from harvester.storage import dropped
from harvester.storage.disk import Disk, RealDisk
from harvester.storage.output import ASIDE, PRIVATE, Output, empty_folder, is_change, is_systems_own

_TOOL = "cdr-harvester"

EditAgain: TypeAlias = Callable[[Note, str], Callable[[], Edit] | None]
"""What makes the edit that a note tells of, of a folder by its name; None if rows stay as they are.

Raises StoreError if it can't be done again by the note.
"""
_SUFFIX = re.compile(r"(-r[0-9]+)?\.parquet$")


class Folder(msgspec.Struct, frozen=True):
    """A partition, which of its files become one, and what becomes of the rows."""

    groups: tuple[tuple[PartRecord, ...], ...]
    """All its files, each in one group; one that is alone stays as it is, under a new name, where
    rows do."""
    make_edit: Callable[[], Edit] | None = None
    """None: its rows stay as they are."""
    leaves: bool = False
    """Nothing comes in its place."""

    @property
    def go(self) -> tuple[PartRecord, ...]:
        return tuple(part for group in self.groups for part in group)


class Rewritten(msgspec.Struct, frozen=True):
    """What a rewrite took out of the data set, and what it put there."""

    go: tuple[PartRecord, ...]
    come: tuple[PartRecord, ...]


class Rewriter:
    """Rewrites partitions, one rewrite at a time."""

    def __init__(
        self,
        ledger: Ledger,
        output: Output,
        config: OutputConfig,
        state_id: str,
        *,
        identity: Identity | None = None,
        disk: Disk | None = None,
        kind: RecordKind = GROUP_RECORD,
        edit_again: EditAgain | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """`identity` goes into the footers.

        `kind`: that of the rows, as the output is written now.  `edit_again` gives the edit of a
        folder that a crash left half done.  `disk`, `now_ms`: the system's own (tests).
        """
        self._ledger = ledger
        self._output = output
        self._config = config
        self._state_id = state_id
        self._identity = identity or Identity()
        self._disk = disk or RealDisk()
        self._kind = kind
        self._edit_again = edit_again
        self._now_ms = now_ms

    def rewrite(
        self,
        folders: Sequence[Folder],
        note: Note,
        should_stop: Callable[[], bool] = lambda: False,
        *,
        beside: Callable[[int], None] | None = None,
        also: Callable[[sqlite3.Connection], None] | None = None,
    ) -> Rewritten | None:
        """Rewrite these partitions; None if `should_stop` said so.

        `should_stop` is heeded up to the commit point, never after it.  `note` says why, and is
        kept.  `beside` gets the rewrite's number and makes durable what has to be there with it, as
        late as can be before the commit point; `also` writes what belongs to it, in the transaction
        that is the commit point.  Raises StoreError; if a file is not as it was published, or a new
        one does not hold the rows that it must hold, nothing was changed.
        """
        number = self._call(publications.prepare_rewrite)
        recipe = _recipe(folders, number, self._state_id)
        go = [part for folder in folders for part in folder.go]
        try:
            come = self._stage(number, recipe, folders, should_stop)
            for folder in {part.folder for part in go}:
                # What somebody put there by hand must not leave with the others.
                self._is_exchanged(folder, come, go)
            _heed(should_stop)
            if beside is not None:
                beside(number)
        except _Abandoned:
            self._abandon()
            return None
        except StoreError:
            with suppress(StoreError):  # its error counts; what is left goes at the next start
                self._abandon()
            raise
        made_of = {new: tuple(p.path for p in old) for new, old in recipe.items()}
        note = msgspec.structs.replace(
            note,
            made_of=made_of,
            left=sum(part.rows for part in go) - sum(part.rows for part in come),
            went=tuple(part.path for folder in folders if folder.leaves for part in folder.go),
        )
        self._call(publications.commit_rewrite, number, come, go, note, also)
        self._put_in_place(number, come, go, by_renames=note.by_renames)
        return Rewritten(tuple(go), tuple(come))

    def finish(self, rewrite: Publication) -> None:
        """Finish a rewrite that is past its commit point.  Raises StoreError."""
        assert rewrite.note is not None, "every rewrite has one"
        come = self._call(publications.parts_of, rewrite.id)
        go = self._call(publications.superseded_parts, rewrite.id)
        for folder in sorted({part.folder for part in come}):
            of_folder = [part for part in come if part.folder == folder]
            if not self._is_exchanged(folder, come, go) and not self._is_whole(rewrite, of_folder):
                self._make_again(rewrite, of_folder, go)
        self._put_in_place(rewrite.id, come, go, by_renames=rewrite.note.by_renames)

    def _abandon(self) -> None:
        for number in self._call(publications.drop_prepared):
            dropped.forget(self._output.dropped, number, self._disk)
        empty_folder(self._output.staging)

    def _place(self, number: int) -> Path:
        return self._output.staging / str(number)

    def _stage(
        self,
        number: int,
        recipe: Mapping[str, Sequence[PartRecord]],
        folders: Sequence[Folder],
        should_stop: Callable[[], bool],
    ) -> list[PartRecord]:
        """W2: the new folders, durable and proved."""
        make_edit = {folder.go[0].folder: folder.make_edit for folder in folders}
        place = self._place(number)
        with explained("making", place):
            self._disk.make_folder(place, PRIVATE)
        come = []
        for folder, names in _by_folder(recipe):
            with explained("making", place / folder):
                self._disk.make_alike(place / folder, self._output.place_of(folder))
            edit = (make_edit[folder] or partial(Unchanged, self._kind_in(folder)))()
            made = [self._made(number, new, recipe[new], edit, should_stop) for new in names]
            come += [part for part in made if part is not None]
            edit.complete()
            self._sync(place / folder)
        self._sync(place)
        self._sync(self._output.staging)
        return come

    def _made(
        self,
        number: int,
        new: str,
        old: Sequence[PartRecord],
        edit: Edit,
        should_stop: Callable[[], bool],
    ) -> PartRecord | None:
        """One file of a new folder; None if no row is left for it."""
        path = self._place(number) / new
        if len(old) == 1 and isinstance(edit, Unchanged):
            with explained("linking", path):
                self._disk.link(self._output.place_of(old[0].path), path)
            return msgspec.structs.replace(old[0], path=new, rewrite=number)

        gathered = gather(
            [Source(self._output.place_of(p.path), p.sha256, p.publication) for p in old],
            edit,
            lambda: _heed(should_stop),
            date=old[0].folder.partition("=")[2],
            timezone=self._config.partition_timezone,
        )
        if not gathered.rows:
            self._prove(path, Contents(), gathered)
            return None
        footer = {
            keys.FOOTER_TOOL: _TOOL,
            **footer_of(self._identity),
            **gathered.footer(number),
        }
        written = write_part(gathered.held, path, self._config.file_mode, footer, self._disk)
        made = PartRecord(new, number, *written, rewrite=number)
        self._prove(path, read_contents(Source(path, made.sha256, number), edit.writes), gathered)
        return made

    def _prove(self, path: Path, back: Contents, gathered: Gathered) -> None:
        if not back.is_as(gathered.expected):
            raise StoreError(
                f"the new file {path} does not hold the rows that it must hold "
                f"({back.usage.rows} rows, not {gathered.expected.usage.rows}, or the same number "
                "with other ids or sums). Nothing was changed: keep the output as it is, and "
                "report it.",
                code="data.not_proved",
            )

    def _put_in_place(
        self,
        number: int,
        come: Sequence[PartRecord],
        go: Sequence[PartRecord],
        *,
        by_renames: bool = False,
    ) -> None:
        """W4 and W5.  May be repeated after a crash at any point in between."""
        place = self._place(number)
        comes = {part.folder for part in come}
        folders = sorted({part.folder for part in go})
        for folder in folders:
            if self._is_exchanged(folder, come, go):
                continue
            there = self._output.place_of(folder)
            with explained("exchanging", there):
                if folder in comes and by_renames:
                    # A kill in between is mended by `put_back`.
                    self._disk.rename_folder(there, place / f"{folder}{ASIDE}")
                    self._disk.rename_folder(place / folder, there)
                elif folder in comes:
                    self._disk.exchange(place / folder, there)
                else:
                    self._disk.make_folder(place, PRIVATE)
                    self._disk.remove_folder(place / folder)  # staged before no row was left
                    self._disk.rename_folder(there, place / folder)
        for parent in sorted({self._output.place_of(folder).parent for folder in folders}):
            self._sync(parent)
        if place.exists():
            self._sync(place)
            self._set_aside(place)
        self._call(publications.retire, number, self._now_ms())

    def _set_aside(self, place: Path) -> None:
        """What came out of cdr/ goes where it is kept for a while."""
        retired = self._output.retired
        with explained("moving the old files to", retired):
            self._disk.make_folder(retired, PRIVATE)
            self._disk.rename_folder(place, retired / place.name)
        for folder in (retired, self._output.staging, self._output.state):
            self._sync(folder)

    def _is_exchanged(
        self, folder: str, come: Sequence[PartRecord], go: Sequence[PartRecord]
    ) -> bool:
        """Whether this folder is as after the rewrite.

        Raises StoreError if it is neither as before nor as after.
        """
        there = self._output.place_of(folder)
        with explained("reading the folder", there):
            inside = there.iterdir() if there.exists() else ()
            found = {f"{folder}/{path.name}" for path in inside if not is_systems_own(path)}
        before = {part.path for part in go if part.folder == folder}
        if found == before:
            return False
        if found == {part.path for part in come if part.folder == folder}:
            return True
        strange = min(found ^ before)
        raise StoreError(
            f"{there} is not as the state database has it: see {strange}. Its files are not "
            "exchanged for others as long as that is so. `harvester verify` shows what is wrong; "
            "put it right and run again.",
            code="data.unknown_file",
        )

    def _is_whole(self, rewrite: Publication, of_folder: Sequence[PartRecord]) -> bool:
        place = self._place(rewrite.id)
        found = {path.name for path in (place / of_folder[0].folder).glob("*")}
        return found == {Path(part.path).name for part in of_folder} and all(
            holds(place / part.path, part.sha256) for part in of_folder
        )

    def _make_again(
        self,
        rewrite: Publication,
        of_folder: Sequence[PartRecord],
        go: Sequence[PartRecord],
    ) -> None:
        """Stage a folder once more, from the same files: a power cut took what was there."""
        name, old = of_folder[0].folder, {part.path: part for part in go}
        lost = self._place(rewrite.id) / name
        assert rewrite.note is not None, "every rewrite has one"
        with explained("removing", lost):
            self._disk.remove_folder(lost)
        made_of = rewrite.note.made_of
        recipe = {part.path: tuple(old[path] for path in made_of[part.path]) for part in of_folder}
        make_edit = self._edit_again(rewrite.note, name) if self._edit_again else None
        folder = Folder(tuple(recipe.values()), make_edit)
        for part in self._stage(rewrite.id, recipe, [folder], lambda: False):
            # Another release of Arrow may write the same rows in other bytes.
            self._call(publications.amend, part)

    def _kind_in(self, folder: str) -> RecordKind:
        return changes_of(self._kind) if is_change(folder) else self._kind

    def _sync(self, folder: Path) -> None:
        with explained("syncing the folder", folder):
            self._disk.sync_folder(folder)

    def _call(self, function: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401
        return self._ledger.submit(function, *args).result()


class _Abandoned(Exception):
    """Whoever wanted the rewrite stops, and it isn't committed yet."""


def _heed(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise _Abandoned


def sweep_retired(
    ledger: Ledger, output: Output, grace_s: float, now_ms: int, disk: Disk | None = None
) -> None:
    """W6: remove what rewrites took out of the data set more than `grace_s` ago.

    May be repeated after a crash at any point.  Raises StoreError.
    """
    disk = disk or RealDisk()
    retired_at: dict[int, int] = ledger.submit(publications.retired_at).result()
    for folder in _retired(output):
        number = int(folder.name)
        # A state that was made again knows nothing of it: it is as old as its folder then.
        at_ms = retired_at.get(number, folder.stat().st_mtime_ns // 1_000_000)
        if at_ms > now_ms:
            # By a clock that was ahead: what was erased or dropped must not stay for years.
            _retire_now(ledger, folder, now_ms, is_known=number in retired_at)
            continue
        if now_ms - at_ms >= grace_s * 1000:
            with explained("removing", folder):
                disk.remove_folder(folder)
                disk.sync_folder(output.retired)
    left = {int(folder.name) for folder in _retired(output)}
    for number in retired_at.keys() - left:
        ledger.submit(publications.forget_retired, number).result()


def _retire_now(ledger: Ledger, folder: Path, now_ms: int, *, is_known: bool) -> None:
    if is_known:
        ledger.submit(publications.retire, int(folder.name), now_ms).result()
    else:
        with explained("dating", folder):
            os.utime(folder, ns=(now_ms * 1_000_000, now_ms * 1_000_000))


def _retired(output: Output) -> list[Path]:
    with suppress(FileNotFoundError):
        return sorted(path for path in output.retired.iterdir() if path.name.isdigit())
    return []


def _recipe(
    folders: Sequence[Folder], number: int, state_id: str
) -> dict[str, tuple[PartRecord, ...]]:
    """Path of each file that comes -> the files that it is made of."""
    found: dict[str, tuple[PartRecord, ...]] = {}
    groups = [
        (group, folder.make_edit is not None)
        for folder in folders
        if not folder.leaves
        for group in folder.groups
    ]
    for k, (group, is_edited) in enumerate(groups):
        path = (
            _SUFFIX.sub(f"-r{number}.parquet", group[0].path)
            if len(group) == 1 and not is_edited
            else f"{group[0].folder}/part-{state_id[:8]}-{number}-{k}-r{number}.parquet"
        )
        found[path] = group
    return found


def _by_folder(recipe: Mapping[str, object]) -> Iterator[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for path in recipe:
        found.setdefault(path.partition("/")[0], []).append(path)
    yield from sorted(found.items())
