"""Fakes for the hall: a scripted vendor behind the real transport protocol, and a whole output in a
folder that an engine can work on, over a real ledger and in virtual time."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeAlias, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace

from harvester.client.record_group import record_request
from harvester.client.transport import NoReply, Reply, Request, Seal
from harvester.config import Config, Secrets, Vendor
from harvester.dataset.group_record import GROUP_RECORD, of_version
from harvester.dataset.kind import RecordKind
from harvester.inputs.worklist.reader import ListFile
from harvester.pipeline.engine.acknowledger import keep
from harvester.pipeline.engine.engine import Engine, Job
from harvester.pipeline.engine.local_workers import Fetching, local_workers
from harvester.pipeline.engine.workers import MakeWorkers
from harvester.pipeline.publish.publisher import Publisher
from harvester.state import between_runs, journal, publications, run_records, unresolved, work_lists
from harvester.state.belongs import data_version, keep_data_version
from harvester.state.database import get_meta, open_database
from harvester.state.values import WorkList
from harvester.state.writer import LedgerWriter
from harvester.storage.output import Output, make_folders
from tests.support.virtual_time import virtual_loop

P = ParamSpec("P")
T = TypeVar("T")

SECRETS = Secrets("key", "secret")
ACCOUNT = "acme"

Answer: TypeAlias = Reply | NoReply
Script: TypeAlias = Callable[[str, int], Answer]
"""(voiceId, how often it was asked before) -> what the vendor answers."""


def record(voice_id: str, *, over: bool = True, seconds: int = 60) -> Reply:
    """A call's record."""
    call = {
        "voiceId": voice_id,
        "submitTime": "2026-09-02T10:00:00+08:00",
        "answerTime": "2026-09-02T10:00:05+08:00",
        "callDuration": seconds,
        "chargedDuration": seconds,
        "cost": "0.0125",
    }
    if over:
        call["hangupTime"] = "2026-09-02T10:01:05+08:00"
    return Reply(200, json.dumps({"status": 0, "reason": "", "data": call}).encode())


def status(code: int, http: int = 200) -> Reply:
    """An envelope without a record."""
    return Reply(http, b'{"status":%d,"reason":"so it is","data":null}' % code)


TIMEOUT = NoReply("timeout", "nobody there")
TOO_MANY = Reply(429, b"")


@dataclass
class FakeVendor:
    """Answers by script; writes down when and for whom.  `connect` goes into a Job."""

    script: Script = lambda voice_id, before: record(voice_id)
    latency_s: Callable[[str, int], float] = lambda voice_id, before: 0.05
    connect_s: float = 0.0
    seals: int = 1
    """How often each request is sealed: a connection may die, and the transport sends it again."""
    waits_s: list[float] = field(default_factory=list)
    """How long each connection was in hand before its request was written."""
    log: list[tuple[float, str]] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    """How often each id was asked."""
    asked_fresh: list[str] = field(default_factory=list)
    """For which ids a connection of its own was wanted."""
    is_reused_when_fresh: bool = True
    """Whether the script's answers say so even then."""
    in_flight: int = 0
    most_in_flight: int = 0
    closed: bool = False

    def connect(self, vendor: Vendor, connections: int, seal: Seal) -> FakeTransport:
        """The way to this vendor."""
        self.closed = False
        return FakeTransport(self, seal)

    @property
    def times(self) -> list[float]:
        """When each request was written."""
        return [at for at, _ in self.log]


class FakeTransport:
    """A `Transport`: a connection, then the seal, then the write, then the answer."""

    def __init__(self, vendor: FakeVendor, seal: Seal) -> None:
        self._vendor = vendor
        self._seal = seal

    async def send(self, request: Request, *, fresh: bool = False) -> Answer:
        """Ask for one record."""
        voice_id = request.path.rpartition("/")[2]
        assert request == record_request(voice_id)
        vendor = self._vendor
        await asyncio.sleep(vendor.connect_s)
        connected_at = asyncio.get_running_loop().time()
        for _ in range(vendor.seals):
            sealed = self._seal()
            headers = sealed if isinstance(sealed, dict) else await sealed
        assert headers["Api-Key"] == SECRETS.api_key
        before = vendor.asked[voice_id]
        vendor.asked[voice_id] += 1
        if fresh:
            vendor.asked_fresh.append(voice_id)
        vendor.log.append((asyncio.get_running_loop().time(), voice_id))
        vendor.waits_s.append(vendor.log[-1][0] - connected_at)
        vendor.in_flight += 1
        vendor.most_in_flight = max(vendor.most_in_flight, vendor.in_flight)
        try:
            await asyncio.sleep(vendor.latency_s(voice_id, before))
            answer = vendor.script(voice_id, before)
            if fresh and isinstance(answer, Reply) and not vendor.is_reused_when_fresh:
                answer = replace(answer, is_reused=False)
            return answer
        finally:
            vendor.in_flight -= 1

    async def close(self) -> None:
        """Close every connection."""
        self._vendor.closed = True


class Chaos:
    """A vendor in any mood, by seed: the same id may fare differently each time it is asked."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def script(self, voice_id: str, before: int) -> Answer:
        """See `FakeVendor`."""
        dice = self._dice.random()
        answers: dict[float, Answer] = {
            0.55: record(voice_id),
            0.60: record(voice_id, over=False),
            0.63: status(-24),
            0.66: status(-22),
            0.75: status(-18),
            0.82: TIMEOUT,
            0.86: TOO_MANY,
            0.88: Reply(503, b"", retry_after="2"),
            0.90: status(-16),
            0.91: status(-1),
            0.94: status(77),
        }
        for limit, answer in answers.items():
            if dice < limit:
                return answer
        return Reply(200, b"<html>")

    def latency_s(self, voice_id: str, before: int) -> float:
        """See `FakeVendor`."""
        return self._dice.choice((0.0, 0.01, 0.3, 2.0, 14.0, 40.0))


class VirtualLedger(LedgerWriter):
    """The real thing, for which virtual time stands still; `before` may break or delay a call."""

    before: Callable[[object], float] | None = None
    """Gets the function that is called; returns the virtual seconds it takes, or raises."""

    async def call(
        self,
        function: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """See `LedgerWriter.call`."""
        if self.before is not None:
            await asyncio.sleep(self.before(function))
        with virtual_loop().waiting_for_thread():
            return await super().call(function, *args, **kwargs)


def acknowledging(then: Callable[[], float]) -> Callable[[object], float]:
    """For `VirtualLedger.before`: `then` happens at every acknowledgement, and only there."""
    return lambda function: then() if function is keep else 0.0


def config_of(root: Path, **settings: object) -> Config:
    """A configuration with its output at `root`; `settings`: section__key=value."""
    nested: dict[str, dict[str, object]] = {}
    for name, value in settings.items():
        section, key = name.split("__")
        nested.setdefault(section, {})[key] = value
    nested.setdefault("output", {})["dir"] = str(root)
    nested.setdefault("vendor", {})["account"] = ACCOUNT
    return msgspec.convert(nested, Config)


def published_ids(cdr: Path) -> list[str]:
    """What a reader of a data set sees, each id as often as it is there."""
    found: list[str] = []
    for path in sorted(cdr.glob("*/*.parquet")):
        found += pq.ParquetFile(path).read(["voice_id"])["voice_id"].to_pylist()
    return found


class House:
    """An output folder with a ledger and a work list, to run engines in."""

    def __init__(
        self,
        root: Path,
        ids: Sequence[str] = (),
        db: sqlite3.Connection | None = None,
        /,
        **settings: object,
    ) -> None:
        """`settings`: section__key=value; `db` is the output's ledger, if it is open already."""
        self.config = config_of(root, **settings)
        self.output = Output(root)
        make_folders(self.output, 0o750)
        self.db = open_database(self.output.database, ACCOUNT) if db is None else db
        keep_data_version(self.db, data_version(self.db, GROUP_RECORD.version))
        self.state_id = get_meta(self.db, "state_id") or ""
        self.ids = list(ids)
        self.newest: Callable[[sqlite3.Connection], str | None] = lambda _: None
        """As `Job.newest`: what an earlier run delivered last."""
        self.who_fetches: Callable[[Fetching], MakeWorkers] = local_workers
        self.runs = 0
        if ids:
            self.put_in_force(ids)

    @property
    def kind(self) -> RecordKind:
        """That of its rows, in its version."""
        return of_version(data_version(self.db, GROUP_RECORD.version))

    def put_in_force(self, ids: Sequence[str], carried_over: int = 0) -> None:
        """Make `ids` the work list, the last `carried_over` of them from earlier inputs."""
        self.ids = list(ids)
        number = work_lists.next_list_id(self.db)
        name = f"list-{number}.parquet"
        listed = len(ids) - carried_over
        ranks = pa.array([0] * listed + [1] * carried_over, pa.int8())
        table = pa.table({"rank": ranks, "voice_id": pa.array(list(ids), pa.string())})
        pq.write_table(table, self.output.lists / name)
        work_lists.replace_list(
            self.db, WorkList(number, "key", name, None, listed, 0, carried_over)
        )

    @property
    def work_list(self) -> WorkList:
        """The list in force."""
        found = work_lists.current_list(self.db)
        assert found is not None
        return found

    def job(self, vendor: FakeVendor, *, only: bool = False, deadline: float | None = None) -> Job:
        """A new run's job."""
        self.runs += 1
        run_id = f"run-{self.runs}"
        run_records.begin_run(self.db, run_id, self.runs)
        work_list = work_lists.current_list(self.db)
        config = self.config
        return Job(
            run_id=run_id,
            pace=config.pace,
            retry=config.retry,
            open_calls=config.open_calls,
            output=config.output,
            work_list=work_list,
            ids=ListFile(self.output.lists / work_list.path) if work_list else None,
            to_fetch=0,
            only=only,
            deadline=deadline,
            requests_by_day=between_runs.requests_by_day(self.db),
            last_skew_s=between_runs.last_skew_s(self.db),
            journal=publications.journal_size(self.db),
            proof="here",
            is_proven=between_runs.is_proven(self.db, "here"),
            newest=self.newest,
            workers=self.who_fetches(
                Fetching(
                    vendor=config.vendor,
                    pace=config.pace,
                    retry=config.retry,
                    secrets=SECRETS,
                    connect=vendor.connect,
                    locked_at=asyncio.get_running_loop().time(),
                )
            ),
        )

    def publisher(self, ledger: LedgerWriter) -> Publisher:
        """A publisher into this output."""
        return Publisher(ledger, self.output, self.config.output, ACCOUNT, self.state_id)

    async def run(
        self,
        vendor: FakeVendor,
        *,
        meanwhile: Callable[[Engine], None] = lambda engine: None,
        before: Callable[[object], float] | None = None,
        only: bool = False,
        deadline: float | None = None,
    ) -> Engine:
        """One run on the (virtual) loop.  `meanwhile` gets the engine before it begins."""
        job = self.job(vendor, only=only, deadline=deadline)
        ledger = VirtualLedger(self.db, self.output.database)
        ledger.before = before
        engine = Engine(job, ledger, self.publisher(ledger))
        meanwhile(engine)
        try:
            await engine.run()
        finally:
            ledger.close()
            if job.ids is not None:
                job.ids.close()
        run_records.end_run(self.db, job.run_id, self.runs, 0, engine.counters.stored())
        return engine

    def published(self) -> list[str]:
        """The ids under cdr/, as often as they are there."""
        return published_ids(self.output.cdr)

    def journaled(self) -> list[str]:
        """The ids in the journal."""
        blobs = publications.journal_blobs(self.db)
        return [answer.voice_id for blob in blobs for answer in journal.answers_of(blob)]

    def delivered(self) -> list[str]:
        """The ids in data set and journal, sorted, as often as they are there."""
        return sorted([*self.published(), *self.journaled()])

    def open(self) -> list[str]:
        """The open calls."""
        return [call.voice_id for call in unresolved.all_open_calls(self.db)]

    def dead(self) -> dict[str, str]:
        """The dead letters with their reasons."""
        return {letter.voice_id: letter.reason for letter in unresolved.dead_letters(self.db)}

    def deferred(self) -> dict[str, str]:
        """The deferred ids with their causes."""
        return {item.voice_id: item.cause for item in unresolved.all_deferred(self.db)}

    def pending(self) -> list[str]:
        """The ids of the list whose bit isn't set."""
        work_list = self.work_list
        bits = work_lists.resolved_rows(self.db, work_list)
        chunks = range(-(-work_list.rows // 10_000))
        rows = [(no, row) for no in chunks for row in work_lists.pending_rows(work_list, bits, no)]
        return [self.ids[no * 10_000 + row] for no, row in rows]

    def close(self) -> None:
        """Let go of the ledger."""
        self.db.close()


@contextmanager
def houses(folder: Path, ids: Sequence[str]) -> Iterator[Callable[..., House]]:
    """Makes houses in `folder`, each with `ids` unless others are given, and closes them."""
    made: list[House] = []

    def make(ids: Sequence[str] = ids, **changes: object) -> House:
        quick = {"pace__rate_per_s": 1000, "pace__concurrency": 16}
        made.append(House(folder / f"out-{len(made)}", ids, **{**quick, **changes}))
        return made[-1]

    yield make
    for one in made:
        one.close()
