"""The promise to the vendor, on virtual time with the real aiolimiter."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harvester.pipeline.limits.pace import LeasedPace, Pace, bucket_shape
from tests.support.virtual_time import run_virtually, virtual_loop

pytestmark = pytest.mark.filterwarnings("error")

RATES = st.one_of(
    st.floats(0.2, 40.0),
    st.integers(1, 60).map(float),
    st.floats(40.0, 5000.0),
)
JUST_UNDER_A_SECOND = 1.0 - 1e-9  # additions of a few microseconds leave dust in a float clock


def most_in_a_second(times: list[float]) -> int:
    """The most turns in any sliding second, its end left out."""
    return max(
        (bisect_left(times, at + JUST_UNDER_A_SECOND) - first for first, at in enumerate(times)),
        default=0,
    )


def assert_promise_kept(times: list[float], rate: float) -> None:
    assert times == sorted(times)
    if rate >= 1:
        assert most_in_a_second(times) <= rate
    else:
        gaps = [b - a for a, b in pairwise(times)]
        assert min(gaps, default=1 / rate) >= 1 / rate - 1e-9


class Crowd:
    """Workers that take turn after turn and write down when."""

    def __init__(self, pace: Pace, workers: int, pause: random.Random | None = None) -> None:
        self.pace = pace
        self.times: list[float] = []
        self.by_worker = [0] * workers
        self._dice = pause
        self._tasks = [asyncio.create_task(self._work(no)) for no in range(workers)]

    async def _work(self, no: int) -> None:
        while True:
            await self.pace.turn()
            self.times.append(asyncio.get_running_loop().time())
            self.by_worker[no] += 1
            if self._dice is not None:
                await asyncio.sleep(self._dice.choice((0.0, 0.0, 0.05, 0.9)))

    def cancel_some(self, dice: random.Random) -> None:
        """Cut workers off wherever they wait, and put new ones in their places."""
        for at in range(len(self._tasks)):
            if dice.random() < 0.3:
                self._tasks[at].cancel()
                self._tasks[at] = asyncio.create_task(self._work(at))

    async def go_home(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def measure(
    rate: float, *, seconds: float, workers: int = 8, late: Callable[[], float] | None
) -> list[float]:
    """The times of all turns while there is always work."""

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        crowd = Crowd(Pace(rate, opens_at=loop.time()), workers)
        await asyncio.sleep(seconds)
        await crowd.go_home()
        return crowd.times

    return run_virtually(main, lateness=late)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    rate=RATES,
    workers=st.integers(1, 200),
    seed=st.integers(0, 2**32),
    incidents=st.lists(
        st.tuples(
            st.floats(0.0, 3.0),
            st.sampled_from(["throttled", "retry_after", "no_pause", "busy", "calm", "cut_off"]),
        ),
        max_size=12,
    ),
    late=st.booleans(),
)
def test_no_sliding_second_holds_more_turns_than_the_limit_whatever_happens(
    rate: float, workers: int, seed: int, incidents: list[tuple[float, str]], late: bool
) -> None:
    dice = random.Random(seed)

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        pace = Pace(rate, opens_at=loop.time() + 0.5)
        crowd = Crowd(pace, workers, dice if dice.random() < 0.5 else None)
        for wait_s, what in incidents:
            # As many turns as a test can afford, at 5000 a second as at 1.
            await asyncio.sleep(min(wait_s, 3000 / rate))
            match what:
                case "throttled":
                    pace.slow_down(None)
                case "retry_after":
                    pace.slow_down(dice.uniform(0, 20))
                case "no_pause":
                    pace.slow_down(0.0)
                case "busy":
                    for _ in range(30):
                        pace.note(asyncio.get_running_loop().time(), busy=dice.random() < 0.4)
                case "cut_off":
                    crowd.cancel_some(dice)
                case _:
                    for _ in range(30):
                        pace.note(asyncio.get_running_loop().time(), busy=False)
        await asyncio.sleep(min(40.0, 6000 / rate))
        await crowd.go_home()
        return crowd.times

    times = run_virtually(main, lateness=(lambda: dice.random() * 0.001) if late else None)
    assert_promise_kept(times, rate)


@pytest.mark.parametrize(
    "rate", [1, 2, 3, 7, 10, 15, 25, 39, 40, 41, 50, 63, 200, 1000, 3000, 5000]
)
@pytest.mark.parametrize("late", ["punctual", "up to 1 ms late", "always 1 ms late"])
def test_at_least_95_percent_of_the_limit_is_used_while_there_is_work(rate: int, late: str) -> None:
    dice = random.Random(rate)
    lateness = {
        "punctual": None,
        "up to 1 ms late": lambda: dice.random() * 0.001,
        "always 1 ms late": lambda: 0.001,
    }
    seconds = max(10.0, min(120.0, 3000 / rate))
    times = measure(rate, seconds=seconds, late=lateness[late])
    assert len(times) >= 0.95 * rate * seconds
    assert_promise_kept(times, rate)


@settings(deadline=None, max_examples=120)
@given(rate=st.floats(0.05, 10_000))
def test_the_bucket_holds_no_more_than_the_limit_by_arithmetic_alone(rate: float) -> None:
    capacity, leak = bucket_shape(rate)
    assert capacity >= 1
    assert leak > 0
    # Turn n + 1 comes no sooner than a second after turn 1; 5 ms stay for the way to the socket.
    n = int(rate) if rate >= 1 else 1
    span = 1.0 if rate >= 1 else 1 / rate
    assert (n + 1 - capacity) / leak >= span + 0.005


def test_no_turn_is_given_before_the_pace_opens() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        start = loop.time()
        crowd = Crowd(Pace(1000, opens_at=start + 1.0), 50)
        await asyncio.sleep(1.2)
        await crowd.go_home()
        return crowd.times[0] - start

    assert run_virtually(main) >= 1.0


def test_a_push_back_lowers_the_pace_by_30_percent_at_most_once_in_5_seconds() -> None:
    async def main() -> list[float]:
        pace = Pace(100, opens_at=0)
        seen = []
        for wait_s in (0.0, 1.0, 3.9, 0.1, 4.9, 0.2):
            await asyncio.sleep(wait_s)
            pace.slow_down(0.0)
            seen.append(round(pace.rate_per_s, 6))
        return seen

    assert run_virtually(main) == [70, 70, 70, 49, 49, 34.3]


@pytest.mark.parametrize(("rate", "floor"), [(1000.0, 100.0), (50.0, 5.0), (4.0, 1.0), (0.5, 0.5)])
def test_push_back_never_lowers_under_a_tenth_of_the_limit_or_one_a_second(
    rate: float, floor: float
) -> None:
    async def main() -> float:
        pace = Pace(rate, opens_at=0)
        for _ in range(30):
            pace.slow_down(0.0)
            await asyncio.sleep(5.0)
        return pace.rate_per_s

    assert run_virtually(main) == pytest.approx(floor)


@pytest.mark.parametrize("rate", [20, 50, 1000])
@pytest.mark.parametrize("throttled", [1, 8])
def test_the_pace_is_back_within_30_seconds_of_the_push_backs_end(
    rate: int, throttled: int
) -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        pace = Pace(rate, opens_at=0)
        crowd = Crowd(pace, 20)
        for _ in range(throttled):
            pace.slow_down(3.0)
            await asyncio.sleep(5.0)
        pace.slow_down(30.0)
        await asyncio.sleep(30.0)
        end = loop.time()
        await asyncio.sleep(40.0)
        await crowd.go_home()
        assert_promise_kept(crowd.times, rate)
        return sum(end + 30 <= at < end + 40 for at in crowd.times)

    assert run_virtually(main) >= 0.95 * rate * 10


def test_a_push_back_closes_the_pace_for_as_long_as_it_says_and_the_longest_counts() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        pace = Pace(50, opens_at=0)
        crowd = Crowd(pace, 20)
        await asyncio.sleep(1.0)
        start = loop.time()
        pace.slow_down(10.0)
        pace.slow_down(2.0)
        await asyncio.sleep(15.0)
        await crowd.go_home()
        return [at - start for at in crowd.times if at > start]

    assert min(run_virtually(main)) >= 10.0


@pytest.mark.parametrize(
    ("busy", "answers", "lowered"),
    [(5, 20, False), (6, 20, True), (19, 19, False), (20, 80, False), (21, 80, True)],
)
def test_the_pace_goes_down_when_over_a_quarter_of_at_least_20_answers_are_busy(
    busy: int, answers: int, lowered: bool
) -> None:
    async def main() -> float:
        pace = Pace(100, opens_at=0)
        for _ in range(answers - busy):
            pace.note(asyncio.get_running_loop().time(), busy=False)
        for _ in range(busy):
            pace.note(asyncio.get_running_loop().time(), busy=True)
        return pace.rate_per_s

    assert (run_virtually(main) < 100) == lowered


def test_busy_answers_of_6_seconds_ago_are_forgotten() -> None:
    async def main() -> float:
        pace = Pace(100, opens_at=0)
        for _ in range(19):
            pace.note(asyncio.get_running_loop().time(), busy=True)
        await asyncio.sleep(6)
        for _ in range(20):
            pace.note(asyncio.get_running_loop().time(), busy=False)
        pace.note(asyncio.get_running_loop().time(), busy=True)
        return pace.rate_per_s

    assert run_virtually(main) == 100


@pytest.mark.parametrize("between", [False, True])
@pytest.mark.parametrize(("ago_s", "rate"), [(4, 70), (5, 100)])
def test_busy_answers_count_for_5_seconds(ago_s: int, rate: int, between: bool) -> None:
    """Also where others came every second since: 19 and one are the 20 that slow it down."""

    async def main() -> float:
        pace = Pace(100, opens_at=0)
        began = virtual_loop().time()
        for _ in range(19):
            pace.note(began, busy=True)
        for second in range(1, ago_s if between else 1):
            pace.note(began + second, busy=False)
        pace.note(began + ago_s, busy=True)
        return pace.rate_per_s

    assert run_virtually(main) == rate


@pytest.mark.parametrize(("pause_s", "calm_s"), [(0.0, 5.0), (20.0, 20.0)])
def test_after_5_seconds_of_calm_it_climbs_evenly_for_12(pause_s: float, calm_s: float) -> None:
    async def main() -> list[float]:
        pace, seen = Pace(100, opens_at=0), []
        began = virtual_loop().time()
        pace.slow_down(pause_s)
        for after_s in (calm_s, calm_s + 4.0, calm_s + 8.0, calm_s + 12.0, calm_s + 20.0):
            await asyncio.sleep(began + after_s - 0.1 - virtual_loop().time())
            await pace.turn()
            seen.append(pace.rate_per_s)
        return seen

    # The first of these turns waits until the pace opens, and the last ones see the whole limit.
    assert run_virtually(main) == pytest.approx([70, 80, 90, 100, 100], abs=0.5)


def test_while_it_climbs_as_many_turns_are_given_as_its_rate_says() -> None:
    async def main() -> int:
        pace = Pace(100, opens_at=0)
        began = virtual_loop().time()
        pace.slow_down(0.0)
        crowd = Crowd(pace, 20)
        await asyncio.sleep(17.0)
        await crowd.go_home()
        return sum(at >= began + 5.0 for at in crowd.times)

    assert run_virtually(main) >= 0.9 * 12 * 85, "from 70 a second to 100, within 12 s"


def test_a_push_back_that_names_no_time_closes_for_a_second() -> None:
    async def main() -> list[float]:
        pace = Pace(100, opens_at=0)
        pace.slow_down(None)
        closed_s = [pace.closed_for_s]
        pace.slow_down(3.0)
        return [*closed_s, pace.closed_for_s, pace.throttled]

    assert run_virtually(main) == pytest.approx([1.0, 3.0, 2])


def test_workers_cut_off_while_they_wait_cost_the_others_no_turn() -> None:
    async def main() -> int:
        dice = random.Random(7)
        crowd = Crowd(Pace(100, opens_at=0), 40)
        for _ in range(200):
            await asyncio.sleep(0.05)
            crowd.cancel_some(dice)
        await crowd.go_home()
        return len(crowd.times)

    assert run_virtually(main) >= 0.95 * 100 * 10


def test_turns_go_round_fairly() -> None:
    async def main() -> list[int]:
        crowd = Crowd(Pace(100, opens_at=0), 20)
        await asyncio.sleep(20)
        await crowd.go_home()
        return crowd.by_worker

    counts = run_virtually(main)
    assert max(counts) - min(counts) <= 3


def leased(share_per_s: float) -> LeasedPace:
    pace = LeasedPace(opens_at=0)
    pace.lease(share_per_s, float("inf"))
    return pace


@pytest.mark.parametrize("make", [lambda rate: Pace(rate, opens_at=0), leased])
@pytest.mark.parametrize("rate", [1.0, 50.0, 800.0, 5000.0])
def test_no_more_than_a_handful_is_saved_up(rate: float, make: Callable[[float], Pace]) -> None:
    async def main() -> int:
        pace = make(rate)
        await pace.turn()
        await asyncio.sleep(5.0)
        taken, began = 0, asyncio.get_running_loop().time()
        while True:
            await pace.turn()
            if asyncio.get_running_loop().time() > began:
                return taken
            taken += 1

    capacity, leak = bucket_shape(rate)
    taken = run_virtually(main)
    assert 1 <= taken <= 1.25 * capacity
    assert taken + int(leak) <= rate, "what follows them in the same second counts too"


@pytest.mark.parametrize("make", [lambda rate: Pace(rate, opens_at=0), leased])
@pytest.mark.parametrize(
    ("rate", "handful"), [(50.0, 1), (799.0, 3), (800.0, 4), (3000.0, 15), (5000.0, 16)]
)
def test_a_handful_is_half_a_per_cent_of_the_rate_and_16_turns_at_most(
    rate: float, handful: int, make: Callable[[float], Pace]
) -> None:
    async def main() -> int:
        pace = make(rate)
        taken = 0
        for _ in range(2):
            await pace.turn()
            taken = 1
            while pace.take():
                taken += 1
            await asyncio.sleep(5.0)
        return taken

    assert run_virtually(main) == handful


def test_a_push_back_takes_the_handful_away() -> None:
    async def main() -> list[bool]:
        pace = Pace(5000, opens_at=0)
        await pace.turn()
        before = pace.take()
        pace.slow_down(0.0)
        return [before, pace.take()]

    assert run_virtually(main) == [True, False]


@pytest.mark.parametrize("rate", [1, 50, 100, 800, 5000])
def test_an_idle_pace_saves_up_no_turns(rate: int) -> None:
    async def main() -> list[float]:
        pace = Pace(rate, opens_at=0)
        crowd = Crowd(pace, 100)
        await asyncio.sleep(2)
        await crowd.go_home()
        await asyncio.sleep(3600)
        again = Crowd(pace, 100)
        await asyncio.sleep(2)
        await again.go_home()
        return again.times

    assert_promise_kept(run_virtually(main), rate)


def test_the_pace_is_open_once_it_was_waited_for_and_until_a_push_back() -> None:
    async def main() -> list[bool]:
        pace = Pace(100, opens_at=asyncio.get_running_loop().time() + 1)
        seen = [pace.is_open]
        await pace.opened()
        seen.append(pace.is_open)
        pace.slow_down(5)
        seen.append(pace.is_open)
        await pace.opened()
        return [*seen, pace.is_open]

    assert run_virtually(main) == [False, True, False, True]


def test_who_waits_for_a_turn_while_the_pace_is_closed_anew_waits_until_it_opens() -> None:
    async def main() -> float:
        pace = Pace(2, opens_at=0)
        pace.slow_down(0.0)
        await pace.turn()
        waiting = asyncio.create_task(pace.turn())
        await asyncio.sleep(0.1)
        # Within 5 s of the first: the rate stays, and with it the bucket that is waited in.
        pace.slow_down(10.0)
        closed_at = virtual_loop().time()
        await waiting
        return virtual_loop().time() - closed_at

    assert run_virtually(main) >= 10.0


# A share of the limit, for a while


def test_only_another_share_is_news_and_without_one_the_rate_is_0() -> None:
    async def main() -> None:
        pace, soon = LeasedPace(opens_at=0), virtual_loop().time() + 2.0
        assert pace.rate_per_s == 0
        told = [pace.lease(share, soon) for share in (50.0, 50.0, 0.0, 50.0, 25.0)]
        assert told == [True, False, False, False, True]
        assert pace.rate_per_s == 25
        assert not pace.lease(0.0, soon)
        assert pace.rate_per_s == 0
        pace.lease(0.5, soon)
        assert pace.rate_per_s == 0.5
        await asyncio.sleep(2.0)
        assert pace.rate_per_s == 0, "the lease is over"

    run_virtually(main)


def test_a_worker_tells_what_it_met_itself_and_heeds_what_others_met() -> None:
    async def main() -> None:
        pace = leased(100.0)
        assert (pace.is_lowered, pace.pushed_back) == (False, 0)
        pace.heed(3.0)
        assert pace.closed_for_s == pytest.approx(3.0)
        assert (pace.rate_per_s, pace.is_lowered, pace.pushed_back) == (70, True, 0)
        pace.slow_down(7.0)
        assert pace.closed_for_s == pytest.approx(7.0, abs=0.01)
        assert (pace.rate_per_s, pace.pushed_back, pace.throttled) == (70, 1, 1)
        assert pace.lease(50.0, float("inf"))
        assert (pace.rate_per_s, pace.is_lowered) == (35, True), "push-back outlasts a share"

    run_virtually(main)


@pytest.mark.parametrize(("share", "floor"), [(1000.0, 100.0), (4.0, 1.0), (0.5, 0.5)])
def test_a_share_is_lowered_no_further_than_a_limit(share: float, floor: float) -> None:
    async def main() -> float:
        pace = leased(share)
        for _ in range(30):
            pace.slow_down(0.0)
            await asyncio.sleep(5.0)
        return pace.rate_per_s

    assert run_virtually(main) == pytest.approx(floor)


def test_while_there_is_no_share_the_pace_is_seen_to_be_closed() -> None:
    async def main() -> list[bool]:
        pace = LeasedPace(opens_at=0)
        waiting = asyncio.create_task(pace.opened())
        await asyncio.sleep(1.0)
        seen = [pace.is_open, waiting.done()]
        pace.lease(0.0, float("inf"))
        await asyncio.sleep(1.0)
        seen += [pace.is_open, waiting.done()]
        pace.lease(10.0, virtual_loop().time() + 5.0)
        await asyncio.sleep(0.0)
        await waiting
        seen.append(pace.is_open)
        await asyncio.sleep(5.0)
        waiting = asyncio.create_task(pace.opened())
        await asyncio.sleep(0.1)
        seen.append(pace.is_open)
        pace.lease(10.0, float("inf"))
        pace.close(3.0)
        before = virtual_loop().time()
        await waiting
        assert virtual_loop().time() >= before + 2.9, "a renewed lease opens no closed pace"
        return seen

    assert run_virtually(main) == [False, False, False, False, True, False]


def test_a_closed_pace_is_waited_for_though_there_is_a_share() -> None:
    async def main() -> float:
        pace, began = leased(10.0), virtual_loop().time()
        pace.close(3.0)
        await pace.opened()
        assert pace.is_open
        return virtual_loop().time() - began

    assert run_virtually(main) >= 3.0
