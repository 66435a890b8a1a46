"""Whether the list tells the truth: calls drawn by chance, each fetched singly and from its page.

Theory of operation.  Ids are drawn by a hash of theirs with a seed: those with the least hashes.
So each has the same chance, however many files name it, the same seed draws the same of the same
calls, and memory is bounded by how many are drawn.

A call is fetched by its id, and then from the page of its second: the record that came singly has
the times that it may be listed by.  What differs is looked at once more in both ways: a price that
came in between is no lie.  What one of the ways can't give (no record, a second that can't be
settled) neither proves nor disproves anything; the next one drawn takes its place, until spares of
a tenth are used up.

A code that means the same and is spelt otherwise is learnt, spelling by spelling of the list.  One
that has two spellings among single answers can't be learnt: the rarer ones are differences.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from harvester.answers.literals import instant_of
from harvester.answers.opening import data_of, value_of
from harvester.client.record_group import TIMES, Page, Query
from harvester.client.verdicts import RawRecord, Record
from harvester.dataset.kind import RecordKind
from harvester.pipeline.listing.comparing import CODE_COLUMN, code_of, differences
from harvester.pipeline.listing.windows import Seen, Window, Windows

LEAST_PROOF = 100
"""So many calls must be equal before the list is believed."""
_MOST_APART = 0.1
"""Of all that are drawn, what one of the ways can't give."""
_SHOWN = 20

NOT_LISTED = "not_listed"
"""The list has no such call in its seconds."""


class Asks(Protocol):
    """See `Asker`; both raise CutOff."""

    async def page(self, query: Query) -> Page | str: ...

    async def record(self, voice_id: str) -> Record | str: ...


OneAfterAnother = Callable[
    [Iterator["Drawn"], Callable[[Asks, "Drawn"], Awaitable[None]]], Awaitable[None]
]
"""Does it with each of them, as many at a time as may be; see `Lister.each`."""


class Drawn(msgspec.Struct, frozen=True):
    """A call that is compared."""

    voice_id: str
    submit_ms: int | None
    """As the list said."""


class Difference(msgspec.Struct, frozen=True):
    """A call that the list has otherwise, and in which columns.  No values: some are numbers."""

    voice_id: str
    columns: tuple[str, ...]


class BothWays(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.  drawn = equal + differing + those apart, unless it was stopped."""

    seed: int
    wanted: int
    drawn: int
    equal: int
    differing: int
    differences: tuple[Difference, ...]
    """Some of them."""
    apart: dict[str, int]
    """Why one of the ways could not give a call -> of how many."""
    codes: dict[str, str]
    """As of `state.listings.Comparison`."""

    @property
    def is_proof(self) -> bool:
        """Whether the list can be believed from now on."""
        return self.equal >= LEAST_PROOF and not self.differing and self.is_told

    @property
    def is_told(self) -> bool:
        """Whether both ways could give nearly all."""
        return sum(self.apart.values()) <= _MOST_APART * self.drawn


def draw(files: Sequence[tuple[Path, Window]], wanted: int, seed: int) -> list[Drawn]:
    """Calls of what listings brought, in an order that `seed` makes: those wanted, and spares.

    `files`: with the days by which each is looked through.
    """
    most = wanted + int(wanted * _MOST_APART)
    key = str(seed).encode()
    found: dict[str, tuple[bytes, int | None]] = {}
    bound = _ANY
    for path, days in files:
        with pq.ParquetFile(path) as parquet:
            for batch in parquet.iter_batches(columns=["voice_id", "submit_time"]):
                for voice_id, submit_ms in _inside(batch, days):
                    mark = blake2b(voice_id.encode(), key=key, digest_size=8).digest()
                    if mark <= bound:
                        found[voice_id] = (mark, submit_ms)
                if len(found) > 2 * most + 100:
                    found = _smallest(found, most)
                    bound = max(mark for mark, _ in found.values())
    chosen = _smallest(found, most)
    return [Drawn(voice_id, submit_ms) for voice_id, (_, submit_ms) in chosen.items()]


_ANY = b"\xff" * 8


def _inside(batch: pa.RecordBatch, days: Window) -> Iterator[tuple[str, int | None]]:
    ids, times = batch.column(0).to_pylist(), batch.column(1).cast(pa.int64()).to_pylist()
    for voice_id, ms in zip(ids, times, strict=True):
        if ms is None or days.start_s * 1000 <= ms < days.until_s * 1000:
            yield voice_id, ms


def _smallest(
    found: dict[str, tuple[bytes, int | None]], most: int
) -> dict[str, tuple[bytes, int | None]]:
    return dict(heapq.nsmallest(most, found.items(), key=lambda one: (one[1][0], one[0])))


class Comparer:
    """Compares the calls that were drawn.  One a command."""

    def __init__(
        self, kind: RecordKind, drawn: Sequence[Drawn], wanted: int, seed: int, by: str | None
    ) -> None:
        """`by`: the time that the list is known to be cut by."""
        self._kind = kind
        self._drawn = drawn
        self._wanted = wanted
        self._seed = seed
        self._by = by
        self._times = Counter[str]()
        """By which a call was found in the list."""
        self._done = 0
        self._apart = Counter[str]()
        self._differ: dict[str, tuple[str, ...]] = {}
        self._spelt: dict[str, dict[str, list[str]]] = {}
        """Spelling of the list -> of the answer -> ids."""

    async def compare(self, each: OneAfterAnother) -> None:
        """Compare as many as are wanted; whoever is to stop it has `each` return."""
        at = 0
        while self._missing and at < len(self._drawn):
            these = self._drawn[at : at + self._missing]
            at += len(these)
            done = self._done
            await each(iter(these), self._compare_one)
            if self._done < done + len(these):
                return

    @property
    def found(self) -> BothWays:
        """What it is by now."""
        differ, codes = dict(self._differ), dict[str, str]()
        for listed, spellings in sorted(self._spelt.items()):
            usual = max(sorted(spellings), key=lambda one: len(spellings[one]))
            if usual != listed:
                codes[listed] = usual
            for other, ids in spellings.items():
                if other != usual:
                    differ |= dict.fromkeys(ids, (CODE_COLUMN,))
        apart = sum(self._apart.values())
        return BothWays(
            seed=self._seed,
            wanted=self._wanted,
            drawn=self._done,
            equal=self._done - len(differ) - apart,
            differing=len(differ),
            differences=tuple(Difference(*one) for one in sorted(differ.items())[:_SHOWN]),
            apart=dict(sorted(self._apart.items())),
            codes=codes,
        )

    @property
    def _missing(self) -> int:
        return self._wanted - (self._done - sum(self._apart.values()))

    async def _compare_one(self, asks: Asks, drawn: Drawn) -> None:
        pair = await self._look(asks, drawn)
        columns: tuple[str, ...] = ()
        if not isinstance(pair, str):
            columns = differences(self._kind, *pair)
            if columns:  # once more: it may have changed in between
                pair = await self._look(asks, drawn)
                columns = () if isinstance(pair, str) else differences(self._kind, *pair)
        self._done += 1
        if isinstance(pair, str):
            self._apart[pair] += 1
        elif columns:
            self._differ[drawn.voice_id] = columns
        else:
            self._learn(drawn.voice_id, *pair)

    def _learn(self, voice_id: str, listed: RawRecord, single: RawRecord) -> None:
        one, other = code_of(listed.raw), code_of(single.raw)
        if one is not None and other is not None:
            self._spelt.setdefault(one, {}).setdefault(other, []).append(voice_id)

    async def _look(self, asks: Asks, drawn: Drawn) -> tuple[RawRecord, RawRecord] | str:
        """The call as the list and as an answer about it has it, or why one of them has not."""
        answer = await asks.record(drawn.voice_id)
        if isinstance(answer, str):
            return answer
        single = answer.records[0]
        why = NOT_LISTED
        for name, second in self._seconds(drawn, single):
            listed = await _in_second(asks, drawn.voice_id, second, self._by)
            if isinstance(listed, RawRecord):
                self._times[name] += 1
                return listed, single
            why = listed if why == NOT_LISTED else why
        return why

    def _seconds(self, drawn: Drawn, single: RawRecord) -> dict[tuple[str, int], None]:
        """Where to look for it in the list, the likeliest first: (time, second)."""
        told = times_of(single.raw)
        names = [self._by] if self._by is not None else list(TIMES)
        names.sort(key=lambda name: -self._times[name])
        found: dict[tuple[str, int], None] = {}
        for name in names:
            by_list = drawn.submit_ms if name == TIMES[0] else None
            for ms in (by_list, told.get(name)):
                if ms is not None and all(ms // 1000 != second for _, second in found):
                    found[name, ms // 1000] = None
        return found


def times_of(raw: bytes) -> dict[str, int]:
    """The times of a record that can be read, in ms, by the vendor's names."""
    try:
        fields = data_of(raw)
    except (ValueError, RecursionError):
        return {}
    found: dict[str, int] = {}
    for name in TIMES:
        try:
            found[name] = instant_of(value_of(fields.get(name, "null")) or "")[0]
        except ValueError:
            continue
    return found


async def _in_second(asks: Asks, voice_id: str, second: int, by: str | None) -> RawRecord | str:
    """The record that the list has of a call of this second, or why there is none."""
    windows = Windows([Window(second, second + 1)])
    while (asked := windows.take()) is not None:
        page = await asks.page(Query(asked.start_s, asked.end_s, asked.current, asked.size, by))
        if isinstance(page, str):
            return page
        records = [call.record for call in page.calls]
        for record in records:
            if record.voice_id == voice_id:
                return record
        ids = frozenset(record.voice_id for record in records)
        seen = Seen(page.total, ids, page.records, page.records - len(records))
        closed = windows.answered(asked, seen)
        if closed is not None and closed.cause:
            return closed.cause
    return NOT_LISTED
