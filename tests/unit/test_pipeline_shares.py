"""One limit, several parties: the promise to the vendor over all of them, on virtual time.

The real shares and the real paces; orders and reports that are late by up to nine seconds, workers
that are given up while they go on, wishes that change at will.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from math import inf

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harvester.pipeline.limits.pace import LeasedPace
from harvester.pipeline.limits.shares import LEASE_S, SECOND_NS, Party, Shares
from tests.support.virtual_time import run_virtually, virtual_loop
from tests.unit.test_pipeline_pace import most_in_a_second

GIVEN_UP_AFTER_S = 10.0


class RaisesAtOnce(Shares):
    """Rule 1 left out."""

    def order(self, party: Party, now_ns: float) -> float:
        share = self._targets()[party]
        party.hold(share, now_ns)
        return share


class CountsTheNewShare(Shares):
    """Rule 2 left out."""

    def order(self, party: Party, now_ns: float) -> float:
        share = super().order(party, now_ns)
        party._holds = party._holds[-1:]
        return share


class ForgetsTheDead(Shares):
    """Rule 3 left out."""

    def leave(self, party: Party) -> None:
        super().leave(party)
        self._parties.remove(party)


class Trial:
    """Some seconds of an owner and its workers."""

    def __init__(
        self, make: Callable[[float], Shares], limit: float, workers: int, seed: int
    ) -> None:
        self._dice = random.Random(seed)
        self._loop = virtual_loop()
        self._shares = make(limit)
        self._limit = limit
        self._workers = workers
        self.sent: list[float] = []
        self.most_held = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self, seconds: float) -> None:
        """The whole of it."""
        local = LeasedPace(opens_at=self._loop.time())
        self._send_with(local)
        self._begin(self._keep_local(local))
        for _ in range(self._workers):
            self._begin(self._serve())
        self._begin(self._change_wishes())
        await asyncio.sleep(seconds)
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        assert not [end for end in ends if isinstance(end, Exception)]

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    def _now_ns(self) -> int:
        return int(self._loop.time() * SECOND_NS)

    def _send_with(self, pace: LeasedPace) -> None:
        for _ in range(4):
            self._begin(self._send(pace))

    async def _send(self, pace: LeasedPace) -> None:
        while True:
            await pace.turn()
            self.sent.append(self._loop.time())

    async def _keep_local(self, pace: LeasedPace) -> None:
        while True:
            pace.lease(self._shares.order(self._shares.local, self._now_ns()), inf)
            self.most_held = max(self.most_held, self._shares.held(self._now_ns()))
            await asyncio.sleep(self._dice.uniform(0.05, 0.5))

    async def _change_wishes(self) -> None:
        while True:
            await asyncio.sleep(self._dice.uniform(0.2, 8.0))
            party = self._dice.choice([p for p in self._shares._parties if p.is_there])
            party.wants = self._dice.choice([0.0, inf, self._dice.uniform(0, self._limit)])

    async def _serve(self) -> None:
        """One link: a worker after the other, each given up sooner or later."""
        while True:
            party = self._shares.join()
            pace = LeasedPace(opens_at=self._loop.time())
            self._send_with(pace)
            await self._serve_one(party, pace, self._dice.uniform(0.5, 25.0))
            self._shares.leave(party)

    async def _serve_one(self, party: Party, pace: LeasedPace, lives_s: float) -> None:
        ends, heard = self._loop.time() + lives_s, self._loop.time()
        while self._loop.time() < ends:
            share = self._shares.order(party, self._now_ns())
            self.most_held = max(self.most_held, self._shares.held(self._now_ns()))
            answered: asyncio.Future[float] = self._loop.create_future()
            # It goes on by itself when nobody waits for it any more.
            self._begin(self._exchange(pace, share, heard + LEASE_S, answered))
            try:
                async with asyncio.timeout(
                    GIVEN_UP_AFTER_S if self._dice.random() < 0.9 else self._dice.random()
                ):
                    heard = await answered
            except TimeoutError:
                return
            self._shares.reported(party, self._now_ns())

    async def _exchange(
        self, pace: LeasedPace, share: float, until: float, answered: asyncio.Future[float]
    ) -> None:
        await asyncio.sleep(self._late_s())
        pace.lease(share, until)
        await asyncio.sleep(self._dice.uniform(0.0, 0.1))
        written = self._loop.time()
        await asyncio.sleep(self._late_s())
        if not answered.done():
            answered.set_result(written)

    def _late_s(self) -> float:
        return self._dice.choice((0.0, 0.001, 0.05, self._dice.uniform(0, 1.5), self._rarely()))

    def _rarely(self) -> float:
        return self._dice.uniform(0, 9.0) if self._dice.random() < 0.3 else 0.01


def trial(make: Callable[[float], Shares], limit: float, workers: int, seed: int) -> Trial:
    async def main() -> Trial:
        one = Trial(make, limit, workers, seed)
        await one.run(min(40.0, 4000 / limit))
        return one

    return run_virtually(main)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    limit=st.one_of(st.integers(2, 60).map(float), st.floats(2.0, 600.0)),
    workers=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
def test_all_parties_together_never_send_more_than_the_limit_in_any_second(
    limit: float, workers: int, seed: int
) -> None:
    one = trial(Shares, limit, workers, seed)
    assert one.most_held <= limit + 1e-6
    assert most_in_a_second(one.sent) <= limit


@pytest.mark.parametrize("broken", [RaisesAtOnce, CountsTheNewShare, ForgetsTheDead])
def test_each_of_the_three_rules_is_needed(broken: type[Shares]) -> None:
    worst = (most_in_a_second(trial(broken, 100.0, 3, seed).sent) for seed in range(20))
    assert any(most > 100 for most in worst)


def settled(limit: float, wishes: list[float]) -> tuple[float, list[float]]:
    """What the owner and its workers have after ten seconds of the same wishes."""
    shares = Shares(limit)
    parties = [shares.join() for _ in wishes]
    for party, wish in zip(parties, wishes, strict=True):
        party.wants = wish
    shares.local.wants = shares.local.least
    for tenth in range(100):
        now_ns = tenth * SECOND_NS // 10
        shares.order(shares.local, now_ns)
        for party in parties:
            shares.order(party, now_ns)
            shares.reported(party, now_ns)
    assert shares.held(now_ns) <= limit
    return shares.local.share, [party.share for party in parties]


@pytest.mark.parametrize(
    ("limit", "wishes", "local", "workers"),
    [
        (1000.0, [inf, inf], 50.0, [475.0, 475.0]),
        (1000.0, [inf, 200.0], 50.0, [750.0, 200.0]),
        (50.0, [inf, inf], 2.0, [24.0, 24.0]),
        (10.0, [inf] * 4, 1.0, [3.0, 2.0, 2.0, 2.0]),
        (3.0, [inf] * 4, 1.0, [1.0, 1.0, 0.0, 0.0]),
        (1000.0, [inf, 0.0], 50.0, [950.0, 0.0]),
        (1000.0, [200.0, 100.0], 50.0, [525.0, 425.0]),  # what nobody wants, in equal parts
    ],
)
def test_the_limit_is_parted_by_what_each_can_use(
    limit: float, wishes: list[float], local: float, workers: list[float]
) -> None:
    assert settled(limit, wishes) == (local, workers)


def test_no_more_workers_than_the_limit_has_shares_for() -> None:
    assert [Shares(rate).most_workers for rate in (0.5, 1.0, 2.5, 10.0)] == [0, 0, 1, 9]


# The three rules, one by one, on a clock that is set by hand


def ns(seconds: float) -> int:
    return int(seconds * SECOND_NS)


def test_a_share_counts_until_its_lease_is_over_and_a_second_more() -> None:
    worker = Party(is_leased=True)
    worker.hold(50.0, ns(10))
    assert (worker.share, worker.since_ns) == (50.0, ns(10))
    worker.hold(50.0, ns(10.5))
    assert worker.since_ns == ns(10), "it is the same since then"
    assert worker.held(ns(13.5) - 1) == 50
    assert worker.held(ns(13.5)) == 0


def test_a_lowered_share_counts_until_a_second_after_the_report_that_answers_the_order() -> None:
    worker = Party(is_leased=True)
    worker.hold(60.0, ns(0))
    worker.hold(50.0, ns(0.5))
    worker.hold(20.0, ns(1))
    assert worker.held(ns(1.5)) == 60, "it may not have heard of the order"
    worker.obeyed(ns(1.5), but_last=True)
    assert [worker.held(ns(at)) for at in (2.4, 2.5, 3.9, 4.0)] == [60, 20, 20, 0]


def test_a_report_makes_no_lease_longer() -> None:
    worker = Party(is_leased=True)
    worker.hold(50.0, ns(0))
    worker.hold(20.0, ns(2.5))
    worker.obeyed(ns(2.9), but_last=True)
    assert [worker.held(ns(at)) for at in (2.95, 3.0)] == [50, 20]


def test_what_the_owner_gives_itself_holds_for_ever_and_what_it_had_for_a_second() -> None:
    owner = Party(is_leased=False)
    owner.hold(50.0, ns(0))
    assert owner.held(ns(1e6)) == 50
    owner.hold(20.0, ns(2e6))
    assert [owner.held(ns(2e6 + after)) for after in (0.9, 1.0, 1e6)] == [50, 20, 20]


@pytest.mark.parametrize(("limit", "share"), [(100.0, 95.0), (2.0, 1.0)])
def test_what_a_dead_worker_held_is_given_to_nobody_until_its_lease_is_over(
    limit: float, share: float
) -> None:
    shares = Shares(limit)
    shares.local.wants = shares.local.least
    dead = shares.join()
    assert shares.order(shares.local, ns(0)) == limit - share
    assert shares.order(dead, ns(0)) == share
    shares.leave(dead)
    successor = shares.join()
    assert [shares.order(successor, ns(at)) for at in (0, 1.5, 2.9, 3.0)] == [0, 0, 0, share]
    assert shares.held(ns(3.0)) == limit


def test_a_share_is_raised_only_by_what_nobody_holds_any_more() -> None:
    shares = Shares(100.0)
    first, second = shares.join(), shares.join()
    second.wants = 0.0
    shares.local.wants = shares.local.least
    shares.order(shares.local, ns(0))
    assert shares.order(first, ns(0)) == 95
    second.wants = inf
    assert shares.order(first, ns(1)) == 47.5
    assert shares.order(second, ns(1)) == 0, "the first one may not have heard of it"
    shares.reported(first, ns(1.2))
    assert shares.order(second, ns(2.1)) == 0, "nor is a second over since then"
    assert shares.order(second, ns(2.2)) == 47.5
    assert first.held(ns(3.9)) == 47.5, "the report ends what it had before, not its lease"


def test_a_share_stays_for_a_second_and_no_longer_than_its_party_can_use_it() -> None:
    shares = Shares(100.0)
    worker = shares.join()
    shares.local.wants = shares.local.least
    assert shares.order(worker, ns(0)) == 95
    shares.local.wants, worker.wants = inf, 45.0
    assert [shares.order(worker, ns(at)) for at in (0.9, 1.0)] == [95, 45]


def test_a_small_change_of_what_is_wanted_changes_no_share() -> None:
    shares = Shares(100.0)
    worker = shares.join()
    assert [shares.order(party, ns(0)) for party in (shares.local, worker)] == [50, 50]
    seen = []
    for at, worker.wants in enumerate([48.0, 47.0, 49.0, inf], 1):
        seen.append(shares.order(worker, ns(at)))
    assert seen == [50, 47, 47, 50], "a twentieth is small"


def test_a_little_that_can_be_had_of_more_that_is_wanted_changes_no_share_either() -> None:
    shares = Shares(100.0)
    worker = shares.join()
    worker.wants = 46.0
    assert shares.order(worker, ns(0)) == 46
    worker.wants = 47.0
    assert shares.order(shares.local, ns(0)) == 53
    worker.wants = inf
    assert shares.order(worker, ns(1)) == 46, "50 were its part, 47 are free"


def test_who_comes_back_after_its_lease_was_over_gets_what_is_free_though_it_had_more() -> None:
    shares = Shares(1000.0)
    late, other = shares.join(), shares.join()
    everybody = (shares.local, other, late)
    assert [shares.order(party, ns(0)) for party in everybody] == pytest.approx([1000 / 3] * 3)
    late.wants = 290.0
    assert [shares.order(party, ns(3)) for party in (other, shares.local)] == [355, 355]
    late.wants = inf
    assert shares.order(late, ns(3)) == 290
    assert shares.held(ns(3)) == 1000


def test_a_lease_that_is_over_gives_no_turn_until_it_is_renewed() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        pace, times = LeasedPace(opens_at=loop.time()), []
        began = loop.time()
        pace.lease(50.0, began + LEASE_S)

        async def send() -> None:
            while True:
                await pace.turn()
                times.append(loop.time() - began)

        sending = asyncio.create_task(send())
        await asyncio.sleep(5.0)
        pace.lease(50.0, loop.time() + LEASE_S)
        await asyncio.sleep(5.0)
        sending.cancel()
        return times

    times = run_virtually(main)
    assert not [at for at in times if LEASE_S <= at < 5.0 or at >= 5.0 + LEASE_S]
    assert len([at for at in times if at < LEASE_S]) >= 90
    assert len([at for at in times if at >= 5.0]) >= 90
