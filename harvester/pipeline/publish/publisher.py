"""Publication: from the journal into the data set, without a moment in which a reader sees less
than all or more than once.

Theory of operation (docs/internals/commit-protocol.md).  Five steps, in this order:

    P1  transaction: publication `prepared` with its range of the journal
    P2  normalise the range, write one file a date into staging, fsync files and folder
    P3  transaction: the files' final names and hashes, publication `committed`  <- commit point
    P4  make folders, rename, fsync folders
    P5  transaction: publication `live`, the range leaves the journal

Before P3 a crash leaves nothing that counts: the next start empties staging and forgets the
publication.  After P3 it is only ever finished (`finish`): a staged file that a power cut took is
made again from the journal, which P5 alone may shorten.  Names are never used twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from harvester.config import Output as OutputConfig
from harvester.dataset.files import holds
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.kind import RecordKind
from harvester.dataset.packing import Piece
from harvester.dataset.parts import StagedPart, place, stage, sync_folders
from harvester.errors import StoreError
from harvester.identity import Identity
from harvester.pipeline.publish.ledger import Ledger
from harvester.pipeline.publish.normalizer import Normalizer, Normalizing
from harvester.state import publications
from harvester.state.values import PartRecord, Publication
from harvester.storage.disk import Disk
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
        staged = self._stage(publication, normalizing, should_stop)
        if staged is None or should_stop():
            self._abandon()
            return None
        self._commit(publication, staged)
        self._put_in_place(publication, {part.path: part.staged for part in staged})
        return Published(
            sum(part.rows for part in staged),
            len(staged),
            sum(part.bytes for part in staged),
            publication.bytes,
            normalizing.unparsed,
            normalizing.extra,
            normalizing.without_cost,
            sum(part.presumed for part in staged),
        )

    def recover(self) -> int:
        """Finish what is committed and forget what is not; returns how many were finished."""
        self._call(publications.drop_prepared)
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
    ) -> list[StagedPart] | None:
        with normalizing:
            try:
                return stage(
                    self._pieces(publication, normalizing, should_stop),
                    self._kind,
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

    def _commit(self, publication: Publication, staged: list[StagedPart]) -> None:
        records = [
            PartRecord(part.path, publication.id, part.rows, part.bytes, part.sha256)
            for part in staged
        ]
        self._call(publications.commit, publication.id, records)

    def _put_in_place(self, publication: Publication, staged: dict[str, Path]) -> None:
        """P4 and P5.  May be repeated after a crash at any point in between."""
        parts: list[PartRecord] = self._call(publications.parts_of, publication.id)
        mode = self._config.file_mode
        finals = [self._output.cdr / part.path for part in parts]
        for part, final in zip(parts, finals, strict=True):
            place(staged[part.path], final, sha256=part.sha256, mode=mode, disk=self._disk)
        sync_folders(finals, self._output.cdr, disk=self._disk)
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
        again = self._stage(publication, self._normalizing(Normalizer), lambda: False) or []
        made = {part.path: part for part in again}
        if {p.path: p.rows for p in again} != {p.path: p.rows for p in parts}:
            raise StoreError(
                f"a committed part of publication {publication.id} ({parts[0].path}, …) is lost, "
                "and the journal gives other parts for it now. The data set was not changed. If "
                "output.partition_timezone was changed, set it back and run again.",
                code="data.part_lost",
            )
        for part in parts:
            if holds(self._output.cdr / part.path, part.sha256):
                continue  # in its place already
            # Another release of Arrow may write the same rows in other bytes, and all of the
            # staged parts were just written anew.
            new = made[part.path]
            record = PartRecord(part.path, publication.id, new.rows, new.bytes, new.sha256)
            self._call(publications.amend, record)

    def _is_whole(self, part: PartRecord, staged: Path) -> bool:
        return holds(staged, part.sha256) or holds(self._output.cdr / part.path, part.sha256)

    def _normalizing(self, by: Callable[[str, str, RecordKind], Normalizing]) -> Normalizing:
        return by(self._account, self._config.partition_timezone, self._kind)

    def _abandon(self) -> None:
        self._call(publications.drop_prepared)
        empty_folder(self._output.staging)

    def _call(self, function: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401
        return self._ledger.submit(function, *args).result()


class _Abandoned(Exception):
    """The run stops, and this publication isn't committed yet."""
