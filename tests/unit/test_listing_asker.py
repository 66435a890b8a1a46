"""Asking for a page of the list: what failures cost, and what they say of the vendor as a whole."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest

from harvester.client.clock import VendorClock
from harvester.client.record_group import Page, Query
from harvester.client.transport import EXHAUSTED, NoReply, Reply, Request, Seal
from harvester.client.verdicts import Record
from harvester.config import Retry
from harvester.errors import BudgetReached, HarvesterError
from harvester.pipeline.engine.sealer import Sealer
from harvester.pipeline.engine.shutdown import CutOff, Stop
from harvester.pipeline.limits.health import OUTAGE_ROW, PROBE_EVERY_S
from harvester.pipeline.limits.outage_gate import OutageGate
from harvester.pipeline.limits.pace import HeldUp, Pace
from harvester.pipeline.listing.asker import Asker
from tests.support.fakes import SECRETS, TIMEOUT, TOO_MANY, Answer, record, status
from tests.support.virtual_time import run_virtually, virtual_loop

NOW = 1_800_000_000.0
NOON_S = 1_799_985_600
QUERY = Query(NOON_S, NOON_S + 60)
TAKES_S = 0.05
LIMITS = Retry(busy_attempts=3, network_attempts=2, backoff_initial_s=8.0, backoff_max_s=8.0)
"""With a dice that shows a half, each backoff takes 4 s."""
BUSY = status(-18)
NOTHING_LEFT = NoReply(EXHAUSTED, "no open files are left")


def page(*, at_s: int = NOON_S + 1, retry_after: str | None = None) -> Reply:
    """A page of one call."""
    call = {"voiceId": "00001", "submitTime": at_s * 1000}
    body = {"status": "0", "data": {"total": 1, "records": [call]}}
    return Reply(200, json.dumps(body).encode(), retry_after=retry_after)


OTHER_DAYS = Reply(
    200,
    b'{"status":"0","data":{"total":1,"records":'
    b'[{"voiceId":"00001","submitTime":"2026-01-01T00:00:00+08:00"}]}}',
)


class Way:
    """A transport that answers in a row, the last one again and again; some are raised."""

    def __init__(self, answers: Sequence[Answer | Exception], seal: Seal) -> None:
        self._answers = list(answers)
        self._seal = seal
        self.at: list[float] = []
        """When each request was written."""
        self.takes_s = TAKES_S
        self.meanwhile: Callable[[int], None] = lambda sent: None
        """Called while a request is on its way, with how many were sent."""

    async def send(self, request: Request, *, fresh: bool = False) -> Answer:
        """See `Transport`."""
        sealed = self._seal()
        if not isinstance(sealed, dict):
            await sealed
        self.at.append(virtual_loop().time())
        self.meanwhile(len(self.at))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        await asyncio.sleep(self.takes_s)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        """See `Transport`."""


class Asking:
    """An asker, its way, and all that it learns with."""

    def __init__(self, *answers: Answer | Exception, max_outage_s: float = 600.0) -> None:
        loop = virtual_loop()
        self.stop = Stop()
        self.ends: list[HarvesterError] = []
        """What the gate gave the vendor up for."""
        self.clock = VendorClock(lambda: NOW + loop.time(), loop.time)
        self.pace = Pace(1000.0, opens_at=0)
        self.gate = OutageGate(max_outage_s, self.ends.append)
        self.sealer = Sealer(SECRETS, self.pace, self.clock, self.stop, lambda: None, concurrency=4)
        self.way = Way(answers, self.sealer.seal)
        self.asker = Asker(
            transport=self.way,
            sealer=self.sealer,
            pace=self.pace,
            clock=self.clock,
            gate=self.gate,
            stop=self.stop,
            limits=LIMITS,
            dice=lambda: 0.5,
        )

    async def page(self) -> Page | str:
        """One page."""
        return await self.asker.page(QUERY)


def test_a_page_that_fails_comes_after_its_backoffs_and_each_is_counted_by_its_cause() -> None:
    async def main() -> None:
        asking = Asking(BUSY, TIMEOUT, page())
        found = await asking.page()
        assert isinstance(found, Page)
        assert found.total == 1
        first, second, third = asking.way.at
        assert second - first == pytest.approx(TAKES_S + 4.0, abs=0.01)
        assert third - second == pytest.approx(TAKES_S + 4.0, abs=0.01)
        assert asking.asker.retries == {"-18": 1, "timeout": 1}

    run_virtually(main)


@pytest.mark.parametrize(
    ("answer", "requests", "cause"),
    [(BUSY, 3, "-18"), (TIMEOUT, 2, "timeout"), (OTHER_DAYS, 2, "other_window")],
)
def test_a_page_whose_budget_is_spent_is_told_by_its_cause_and_others_may_begin(
    answer: Reply, requests: int, cause: str
) -> None:
    async def main() -> None:
        asking = Asking(answer)
        assert await asking.page() == cause
        assert len(asking.way.at) == requests
        assert asking.asker.heard.is_set()

    run_virtually(main)


def test_a_no_for_good_is_told_by_its_reason_at_once() -> None:
    async def main() -> None:
        asking = Asking(status(-25))
        assert await asking.page() == "out_of_time_range"
        assert len(asking.way.at) == 1

    run_virtually(main)


def test_a_record_comes_for_an_id_and_a_page_of_it_is_none() -> None:
    async def main() -> None:
        asking = Asking(record("00001"), status(-24))
        assert isinstance(await asking.asker.record("00001"), Record)
        assert await asking.asker.record("00001") == "no_record"

    run_virtually(main)


def test_push_back_costs_a_page_nothing_while_no_other_page_comes() -> None:
    async def main() -> None:
        asking = Asking(*[TOO_MANY] * 9, page())
        assert isinstance(await asking.page(), Page)
        assert asking.asker.retries == {"throttled": 9}
        # One that names no time closes the pace for a second.
        gaps = [after - at for at, after in pairwise(asking.way.at)]
        assert min(gaps) >= 1.0

    run_virtually(main)


def test_a_page_that_came_before_makes_push_back_cost_the_next_one_no_more_than_once() -> None:
    """Others that succeed meanwhile count; one page that came long ago is no other."""

    async def main() -> None:
        asking = Asking(page(), *[TOO_MANY] * 9, page())
        assert isinstance(await asking.page(), Page)
        assert isinstance(await asking.page(), Page)
        assert asking.asker.retries == {"throttled": 9}

    run_virtually(main)


def test_push_back_on_end_ends_the_command_by_its_own_code() -> None:
    async def main() -> None:
        asking = Asking(*[TOO_MANY] * 40, page(), max_outage_s=30.0)
        await asking.page()
        assert {one.code for one in asking.ends} == {"vendor.throttling"}

    run_virtually(main)


@pytest.mark.parametrize("answer", [page(retry_after="20"), status(-25)])
def test_a_pause_that_an_answer_asks_for_is_kept_though_the_answer_counts(answer: Reply) -> None:
    async def main() -> None:
        asking = Asking(
            Reply(answer.status, answer.body, retry_after="20"),
            page(),
        )
        await asking.page()
        await asking.page()
        first, second = asking.way.at
        assert second - first >= 20.0

    run_virtually(main)


def test_pages_that_fail_in_a_row_are_an_outage_that_costs_no_page_its_tries() -> None:
    async def main() -> None:
        asking = Asking(*[TIMEOUT] * (OUTAGE_ROW + 10), page())
        for _ in range(OUTAGE_ROW // 2 - 1):
            assert await asking.page() == "timeout"
        assert not asking.asker.is_out
        found = await asking.page()
        assert isinstance(found, Page), "it waits until the vendor is well again"
        assert asking.gate.outages == 1
        assert not asking.asker.is_out
        probes = asking.way.at[OUTAGE_ROW - 1 :]
        assert len(probes) == 12, "the failure that showed the outage, ten more, and the page"
        gaps = [after - at for at, after in pairwise(probes)]
        assert min(gaps) >= PROBE_EVERY_S
        assert asking.ends == []

    run_virtually(main)


def test_a_probe_that_fails_though_the_outage_is_over_by_then_costs_its_page_nothing() -> None:
    """Somebody else's answer has ended it meanwhile."""

    async def main() -> None:
        asking = Asking(*[TIMEOUT] * (OUTAGE_ROW + 1), page())
        for _ in range(OUTAGE_ROW // 2 - 1):
            assert await asking.page() == "timeout"
        was_out: list[bool] = []

        def meanwhile(sent: int) -> None:
            if sent == OUTAGE_ROW + 1:
                was_out.append(asking.asker.is_out)
                asking.gate.note(virtual_loop().time(), failed=False)
                was_out.append(asking.asker.is_out)

        asking.way.meanwhile = meanwhile
        assert isinstance(await asking.page(), Page)
        assert was_out == [True, False]

    run_virtually(main)


def test_a_vendor_that_gives_pages_of_other_days_is_wrong_but_not_out_of_reach() -> None:
    async def main() -> None:
        asking = Asking(*[OTHER_DAYS] * 2 * OUTAGE_ROW, page())
        for _ in range(OUTAGE_ROW):
            assert await asking.page() == "other_window"
        assert len(asking.way.at) == 2 * OUTAGE_ROW
        assert asking.gate.outages == 0

    run_virtually(main)


def test_an_outage_names_the_latest_failure_where_it_is_given_up() -> None:
    async def main() -> None:
        asking = Asking(*[TIMEOUT] * 100, Reply(502, b""), page(), max_outage_s=60.0)
        for _ in range(OUTAGE_ROW):
            await asking.page()
        assert asking.ends
        assert asking.ends[0].code == "vendor.unavailable"
        assert "nobody there" in str(asking.ends[0])

    run_virtually(main)


def test_what_this_machine_lacks_says_nothing_of_the_vendor() -> None:
    async def main() -> None:
        asking = Asking(*[NOTHING_LEFT] * (OUTAGE_ROW + 20), page())
        assert isinstance(await asking.page(), Page)
        assert asking.asker.retries == {EXHAUSTED: OUTAGE_ROW + 20}
        assert asking.gate.outages == 0
        assert asking.ends == []

    run_virtually(main)


def test_what_this_machine_lacks_for_too_long_ends_the_command() -> None:
    async def main() -> None:
        asking = Asking(*[NOTHING_LEFT] * 40, page(), max_outage_s=60.0)
        await asking.page()
        assert {one.code for one in asking.ends} == {"vendor.no_connection"}
        assert "no open files are left" in str(asking.ends[0])

    run_virtually(main)


def test_busy_answers_slow_the_pace_down_and_good_ones_do_not() -> None:
    async def main() -> None:
        well, busy = Asking(page()), Asking(*[BUSY, page(), page()] * 10, page())
        for asking in (well, busy):
            await asyncio.gather(*(asking.page() for _ in range(30)))
        assert well.pace.rate_per_s == 1000.0
        assert busy.pace.rate_per_s < 1000.0, "a third of the answers is over a quarter"

    run_virtually(main)


def test_a_refusal_of_each_try_ends_the_command_and_names_what_to_check() -> None:
    async def main() -> None:
        asking = Asking(status(-1))
        with pytest.raises(CutOff):
            await asking.page()
        assert len(asking.way.at) == 3
        assert asking.stop.reason is not None
        assert asking.stop.reason.code == "vendor.denied.sign"
        assert "HARVESTER_API_SECRET" in str(asking.stop.reason)

    run_virtually(main)


def test_a_refusal_goes_to_whoever_wants_to_hear_of_it_instead() -> None:
    async def main() -> None:
        asking, told = Asking(status(-1)), list[str]()
        asking.asker.on_refused = told.append
        with pytest.raises(CutOff):
            await asking.page()
        assert told == ["-1"]
        assert not asking.stop.is_set

    run_virtually(main)


def test_a_timestamp_that_is_refused_is_signed_with_the_vendors_time_and_costs_nothing() -> None:
    async def main() -> None:
        # The vendor's clock is an hour ahead of ours.
        date = "Fri, 15 Jan 2027 09:16:40 GMT"
        refused = Reply(200, b'{"status":"-16","data":null}', date=date)
        asking = Asking(refused, page())
        assert isinstance(await asking.page(), Page)
        assert asking.clock.timestamp() - (NOW + virtual_loop().time()) == pytest.approx(
            3600, abs=3
        )
        assert asking.clock.is_verified

    run_virtually(main)


def test_where_the_command_stops_meanwhile_nobody_waits_for_another_try() -> None:
    async def main() -> None:
        asking = Asking(BUSY, page())
        asking.way.takes_s = 1.0

        async def worker() -> float:
            with asking.stop.enlisted(), pytest.raises(CutOff):
                await asking.page()
            return virtual_loop().time()

        began = virtual_loop().time()
        task = asyncio.create_task(worker())
        await asyncio.sleep(0.5)
        asking.stop.stop(BudgetReached("over", code="limit.duration"))
        assert await task - began == pytest.approx(1.0, abs=0.01)
        assert len(asking.way.at) == 1

    run_virtually(main)


@pytest.mark.parametrize("how", ["stop", "cut off"])
def test_nothing_is_asked_for_once_it_is_over(how: str) -> None:
    async def main() -> None:
        asking = Asking(page())
        if how == "stop":
            asking.stop.stop(BudgetReached("over", code="limit.duration"))
        else:
            asking.asker.is_cut_off = True
        with pytest.raises(CutOff):
            await asking.page()
        assert asking.way.at == []

    run_virtually(main)


def test_who_lets_a_connection_go_as_others_have_the_limit_asks_again() -> None:
    async def main() -> None:
        asking = Asking(HeldUp(), HeldUp(), page())
        assert isinstance(await asking.page(), Page)
        assert asking.asker.retries == {}, "no answer was no failure"

    run_virtually(main)


def test_a_transport_that_never_answers_is_a_failure_of_the_network() -> None:
    async def main() -> None:
        asking = Asking(page())
        asking.way.takes_s = 1_000.0
        task = asyncio.create_task(asking.page())
        await asyncio.sleep(1.0)
        for attempt in list(asking.sealer.attempts):
            attempt.cut()
        asking.way.takes_s = TAKES_S
        assert isinstance(await task, Page)
        assert asking.asker.retries == {"timeout": 1}

    run_virtually(main)


def test_whoever_is_cancelled_from_outside_stays_cancelled() -> None:
    async def main() -> None:
        asking = Asking(page())
        asking.way.takes_s = 1_000.0
        task = asyncio.create_task(asking.page())
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asking.way.at) == 1

    run_virtually(main)
