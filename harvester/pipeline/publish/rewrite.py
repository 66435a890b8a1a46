"""Rewrite: files of the data set take the place of others, and no reader ever counts wrong.

Theory of operation (docs/internals/commit-protocol.md).  A rewrite is a publication that names
files that come and files that go:

    W1  transaction: publication `prepared`
    W2  a whole new folder in staging for each partition; what is in it is proved to be what was
        in the old one; files and folders are synced
    W3  transaction: files that come `committed`, files that go superseded    <- commit point
    W4  each folder changes places with the one in cdr/, in one step; both parents are synced; what
        came out of cdr/ is moved to retired/
    W5  transaction: `live`, and what went `retired`
    W6  a later start removes what was retired long enough ago (`sweep_retired`)

Before W3 a crash leaves nothing that counts.  After it the rewrite is only ever finished.  An
exchange that is done twice is undone: so what lies in a folder of cdr/ is looked at first, and as
no name is ever used again (not even by a file that a rewrite leaves as it is: it gets a new name)
the names say whether it was exchanged.  A staged folder that is lost is made again from the files
in cdr/, by the recipe in the publication's note: as long as a folder is not exchanged, they are
there.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from harvester.config import Output as OutputConfig
from harvester.dataset import footer as keys
from harvester.dataset.files import holds
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.kind import RecordKind
from harvester.dataset.merging import Source, gather, read_contents
from harvester.dataset.origin import footer_of
from harvester.dataset.parts import explained, write_part
from harvester.errors import StoreError
from harvester.identity import Identity
from harvester.pipeline.publish.ledger import Ledger
from harvester.state import publications
from harvester.state.values import Note, PartRecord, Publication
from harvester.storage.disk import Disk, RealDisk
from harvester.storage.output import PRIVATE, Output, empty_folder

_TOOL = "cdr-harvester"
_SUFFIX = re.compile(r"(-r[0-9]+)?\.parquet$")


class Folder(msgspec.Struct, frozen=True):
    """A partition, and which of its files become one."""

    groups: tuple[tuple[PartRecord, ...], ...]
    """All its files, each in one group; one that is alone stays as it is, under a new name."""

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
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        """`identity` goes into the footers.  `disk`, `now_ms`: the system's own (tests)."""
        self._ledger = ledger
        self._output = output
        self._config = config
        self._state_id = state_id
        self._identity = identity or Identity()
        self._disk = disk or RealDisk()
        self._kind = kind
        self._now_ms = now_ms

    def rewrite(
        self,
        folders: Sequence[Folder],
        command: str,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Rewritten | None:
        """Rewrite these partitions; None if `should_stop` said so.

        `should_stop` is heeded up to the commit point, never after it.  `command` is written down
        as the reason.  Raises StoreError; if a file is not as it was published, or a new one does
        not hold the rows of those that it is made of, nothing was changed.
        """
        number = self._call(publications.prepare_rewrite)
        recipe = _recipe(folders, number, self._state_id)
        go = [part for folder in folders for part in folder.go]
        try:
            come = self._stage(number, recipe, should_stop)
            for folder in {part.folder for part in go}:
                # What somebody put there by hand must not leave with the others.
                self._is_exchanged(folder, come, go)
            _heed(should_stop)
        except _Abandoned:
            self._abandon()
            return None
        except StoreError:
            with suppress(StoreError):  # its error counts; what is left goes at the next start
                self._abandon()
            raise
        note = Note(command, {new: tuple(p.path for p in old) for new, old in recipe.items()})
        self._call(publications.commit_rewrite, number, come, go, note)
        self._put_in_place(number, come, go)
        return Rewritten(tuple(go), tuple(come))

    def finish(self, rewrite: Publication) -> None:
        """Finish a rewrite that is past its commit point.  Raises StoreError."""
        come = self._call(publications.parts_of, rewrite.id)
        go = self._call(publications.superseded_parts, rewrite.id)
        made_of = rewrite.note.made_of if rewrite.note else {}
        for folder in sorted({part.folder for part in come}):
            of_folder = [part for part in come if part.folder == folder]
            if not self._is_exchanged(folder, come, go) and not self._is_whole(rewrite, of_folder):
                self._make_again(rewrite.id, of_folder, go, made_of)
        self._put_in_place(rewrite.id, come, go)

    def _abandon(self) -> None:
        self._call(publications.drop_prepared)
        empty_folder(self._output.staging)

    def _place(self, number: int) -> Path:
        return self._output.staging / str(number)

    def _stage(
        self,
        number: int,
        recipe: Mapping[str, Sequence[PartRecord]],
        should_stop: Callable[[], bool],
    ) -> list[PartRecord]:
        """W2: the new folders, durable and proved."""
        place = self._place(number)
        with explained("making", place):
            self._disk.make_folder(place, PRIVATE)
        come = []
        for folder, names in _by_folder(recipe):
            with explained("making", place / folder):
                self._disk.make_alike(place / folder, self._output.cdr / folder)
            come += [self._made(number, new, recipe[new], should_stop) for new in names]
            self._sync(place / folder)
        self._sync(place)
        self._sync(self._output.staging)
        return come

    def _made(
        self,
        number: int,
        new: str,
        old: Sequence[PartRecord],
        should_stop: Callable[[], bool],
    ) -> PartRecord:
        """One file of a new folder."""
        path = self._place(number) / new
        if len(old) == 1:
            with explained("linking", path):
                self._disk.link(self._output.cdr / old[0].path, path)
            return msgspec.structs.replace(old[0], path=new, rewrite=number)

        sources = [Source(self._output.cdr / p.path, p.sha256, p.publication) for p in old]
        gathered = gather(sources, self._kind, lambda: _heed(should_stop))
        footer = {
            keys.FOOTER_TOOL: _TOOL,
            **footer_of(self._identity),
            **gathered.footer(number),
        }
        written = write_part(gathered.held, path, self._config.file_mode, footer, self._disk)
        made = PartRecord(new, number, *written, rewrite=number)
        back = read_contents(Source(path, made.sha256, number), self._kind)
        rows = sum(part.rows for part in old)
        if back != gathered.contents or not made.rows == back.usage.rows == rows:
            raise StoreError(
                f"the new file {path} does not hold the rows of the {len(old)} files that it was "
                f"made of ({back.usage.rows} rows, not {rows}). Nothing was changed: keep the "
                "output as it is, and report it.",
                code="data.not_proved",
            )
        return made

    def _put_in_place(
        self, number: int, come: Sequence[PartRecord], go: Sequence[PartRecord]
    ) -> None:
        """W4 and W5.  May be repeated after a crash at any point in between."""
        place = self._place(number)
        for folder in sorted({part.folder for part in go}):
            if not self._is_exchanged(folder, come, go):
                with explained("exchanging", self._output.cdr / folder):
                    self._disk.exchange(place / folder, self._output.cdr / folder)
        self._sync(self._output.cdr)
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
        """Whether this folder of cdr/ is as after the rewrite.

        Raises StoreError if it is neither as before nor as after.
        """
        there = self._output.cdr / folder
        with explained("reading the folder", there):
            found = {f"{folder}/{path.name}" for path in there.iterdir()}
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
        number: int,
        of_folder: Sequence[PartRecord],
        go: Sequence[PartRecord],
        made_of: Mapping[str, Sequence[str]],
    ) -> None:
        """Stage a folder once more, from the same files: a power cut took what was there."""
        folder, old = of_folder[0].folder, {part.path: part for part in go}
        lost = self._place(number) / folder
        with explained("removing", lost):
            self._disk.remove_folder(lost)
        recipe = {part.path: [old[path] for path in made_of[part.path]] for part in of_folder}
        for part in self._stage(number, recipe, lambda: False):
            # Another release of Arrow may write the same rows in other bytes.
            self._call(publications.amend, part)

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
        if now_ms - at_ms >= grace_s * 1000:
            with explained("removing", folder):
                disk.remove_folder(folder)
                disk.sync_folder(output.retired)
    left = {int(folder.name) for folder in _retired(output)}
    for number in retired_at.keys() - left:
        ledger.submit(publications.forget_retired, number).result()


def _retired(output: Output) -> list[Path]:
    with suppress(FileNotFoundError):
        return sorted(path for path in output.retired.iterdir() if path.name.isdigit())
    return []


def _recipe(
    folders: Sequence[Folder], number: int, state_id: str
) -> dict[str, tuple[PartRecord, ...]]:
    """Path of each file that comes -> the files that it is made of."""
    found: dict[str, tuple[PartRecord, ...]] = {}
    for group in (group for folder in folders for group in folder.groups):
        k = len(found)
        path = (
            _SUFFIX.sub(f"-r{number}.parquet", group[0].path)
            if len(group) == 1
            else f"{group[0].folder}/part-{state_id[:8]}-{number}-{k}-r{number}.parquet"
        )
        found[path] = group
    return found


def _by_folder(recipe: Mapping[str, object]) -> Iterator[tuple[str, list[str]]]:
    found: dict[str, list[str]] = {}
    for path in recipe:
        found.setdefault(path.partition("/")[0], []).append(path)
    yield from sorted(found.items())
