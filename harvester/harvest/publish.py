"""Publication: from the journal into the data set, without a moment in which a reader sees less
than all or more than once.

Theory of operation (design §8).  Five steps, in this order:

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
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from harvester.config import Output as OutputConfig
from harvester.errors import StoreError
from harvester.harvest.output import Output, empty_folder
from harvester.lake.dataset import holds
from harvester.lake.disk import Disk
from harvester.lake.normalize import Answer, Normalized, normalize
from harvester.lake.parts import StagedPart, place, stage, sync_folders
from harvester.ledger import publications
from harvester.ledger.values import PartRecord, Publication

NORMALIZED_ROWS = 4_000


class Ledger(Protocol):
    """What a publication needs of the ledger: functions of (database, …), one at a time."""

    def submit(
        self,
        function: Callable[..., Any],
        *args: Any,  # noqa: ANN401 - those of `function`
        **kwargs: Any,  # noqa: ANN401
    ) -> Future[Any]:
        """Run `function(db, *args)` on the ledger's thread."""
        ...


@dataclass(frozen=True, slots=True)
class Published:
    """What one publication put into the data set."""

    records: int
    files: int
    bytes: int
    answer_bytes: int
    """What the journal was relieved of."""
    unparsed: Counter[str]
    extra: Counter[str]


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
        disk: Disk | None = None,
    ) -> None:
        """`disk` replaces the operating system's file system (tests)."""
        self._ledger = ledger
        self._output = output
        self._config = config
        self._account = account
        self._state_id = state_id
        self._disk = disk

    def publish(self, should_stop: Callable[[], bool] = lambda: False) -> Published | None:
        """Publish the journal's oldest range; None if it is empty or `should_stop` said so.

        `should_stop` is heeded up to the commit point, never after it.  Raises StoreError.
        """
        publication = self._call(publications.prepare, self._config.publish_bytes)
        if publication is None:
            return None
        tally = (Counter[str](), Counter[str]())
        staged = self._stage(publication, tally, should_stop)
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
            *tally,
        )

    def recover(self) -> int:
        """Finish what is committed and forget what is not; returns how many were finished."""
        self._call(publications.drop_prepared)
        unfinished = self._call(publications.unfinished)
        for publication in unfinished:
            self._finish(publication)
        empty_folder(self._output.staging)
        return len(unfinished)

    def _stage(
        self,
        publication: Publication,
        tally: tuple[Counter[str], Counter[str]],
        should_stop: Callable[[], bool],
    ) -> list[StagedPart] | None:
        def tables() -> Iterator[Any]:
            for normalized in self._normalized(publication):
                if should_stop():
                    raise _Abandoned
                tally[0].update(normalized.unparsed)
                tally[1].update(normalized.extra)
                yield normalized.table

        try:
            return stage(
                tables(),
                staging=self._output.staging,
                state_id=self._state_id,
                publication=publication.id,
                partition_timezone=self._config.partition_timezone,
                mode=int(self._config.mode, 8),
                disk=self._disk,
            )
        except _Abandoned:
            return None

    def _normalized(self, publication: Publication) -> Iterator[Normalized]:
        """The range's records as tables, a few thousand rows at a time."""
        after = publication.lo - 1
        answers: list[Answer] = []
        while (blob := self._call(publications.next_blob, after, publication.hi)) is not None:
            after, run_id, entries = blob
            answers += [Answer(e.voice_id, e.answer, e.at_ms, run_id, e.is_final) for e in entries]
            # Typing columns has a price per batch as well as per row.
            if len(answers) >= NORMALIZED_ROWS:
                yield normalize(answers, self._account)
                answers = []
        if answers:
            yield normalize(answers, self._account)

    def _commit(self, publication: Publication, staged: list[StagedPart]) -> None:
        records = [
            PartRecord(part.path, publication.id, part.rows, part.bytes, part.sha256)
            for part in staged
        ]
        self._call(publications.commit, publication.id, records)

    def _put_in_place(self, publication: Publication, staged: dict[str, Path]) -> None:
        """P4 and P5.  May be repeated after a crash at any point in between."""
        parts: list[PartRecord] = self._call(publications.parts_of, publication.id)
        mode = int(self._config.mode, 8)
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

    def _make_again(self, publication: Publication, parts: list[PartRecord]) -> None:
        """Write a publication's parts once more, from the same rows: a power cut took some."""
        again = self._stage(publication, (Counter(), Counter()), lambda: False) or []
        made = {part.path: part for part in again}
        if {p.path: p.rows for p in again} != {p.path: p.rows for p in parts}:
            raise StoreError(
                f"a committed part of publication {publication.id} ({parts[0].path}, …) is lost, "
                "and the journal gives other parts for it now. The data set was not changed. If "
                "output.partition_timezone was changed, set it back and run again."
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

    def _abandon(self) -> None:
        self._call(publications.drop_prepared)
        empty_folder(self._output.staging)

    def _call(self, function: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401
        return self._ledger.submit(function, *args).result()


class _Abandoned(Exception):
    """The run stops, and this publication isn't committed yet."""
