"""What a run believes of the vendor as a whole: what is held back, until when, and what then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harvester.client.clock import VendorClock
from harvester.client.verdicts import (
    Busy,
    Dead,
    NetworkFailure,
    NoRecord,
    Record,
    Refusal,
    Throttled,
    Verdict,
)
from harvester.config import OpenCalls, Retry
from harvester.errors import Interrupted, StoreError, VendorRefused
from harvester.pipeline.engine.doubt import Doubt
from harvester.pipeline.engine.settle import Policy
from harvester.pipeline.engine.shutdown import CutOff, Stop
from harvester.pipeline.engine.task import Answered, Conclusion, Died, PutOff, Task, Unknown
from harvester.pipeline.engine.task_source import TaskSource
from harvester.state import between_runs, unresolved
from harvester.state.values import DeadLetter, Deferred
from harvester.state.writer import LedgerWriter
from tests.support.fakes import House, houses
from tests.unit.test_pipeline_task_source import Given

NOW = datetime(2026, 9, 2, 12, tzinfo=UTC)
NOW_S = NOW.timestamp()
NOW_MS = int(NOW_S * 1000)
RECORD, BUSY, NO = Record(True), Busy("-18"), Dead("bad_query_id")
ANSWERED = Answered(b"{}", True, NOW_MS)
DIED = Died("bad_query_id", "", 1, NOW_MS)
UNKNOWN = Unknown(NOW_MS, 1)
KNOWN = Task("known")


class Asked:
    """A `Prober`: what each id is answered, the first time, the second one, …; else a record."""

    def __init__(self) -> None:
        self.last_no = b'{"status":-14}'
        self.known: Task | None = None
        self.delivered = 0
        self.answers: dict[str, list[Verdict]] = {}
        self.log: list[str] = []
        self.of_outage: list[bool] = []
        self.meanwhile: Callable[[], None] = lambda: None

    async def probe(
        self, task: Task, *, of_outage: bool = False
    ) -> tuple[Verdict, Conclusion | None]:
        """See `Prober`."""
        self.log.append(task.voice_id)
        self.of_outage.append(of_outage)
        self.meanwhile()
        await asyncio.sleep(0)
        answers = self.answers.get(task.voice_id, [])
        verdict = answers.pop(0) if len(answers) > 1 else answers[0] if answers else RECORD
        conclusions: dict[type, Conclusion] = {Record: ANSWERED, Dead: DIED, NoRecord: UNKNOWN}
        return verdict, conclusions.get(type(verdict))

    def shown(self, body: bytes) -> bytes:
        """See `Prober`."""
        return body


class Doubting:
    """A doubt, and what it has done."""

    def __init__(
        self,
        house: House,
        ledger: LedgerWriter,
        rest: Sequence[str] = (),
        *,
        per_day: int | None = None,
        concurrency: int = 1,
        newest: str | None = None,
    ) -> None:
        """`rest`: the ids that wait.  An id dates itself by the days behind its colon."""
        self.settled: list[tuple[str, Conclusion]] = []
        self.begun: list[str] = []
        self.cut_off: list[str] = []
        self.are_ages_sure = True
        self.most_settled = -1
        """So many are acknowledged, and then none; -1: all."""
        self.stop = Stop()
        self.db = house.db
        self.newest: Callable[[], str | None] = lambda: newest
        self.doubt = Doubt(
            ledger,
            Policy("run-1", OpenCalls(), Retry(), dated, lambda: self.are_ages_sure),
            VendorClock(lambda: NOW_S, lambda: 0.0),
            self.stop,
            per_day=per_day,
            concurrency=concurrency,
            proof="here",
            is_proven=False,
            newest=lambda _: self.newest(),
            settle=self._settle,
            count_begun=lambda task: self.begun.append(task.voice_id),
            count_cut_off=lambda task: self.cut_off.append(task.voice_id),
        )
        self.doubt.source = self.source = TaskSource(Given(rest), self.stop)
        self.doubt.fetcher = self.asked = Asked()

    async def _settle(self, task: Task, conclusion: Conclusion) -> None:
        if len(self.settled) == self.most_settled:
            raise StoreError("full")
        self.settled.append((task.voice_id, conclusion))

    async def record(self, voice_id: str = "fine") -> None:
        """An id whose record came, as the fetcher and the workers say it."""
        self.asked.delivered += 1
        self.asked.known = self.asked.known or KNOWN
        await self.doubt.settle(Task(voice_id), ANSWERED)

    async def nos(self, count: int, first: int = 0, *, is_last_try: bool = False) -> list[str]:
        """So many ids that the vendor said no to."""
        ids = [f"no{n}" for n in range(first, first + count)]
        for one in ids:
            await self.doubt.settle(Task(one, is_last_try=is_last_try), DIED)
        return ids

    @property
    def dead(self) -> list[str]:
        return sorted(one for one, conclusion in self.settled if isinstance(conclusion, Died))

    @property
    def unconfirmed(self) -> list[str]:
        return sorted(
            one
            for one, conclusion in self.settled
            if isinstance(conclusion, PutOff) and conclusion.cause == "unconfirmed"
        )


def dated(voice_id: str) -> datetime | None:
    _, colon, days = voice_id.partition(":")
    return NOW - timedelta(days=float(days)) if colon else None


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Doubting]]:
    with houses(tmp_path, ()) as house:
        one = house()
        with closing(LedgerWriter(one.db, one.output.database)) as ledger:
            yield lambda rest=(), **more: Doubting(one, ledger, rest, **more)


Make = Callable[..., Doubting]


# What is held back


async def test_a_permanent_no_waits_for_the_next_record_and_counts_then(make: Make) -> None:
    one = make()
    assert not one.doubt.is_calm
    ids = await one.nos(3)
    assert one.settled == []
    await one.record()
    assert one.dead == ids
    assert one.settled[-1] == ("fine", ANSWERED), "the record that lets them count comes last"
    assert one.doubt.is_calm
    assert between_runs.is_proven(one.db, "here")
    await one.nos(1, 3)
    assert not one.doubt.is_calm
    assert len(one.settled) == 4


@pytest.mark.parametrize(
    ("task", "conclusion"),
    [
        (Task("a"), PutOff("busy", 8, NOW_MS, True)),
        (Task("a"), UNKNOWN),  # it may be too young
        (Task("a:1"), UNKNOWN),
        (Task("a:61"), UNKNOWN),
        (Task("a:61"), DIED),
        (Task("retrying"), DIED),
        (Task("a", again=True), DIED),
        (Task("a:5", again=True), UNKNOWN),
    ],
)
async def test_what_says_nothing_of_the_vendor_is_committed_at_once(
    make: Make, task: Task, conclusion: Conclusion
) -> None:
    one = make()
    letter = DeadLetter("retrying", "gave_up", "", 1, 0, 0, "run-0", retrying=True)
    unresolved.put_dead_letters(one.db, [letter])
    await one.doubt.settle(task, conclusion)
    assert one.settled == [(task.voice_id, conclusion)]
    assert not one.doubt.is_calm, "and it is no record"
    # Another answer for what the data set has is a record of the vendor's as any other.
    await one.doubt.settle(Task("b", again=True), ANSWERED)
    assert one.doubt.is_calm


@pytest.mark.parametrize(
    ("task", "conclusion"),
    [(Task("a"), DIED), (Task("a:59"), DIED), (Task("a:4"), UNKNOWN), (Task("a:59"), UNKNOWN)],
)
async def test_what_would_end_an_id_that_the_vendor_must_know_is_held_back(
    make: Make, task: Task, conclusion: Conclusion
) -> None:
    one = make()
    await one.doubt.settle(task, conclusion)
    assert one.settled == []
    await one.record()
    assert (task.voice_id, conclusion) in one.settled


async def test_while_ages_are_unsure_no_id_is_too_old_to_be_known(make: Make) -> None:
    one = make()
    one.are_ages_sure = False
    await one.doubt.settle(Task("a:61"), DIED)
    assert one.settled == []


@pytest.mark.parametrize(
    ("cause", "was"),
    [("refused_-1", True), ("status_77", True), ("time_refused", True), ("busy", False)],
)
async def test_an_id_was_refused_if_it_is_put_off_for_that(
    make: Make, cause: str, was: bool
) -> None:
    one = make()
    unresolved.put_deferred(one.db, [Deferred("a", cause, "", 0, 0, "run-0")])
    assert await one.doubt.was_refused("a") is was
    assert not await one.doubt.was_refused("b")


# When the vendor is looked at


@pytest.mark.parametrize(
    ("per_day", "full"), [(None, 200), (10_000, 200), (800, 200), (796, 199), (40, 10), (3, 1)]
)
async def test_probes_are_fetched_at_200_or_a_quarter_of_the_days_budget(
    make: Make, per_day: int | None, full: int
) -> None:
    one = make(["a"], per_day=per_day)
    await one.nos(full - 1)
    await one.doubt.look()
    assert one.asked.log == []
    await one.nos(1, full)
    await one.doubt.look()
    assert one.asked.log == ["a"]
    assert len(one.settled) == full + 1, "its record lets all of them go"
    assert one.stop.reason is None


async def test_no_record_among_the_probes_halts_the_run_and_all_stay_pending(make: Make) -> None:
    one = make([f"p{n}" for n in range(30)], per_day=40)
    one.asked.answers = {f"p{n}": [NO] for n in range(30)}
    ids = await one.nos(10)
    await one.doubt.look()
    assert isinstance(one.stop.reason, VendorRefused)
    assert one.stop.reason.code == "vendor.all_failures"
    assert "30 id(s) got" in str(one.stop.reason), "20 probes got the same"
    assert '{"status":-14}' in str(one.stop.reason)
    assert len(one.asked.log) == 20
    await one.doubt.end()
    assert one.settled == []
    assert sorted(one.cut_off) == sorted([*ids, *one.asked.log])
    assert sorted(one.begun) == sorted(one.asked.log), "each probe that concluded was begun"


async def test_a_run_that_stops_already_fetches_no_probes(make: Make) -> None:
    one = make(["a"], per_day=4)
    await one.nos(2)
    one.stop.stop(Interrupted("enough"))
    await one.doubt.look()
    await one.doubt.end()
    assert one.asked.log == []
    assert one.settled == []
    assert one.cut_off == ["no0", "no1"]


async def test_an_id_whose_record_came_is_the_first_probe_and_enough(make: Make) -> None:
    one = make(["a"], per_day=4)
    await one.record()
    await one.nos(1)
    await one.doubt.look()
    assert one.asked.log == ["known"]
    assert one.dead == ["no0"]
    assert one.begun == [], "it was delivered long ago"


@pytest.mark.parametrize("failure", [BUSY, NetworkFailure("timeout"), Throttled(None)])
async def test_what_fails_on_the_way_to_a_known_id_is_tried_three_times(
    make: Make, failure: Verdict
) -> None:
    for failures, log in ((2, ["known"] * 3), (3, ["known"] * 3 + ["a"])):
        one = make(["a"], per_day=4)
        await one.record()
        one.asked.answers = {"known": [failure] * failures + [RECORD]}
        await one.nos(1)
        await one.doubt.look()
        assert one.asked.log == log


@pytest.mark.parametrize("answer", [NO, NoRecord(), Refusal("-1")])
async def test_a_known_id_that_is_answered_otherwise_is_not_asked_again(
    make: Make, answer: Verdict
) -> None:
    one = make(["a", "b"], per_day=4)
    await one.record()
    one.asked.answers = {"known": [answer], "a": [NO], "b": [NO]}
    await one.nos(1)
    await one.doubt.look()
    assert one.asked.log.count("known") == 1
    assert one.asked.log[0] == "known"
    assert sorted(one.asked.log[1:]) == ["a", "b"]


async def test_what_is_over_60_days_old_is_no_probe(make: Make) -> None:
    old = f"{NOW - timedelta(days=61):%y%m%d%H%M%S}0000001"
    young = f"{NOW - timedelta(days=59):%y%m%d%H%M%S}0000001"
    one = make([old, young], per_day=4)
    one.asked.answers = {young: [BUSY]}
    await one.nos(1)
    await one.doubt.look()
    assert one.asked.log == [young]


# Fetching probes


async def test_what_concludes_is_settled_and_given_back_and_all_else_goes_back_to_the_list(
    make: Make,
) -> None:
    one = make(["a", "b", "c", "d"])
    one.asked.answers = {"a": [BUSY], "b": [BUSY], "c": [NO], "d": [BUSY]}
    found = await one.doubt.probe(4, lambda verdict: isinstance(verdict, Record))
    assert found is not None
    assert sorted(one.asked.log) == ["a", "b", "c", "d"]
    assert one.begun == ["c"]
    assert one.source.held == set()
    left = []
    while (task := await one.source.take()) is not None:
        left.append(task.voice_id)
    assert sorted(left) == ["a", "b", "d"]


async def test_probes_end_with_the_first_answer_that_is_enough(make: Make) -> None:
    one = make(["a", "b", "c", "d"])
    verdicts = await one.doubt.probe(3, lambda verdict: verdict is RECORD)
    assert verdicts == [RECORD]
    assert len(one.asked.log) == 1
    assert one.source.held == set(), "the others of the three wait as before"
    assert await one.doubt.probe(0, lambda _: True) == []


async def test_only_one_fetches_probes_and_the_others_wait(make: Make) -> None:
    one = make(["a", "b"])
    one.asked.answers = {"a": [BUSY], "b": [BUSY]}
    seen: list[bool] = []

    async def other() -> None:
        assert await one.doubt.probe(2, lambda _: False) is None
        await one.doubt.free()
        seen.append(one.doubt.is_probing)

    others: list[asyncio.Task[None]] = []
    one.asked.meanwhile = lambda: others.append(asyncio.ensure_future(other()))
    await one.doubt.probe(2, lambda _: False)
    assert not one.doubt.is_probing
    async with asyncio.timeout(10):
        await asyncio.gather(*others)
    assert seen == [False, False]
    assert len(one.asked.log) == 2


async def test_who_waits_for_probes_in_a_run_that_stops_waits_no_longer(make: Make) -> None:
    one = make()
    one.doubt.is_probing = True
    one.stop.stop(Interrupted("enough"))
    async with asyncio.timeout(1):
        await one.doubt.free()


async def test_a_stop_between_two_probes_leaves_every_id_where_it_was(make: Make) -> None:
    one = make(["a", "b", "c"])
    one.asked.answers = {name: [BUSY] for name in "abc"}
    one.asked.meanwhile = lambda: one.stop.stop(Interrupted("enough"))
    with pytest.raises(CutOff):
        await one.doubt.probe(3, lambda _: False)
    assert len(one.asked.log) == 1
    assert one.source.held == set()
    assert not one.doubt.is_probing


async def test_probes_of_an_outage_say_so_and_are_not_always_the_same_id(make: Make) -> None:
    one = make(["a", "b", "c"])
    one.asked.answers = {name: [BUSY] for name in "abc"}
    for _ in range(3):
        await one.doubt.probe(3, lambda _: True, of_outage=True)
    assert len(one.asked.log) == 3
    assert len(set(one.asked.log)) > 1
    assert one.asked.of_outage == [True] * 3
    await one.doubt.probe(1, lambda _: True)
    assert one.asked.of_outage[3:] == [False]


# The end of the list


async def test_a_long_series_is_put_off_by_its_record_and_counts_when_it_is_said_again(
    make: Make,
) -> None:
    for count, is_long in ((19, False), (20, True)):
        one = make()
        ids = await one.nos(count)
        await one.record()
        assert one.dead == ([] if is_long else sorted(ids))
        assert one.unconfirmed == (sorted(ids) if is_long else [])
        assert all(
            not conclusion.counts for _, conclusion in one.settled if isinstance(conclusion, PutOff)
        )


async def test_in_a_long_series_what_was_put_off_before_or_is_tried_last_counts(
    make: Make,
) -> None:
    one = make()
    unresolved.put_deferred(
        one.db,
        [
            Deferred("no0", "unconfirmed", "", 0, 0, "run-0"),
            Deferred("no1", "busy", "", 0, 0, "run-0"),
        ],
    )
    await one.nos(19)
    await one.nos(1, 19, is_last_try=True)
    await one.record()
    assert one.dead == ["no0", "no19"]
    assert len(one.unconfirmed) == 18


@pytest.mark.parametrize(
    ("concurrency", "records", "is_over"),
    [(1, 19, False), (1, 20, True), (30, 29, False), (30, 30, True)],
)
async def test_a_series_is_over_once_as_many_records_came_on_end_as_may_be_on_their_way(
    make: Make, concurrency: int, records: int, is_over: bool
) -> None:
    """20 at least."""
    one = make(concurrency=concurrency)
    await one.nos(10)
    for _ in range(records):
        await one.record()
    await one.nos(10, 100)
    await one.record()
    assert (one.unconfirmed == []) is is_over


@pytest.mark.parametrize(
    ("newest", "is_asked"),
    [("w:59", True), ("w:61", False), ("w", False), (None, False)],
)
@pytest.mark.parametrize("are_ages_sure", [True, False])
async def test_a_run_without_a_record_asks_for_one_that_the_vendor_must_have_still(
    make: Make, newest: str | None, is_asked: bool, are_ages_sure: bool
) -> None:
    one = make(newest=newest)
    ids = await one.nos(3)
    one.are_ages_sure = are_ages_sure
    await one.doubt.end()
    assert one.asked.log == (["w:59"] if is_asked and are_ages_sure else [])
    assert one.dead == ids, "its record, or that so few show nothing, lets them count"
    assert one.cut_off == []


@pytest.mark.parametrize("count", [199, 200])
async def test_without_such_a_record_few_count_and_many_halt_the_run(
    make: Make, count: int
) -> None:
    one = make()
    await one.nos(count)
    await one.doubt.end_list()
    await one.doubt.end()
    if count < 200:
        assert len(one.dead) == count
        assert one.stop.reason is None
    else:
        assert one.dead == []
        assert isinstance(one.stop.reason, VendorRefused)
        assert len(one.cut_off) == count


async def test_a_file_that_cannot_be_read_is_no_witness(make: Make) -> None:
    one = make()

    def broken() -> str | None:
        raise StoreError("damaged")

    one.newest = broken
    ids = await one.nos(2)
    await one.doubt.end()
    assert one.dead == ids


@pytest.mark.parametrize(
    ("answer", "then"),
    [
        (RECORD, "dead"),
        (NO, "halt"),
        (NoRecord(), "halt"),
        (Refusal("-1"), "halt"),
        (BUSY, "unconfirmed"),
        (NetworkFailure("reset"), "unconfirmed"),
        (Throttled(None), "unconfirmed"),
    ],
)
@pytest.mark.parametrize("is_of_this_run", [True, False])
async def test_at_the_end_the_answer_for_a_known_id_decides_what_is_held(
    make: Make, answer: Verdict, then: str, is_of_this_run: bool
) -> None:
    one = make(newest="w:5")
    if is_of_this_run:
        await one.record()
    ids = await one.nos(3)
    one.asked.answers = {"known": [answer], "w:5": [answer]}
    await one.doubt.end()
    assert set(one.asked.log) == {"known" if is_of_this_run else "w:5"}
    assert (
        one.dead if then == "dead" else one.unconfirmed if then == "unconfirmed" else ids
    ) == ids
    assert isinstance(one.stop.reason, VendorRefused) is (then == "halt")
    assert one.cut_off == (ids if then == "halt" else [])
    if then == "halt":
        assert (one.dead, one.unconfirmed) == ([], [])


async def test_before_the_last_round_a_long_series_is_put_off_where_the_vendor_is_well(
    make: Make,
) -> None:
    for newest, is_asked in (("w:5", True), (None, False)):
        one = make(newest=newest)
        ids = await one.nos(20)
        await one.doubt.end_list()
        assert one.asked.log == (["w:5"] if is_asked else [])
        assert one.unconfirmed == (sorted(ids) if is_asked else [])
        assert one.dead == []
    proven = make(newest="w:5")
    await proven.record()
    ids = await proven.nos(20)
    await proven.doubt.end_list()
    assert proven.asked.log == [], "this run got a record"
    assert proven.unconfirmed == sorted(ids)
    short = make(newest="w:5")
    await short.nos(19)
    await short.doubt.end_list()
    assert (short.asked.log, short.settled) == ([], [])


async def test_in_the_last_round_the_vendor_is_looked_at_after_every_20(make: Make) -> None:
    one = make()
    await one.record()
    await one.doubt.end_list()
    await one.nos(19, is_last_try=True)
    await one.doubt.look()
    assert one.asked.log == []
    await one.nos(1, 19, is_last_try=True)
    await one.doubt.look()
    assert one.asked.log == ["known"]
    assert len(one.dead) == 20
    await one.nos(20, 20, is_last_try=True)
    one.asked.answers = {"known": [NO]}
    await one.doubt.look()
    assert isinstance(one.stop.reason, VendorRefused)
    assert len(one.dead) == 20


@pytest.mark.parametrize("most", [0, 1, 4])
async def test_what_cannot_be_kept_when_a_record_lets_it_count_is_held_still(
    make: Make, most: int
) -> None:
    one = make()
    ids = await one.nos(5)
    one.most_settled = most
    with pytest.raises(StoreError):
        await one.record()
    one.stop.stop(StoreError("full"))
    await one.doubt.end()
    assert len(one.dead) == most
    assert sorted([*one.dead, *one.cut_off]) == ids, "each is in one book"
