"""harvester as a library: what `import harvester` gives.

Every function works in any thread and inside a running event loop, installs no signal handler and
prints nothing.  A run that stops early says so in its result; what can't begin raises a
`HarvesterError`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import msgspec

from harvester.config import Config, Secrets, load
from harvester.errors import Interrupted, UsageError
from harvester.pipeline.by_pages.pages import Pages
from harvester.pipeline.engine.progress import Progress
from harvester.pipeline.run.requests import (
    RefetchRequest,
    Request,
    RunRequest,
    StopCheck,
    StopSource,
    stopped,
)
from harvester.pipeline.run.run import Result
from harvester.pipeline.run.run import run as run_harvest
from harvester.storage.output import Output as OutputPaths

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.dataset import Dataset

    from harvester.analysis.query.explain import Explanation
    from harvester.analysis.verify.verify import VerifyResult
    from harvester.errors import HarvesterError
    from harvester.operations.plan import Plan
    from harvester.operations.status import OutputStatus, Running
    from harvester.reconciling.figures import Reconciled
    from harvester.state.values import DeadLetter, OpenCall, RunRecord

T = TypeVar("T")
Way = Literal["single", "pages"]
"""How records are fetched: each by a request of its own, or up to 100 by one."""
Ids = Iterable[str] | Iterable[os.PathLike[str]] | str | os.PathLike[str]
"""What to fetch: one path or pattern, paths, or voiceIds (`str` in an iterable is a voiceId)."""


class Event(msgspec.Struct, frozen=True):
    """One thing that a run says: see docs/events.md."""

    level: str
    """debug, info, warning or error."""
    name: str
    """`progress`, about four times a second, or a name of docs/events.md."""
    fields: dict[str, object] = {}
    progress: Progress | None = None
    """Of `progress`: how the run is doing."""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the ids of a run, and the requests that it took."""

    delivered: int
    open: int
    dead: int
    deferred: int
    requests: int


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended."""

    run_id: str
    exit_code: int
    """As the command's: 0 done, 3 done with dead ids, 4 access denied, 5 ids are pending, 8 its
    own limit (time, requests) is reached; see docs/when-it-stops.md."""
    error: HarvesterError | None
    """Why it stopped early; None if it processed the whole list."""
    counts: Counts
    summary: dict[str, object]
    """As `summary.json` of the run has it: see docs/events.md."""


class IsSet(Protocol):
    """Whether a run is to stop: a `threading.Event`, or anything like it."""

    def is_set(self) -> bool:
        """True from when it is to stop; asked about four times a second, in the run's thread."""
        ...


def load_config(
    path: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Config:
    """The settings: those of the TOML file at `path`, and over them `overrides` by dotted keys.

    `load_config("nightly.toml", {"output.dir": "out", "pace.rate_per_s": 30})`.  The environment
    is not looked at.  Raises ConfigError with the first key that is wrong.
    """
    return load(None if path is None else Path(path), flags=overrides).config


def run(
    config: Config,
    secrets: Secrets,
    *,
    ids: Ids | None = None,
    via: Way = "single",
    first: date | None = None,
    last: date | None = None,
    on_event: Callable[[Event], object] | None = None,
    stop: IsSet | None = None,
) -> RunResult:
    """Fetch what is not settled yet, and publish the records.

    `ids`: see `Ids`; None: those of `input.paths`, and what earlier runs carried over.  `via`:
    "pages" takes what it can from pages of the vendor's list, of the days (+08:00) from `first` to
    `last` where they are given, once `harvester discover --compare` has shown that the list tells
    the truth.  `on_event` is called in the run's thread; what it raises is logged once, and it is
    called no more.  Once `stop` is set the run ends in good order: what is on its way is kept, the
    rest stays pending.  So does Ctrl-C, which raises KeyboardInterrupt then.

    Raises HarvesterError where nothing was fetched, or nothing can be kept.
    """
    pages = _pages(via, first, last)
    return _in_thread(lambda halt: _run(config, secrets, ids, pages, on_event, halt), stop)


def refetch(
    config: Config,
    secrets: Secrets,
    what: Literal["delivered", "unrated", "not-final", "dead"],
    *,
    reason: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    ids: Ids | None = None,
    sample: float | None = None,
    via: Way = "single",
    on_event: Callable[[Event], object] | None = None,
    stop: IsSet | None = None,
) -> RunResult:
    """Fetch ids again that have an outcome, as `harvester refetch`; see `run` for the rest.

    `since`, `until`: calls submitted from the one (aware) instant on and before the other; without
    them and `ids`, those of the last 60 days.  `sample`: only such a share of them, 0 to 1, by lot.
    `reason`: of the dead, only those of this one.  `summary["refetch"]` has what was found.
    """

    def work(halt: _Halt) -> RunResult:
        with _sources(ids, halt) as sources:
            request = RefetchRequest(
                what=what,
                reason=reason,
                since_ms=_ms("since", since),
                until_ms=_ms("until", until),
                ids=sources,
                share=sample,
                by_pages=_pages(via),
            )
            return _result_of(config, secrets, request, on_event, halt)

    return _in_thread(work, stop)


def reconcile(
    config: Config,
    secrets: Secrets,
    first: date,
    last: date,
    *,
    ours: str | os.PathLike[str] | None = None,
    column: str | None = None,
    time_column: str | None = None,
    allow: int = 0,
    files: str | os.PathLike[str] | None = None,
    on_event: Callable[[Event], object] | None = None,
    stop: IsSet | None = None,
) -> Reconciled:
    """Compare what the vendor lists for the days from `first` to `last`, what is known here and,
    with `ours`, what the dialer placed; as `harvester reconcile`.  See `run` for the rest.

    `files`: a folder for the ids of each region.  Lists that differ, or that are not settled, are a
    result: `.regions`, `.exit_code`, `.error`.  Raises HarvesterError where nothing was compared.
    """
    from harvester.reconciling.dialer import Ours
    from harvester.reconciling.reconcile import Order
    from harvester.reconciling.reconcile import reconcile as compare

    dialer = None
    if ours is not None:
        dialer = Ours(file=os.fspath(ours), column=column, time_column=time_column)
    order = Order(
        first=first,
        last=last,
        ours=dialer,
        allow=allow,
        files=None if files is None else Path(files),
    )
    events = _Events(_Guarded(on_event) if on_event is not None else _ignore)
    return _in_thread(lambda halt: compare(config, secrets, order, events, halt), stop)


async def run_async(
    config: Config,
    secrets: Secrets,
    *,
    ids: Ids | None = None,
    via: Way = "single",
    first: date | None = None,
    last: date | None = None,
    on_event: Callable[[Event], object] | None = None,
    stop: IsSet | None = None,
) -> RunResult:
    """As `run`, beside the running loop.  Cancelled, it ends the run in good order first."""
    pages, halt = _pages(via, first, last), _Halt(stop)
    threads = ThreadPoolExecutor(1, thread_name_prefix="harvester-run")
    running = asyncio.get_running_loop().run_in_executor(
        threads, _run, config, secrets, ids, pages, on_event, halt
    )
    # Not waited for: that would hold the loop up, should this be cancelled once more.
    threads.shutdown(wait=False)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        halt.is_wanted = True
        with suppress(Exception):
            await asyncio.shield(running)
        raise


def plan(config: Config, *, ids: Ids | None = None) -> Plan:
    """What a run of these ids would do; nothing is sent or changed.

    Raises SourceError, StoreError, AlreadyRunning, ConfigError.
    """
    from harvester.operations.plan import make_plan

    with _sources(ids) as sources:
        return make_plan(config, sources)


def verify(output: str | os.PathLike[str], *, deep: bool = False) -> VerifyResult:
    """Is everything there, whole, and once?  `.is_clean`, `.findings`.  Changes nothing.

    `deep` reads every byte.  Raises UsageError where there is none, AlreadyRunning, StoreError.
    """
    from harvester.analysis.verify.verify import Order
    from harvester.analysis.verify.verify import verify as verify_output
    from harvester.dataset.group_record import GROUP_RECORD
    from harvester.dataset.origin import own_days

    place = OutputPaths(Path(output))
    settings = own_days(place.cdr, Config(), GROUP_RECORD)
    order = Order(settings.output.partition_timezone, settings.plan.memory_limit, deep)
    return verify_output(place, order)


def open_output(path: str | os.PathLike[str]) -> Output:
    """An output, to be read.  Raises UsageError where there is none."""
    output = OutputPaths(Path(path))
    if not output.cdr.is_dir() and not output.state.is_dir():
        raise UsageError(
            f"{output.root} holds no data yet. Name the right folder, or begin with "
            "`harvester.run(config, secrets, ids=…)`.",
            code="output.no_data",
        )
    return Output(output)


class Output:
    """An output that is read.  Nothing in it is changed.

    `dataset` needs no lock; the others raise AlreadyRunning while a run holds the output, `status`
    excepted, and StoreError if something can't be read.
    """

    def __init__(self, output: OutputPaths) -> None:
        """See `open_output`."""
        self._output = output

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._output.root

    def dataset(self) -> Dataset:
        """The records that are published now, as a pyarrow Dataset; docs/schema.md has its columns.

        The files under it are complete and never change; what is published later is in the next
        one.  After a compaction it fails to read those that are gone: open the next one then.
        """
        from pyarrow import dataset

        from harvester.analysis.report.data_files import data_files
        from harvester.dataset.group_record import VERSIONS
        from harvester.dataset.origin import own_version

        cdr = self._output.cdr
        parts = sorted(data_files(self._output, "dataset").parts)
        schema = own_version(cdr, parts, VERSIONS).schema
        return dataset.dataset([str(cdr / part) for part in parts], schema=schema, format="parquet")

    def status(self) -> OutputStatus | Running:
        """What became of all ids; of an output that is in use, who uses it and how far it is."""
        from harvester.errors import AlreadyRunning
        from harvester.operations.status import read_output_status, read_running

        try:
            return read_output_status(self._output)
        except AlreadyRunning:
            return read_running(self._output)

    def dead_letters(self) -> list[DeadLetter]:
        """The ids that failed permanently, or too often, with the reason."""
        from harvester.state import unresolved

        return self._read(lambda db: list(unresolved.dead_letters(db)))

    def open_calls(self) -> list[OpenCall]:
        """The ids that are fetched again: the call is not over, or not known yet."""
        from harvester.state import unresolved

        return self._read(lambda db: list(unresolved.all_open_calls(db)))

    def runs(self) -> list[RunRecord]:
        """The runs, the newest first."""
        from harvester.state import run_records

        return self._read(run_records.all_runs)

    def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        from harvester.state.read_only import has_state, looking

        if not has_state(self._output):
            raise UsageError(
                f"there is no {self._output.database}: only the data set can be read. "
                "`harvester rebuild` makes it from the data.",
                code="state.missing",
            )
        with looking(self._output, "a library") as db:
            return read(db)

    def explain(self, voice_id: str) -> Explanation:
        """All that is known of one id, and where."""
        from harvester.analysis.query.explain import explain

        return explain(self._output, voice_id)

    def sql(self, query: str) -> pa.Table:
        """The answer to one query that reads; tables as `harvester sql` has them (docs/sql.md)."""
        import pyarrow as pa

        from harvester.analysis.clock import Clock
        from harvester.analysis.query.session import opened
        from harvester.analysis.query.tables import records, tables
        from harvester.analysis.report.data_files import data_files
        from harvester.dataset.group_record import VERSIONS
        from harvester.dataset.origin import own_version

        output, settings = self._output, Config()
        found = data_files(output, "sql")
        with (
            tempfile.TemporaryDirectory(prefix="harvester-sql-") as scratch,
            opened(
                records(output, found),
                own_version(output.cdr, found.parts, VERSIONS),
                tables(output),
                {},
                clock=Clock.of(settings.billing),
                memory_limit=settings.plan.memory_limit,
                scratch=Path(scratch),
            ) as session,
        ):
            answer = session.ask(query)
            return pa.Table.from_batches(answer.batches, answer.schema)


@contextmanager
def simulate(ids: int = 300, *, seed: int = 1) -> Iterator[Vendor]:
    """A stand-in vendor on a free port of this machine, while the `with` lasts; it has no faults.

    `ids`: so many made-up calls; `seed`: the same seed gives the same calls.
    """
    from datetime import UTC, datetime

    from harvester.simulator import SimulatorOptions, last_whole_day, listening, make_ids

    end = last_whole_day(datetime.now(UTC))
    options = SimulatorOptions(rate_limit=None, seed=seed, drift=False)
    loop = asyncio.new_event_loop()
    is_over = asyncio.Event()
    up: list[str] = []
    is_up = threading.Event()

    async def serve() -> None:
        try:
            async with listening(options) as base_url:
                up.append(base_url)
                is_up.set()
                await is_over.wait()
        finally:
            is_up.set()

    with ThreadPoolExecutor(1, thread_name_prefix="harvester-simulate") as threads:
        serving = threads.submit(loop.run_until_complete, serve())
        try:
            is_up.wait()
            if not up:
                serving.result()
            key, secret = options.keys
            yield Vendor(
                base_url=up[0],
                secrets=Secrets(key, secret),
                ids=tuple(make_ids(ids, seed, end=end)),
            )
        finally:
            loop.call_soon_threadsafe(is_over.set)
            serving.result()
            loop.close()


class Vendor(msgspec.Struct, frozen=True, kw_only=True):
    """A stand-in vendor that listens."""

    base_url: str
    secrets: Secrets
    ids: tuple[str, ...]


def start(
    config: Config,
    secrets: Secrets,
    request: Request,
    on_event: Callable[[Event], object],
    stop: StopSource,
) -> Result:
    """A run in the calling thread, which must have no running loop; the command line's way in."""
    return run_harvest(config, secrets, request, _Events(on_event), stop)


def _run(  # noqa: PLR0917 - the parts of a run
    config: Config,
    secrets: Secrets,
    ids: Ids | None,
    pages: Pages | None,
    on_event: Callable[[Event], object] | None,
    halt: _Halt,
) -> RunResult:
    with _sources(ids, halt) as sources:
        request = RunRequest(sources=sources, by_pages=pages)
        return _result_of(config, secrets, request, on_event, halt)


def _pages(via: Way, first: date | None = None, last: date | None = None) -> Pages | None:
    """What to fetch by pages, if that is wished.  Raises UsageError."""
    if via == "pages":
        return Pages(first=first, last=last)
    if via != "single":
        raise UsageError(f'via is {via!r}: it is "single" or "pages".', code="usage.value")
    if first is not None or last is not None:
        raise UsageError(
            'first and last name days of the vendor\'s list: they need via="pages".',
            code="usage.conflict",
        )
    return None


def _result_of(
    config: Config,
    secrets: Secrets,
    request: Request,
    on_event: Callable[[Event], object] | None,
    halt: _Halt,
) -> RunResult:
    events = _Guarded(on_event) if on_event is not None else _ignore
    result = start(config, secrets, request, events, halt)
    run = result.summary.run
    return RunResult(
        run_id=result.summary.run_id,
        exit_code=result.exit_code,
        error=result.error,
        counts=Counts(
            delivered=run.delivered,
            open=run.open,
            dead=run.dead,
            deferred=run.deferred,
            requests=result.summary.requests,
        ),
        summary=msgspec.to_builtins(result.summary),
    )


class _Events:
    """What a run tells, as events."""

    def __init__(self, on_event: Callable[[Event], object]) -> None:
        self._on_event = on_event

    def message(self, level: str, event: str, **fields: object) -> None:
        self._on_event(Event(level, event, fields))

    def progress(self, progress: Progress) -> None:
        self._on_event(Event("info", "progress", {}, progress))


class _Guarded:
    """Somebody's callable: a run must not end by what it raises."""

    def __init__(self, on_event: Callable[[Event], object]) -> None:
        self._on_event: Callable[[Event], object] | None = on_event

    def __call__(self, event: Event) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except BaseException:
            self._on_event = None
            logging.getLogger("harvester").exception("on_event raised; it is called no more")


def _ignore(event: Event) -> None:
    del event


class _Halt:
    """A `StopSource`: the caller's, and Ctrl-C in the thread that waits."""

    def __init__(self, stop: IsSet | None) -> None:
        self._stop = stop
        self.is_wanted = False

    @contextmanager
    def watched(self) -> Iterator[StopCheck]:
        yield self._reason

    def check(self) -> None:
        """Raise Interrupted if the run is to stop before it has begun."""
        reason = self._reason()
        if reason is not None:
            raise reason

    def _reason(self) -> Interrupted | None:
        return stopped(signal.SIGINT) if self.is_wanted or self._is_set() else None

    def _is_set(self) -> bool:
        try:
            return self._stop is not None and bool(self._stop.is_set())
        except Exception:
            self._stop = None
            logging.getLogger("harvester").exception("stop.is_set raised; it is asked no more")
            return False


def _in_thread(work: Callable[[_Halt], T], stop: IsSet | None) -> T:
    """What `work` returns, done in a thread without a loop; Ctrl-C ends it in good order first."""
    halt = _Halt(stop)
    with ThreadPoolExecutor(1, thread_name_prefix="harvester-run") as threads:
        working = threads.submit(work, halt)
        try:
            return working.result()
        except KeyboardInterrupt:
            halt.is_wanted = True
            working.exception()
            raise


@contextmanager
def _sources(ids: Ids | None, halt: _Halt | None = None) -> Iterator[tuple[str, ...]]:
    """Paths to read; ids are written to a file of their own, one at a time."""
    if ids is None:
        yield ()
        return
    if isinstance(ids, str | os.PathLike):
        yield (os.fspath(ids),)
        return
    if not isinstance(ids, Iterable):
        raise UsageError(
            f"ids can't be read from what is {_kind(ids)}. Give a path, or an iterable of ids or "
            "of paths.",
            code="usage.ids",
        )
    with tempfile.TemporaryDirectory(prefix="harvester-ids-") as folder:
        file = Path(folder) / "ids.txt"
        paths = _written(ids, file, halt)
        yield tuple(paths) if paths else (str(file),)


def _written(ids: Iterable[object], file: Path, halt: _Halt | None) -> list[str]:
    """Write ids to `file`; or, if they are paths, give these.  Raises UsageError, Interrupted."""
    paths: list[str] = []
    count = 0
    # Half a character is no text: written all the same, its line is a bad one.
    with file.open("w", encoding="utf-8", errors="surrogatepass") as out:
        for number, one in enumerate(ids, 1):
            if halt is not None:
                halt.check()
            if isinstance(one, os.PathLike):
                paths.append(os.fspath(one))
            elif isinstance(one, str) and one.splitlines() == [one]:
                count += 1
                out.write(one + "\n")
            else:
                raise UsageError(
                    f"ids: number {number} is no id: it is {_kind(one)}. An id is a str of one "
                    "line; a file is a pathlib.Path.",
                    code="usage.ids",
                )
    if paths and count:
        raise UsageError(
            f"ids: {len(paths)} paths and {count} ids are mixed. Give either, or make two runs.",
            code="usage.ids",
        )
    return paths


def _ms(name: str, at: object) -> int | None:
    """Raises UsageError for what is no instant: a day, or a time of nobody's clock."""
    if at is None:
        return None
    if not isinstance(at, datetime) or at.utcoffset() is None:
        raise UsageError(
            f"an instant is a datetime with its time zone, and {name} is {_kind(at)}.",
            code="usage.date",
        )
    return round(at.timestamp() * 1000)


def _kind(one: object) -> str:
    if isinstance(one, str):
        return "empty" if not one else "text of several lines"
    if isinstance(one, datetime):
        return "a datetime without a time zone"
    return f"of type {type(one).__name__}"
