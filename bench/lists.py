"""What making the work list costs: the child process alone, as `harvester run` starts it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from datetime import date
from itertools import chain, islice
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from bench.measure import Usage, measure
from bench.places import OURS, ROOT, work
from bench.tables import show
from harvester.inputs.discover import IdFile
from harvester.inputs.worklist.spec import ListResult, ListSpec
from harvester.simulator import make_ids, write_ids

MEMORY_LIMIT = "400MB"
_END = date(2026, 11, 22)
_NEXT_DAY = date(2026, 11, 23)
_PART_ROWS = 250_000
_HEADS = ("list", "lines", "listed", "wall s", "CPU s", "child's RSS MB")


def lists(count: int) -> None:
    """Print the table: `count` new text ids, and a tenth of them against `count` settled ones."""
    rows = [_new(count), _against(count // 10, count)]
    show(f"Making the work list, plan.memory_limit = {MEMORY_LIMIT}", _HEADS, rows)


def _new(count: int) -> list[str]:
    path = work() / f"list-{count}.txt"
    if not path.exists():
        write_ids(path, count, end=_END, shuffled=True)
    return _row(f"{count:,} new ids", *_make(path, None))


def _against(count: int, settled: int) -> list[str]:
    """Half of the ids are settled, half are new."""
    data = work() / f"settled-{settled}"
    if not data.exists():
        _write_settled(data, settled)
    path = work() / f"against-{count}.txt"
    if not path.exists():
        old = islice(make_ids(settled, end=_END, shuffled=True), count // 2)
        new = make_ids(count - count // 2, end=_NEXT_DAY, days=1)
        path.write_text("".join(f"{one}\n" for one in chain(old, new)))
    return _row(f"{count:,} ids against {settled:,} settled", *_make(path, f"{data}/*/*.parquet"))


def _write_settled(data: Path, count: int) -> None:
    """Parts as a run would leave them, with the one column that a list looks at."""
    fresh = data.with_suffix(".new")
    shutil.rmtree(fresh, ignore_errors=True)
    for number, ids in enumerate(_portions(make_ids(count, end=_END))):
        folder = fresh / f"submit_date={number}"
        folder.mkdir(parents=True)
        table = pa.table({"voice_id": pa.array(ids, pa.string())})
        pq.write_table(table, folder / "part.parquet", compression="zstd", use_dictionary=False)
    fresh.rename(data)


def _portions(ids: Iterator[str]) -> Iterator[Sequence[str]]:
    while portion := list(islice(ids, _PART_ROWS)):
        yield sorted(portion)


def _make(path: Path, data_glob: str | None) -> tuple[Usage, ListResult]:
    scratch = work() / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    spec = ListSpec(
        files=(IdFile(str(path), "txt"),),
        column="voiceId",
        data_glob=data_glob,
        resolved=(),
        carried_over=None,
        retried=None,
        list_path=str(scratch / "list.parquet"),
        input_path=str(scratch / "input.parquet"),
        bad_ids_path=str(scratch / "bad_ids.jsonl"),
        scratch=str(scratch),
        memory_limit=MEMORY_LIMIT,
    )
    usage = measure(
        [OURS, "-P", "-m", "harvester.inputs.worklist.build_child"],
        environ={"PYTHONPATH": str(ROOT)},
        stdin=msgspec.json.encode(spec).decode() + "\n",
    )
    answer = msgspec.json.decode(usage.out.strip().splitlines()[-1])
    return usage, msgspec.convert(answer["result"], ListResult)


def _row(name: str, usage: Usage, result: ListResult) -> list[str]:
    return [
        name,
        f"{result.lines:,}",
        f"{result.listed:,}",
        f"{usage.wall_s:.1f}",
        f"{usage.cpu_s:.1f}",
        f"{usage.rss_mb:.0f}",
    ]
