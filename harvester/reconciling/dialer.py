"""The customer's dialer file: its ids by the rules of `run`, and the days that they were sent on.

Theory of operation.  The ids are read and judged by what makes a work list, so a file that `run`
takes is read the same way here, but that 1 per cent of bad ids is too much: what is missing in D is
reported as a call that nobody placed.  Times are read in a second pass.  They only leave ids out:
one whose time is missing or can't be read stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from msgspec.structs import replace

from harvester.answers.literals import instant_of
from harvester.config import Config
from harvester.errors import SourceError
from harvester.inputs.discover import IdFile, find
from harvester.inputs.formats.csv_file import read_cells
from harvester.inputs.formats.jsonl_file import read_fields
from harvester.inputs.formats.parquet_file import read_columns
from harvester.inputs.id_dates import stamp_of, stamps
from harvester.inputs.voice_id import PLAIN, clean, no_ids
from harvester.inputs.worklist.build import MORE_THAN_ALLOWED
from harvester.pipeline.listing.days import day_at
from harvester.pipeline.listing.windows import Window
from harvester.pipeline.run.prepare_list import Places, draft_list
from harvester.vendor_clock import OFFSET_S, OFFSET_TEXT

MOST_BAD = 0.01
_TOO_MUCH = "more than the 1 % by which it can be reconciled"
_BATCH = 100_000
_PLAIN = rf"\A{PLAIN}\z"
_USUAL = r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}\z"
"""A time of the vendor's clock, as most have it."""
_FEW = 20
"""Ids whose digits tell a date that make it mean something that none is of these days."""
_EPOCH = re.compile(r"[0-9]{10}(?:\.[0-9]+)?|[0-9]{13}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_MINUTE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}")
_CUT = ("9223372036854775807", "18446744073709551615", "9007199254740992", "2147483647")
"""Where whole numbers of 64, 53 and 32 bits end: longer ids become that."""
SENT = pa.schema([("voice_id", pa.string()), ("sent_at", pa.timestamp("ms", tz="UTC"))])


class Ours(msgspec.Struct, frozen=True, kw_only=True):
    """What the user names."""

    file: str
    column: str | None = None
    """None: input.column."""
    time_column: str | None = None


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """The file as it was read.  lines = bad + double + distinct."""

    file: str
    lines: int
    bad: int
    double: int
    distinct: int
    ids: Path
    """Parquet: each id once."""
    sent: Path | None
    """Parquet: when ids were sent; None where the file was not asked for it."""
    undated: int


def read_dialer(config: Config, ours: Ours, days: Window, scratch: Path) -> Placed:
    """Read the file, and refuse one from which nothing could be concluded.  Raises SourceError."""
    files = find([ours.file], spool=scratch)
    settings = replace(
        config.input,
        column=ours.column or config.input.column,
        max_bad_share=MOST_BAD,
        min_age_s=0.0,
    )
    made = Places(
        scratch / "dialer-list.parquet",
        scratch / "dialer.parquet",
        scratch / "dialer-bad.jsonl",
        scratch,
        scratch,
    )
    try:
        result = draft_list(None, settings, config.plan, files, made, data_glob=None)
    except SourceError as exc:
        # The share is none that anybody has set.
        exc.args = (str(exc).replace(MORE_THAN_ALLOWED.format(MOST_BAD), _TOO_MUCH),)
        raise
    name = ours.file
    if not result.distinct:
        raise SourceError(f"{name}: it holds no voiceId at all.", code="input.no_ids")
    if result.bad > MOST_BAD * result.lines:
        kinds = ", ".join(
            f"{why.replace('_', ' ')} {n:,}" for why, n in result.bad_by_reason.items()
        )
        raise SourceError(
            f"{name}: no voiceId in {result.bad:,} of its {result.lines:,} lines ({kinds}), "
            f"{_TOO_MUCH}. Look into it, and mend what wrote it.",
            code="input.bad_share",
        )
    _refuse_cut(name, made.ids)
    sent, undated = None, 0
    if ours.time_column is None:
        _refuse_other_days(name, made.ids, days)
    else:
        sent = scratch / "sent.parquet"
        undated = _write_sent(files, (settings.column, ours.time_column), days, sent, name)
    return Placed(
        file=name,
        lines=result.lines,
        bad=result.bad,
        double=result.duplicate,
        distinct=result.distinct,
        ids=made.ids,
        sent=sent,
        undated=undated,
    )


def _refuse_cut(name: str, ids: Path) -> None:
    """Raise SourceError where longer ids have become the greatest number of their type."""
    for batch in _batches(ids):
        if pc.any(pc.is_in(batch, value_set=pa.array(_CUT))).as_py():
            raise SourceError(
                f"{name}: it holds an id that is the greatest number of a type of whole numbers: "
                "longer ids were cut to it. Export the ids again as text.",
                code="input.rounded_ids",
            )


def _refuse_other_days(name: str, ids: Path, days: Window) -> None:
    """Raise SourceError where the digits of all ids that tell a date tell other days."""
    first, until = (
        stamp_of(datetime.fromtimestamp(at, UTC)) for at in (days.start_s, days.until_s)
    )
    dated, least, most = 0, "", ""
    for batch in _batches(ids):
        found = stamps(batch).drop_null()
        if not len(found):
            continue
        if pc.any(pc.and_(pc.greater_equal(found, first), pc.less(found, until))).as_py():
            return
        dated += len(found)
        low, high = pc.min_max(found).values()
        least, most = min(least or low.as_py(), low.as_py()), max(most, high.as_py())
    if dated >= _FEW:
        told = f"{_day(least)}..{_day(most)}, as the digits of its ids say"
        raise _no_overlap(name, told, days)


def _day(stamp: str) -> str:
    return f"20{stamp[:2]}-{stamp[2:4]}-{stamp[4:6]}"


def _no_overlap(name: str, covers: str, days: Window) -> SourceError:
    return SourceError(
        f"{name}: it covers {covers}; asked for were {day_at(days.start_s)}.."
        f"{day_at(days.until_s - 1)}. Give the file of these days, or the days of the file.",
        code="input.other_days",
    )


def _write_sent(
    files: list[IdFile], columns: tuple[str, str], days: Window, to: Path, name: str
) -> int:
    """Write when ids were sent; of how many rows that can't be read.  Raises SourceError."""
    words = no_ids(columns[0])
    rows = undated = within = 0
    bounds: list[int] = []
    first_ms, until_ms = days.start_s * 1000, days.until_s * 1000
    with pq.ParquetWriter(to, SENT, compression="zstd", compression_level=1) as out:
        for file in files:
            for ids, times in _pairs(file, columns):
                is_id, found = _ids(ids, words)
                at_ms = times_ms(times.filter(is_id))
                rows += len(found)
                undated += at_ms.null_count
                inside = pc.and_(pc.greater_equal(at_ms, first_ms), pc.less(at_ms, until_ms))
                within += inside.true_count
                low, high = (one.as_py() for one in pc.min_max(at_ms).values())
                bounds = [one for one in (*bounds, low, high) if one is not None]
                bounds = [min(bounds), max(bounds)] if bounds else []
                sent = at_ms.cast(SENT.field("sent_at").type)
                out.write_batch(pa.RecordBatch.from_arrays([found, sent], schema=SENT))
    if undated > MOST_BAD * rows:
        raise SourceError(
            f"{name}: {undated:,} of the {rows:,} values in column {columns[1]!r} are no time that "
            "can be read. Times are written as 2026-11-01 12:00:00 (the vendor's clock, "
            f"{OFFSET_TEXT}, unless an offset stands behind), or as Unix seconds or milliseconds.",
            code="input.no_time",
        )
    if bounds and not within:
        first, last = (day_at(at / 1000) for at in bounds)
        raise _no_overlap(name, f"{first}..{last}", days)
    return undated


def _ids(values: pa.Array, words: str) -> tuple[pa.Array, pa.Array]:
    """Which values hold ids, and those; values are binary."""
    plain = pc.fill_null(pc.match_substring_regex(values, _PLAIN), False)
    if pc.all(plain).as_py() is not False:
        return plain, values.cast(pa.string())
    odd = [
        None if value is None else clean(value.decode("utf-8", "surrogateescape"), words)
        for value in values.filter(pc.invert(plain)).to_pylist()
    ]
    texts = pc.if_else(plain, values, None).cast(pa.string())
    found = pc.replace_with_mask(texts, pc.invert(plain), pa.array(odd, pa.string()))
    return found.is_valid(), found.drop_null()


def times_ms(values: pa.Array) -> pa.Array:
    """When rows were sent, in Unix ms; null where that can't be read.  Values are binary."""
    usual = pc.fill_null(pc.match_substring_regex(values, _USUAL), False)
    texts = pc.if_else(usual, values, None).cast(pa.string())
    try:
        told = texts.cast(pa.timestamp("s")).cast(pa.int64())
    except pa.ArrowInvalid:  # a 30th of February among them
        usual = pc.and_(usual, False)
        told = pa.nulls(len(values), pa.int64())
    found = pc.multiply(pc.subtract(told, OFFSET_S), 1000)
    rest = pc.invert(usual)
    odd = [
        None if value is None else time_ms(value.decode("utf-8", "replace"))
        for value in values.filter(rest).to_pylist()
    ]
    return pc.replace_with_mask(found, rest, pa.array(odd, pa.int64()))


def _pairs(file: IdFile, columns: tuple[str, str]) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Columns of ids and times, in pieces."""
    match file.form:
        case "csv" | "tsv":
            yield from read_cells(file, columns)
        case "jsonl":
            yield from read_fields(file, columns)
        case "parquet":
            yield from read_columns(file, columns)
        case "txt":
            raise SourceError(
                f"{file.name}: lines of text have no column of times. Leave out --time-column, or "
                "give the file as .csv, .jsonl or .parquet.",
                code="input.no_column",
            )


def time_ms(text: str) -> int | None:
    """When a row was sent, in Unix ms; None where that can't be read.

    ISO 8601, of the vendor's clock where it has no offset, with or without seconds; a day; or
    seconds or milliseconds of Unix time.
    """
    text = text.strip()
    if _EPOCH.fullmatch(text):
        return int(text) if len(text) == 13 and "." not in text else int(float(text) * 1000)
    plain = text.replace("/", "-")
    if _DAY.fullmatch(plain):
        plain += "T00:00:00"
    elif _MINUTE.fullmatch(plain):
        plain += ":00"
    try:
        return instant_of(plain)[0]
    except (ValueError, OverflowError):
        return None


def _batches(ids: Path) -> Iterator[pa.Array]:
    with pq.ParquetFile(ids, pre_buffer=False) as file:
        for batch in file.iter_batches(_BATCH, columns=["voice_id"], use_threads=False):
            yield batch.column(0)
