"""`harvester doctor`: what would go wrong tonight, found out this evening.

Theory of operation.  Nothing in the output is changed, and no id takes a step: the plan is made in
a temporary folder, as `plan` does it, and the answer to the one request is judged and thrown away.
That request keeps the pace's promise like a run's first one: where the output has a state, its lock
is held from a second before it until it is answered, so that neither the run before nor the one
after shares its second.  It is one request even if its connection dies: the transports would ask
for a second turn then, and there is none.  Only a -16 has it sent once more, with the time of the
vendor's own Date: who refuses the time has not looked at key and secret.

Whether these are right is what everybody wants to know, so whatever keeps an answer from telling is
a failure, never a pass: no id to fetch, a request that was not sent, an answer that says nothing of
them.  Where a run would have nothing to fetch, an id that the output knows already is fetched.

`pace.per_day` is a promise as well, so where it is set the request is written down in the day's
count before it is sent: the one thing that is changed.  A new output gets its state for that, as a
run would make it.  If the day does not hold the request, it is not sent.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from harvester.client.clock import VendorClock
from harvester.client.connect import connect
from harvester.client.judge import http_date, judge
from harvester.client.record_group import record_request
from harvester.client.refusal_text import refusal_code, refusal_message
from harvester.client.sign import signed_headers
from harvester.client.transport import NoReply, Reply, Transport
from harvester.client.verdicts import NetworkFailure, Refusal, TimeRefused
from harvester.config import Config, Secrets, Workers
from harvester.dataset.parts import folder_mode
from harvester.errors import HarvesterError, SourceError, StoreError
from harvester.operations import doctor_checks
from harvester.operations.doctor_checks import Check
from harvester.operations.plan import Plan, survey
from harvester.pipeline.engine.local_workers import QUIET_AFTER_LOCK_S, QUIET_AFTER_WORKERS_S
from harvester.pipeline.limits.daily_quota import DayQuota
from harvester.pipeline.limits.limit_file import LimitFile, read_sharing, sharing
from harvester.pipeline.limits.open_files import most_files
from harvester.pipeline.run.belonging import own_settings
from harvester.pipeline.run.delivered_id import newest_delivered
from harvester.pipeline.run.recovery import (
    compare_with_data,
    most_unrecorded_of,
    refuse_anothers,
    refuse_data_without_state,
)
from harvester.state import between_runs, publications, run_records, unresolved
from harvester.state.database import open_database, store_errors, transaction
from harvester.state.lock import OutputLock
from harvester.state.read_only import has_state, looking, reading
from harvester.storage.disk import store_error, why_no_exchange
from harvester.storage.output import Output, make_folders


@dataclass(frozen=True, slots=True)
class _Asked:
    """The last answer, and what its Date tells."""

    answer: Reply | NoReply
    skew_s: float | None


def examine(
    config: Config, secrets: Secrets | None, sources: Sequence[str], *, rebind: bool = False
) -> Iterator[Check]:
    """Every check in turn, as soon as it is made.  `secrets` None: there are none, send nothing.

    `rebind`: the settings may name another address than the output's.
    """
    output = Output(Path(config.output.dir))
    found, config = _check_output(output, config, rebind=rebind)
    yield found
    plan, sample = None, None
    if found.state == "fail":
        yield doctor_checks.skip("input", "not read: the output has to be put right first")
    else:
        input_, plan, sample = _check_input(config, sources)
        yield input_
    yield _check_disk(output, plan)
    if found.state == "ok" and output.staging.is_dir():
        yield _check_exchange(output)
    yield doctor_checks.check_open_files(most_files(), config.pace.concurrency)
    if config.workers.count:
        yield _check_workers(config.workers)
    limit = _check_limit(config, secrets, output)
    yield limit
    is_free = plan is not None and limit.state != "fail"
    yield from _check_vendor(output, config, secrets, sample, is_free=is_free)


def _check_output(output: Output, config: Config, *, rebind: bool) -> tuple[Check, Config]:
    """Whether a run could hold, read and write the output; and the settings in force for it."""
    try:
        refuse_anothers(output)
        refuse_data_without_state(output)
        place = _refuse_unwritable(output)
        if not has_state(output):
            said = f"{output.root} is new and can be written in {place}"
            return doctor_checks.ok("output", said), config
        with looking(output, "doctor") as db:
            compare_with_data(db, output)
            own = own_settings(db, output, config, rebind=rebind, is_kept=True)
    except HarvesterError as exc:
        return doctor_checks.failed("output", exc), config
    said = f"{output.root} can be written, on one file system, and is in order"
    if own != config:
        said += f"; it keeps its own account {own.vendor.account} at {own.vendor.base_url}"
    return doctor_checks.ok("output", said), own


def _check_exchange(output: Output) -> Check:
    """Whether `compact` would work, tried where nobody reads and the next start tidies up."""
    try:
        with OutputLock(output.lock, "doctor"):
            return doctor_checks.check_exchange(why_no_exchange(output.staging))
    except HarvesterError as exc:
        return doctor_checks.failed("exchange", exc)
    except OSError as exc:
        return doctor_checks.failed("exchange", store_error("writing into", output.staging, exc))


def _check_workers(workers: Workers) -> Check:
    """Whether those that the configuration wants could be started."""
    if workers.engine != "ray" or workers.ray_address == "local":
        return doctor_checks.check_workers(workers, None)
    # Who has no Ray need not wait for its import.
    from harvester.pipeline.workers.ray_link import Cluster

    try:
        cluster = Cluster(workers.ray_address)
    except HarvesterError as exc:
        return doctor_checks.failed("workers", exc)
    try:
        return doctor_checks.check_workers(workers, cluster.free_cpus())
    finally:
        cluster.close()


def _refuse_unwritable(output: Output) -> Path:
    """Raise StoreError for what can't be written; returns the folder where writing begins."""
    place = _existing(output.root)
    folders = [
        output.root,
        output.cdr,
        output.changes,
        output.state,
        output.lists,
        output.staging,
        output.runs,
    ]
    there = [folder for folder in folders if folder.exists()] or [place]
    files = [file for file in (output.database, output.lock) if file.exists()]
    for path in (*there, *files):
        if not os.access(path, os.W_OK | (os.X_OK if path.is_dir() else os.R_OK)):
            raise StoreError(
                f"{path} can't be written by this user. Correct its owner or mode, or choose "
                "another output with --out.",
                code="output.permission",
            )
        if path in there and not path.is_dir():
            raise StoreError(
                f"{path} is not a folder. Choose another output with --out.",
                code="output.not_a_folder",
            )
    apart = [path for path in there if path.stat().st_dev != there[0].stat().st_dev]
    if apart:
        raise StoreError(
            f"{there[0]} and {apart[0]} lie on different file systems, so a part can't be moved "
            "into place at once. Put the whole output folder on one.",
            code="output.two_file_systems",
        )
    return place


def _existing(path: Path) -> Path:
    """The nearest folder that is there: what is missing would be made in it."""
    path = path.absolute()
    return next(one for one in (path, *path.parents) if one.exists())


def _check_input(config: Config, sources: Sequence[str]) -> tuple[Check, Plan | None, str | None]:
    try:
        plan, sample = survey(config, sources)
    except HarvesterError as exc:
        name = "input" if isinstance(exc, SourceError) else "output"
        return doctor_checks.failed(name, exc), None, None
    return _judge_plan(plan), plan, sample


def _judge_plan(plan: Plan) -> Check:
    told = f"{plan.to_fetch:,} ids to fetch"
    book = plan.input
    if book is None:
        said = f"no input; {told}: what is carried over or open and due"
        return doctor_checks.ok("input", said) if plan.to_fetch else _nothing_to_send(said)
    said = (
        f"{book.lines:,} lines, {book.distinct:,} distinct ids, {book.resolved:,} resolved; {told}"
    )
    odd, remedies = [], []
    if not book.lines:
        odd.append("the input holds no ids")
        remedies.append("Open calls and carried over ids are fetched anyway.")
    if book.bad:
        odd.append(f"lines without a voiceId: {book.bad:,}")
        remedies.append("`harvester plan` shows bad lines; they are left out.")
    if plan.too_old:
        odd.append(f"{plan.too_old:,} are dated before {plan.too_old_before} and may be gone")
        remedies.append("Run soon: the vendor keeps records for about two months.")
    if odd:
        return doctor_checks.warn("input", "; ".join([said, *odd]), " ".join(remedies))
    return doctor_checks.ok("input", said) if plan.to_fetch else _nothing_to_send(said)


def _nothing_to_send(said: str) -> Check:
    return doctor_checks.warn("input", said, "A run would send nothing: give it new id files.")


def _check_disk(output: Output, plan: Plan | None) -> Check:
    if plan is None:
        return doctor_checks.skip("disk", "without a plan it is unknown what is needed")
    place = output.root if output.root.exists() else _existing(output.root)
    free = shutil.disk_usage(place).free
    return doctor_checks.check_disk(free, plan.data_bytes, plan.working_bytes, str(place))


def _check_limit(config: Config, secrets: Secrets | None, output: Output) -> Check:
    """Whether a run could take its turns, and who takes turns beside it."""
    file = config.pace.limit_file
    if file is None or secrets is None:
        return doctor_checks.check_limit(config.pace, None, config.workers.count)
    try:
        shared = read_sharing(Path(file))
        with sharing(config.vendor, config.pace, secrets, output.root):
            return doctor_checks.check_limit(config.pace, shared)
    except HarvesterError as exc:
        return doctor_checks.failed("limit", exc)


def _check_vendor(
    output: Output,
    config: Config,
    secrets: Secrets | None,
    sample: str | None,
    *,
    is_free: bool,
) -> Iterator[Check]:
    """The one request, and the clock by its answer."""
    try:
        asked = _answer(output, config, secrets, sample, is_free=is_free)
    except HarvesterError as exc:
        asked = doctor_checks.failed("request", exc)
    if isinstance(asked, Check):
        yield asked
        yield doctor_checks.skip("clock", _NO_DATE)
        return
    voice_id, asked_once = asked
    yield _judge(voice_id, asked_once)
    if isinstance(asked_once.answer, NoReply):
        yield doctor_checks.skip("clock", _NO_DATE)
    else:
        yield doctor_checks.check_clock(asked_once.skew_s)


def _answer(
    output: Output,
    config: Config,
    secrets: Secrets | None,
    sample: str | None,
    *,
    is_free: bool,
) -> tuple[str, _Asked] | Check:
    """What an id was answered; or why none was asked for."""
    if secrets is None:
        return doctor_checks.not_sent("there are no key and secret")
    if not is_free:
        return doctor_checks.not_sent("output, input or limit has to be put right first")
    voice_id = _id_to_try(output, sample)
    if voice_id is None:
        return doctor_checks.nothing_to_fetch()
    asked = _ask_once(output, config, secrets, voice_id)
    return asked if isinstance(asked, Check) else (voice_id, asked)


def _id_to_try(output: Output, sample: str | None) -> str | None:
    """`sample`, an id to be fetched; else one that is known, preferably with a record; or None.

    An id that failed in an earlier run may be refused alone, each night: that shows nothing of the
    key where others were served.
    """
    if not has_state(output):
        return sample
    with looking(output, "doctor") as db:
        if sample is not None and unresolved.deferred(db, sample) is None:
            return sample
        return newest_delivered(db, output) or sample or publications.known_id(db)


_NO_DATE = "without an answer there is no Date to compare with"


def _ask_once(output: Output, config: Config, secrets: Secrets, voice_id: str) -> _Asked | Check:
    """Send one request; or why `pace.per_day` forbids it.  Raises AlreadyRunning, StoreError."""
    per_day = config.pace.per_day
    if per_day is not None and not has_state(output):
        make_folders(output, folder_mode(config.output.file_mode))
    clock = VendorClock(time.time)
    with ExitStack() as held:
        count: _Count = _Uncounted()
        if per_day is not None or has_state(output):
            held.enter_context(OutputLock(output.lock, "doctor"))
            # Whoever held the lock before had this second for its last requests.
            time.sleep(QUIET_AFTER_WORKERS_S if _had_workers(output) else QUIET_AFTER_LOCK_S)
        if per_day is not None:
            db = held.enter_context(closing(open_database(output.database, config.vendor.account)))
            held.enter_context(store_errors(output.database))
            clock = VendorClock(time.time, time.monotonic, between_runs.last_skew_s(db))
            count = _DayCount(db, per_day, most_unrecorded_of(config), clock)
        # One request, and somebody waits for it: no others go first.
        first = replace(config, pace=replace(config.pace, priority="normal"))
        limit = held.enter_context(sharing(first.vendor, first.pace, secrets, output.root))
        asked = asyncio.run(_ask(config, secrets, voice_id, clock, count.take, limit=limit))
        count.keep()
        return doctor_checks.per_day_used_up(per_day or 0) if asked is None else asked


def _had_workers(output: Output) -> bool:
    if not has_state(output):
        return False
    with reading(output) as db:
        return between_runs.may_have_workers(db)


class _Count(Protocol):
    """Counts the doctor's requests."""

    def take(self) -> bool:
        """Whether one more may be sent; it is written down then."""
        ...

    def keep(self) -> None:
        """Write down what was sent, by all that is known now."""
        ...


class _Uncounted:
    def take(self) -> bool:
        return True

    def keep(self) -> None:
        pass


class _DayCount:
    """The day's count of an output whose lock is held."""

    def __init__(
        self, db: sqlite3.Connection, per_day: int, most_unrecorded: int, clock: VendorClock
    ) -> None:
        self._db = db
        unrecorded = len(run_records.unended_runs(db)) * most_unrecorded
        counts = between_runs.requests_by_day(db)
        self._quota = DayQuota(per_day - unrecorded, counts, lambda _: None, clock)

    def take(self) -> bool:
        if not self._quota.take():
            return False
        self.keep()
        return True

    def keep(self) -> None:
        with transaction(self._db):
            between_runs.keep_requests_of_day(self._db, self._quota.stored())


async def _ask(
    config: Config,
    secrets: Secrets,
    voice_id: str,
    clock: VendorClock,
    take: Callable[[], bool],
    *,
    limit: LimitFile | None,
) -> _Asked | None:
    """The answer, to the second request where the first one was -16; None: `take` allows none."""
    turns = 0

    async def seal() -> dict[str, str]:
        nonlocal turns
        if not turns:
            raise _OnlyOneError
        turns -= 1
        while limit is not None and (wait_ns := limit.take()):  # noqa: ASYNC110
            await asyncio.sleep(wait_ns / 1e9)
        return signed_headers(secrets, clock.timestamp())

    transport = connect(config.vendor, 1, seal)
    try:
        for _ in range(_MOST_REQUESTS):
            if not take():
                return None
            turns = 1
            asked = await _answered(transport, voice_id, clock)
            if not _is_worth_another(voice_id, asked, clock):
                break
            await asyncio.sleep(max(QUIET_AFTER_LOCK_S, 1 / config.pace.rate_per_s))
    finally:
        await transport.close()
    return asked


_MOST_REQUESTS = 2


async def _answered(transport: Transport, voice_id: str, clock: VendorClock) -> _Asked:
    try:
        answer = await transport.send(record_request(voice_id))
    except _OnlyOneError:
        answer = NoReply("reset", "the connection ended before an answer")
    date = http_date(answer.date) if isinstance(answer, Reply) else None
    if date is None or not isinstance(answer, Reply):
        return _Asked(answer, None)
    clock.observe(date, answer.took_s)
    return _Asked(answer, clock.skew_s)


def _is_worth_another(voice_id: str, asked: _Asked, clock: VendorClock) -> bool:
    """Whether the time was refused, and the vendor's Date tells a better one."""
    if not isinstance(asked.answer, Reply) or asked.skew_s is None:
        return False
    if not isinstance(judge(voice_id, asked.answer, time.time()), TimeRefused):
        return False
    before = clock.generation
    clock.refused(before)
    return clock.generation != before


class _OnlyOneError(Exception):
    """The transport wanted to send the request once more."""


def _judge(voice_id: str, asked: _Asked) -> Check:
    if isinstance(asked.answer, NoReply):
        failure = NetworkFailure(asked.answer.cause)
        return doctor_checks.check_answer(failure, "", asked.answer.detail)
    verdict = judge(voice_id, asked.answer, time.time())
    what = verdict.what if isinstance(verdict, Refusal) else "-16"
    return doctor_checks.check_answer(
        verdict, refusal_message(what), refused_code=refusal_code(what)
    )
