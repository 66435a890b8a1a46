"""A compaction: merging the sixty small files of a date, and exchanging the folders of sixty."""

from __future__ import annotations

import shutil
import time
from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from bench.micro.conftest import Price
from harvester.answers.answer import Answer
from harvester.config import Output as OutputConfig
from harvester.operations.compact import Order, choose
from harvester.pipeline.publish.publisher import Publisher
from harvester.pipeline.publish.rewrite import Rewriter
from harvester.state import publications, run_records
from harvester.state.acknowledge import acknowledge
from harvester.state.database import open_database
from harvester.state.values import Batch, Entry, Note
from harvester.state.writer import InlineLedger
from harvester.storage.disk import RealDisk
from harvester.storage.output import Output, make_folders

FILES, ROWS, DATES = 60, 200, 60
RUN = "20261122T010203-abcd"
NOW = datetime(2027, 1, 1, tzinfo=UTC)


def test_compact(price: Price, plain: list[Answer], tmp_path: Path) -> None:
    """All answers get one date: sixty files of it become one."""
    before = Output(tmp_path / "before")
    make_folders(before, 0o750)
    config = OutputConfig(dir=str(before.root), publish_bytes=1)
    with closing(open_database(before.database, "default")) as db:
        run_records.begin_run(db, RUN, 1)
        publisher = Publisher(InlineLedger(db, before.database), before, config, "default", "made")
        for file in range(FILES):
            entries = [_of_one_date(one, file * ROWS + n) for n, one in enumerate(plain[:ROWS])]
            acknowledge(
                db,
                RUN,
                Batch(entries=entries),
                work_list=None,
                counters={},
                requests_of_day=("", 0),
            )
            publisher.publish()
    copies = count()

    def copy() -> tuple[tuple[Any, ...], dict[str, Any]]:
        out = Output(tmp_path / str(next(copies)))
        shutil.copytree(before.root, out.root)
        return (out,), {}

    def compact(out: Output) -> None:
        with closing(open_database(out.database, "default")) as db:
            parts = publications.current_parts(db, out.place_of)
            folders = choose(parts, Order(), "UTC", NOW).folders
            assert len(folders[0].groups) == 1
            ledger = InlineLedger(db, out.database)
            rewriter = Rewriter(ledger, out, config, "made")
            assert rewriter.rewrite(folders, Note("compact")) is not None

    price(FILES * ROWS, compact, setup=copy)


def test_exchange_of_60_dates(tmp_path: Path, price: Price) -> None:
    """Wall time as well: other writers wait for it, and readers meet it."""
    cdr, staged, disk = tmp_path / "cdr", tmp_path / "staged", RealDisk()
    for date in range(DATES):
        for root in (cdr, staged):
            (root / f"submit_date={date}").mkdir(parents=True)
    took_s = []

    def exchange() -> None:
        begin = time.perf_counter()
        for folder in staged.iterdir():
            disk.exchange(folder, cdr / folder.name)
        disk.sync_folder(cdr)
        disk.sync_folder(staged)
        took_s.append(time.perf_counter() - begin)

    price(DATES, exchange)
    print(f"exchange of {DATES} dates: {1000 * sorted(took_s)[len(took_s) // 2]:.1f} ms")


def _of_one_date(answer: Answer, number: int) -> Entry:
    voice_id = f"{number:019}"
    body = answer.body.replace(answer.voice_id.encode(), voice_id.encode())
    start = body.index(b'"submitTime":"') + len(b'"submitTime":"')
    dated = body[:start] + b"2026-09-02" + body[start + 10 :]
    return Entry(voice_id, answer.fetched_at_ms, True, dated)
