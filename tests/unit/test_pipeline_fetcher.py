"""Fetching an id: what one answer after another makes of it, here or first in another process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime

import pytest

from harvester.client.clock import VendorClock
from harvester.client.transport import NoReply, Reply
from harvester.client.verdicts import Verdict
from harvester.config import OpenCalls, Retry, Vendor
from harvester.errors import HarvesterError
from harvester.pipeline.engine.fetcher import Fetcher
from harvester.pipeline.engine.sealer import Sealer
from harvester.pipeline.engine.settle import Policy
from harvester.pipeline.engine.shutdown import Stop
from harvester.pipeline.engine.task import Answered, Conclusion, Died, PutOff, Task, Unknown
from harvester.pipeline.limits.health import OUTAGE_ANSWERS, RefusalWatch
from harvester.pipeline.limits.outage_gate import OutageGate
from harvester.pipeline.limits.pace import Pace
from harvester.state.values import Counters
from tests.support.fakes import SECRETS, TIMEOUT, Answer, FakeVendor, record, status
from tests.support.virtual_time import run_virtually, virtual_loop

ID = "00007"
NOW = 1_800_000_000.0
LIMITS = Retry(busy_attempts=3, network_attempts=2)
BUSY = status(-18)
PUSHED_BACK = status(-15)
GONE = status(-22)
NO_RECORD = status(-24)


class Alone:
    """No other ids: none are left, and none can be probes."""

    def __init__(self) -> None:
        self.policy = Policy("run-1", OpenCalls(), LIMITS, lambda _: None)
        self.refusals = RefusalWatch(is_proven=True)
        self.probes: list[int] = []
        """How many were asked for, each time."""

    async def left(self, at_most: int | None = None) -> set[str] | None:
        """See `Others`: some wait behind them."""
        return None

    async def was_refused(self, voice_id: str) -> bool:
        """See `Others`."""
        return False

    async def free(self) -> None:
        """See `Others`."""

    async def probe(
        self,
        count: int,
        is_enough: Callable[[Verdict], bool],
        *,
        known: Task | None = None,
        before: datetime | None = None,
        of_outage: bool = False,
    ) -> Sequence[Verdict] | None:
        """See `Others`."""
        self.probes.append(count)
        return ()


class Fetching:
    """A fetcher, its vendor, and all that it learns with."""

    def __init__(self, *answers: Answer) -> None:
        """`answers`: to the first request for `ID`, the second one, …; all else are records."""
        script = {(ID, n): answer for n, answer in enumerate(answers)}
        self.vendor = FakeVendor(lambda voice_id, n: script.get((voice_id, n)) or record(voice_id))
        self.reasons: list[HarvesterError] = []
        loop = virtual_loop()
        stop, self.counters = Stop(), Counters()
        clock = VendorClock(lambda: NOW + loop.time(), loop.time)
        self.pace = Pace(1000.0, opens_at=0)
        self.gate = OutageGate(600.0, self.reasons.append)
        self.others = Alone()
        sealer = Sealer(SECRETS, self.pace, clock, stop, lambda: None, concurrency=4)
        self.fetcher = Fetcher(
            transport=self.vendor.connect(Vendor(), 4, sealer.seal),
            sealer=sealer,
            pace=self.pace,
            clock=clock,
            gate=self.gate,
            stop=stop,
            limits=LIMITS,
            counters=self.counters,
            dice=lambda: 0.5,
            others=self.others,
        )

    async def on(self, answer: Answer, *, is_outage: bool | None = False) -> Conclusion:
        """The first attempt was another process's."""
        return await self.fetcher.fetch_on(Task(ID), answer, is_outage=is_outage)


def test_an_id_ends_with_its_record_and_the_run_knows_that_it_is_let_in() -> None:
    async def main() -> None:
        one = Fetching()
        found = await one.fetcher.fetch(Task(ID))
        assert isinstance(found, Answered)
        answer = record(ID)
        assert found.answer == answer.body
        fetcher = one.fetcher
        assert (fetcher.delivered, fetcher.received_bytes) == (1, len(answer.body))
        assert fetcher.known == Task(ID)
        assert fetcher.heard.is_set()
        assert fetcher.let_in.is_set()

    run_virtually(main)


@pytest.mark.parametrize(
    ("answers", "ends", "attempts"),
    [
        ([GONE], Died, 1),
        ([NO_RECORD], Unknown, 1),
        ([BUSY, GONE], Died, 2),
        ([BUSY, TIMEOUT, NO_RECORD], Unknown, 3),
        ([BUSY] * 3, PutOff, 3),
        ([TIMEOUT] * 2, PutOff, 2),
    ],
)
def test_what_an_id_ends_with_says_how_many_attempts_it_took(
    answers: list[Answer], ends: type[Died | Unknown | PutOff], attempts: int
) -> None:
    async def main() -> None:
        for is_elsewhere in (False, True):
            one = Fetching(*answers[is_elsewhere:])
            found = await (one.on(answers[0]) if is_elsewhere else one.fetcher.fetch(Task(ID)))
            assert isinstance(found, ends)
            assert found.attempts == attempts
            assert len(one.vendor.log) == attempts - is_elsewhere
            assert sum(one.counters.retries.values()) == attempts - 1

    run_virtually(main)


def test_a_last_try_is_one_attempt_but_for_what_is_nobodys_fault() -> None:
    async def main() -> None:
        last = Task(ID, is_last_try=True)
        for answer in (BUSY, TIMEOUT):
            found = await Fetching(answer).fetcher.fetch(last)
            assert isinstance(found, PutOff)
            assert found.attempts == 1
        exhausted = Fetching(NoReply("exhausted", "no more"), NoReply("exhausted", "no more"))
        assert isinstance(await exhausted.fetcher.fetch(last), Answered)

    run_virtually(main)


def test_a_record_that_came_to_another_process_counts_as_any_other() -> None:
    async def main() -> None:
        one, answer = Fetching(), record(ID)
        found = await one.on(answer)
        assert isinstance(found, Answered)
        assert found.answer == answer.body
        assert (one.fetcher.delivered, one.fetcher.received_bytes) == (1, len(answer.body))
        assert one.fetcher.known == Task(ID)
        assert one.fetcher.let_in.is_set()
        assert one.vendor.log == []

    run_virtually(main)


@pytest.mark.parametrize(("is_outage", "costs"), [(True, 0), (False, 1)])
def test_what_fails_while_another_process_gets_no_answers_costs_the_id_nothing(
    is_outage: bool, costs: int
) -> None:
    async def main() -> Conclusion:
        one = Fetching(*[TIMEOUT] * (LIMITS.network_attempts - 1))
        return await one.on(TIMEOUT, is_outage=is_outage)

    assert isinstance(run_virtually(main), PutOff if costs else Answered)


@pytest.mark.parametrize(("is_outage", "is_shut"), [(None, True), (True, False), (False, False)])
def test_only_where_no_process_gets_answers_it_is_an_outage_of_the_vendors(
    is_outage: bool | None, is_shut: bool
) -> None:
    async def main() -> None:
        one = Fetching()
        seen = []
        for _ in range(OUTAGE_ANSWERS + 1):
            one.fetcher._learn_elsewhere(
                Task(ID), one.fetcher._judged(ID, TIMEOUT)[0], is_outage=is_outage
            )
            seen.append(one.gate.is_shut)
        assert seen[OUTAGE_ANSWERS - 2 :] == [False, is_shut, is_shut]
        assert (one.gate.latest != "") is is_shut
        await one.on(record(ID))
        assert not one.gate.is_shut, "a record shows that the vendor is well"

    run_virtually(main)


def test_a_refusal_that_came_to_another_process_is_suspected_as_one_here() -> None:
    async def main() -> None:
        one = Fetching()
        assert isinstance(await one.on(status(-1)), Answered)
        assert one.others.probes == [5]
        other = Fetching(status(-1))
        assert isinstance(await other.fetcher.fetch(Task(ID)), Answered)
        assert other.others.probes == [5]

    run_virtually(main)


def test_an_unknown_status_ends_an_id_once_a_record_came_again_and_says_which_it_was() -> None:
    async def main() -> None:
        one = Fetching(*[status(77)] * 3)
        assert isinstance(await one.fetcher.fetch(Task("00001")), Answered)
        found = await one.fetcher.fetch(Task(ID))
        assert isinstance(found, Died)
        assert (found.reason, found.detail, found.attempts) == ("unknown_status", "status 77", 3)
        assert one.vendor.asked == {"00001": 2, ID: 3}

    run_virtually(main)


def test_a_push_back_elsewhere_is_counted_and_slows_down_nobody_here() -> None:
    async def main() -> None:
        one = Fetching()
        assert isinstance(await one.on(PUSHED_BACK), Answered)
        assert (one.pace.throttled, one.pace.rate_per_s) == (1, 1000)

    run_virtually(main)


def test_a_push_back_here_slows_down_and_closes_the_pace() -> None:
    async def main() -> None:
        began = asyncio.get_running_loop().time()
        one = Fetching(Reply(200, PUSHED_BACK.body, retry_after="7"))
        assert isinstance(await one.fetcher.fetch(Task(ID)), Answered)
        assert one.pace.throttled == 1
        assert one.pace.rate_per_s == pytest.approx(700, abs=0.1)
        assert asyncio.get_running_loop().time() - began >= 7

    run_virtually(main)


def test_a_probe_is_one_request_on_a_connection_of_its_own() -> None:
    async def main() -> None:
        for answer, ends in ((BUSY, type(None)), (GONE, Died), (record(ID), Answered)):
            one = Fetching(answer)
            _, conclusion = await one.fetcher.probe(Task(ID))
            assert isinstance(conclusion, ends)
            assert one.vendor.asked_fresh == [ID]
            assert len(one.vendor.log) == 1
            if isinstance(conclusion, Died):
                assert (conclusion.reason, conclusion.attempts) == ("parameter_exception", 1)
                assert one.fetcher.last_no == GONE.body

    run_virtually(main)
