"""The stages of a record's way, in its order."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bench.micro.conftest import Price
from harvester.answers.answer import Answer
from harvester.client.judge import judge
from harvester.client.sign import signed_headers
from harvester.client.transport import Reply
from harvester.config import OpenCalls, Retry, Secrets
from harvester.config import Output as OutputConfig
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.normalize import normalize
from harvester.dataset.usage import usage_of
from harvester.inputs.voice_id import dated
from harvester.pipeline.engine.settle import Policy, settle
from harvester.pipeline.engine.task import Answered, Task
from harvester.pipeline.limits.pace import Pace
from harvester.pipeline.publish.normalizer import NORMALIZED_ROWS
from harvester.pipeline.publish.publisher import Publisher
from harvester.state import journal, run_records, work_lists
from harvester.state.acknowledge import acknowledge
from harvester.state.database import open_database
from harvester.state.values import CHUNK_ROWS, Batch, WorkList
from harvester.state.writer import InlineLedger
from harvester.storage.output import Output, make_folders

SECRETS = Secrets("bDqJFiq9", "7bz1lzh9")
BATCH = 500
TURNS = 5_000
PUBLISHED = 20_000
RUN = "20261122T010203-abcd"
POLICY = Policy(RUN, OpenCalls(), Retry(), dated)
LIST = WorkList(1, None, "list-1.parquet", None, 100_000_000, 0, 0)
NOW = 1_800_000_000.0


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A ledger as a run has it, synchronous to the disk."""
    with closing(open_database(tmp_path / "state.db", "default")) as opened:
        run_records.begin_run(opened, RUN, 1)
        work_lists.replace_list(opened, LIST)
        yield opened


def test_pace(price: Price) -> None:
    async def turns() -> None:
        pace = Pace(1e6, opens_at=0.0)
        for _ in range(TURNS):
            await pace.turn()

    with asyncio.Runner() as runner:
        price(TURNS, lambda: runner.run(turns()))


def test_sign(price: Price) -> None:
    second = itertools.count(1_800_000_000)
    price(1, lambda: signed_headers(SECRETS, next(second)))


def test_judge(price: Price, sample: list[Answer]) -> None:
    replies = [(one.voice_id, Reply(200, one.body)) for one in sample[:BATCH]]
    price(BATCH, lambda: [judge(voice_id, reply, NOW) for voice_id, reply in replies])


def test_usage(price: Price, sample: list[Answer]) -> None:
    price(BATCH, usage_of, [one.body for one in sample[:BATCH]], GROUP_RECORD)


def test_settle(price: Price, sample: list[Answer]) -> None:
    price(BATCH, _settled, sample[:BATCH], 0)


def test_journal_encode(price: Price, sample: list[Answer]) -> None:
    price(BATCH, journal.encode, _settled(sample[:BATCH], 0).entries)


def test_acknowledge(price: Price, sample: list[Answer], db: sqlite3.Connection) -> None:
    counters = Counter(delivered=1, requests=1)
    firsts = itertools.count(0, BATCH)

    def setup() -> tuple[tuple[Batch], dict[str, object]]:
        return (_settled(sample[:BATCH], next(firsts)),), {}

    def commit(batch: Batch) -> None:
        acknowledge(
            db, RUN, batch, work_list=LIST, counters=counters, requests_of_day=("2026-11-22", 1)
        )

    price(BATCH, commit, setup=setup)


def test_normalize(price: Price, sample: list[Answer]) -> None:
    price(NORMALIZED_ROWS, normalize, sample[:NORMALIZED_ROWS], "default", GROUP_RECORD)


def test_publish(
    price: Price, sample: list[Answer], db: sqlite3.Connection, tmp_path: Path
) -> None:
    _publish(price, sample, db, tmp_path)


def test_publish_plain(
    price: Price, plain: list[Answer], db: sqlite3.Connection, tmp_path: Path
) -> None:
    _publish(price, plain, db, tmp_path)


def _publish(price: Price, sample: list[Answer], db: sqlite3.Connection, tmp_path: Path) -> None:
    output = Output(tmp_path)
    make_folders(output, 0o750)
    ledger = InlineLedger(db, output.database)
    publisher = Publisher(ledger, output, OutputConfig(), "default", "0" * 32)
    firsts = itertools.count(0, PUBLISHED)

    def setup() -> tuple[tuple[()], dict[str, object]]:
        first = next(firsts)
        for at in range(0, PUBLISHED, BATCH):
            batch = _settled(sample[at : at + BATCH], first + at)
            acknowledge(db, RUN, batch, work_list=LIST, counters={}, requests_of_day=("", 0))
        return (), {}

    price(PUBLISHED, publisher.publish, setup=setup)


def test_normalize_plain(price: Price, plain: list[Answer]) -> None:
    price(NORMALIZED_ROWS, normalize, plain[:NORMALIZED_ROWS], "default", GROUP_RECORD)


def _settled(sample: list[Answer], first: int) -> Batch:
    """A batch of delivered ids at the list's rows from `first` on."""
    batch = Batch()
    for at, one in enumerate(sample, first):
        task = Task(one.voice_id, at // CHUNK_ROWS, at % CHUNK_ROWS)
        settle(batch, task, Answered(one.body, True, one.fetched_at_ms), POLICY, None)
    return batch
