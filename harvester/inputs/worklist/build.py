"""Make the work list, out of core.

Theory of operation.  The list is what the input holds and nothing has settled, once each, in order
of bytes; a mistake here asks for an id twice or never.

1. All ids, each with its tag (0 this input, 1 asked again, 2 left over), go through one sort by
   (voice_id, tag).  Equal neighbours are one id, and the first of them has the tag that counts: an
   id of an earlier list that is in this input too belongs to this input.  A sort spills to disk;
   DISTINCT over 100 million ids runs out of a gigabyte.
2. The distinct ids are written to scratch, and an anti-join against everything settled gives the
   row numbers of those that aren't.  DuckDB builds its hash table on whichever side is smaller and
   spills it as well, but loses the order: it is restored by sorting numbers, not texts.
3. A walk along both in step splits the unsettled ids into rank 0 and 1 and counts them.  With
   nothing settled, step 2 is left out.
4. Ids that are to be fetched again though the data set has them come last, at rank 2; one that is
   on the list already stays where it is.

Every count is taken where the rows pass, so that the books (lines = bad + duplicate + distinct,
distinct = settled + listed + too young) compare independent numbers, and they are compared before
the files get their names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec.structs import replace

from harvester.errors import HarvesterError, SourceError, StoreError
from harvester.inputs.bad_lines import BadIds
from harvester.inputs.discover import Form, IdFile
from harvester.inputs.formats.blocks import head
from harvester.inputs.formats.csv_file import read_csv
from harvester.inputs.formats.jsonl_file import read_jsonl
from harvester.inputs.formats.likeness import HEAD_BYTES, likeness
from harvester.inputs.formats.parquet_file import read_parquet
from harvester.inputs.formats.text_file import read_text
from harvester.inputs.id_dates import between
from harvester.inputs.worklist.again import choose, in_order
from harvester.inputs.worklist.spec import Chosen, FileCount, ListResult, ListSpec
from harvester.storage.atomic_files import NewTextFile
from harvester.storage.duckdb_engine import Engine, parts, pattern
from harvester.storage.parquet_file import IDS, LIST, ParquetOut

INPUT, RETRIED, CARRIED_OVER = 0, 1, 2
_ROUNDED = r"\A[1-9][0-9]{14}0{2,}\z"
_ROUNDED_END = "00"
_ROUNDED_FROM = 3
_ROUNDED_BY_CHANCE = 0.01
_COARSE = 2**57
"""From here on one whole number of 32 is one that a float can be."""
_LONGEST_NUMBER = 64
_FLOATS_FROM, _FLOATS_TO = 20, 1_000
"""So many ids show it; so many are looked at."""
SHARE_COUNTS_FROM = 20
"""Lines of a file that make its share of bad ones mean something."""

_TAGGED = pa.schema([("voice_id", pa.string()), ("tag", pa.int8())])
_RAW = pa.schema([("voice_id", pa.string())])

_READERS: dict[Form, Callable[[IdFile, str, BadIds], Iterator[pa.Array]]] = {
    "txt": read_text,
    "csv": read_csv,
    "tsv": read_csv,
    "jsonl": read_jsonl,
    "parquet": read_parquet,
}


def read_ids(file: IdFile, column: str, bad: BadIds) -> Iterator[pa.Array]:
    """The clean ids of `file` as string columns, in no promised order; bad lines go to `bad`.

    Raises SourceError if it can't be read, or isn't what its name says.
    """
    bad.file = file.name
    try:
        yield from _READERS[file.form](file, column, bad)
    except SourceError as exc:
        exc.args = (" ".join([str(exc), *_likeness(file, column)]),)
        raise


def make(spec: ListSpec) -> ListResult:
    """Write the list that `spec` describes, and return its books.

    An input without a line makes the list of what was carried over.  Raises SourceError for an
    input that can't be read or is not what it seems, StoreError if the books don't balance, and
    OSError, pa.ArrowException or duckdb.Error for what went wrong below.
    """
    with ExitStack() as stack:
        engine = Engine(memory_limit=spec.memory_limit, threads=spec.threads, scratch=spec.scratch)
        stack.callback(engine.close)
        pa.set_cpu_count(spec.threads)
        listed_bad = stack.enter_context(NewTextFile(Path(spec.bad_ids_path)))
        counts = _Counts(BadIds(listed_bad.text))
        the_list = stack.enter_context(ParquetOut(spec.list_path, LIST))
        the_input = None
        if spec.input_path is not None:
            the_input = stack.enter_context(ParquetOut(spec.input_path, IDS))

        distinct = _noted(_distinct(_sorted(spec, engine, counts)), the_input, counts)
        unsettled = _unsettled(spec, engine, distinct)
        of_age = _of_age(spec, unsettled, counts)
        is_kept = spec.again is not None or spec.selection is not None
        new = _split(of_age, the_list, counts, Path(spec.scratch), is_kept=is_kept)
        again, chosen = _again(spec, engine, the_list, counts, new)

        result = replace(counts.books(), again=again, chosen=chosen)
        # The list comes last: where it is, the others are.
        listed_bad.commit()
        if the_input is not None:
            the_input.commit()
        the_list.commit()
        return result


class _Counts(msgspec.Struct):
    """What passed each step."""

    bad: BadIds
    good: int = 0
    files: list[FileCount] = []
    distinct: int = 0
    listed: list[int] = msgspec.field(default_factory=lambda: [0, 0, 0])
    too_young: int = 0

    @property
    def lines(self) -> int:
        return self.good + self.bad.total

    def books(self) -> ListResult:
        """The result, if it can be true.  Raises StoreError."""
        listed, retried, carried_over = self.listed
        duplicate = self.good - self.distinct
        resolved = self.distinct - listed - self.too_young
        if duplicate < 0 or resolved < 0 or sum(f.lines for f in self.files) != self.lines:
            raise StoreError(
                f"the control totals of the work list don't balance: {self.lines} lines, "
                f"{self.bad.total} bad, {self.distinct} distinct, {listed} listed. This is "
                "a bug: report it.",
                code="control_totals.differ",
            )
        return ListResult(
            lines=self.lines,
            bad=self.bad.total,
            duplicate=duplicate,
            distinct=self.distinct,
            resolved=resolved,
            listed=listed,
            retried=retried,
            carried_over=carried_over,
            bad_by_reason=dict(sorted(self.bad.by_reason.items())),
            files=tuple(self.files),
            too_young=self.too_young,
        )


def _raw(spec: ListSpec, counts: _Counts) -> Iterator[pa.RecordBatch]:
    """The clean ids of all files."""
    for file in spec.files:
        good, bad, reasons = counts.good, counts.bad.total, counts.bad.by_reason.copy()
        rounded = _Rounded()
        for ids in read_ids(file, spec.column, counts.bad):
            counts.good += len(ids)
            rounded.add(ids)
            yield pa.RecordBatch.from_arrays([ids], schema=_RAW)
        new_bad = counts.bad.total - bad
        count = FileCount(file.name, counts.good - good + new_bad, new_bad)
        counts.files.append(count)
        _check_share(spec, file, count, counts.bad.by_reason - reasons)
        if rounded.is_certain(spec.max_bad_share):
            raise SourceError(
                f"{file.name}: {rounded.told} have 15 digits and then zeros: a spreadsheet has "
                "rounded them, and nothing brings the last digits back. Export them again from "
                "where they came, as text, without a spreadsheet.",
                code="input.rounded_ids",
            )
        if rounded.is_of_floats:
            raise SourceError(
                f"{file.name}: its ids are such as a program makes that keeps them as "
                "floating-point numbers: each has lost its last digits, and nothing brings them "
                "back. Export them again from where they came, as text.",
                code="input.rounded_ids",
            )


class _Rounded:
    """Whether a file's ids are what a spreadsheet leaves of them: a number has 15 digits there.

    A true id ends so once in ten thousand times, so three of them among three hundred are not.
    A program that keeps ids as floats leaves only such as a float can be: of ids this long one in
    32 at most, so twenty on end are not true ones.
    """

    def __init__(self) -> None:
        self._ids = self._rounded = 0
        self._some: set[str] = set()
        self._floats: set[str] | None = set()
        """Ids that a float can be; None once there was another one."""

    @property
    def is_of_floats(self) -> bool:
        """Whether there are several ids, and a float can be each of them."""
        return self._floats is not None and len(self._floats) >= _FLOATS_FROM

    def is_certain(self, most: float) -> bool:
        """Whether several ids are so, and all, or a greater share than `most`."""
        share = max(most, _ROUNDED_BY_CHANCE) * self._ids
        is_too_much = self._rounded > share or self._rounded == self._ids
        return is_too_much and len(self._some) >= _ROUNDED_FROM

    @property
    def told(self) -> str:
        """How many of how many."""
        if self._rounded == self._ids:
            return "all its ids"
        return f"{self._rounded:,} of its {self._ids:,} ids"

    def add(self, ids: pa.Array) -> None:
        """Look at a column of ids."""
        self._ids += len(ids)
        if self._floats is not None and len(self._floats) < _FLOATS_TO:
            self._look_for_floats(ids.slice(0, _FLOATS_TO).to_pylist())
        # Nearly all are whole, and this is seen ten times as quickly.
        zeros = ids.filter(pc.ends_with(ids, _ROUNDED_END))
        if not len(zeros):
            return
        rounded = zeros.filter(pc.match_substring_regex(zeros, _ROUNDED))
        self._rounded += len(rounded)
        if len(self._some) < _ROUNDED_FROM:
            self._some.update(rounded.unique().slice(0, _ROUNDED_FROM).to_pylist())

    def _look_for_floats(self, ids: list[str]) -> None:
        for one in ids:
            if not (one.isdecimal() and len(one) <= _LONGEST_NUMBER and int(one) >= _COARSE):
                continue  # which a float may have kept whole
            if int(float(one)) != int(one):
                self._floats = None
                return
            assert self._floats is not None
            self._floats.add(one)


MORE_THAN_ALLOWED = "more than input.max_bad_share = {:g} allows"


def _check_share(spec: ListSpec, file: IdFile, count: FileCount, reasons: Counter[str]) -> None:
    """Raise SourceError for a file that isn't what it seems: one good file must hide no bad one."""
    if not count.bad:
        return
    kinds = ", ".join(f"{reason.replace('_', ' ')} {n:,}" for reason, n in reasons.most_common())
    advice = " ".join(_likeness(file, spec.column)) or "Look into it, and mend what wrote it."
    if count.bad == count.lines:
        raise SourceError(
            f"{file.name}: not one voiceId in {count.lines:,} line(s) ({kinds}). {advice}",
            code="input.no_ids",
        )
    if count.lines >= SHARE_COUNTS_FROM and count.bad > spec.max_bad_share * count.lines:
        raise SourceError(
            f"{file.name}: no voiceId in {count.bad:,} of its {count.lines:,} lines ({kinds}), "
            f"{MORE_THAN_ALLOWED.format(spec.max_bad_share)}. {advice}",
            code="input.bad_share",
        )


def _likeness(file: IdFile, column: str) -> list[str]:
    """What the file looks like and what to do, if that can be told."""
    if file.form == "parquet":
        return []
    found = likeness(file, head(file, HEAD_BYTES), column)
    return [] if found is None else [found]


def _sorted(spec: ListSpec, engine: Engine, counts: _Counts) -> Iterator[pa.RecordBatch]:
    """All ids with their tags, sorted by both."""
    failures: list[HarvesterError] = []

    def kept() -> Iterator[pa.RecordBatch]:
        # DuckDB turns what a stream raises into an error of its own: keep what was meant.
        try:
            yield from _raw(spec, counts)
        except HarvesterError as exc:
            failures.append(exc)
            raise

    engine.offer("raw", pa.RecordBatchReader.from_batches(_RAW, kept()))
    query = f"SELECT voice_id, {INPUT}::TINYINT AS tag FROM raw"  # noqa: S608 - our constants
    parameters: dict[str, object] = {}
    for tag, path in ((RETRIED, spec.retried), (CARRIED_OVER, spec.carried_over)):
        if path is not None:
            query += f" UNION ALL SELECT voice_id, {tag}::TINYINT FROM read_parquet($extra{tag})"  # noqa: S608
            parameters[f"extra{tag}"] = [pattern(path)]
    try:
        # One statement: UNION ALL binds closer than ORDER BY.
        yield from engine.stream(query + " ORDER BY voice_id, tag", parameters)
    except Exception as exc:
        if failures:
            raise failures[0] from exc
        raise


def _distinct(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The first of each run of equal ids."""
    last: str | None = None
    for batch in batches:
        if batch.num_rows == 0:
            continue
        ids = batch.column("voice_id")
        first = pa.array([ids[0].as_py() != last])
        others = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1))
        last = ids[-1].as_py()
        yield batch.filter(pa.concat_arrays([first, others]))


def _noted(
    batches: Iterator[pa.RecordBatch], the_input: ParquetOut | None, counts: _Counts
) -> Iterator[pa.RecordBatch]:
    """The same batches; those of this input are counted, and written to `the_input`."""
    for batch in batches:
        ours = _tagged(batch, INPUT)
        counts.distinct += ours.num_rows
        if the_input is not None:
            the_input.write(ours.column("voice_id"))
        yield batch


def _unsettled(
    spec: ListSpec, engine: Engine, batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """The rows of `batches` whose ids nothing has settled, in the same order."""
    settled = [*parts(spec.data_glob), *map(pattern, spec.resolved)]
    if not settled:
        yield from batches
        return
    wanted = Path(spec.scratch) / "wanted.parquet"
    with ParquetOut(wanted, _TAGGED) as out:
        for batch in batches:
            out.write(*batch.columns)
        out.commit()
    numbers = engine.stream(
        "SELECT file_row_number AS row FROM read_parquet($wanted, file_row_number = true) AS wanted"
        " ANTI JOIN read_parquet($settled, hive_partitioning = false) AS settled"
        " ON wanted.voice_id = settled.voice_id ORDER BY row",
        {"wanted": [pattern(wanted)], "settled": settled},
    )
    with pq.ParquetFile(wanted, pre_buffer=False) as parquet:
        yield from _taken(parquet.iter_batches(use_threads=False), numbers)


def _taken(
    batches: Iterator[pa.RecordBatch], numbers: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """The rows of `batches`, counted from 0 through all of them, that rising `numbers` name."""
    start = 0
    waiting = pa.array([], pa.int64())
    for batch in batches:
        end = start + batch.num_rows
        while len(waiting) == 0 or waiting[-1].as_py() < end:
            more = next(numbers, None)
            if more is None:
                break
            waiting = pa.concat_arrays([waiting, more.column("row").cast(pa.int64())])
        here = pc.sum(pc.less(waiting, end)).as_py() or 0
        yield batch.take(pc.subtract(waiting.slice(0, here), start))
        waiting = waiting.slice(here)
        start = end


def _of_age(
    spec: ListSpec, batches: Iterator[pa.RecordBatch], counts: _Counts
) -> Iterator[pa.RecordBatch]:
    """The same without ids of the input that are too young, which are counted.

    One that was listed before stays: it was old enough by another `input.min_age_s`, and the list
    must not forget it.  Hardly any is both, so those fit into memory.
    """
    if spec.too_young is None:
        yield from batches
        return
    known = _young_and_pending(spec)
    for batch in batches:
        ids = batch.column("voice_id")
        young = pc.and_(between(ids, *spec.too_young), pc.invert(_is_not(batch, INPUT)))
        held = pc.and_(young, pc.invert(pc.is_in(ids, value_set=known)))
        counts.too_young += held.true_count
        yield batch.filter(pc.invert(held))


def _young_and_pending(spec: ListSpec) -> pa.Array:
    found: list[pa.Array] = [pa.array([], pa.string())]
    if spec.carried_over is not None and spec.too_young is not None:
        with pq.ParquetFile(spec.carried_over, pre_buffer=False) as parquet:
            for batch in parquet.iter_batches(use_threads=False):
                ids = batch.column(0)
                found.append(ids.filter(between(ids, *spec.too_young)))
    return pa.concat_arrays(found)


def _split(
    batches: Iterator[pa.RecordBatch],
    the_list: ParquetOut,
    counts: _Counts,
    scratch: Path,
    *,
    is_kept: bool,
) -> list[Path]:
    """Write rank 0 to the list as it comes, and rank 1 behind it from a file in between.

    Returns files of what was written; where it `is_kept`, of all of it.
    """
    later, first = scratch / "carried_over.parquet", scratch / "first.parquet"
    with ParquetOut(later, _RAW) as carried_over, ParquetOut(first, _RAW) as rank_0:
        for batch in batches:
            old = _tagged(batch, CARRIED_OVER)
            carried_over.write(old.column("voice_id"))
            now = batch if old.num_rows == 0 else batch.filter(_is_not(batch, CARRIED_OVER))
            _write_rank(the_list, 0, now.column("voice_id"))
            if is_kept:
                rank_0.write(now.column("voice_id"))
            again = _tagged(now, RETRIED).num_rows
            counts.listed[RETRIED] += again
            counts.listed[INPUT] += now.num_rows - again
        carried_over.commit()
        rank_0.commit()
    counts.listed[CARRIED_OVER] = carried_over.rows
    with pq.ParquetFile(later, pre_buffer=False) as parquet:
        for batch in parquet.iter_batches(use_threads=False):
            _write_rank(the_list, 1, batch.column(0))
    return [first, later]


def _again(
    spec: ListSpec, engine: Engine, the_list: ParquetOut, counts: _Counts, new: list[Path]
) -> tuple[int, Chosen | None]:
    """Write rank 2: how many rows, and the counts of the selection."""
    files = [] if spec.again is None else [Path(spec.again)]
    chosen, selection = None, spec.selection
    if selection is not None:
        wanted = own = None
        if selection.files is not None:
            own = _Counts(counts.bad.apart())  # the control totals are those of the input
            wanted = _raw(replace(spec, files=selection.files), own)
        path, chosen = choose(selection, engine, wanted, Path(spec.scratch))
        if own is not None:
            chosen = replace(chosen, outside=chosen.outside + own.bad.total)
        files.append(path)
    before = the_list.rows
    if files:
        for batch in in_order(engine, files, new):
            _write_rank(the_list, 2, batch.column("voice_id").cast(pa.string()))
    return the_list.rows - before, chosen


def _write_rank(the_list: ParquetOut, rank: int, ids: pa.Array) -> None:
    the_list.write(pa.repeat(pa.scalar(rank, pa.int8()), len(ids)), ids)


def _tagged(batch: pa.RecordBatch, tag: int) -> pa.RecordBatch:
    return batch.filter(pc.equal(batch.column("tag"), pa.scalar(tag, pa.int8())))


def _is_not(batch: pa.RecordBatch, tag: int) -> pa.Array:
    return pc.not_equal(batch.column("tag"), pa.scalar(tag, pa.int8()))
