"""Publication: from the journal into the data set, without a moment in which a reader sees less
than all or more than once.

Theory of operation (docs/internals/commit-protocol.md).  Five steps, in this order:

    P1  transaction: publication `prepared` with its range of the journal, of one kind of answers
    P2  normalise the range, write one file a date into staging, fsync files and folder
    P3  transaction: the files' final names and hashes, publication `committed`  <- commit point
    P4  make folders, rename, fsync folders
    P5  transaction: publication `live`, the range leaves the journal

Before P3 a crash leaves nothing that counts: the next start empties staging and forgets the
publication.  After P3 it is only ever finished (`finish`): a staged file that a power cut took is
made again from the journal, which P5 alone may shorten.  Names are never used twice.

A range of answers about calls that the data set has already becomes files of changes/ by the same
steps: those of them that differ from what is known (`compare`), which may be none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from harvester.config import Output as OutputConfig
from harvester.dataset.changes import changes_of
from harvester.dataset.files import holds
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.kind import RecordKind
from harvester.dataset.packing import Piece
from harvester.dataset.parts import StagedPart, place, stage, sync_folders
from harvester.errors import StoreError
from harvester.identity import Identity
from harvester.pipeline.publish.ledger import Ledger
from harvester.pipeline.publish.normalizer import Normalizer, Normalizing
from harvester.pipeline.publish.oddities import named
from harvester.state import journal, publications
from harvester.state.values import Compared, Note, PartRecord, Publication
from harvester.storage import dropped
from harvester.storage.disk import Disk, RealDisk
from harvester.storage.output import Output, empty_folder

ASIDE_ROWS = 20_000
"""A process costs a fifth of a second: as much as normalising so many records."""


class Published(msgspec.Struct, frozen=True):
    """What one publication put into the data set."""

    records: int
    files: int
    bytes: int
    answer_bytes: int
    """What the journal was relieved of."""
    unparsed: Counter[str]
    extra: Counter[str]
    without_cost: int = 0
    """Answered calls among them that have no cost."""
    presumed_currency: int = 0
    """Records among them of which the vendor named no currency."""
    is_change: bool = False
    """Whether they were about calls that the data set had already."""


class Publisher:
    """Publishes ranges of the journal; one at a time, on a thread that isn't the event loop's."""

    def __init__(
        self,
        ledger: Ledger,
        output: Output,
        config: OutputConfig,
        account: str,
        state_id: str,
        *,
        aside: Callable[[str, str, RecordKind], Normalizing] = Normalizer,
        aside_from: int = ASIDE_ROWS,
        identity: Identity | None = None,
        disk: Disk | None = None,
        kind: RecordKind = GROUP_RECORD,
    ) -> None:
        """`identity` goes into the parts' footers.

        `aside` normalises for (account, time zone) where a publication of at least `aside_from`
        records is made beside a loop that asks.

        `disk` replaces the operating system's file system (tests).
        """
        self._ledger = ledger
        self._output = output
        self._config = config
        self._account = account
        self._state_id = state_id
        self._aside = aside
        self._kind = kind
        self._aside_from = aside_from
        self._identity = identity
        self._disk = disk

    def publish(
        self, should_stop: Callable[[], bool] = lambda: False, *, is_fetching: bool = False
    ) -> Published | None:
        """Publish the journal's oldest range; None if it is empty or `should_stop` said so.

        `should_stop` is heeded up to the commit point, never after it.  `is_fetching`: the event
        loop is at work meanwhile, and should not have to share its interpreter.  Raises StoreError.
        """
        publication = self._call(publications.prepare, self._config.publish_bytes)
        if publication is None:
            return None
        is_aside = is_fetching and publication.records >= self._aside_from
        normalizing = self._normalizing(self._aside if is_aside else Normalizer)
        compared: dict[str, Compared] = {}
        staged = self._stage(publication, normalizing, should_stop, compared)
        if staged is None or should_stop():
            self._abandon()
            return None
        note = Note(
            records=publication.records,
            # A name that is none could be anybody's number.
            unparsed=named(normalizing.unparsed),
            extra=named(normalizing.extra),
            # Of calls that were delivered so, it was shown then.
            without_cost=0 if publication.is_change else normalizing.without_cost,
            presumed=sum(part.presumed for part in staged),
            compared=compared,
        )
        self._commit(publication, staged, note)
        self._put_in_place(publication, {part.path: part.staged for part in staged})
        return Published(
            publication.records,
            len(staged),
            sum(part.bytes for part in staged),
            publication.bytes,
            normalizing.unparsed,
            normalizing.extra,
            normalizing.without_cost,
            sum(part.presumed for part in staged),
            publication.is_change,
        )

    def recover(self) -> int:
        """Finish what is committed and forget what is not; returns how many were finished."""
        for number in self._call(publications.drop_prepared):
            dropped.forget(self._output.dropped, number, self._disk or RealDisk())
        unfinished = self._call(publications.unfinished)
        for publication in unfinished:
            if publication.is_rewrite:
                self._finish_rewrite(publication)
            else:
                self._finish(publication)
        empty_folder(self._output.staging)
        return len(unfinished)

    def _stage(
        self,
        publication: Publication,
        normalizing: Normalizing,
        should_stop: Callable[[], bool],
        compared: dict[str, Compared],
    ) -> list[StagedPart] | None:
        """The files of a publication; None if `should_stop` said so.

        `compared` gets what became of each answer about a call that the data set has, by run.
        """
        with normalizing:
            try:
                kind, pieces = self._kind, self._pieces(publication, normalizing, should_stop)
                if publication.is_change:
                    kind, pieces = changes_of(kind), self._changes(publication, pieces, compared)
                return stage(
                    pieces,
                    kind,
                    staging=self._output.staging,
                    state_id=self._state_id,
                    publication=publication.id,
                    mode=self._config.file_mode,
                    identity=self._identity,
                    disk=self._disk,
                )
            except _Abandoned:
                return None

    def _pieces(
        self,
        publication: Publication,
        normalizing: Normalizing,
        should_stop: Callable[[], bool],
    ) -> Iterator[Piece]:
        after = publication.lo - 1
        while (blob := self._call(publications.next_blob, after, publication.hi)) is not None:
            if should_stop():
                raise _Abandoned
            after, run_id, body = blob
            yield from normalizing.add(run_id, body)
        yield from normalizing.rest()

    def _changes(
        self, publication: Publication, pieces: Iterator[Piece], compared: dict[str, Compared]
    ) -> Iterator[Piece]:
        """What of the rows of a range differs from what the data set knows of their calls."""
        # Here, not at the top: hardly a run has any.
        from harvester.pipeline.publish.compare import Comparison
        from harvester.pipeline.publish.known_rows import KnownRows

        place_of = self._output.place_of
        parts = self._call(publications.current_parts, place_of)
        changes = self._call(partial(publications.current_parts, changes=True), place_of)
        known = KnownRows(parts, changes, place_of, self._kind)
        zone = self._config.partition_timezone
        comparison = Comparison(known, self._kind, zone, publication.id)
        yield from comparison.changes(pieces, self._twice(publication))
        compared.update(comparison.counts)

    def _twice(self, publication: Publication) -> dict[str, int]:
        """Ids of which the range holds more than one answer, and when the last of them came."""
        seen: set[str] = set()
        twice: dict[str, int] = {}
        after = publication.lo - 1
        while (blob := self._call(publications.next_blob, after, publication.hi)) is not None:
            after, run_id, body = blob
            for answer in journal.decode(body, run_id):
                if answer.voice_id in seen:
                    twice[answer.voice_id] = answer.fetched_at_ms
                seen.add(answer.voice_id)
        return twice

    def _commit(self, publication: Publication, staged: list[StagedPart], note: Note) -> None:
        records = [
            PartRecord(part.path, publication.id, part.rows, part.bytes, part.sha256)
            for part in staged
        ]
        self._call(publications.commit, publication.id, records, note)

    def _put_in_place(self, publication: Publication, staged: dict[str, Path]) -> None:
        """P4 and P5.  May be repeated after a crash at any point in between."""
        parts: list[PartRecord] = self._call(publications.parts_of, publication.id)
        mode = self._config.file_mode
        finals = [self._output.place_of(part.path) for part in parts]
        root = self._output.changes if publication.is_change else self._output.cdr
        for part, final in zip(parts, finals, strict=True):
            place(staged[part.path], final, sha256=part.sha256, mode=mode, disk=self._disk)
        if finals or not publication.is_change:
            sync_folders(finals, root, disk=self._disk)
        self._call(publications.make_live, publication)

    def _finish(self, publication: Publication) -> None:
        parts: list[PartRecord] = self._call(publications.parts_of, publication.id)
        staged = {part.path: self._output.staging / Path(part.path).name for part in parts}
        if not all(self._is_whole(part, staged[part.path]) for part in parts):
            self._make_again(publication, parts)
        self._put_in_place(publication, staged)

    def _finish_rewrite(self, rewrite: Publication) -> None:
        # Here, not at the top: hardly a start has one to finish.
        from harvester.pipeline.publish import edits
        from harvester.pipeline.publish.rewrite import Rewriter

        Rewriter(
            self._ledger,
            self._output,
            self._config,
            self._state_id,
            identity=self._identity,
            disk=self._disk,
            kind=self._kind,
            edit_again=partial(self._call, edits.again, self._output, self._kind),
        ).finish(rewrite)

    def _make_again(self, publication: Publication, parts: list[PartRecord]) -> None:
        """Write a publication's parts once more, from the same rows: a power cut took some."""
        again = self._stage(publication, self._normalizing(Normalizer), lambda: False, {}) or []
        made = {part.path: part for part in again}
        if {p.path: p.rows for p in again} != {p.path: p.rows for p in parts}:
            raise StoreError(
                f"a committed part of publication {publication.id} ({parts[0].path}, …) is lost, "
                "and the journal gives other parts for it now. The data set was not changed. If "
                "output.partition_timezone was changed, set it back and run again.",
                code="data.part_lost",
            )
        for part in parts:
            if holds(self._output.place_of(part.path), part.sha256):
                continue  # in its place already
            # Another release of Arrow may write the same rows in other bytes, and all of the
            # staged parts were just written anew.
            new = made[part.path]
            record = PartRecord(part.path, publication.id, new.rows, new.bytes, new.sha256)
            self._call(publications.amend, record)

    def _is_whole(self, part: PartRecord, staged: Path) -> bool:
        return holds(staged, part.sha256) or holds(self._output.place_of(part.path), part.sha256)

    def _normalizing(self, by: Callable[[str, str, RecordKind], Normalizing]) -> Normalizing:
        return by(self._account, self._config.partition_timezone, self._kind)

    def _abandon(self) -> None:
        self._call(publications.drop_prepared)
        empty_folder(self._output.staging)

    def _call(self, function: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401
        return self._ledger.submit(function, *args).result()


class _Abandoned(Exception):
    """The run stops, and this publication isn't committed yet."""
