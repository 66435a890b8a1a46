"""Turn and signature of an attempt: taken at the last moment, counted once, and given back."""

from __future__ import annotations

import asyncio

import pytest

from harvester.client.clock import VendorClock
from harvester.client.sign import signed_headers
from harvester.errors import Interrupted
from harvester.pipeline.engine.sealer import ROOM_TO_SPARE, Attempt, Sealer
from harvester.pipeline.engine.shutdown import CutOff, Stop
from harvester.pipeline.limits.pace import Pace
from tests.support.fakes import SECRETS
from tests.support.virtual_time import run_virtually, virtual_loop

NOW = 1_800_000_000.0


class Sealing:
    """A sealer and all that it needs."""

    def __init__(
        self, rate_per_s: float = 1000.0, concurrency: int = 4, opens_in_s: float = 0.0
    ) -> None:
        loop = virtual_loop()
        self.began = loop.time()
        self.stop = Stop()
        self.requests = 0
        self.clock = VendorClock(lambda: NOW + loop.time() - self.began, loop.time)
        self.pace = Pace(rate_per_s, opens_at=self.began + opens_in_s)
        self.sealer = Sealer(
            SECRETS, self.pace, self.clock, self.stop, self._count, concurrency=concurrency
        )

    def _count(self) -> None:
        self.requests += 1

    async def sealed(self) -> dict[str, str]:
        """As a transport calls it."""
        headers = self.sealer.seal()
        return headers if isinstance(headers, dict) else await headers

    @property
    def now(self) -> float:
        return virtual_loop().time() - self.began


def test_an_attempt_is_under_way_from_its_seal_on_and_signed_by_the_clock_of_that_moment() -> None:
    async def main() -> None:
        one = Sealing(opens_in_s=7.0)
        attempt = await one.sealer.enter()
        assert not attempt.is_under_way
        assert one.requests == 0
        assert await one.sealed() == signed_headers(SECRETS, int(NOW) + 7)
        assert attempt.is_under_way
        assert one.requests == 1

    run_virtually(main)


def test_headers_are_made_anew_with_each_second_and_only_then() -> None:
    async def main() -> None:
        one = Sealing()
        await one.sealer.enter()
        first = await one.sealed()
        assert await one.sealed() is first
        await asyncio.sleep(1.0)
        assert await one.sealed() == signed_headers(SECRETS, int(NOW) + 1)
        assert one.requests == 3

    run_virtually(main)


def test_what_waits_for_its_turn_anew_is_not_under_way() -> None:
    """A transport repeats a request whose connection was dead: the first one is over."""

    async def main() -> None:
        one = Sealing(rate_per_s=1.0)
        attempt = await one.sealer.enter()
        await one.sealed()
        assert attempt.is_under_way
        repeat = asyncio.ensure_future(one.sealed())
        await asyncio.sleep(0.3)
        # The repeat runs in a task that has a copy of this one's context, so the same attempt.
        assert not repeat.done()
        assert not attempt.is_under_way
        await repeat
        assert attempt.is_under_way

    run_virtually(main)


def test_each_request_has_looks_of_its_own() -> None:
    async def main() -> None:
        one = Sealing()
        attempt = await one.sealer.enter()
        await one.sealed()
        attempt.looks = 11
        again = await one.sealer.enter()
        assert again is attempt, "a worker's attempts follow one another"
        assert not again.is_under_way
        await one.sealed()
        assert attempt.looks == 0

    run_virtually(main)


def test_once_stopped_nothing_is_signed_and_nothing_counted() -> None:
    async def main() -> None:
        one = Sealing(rate_per_s=1.0)
        await one.sealer.enter()
        await one.sealed()
        waits = asyncio.ensure_future(one.sealed())
        await asyncio.sleep(0.1)
        one.stop.stop(Interrupted("enough"))
        with pytest.raises(CutOff):
            await waits
        assert one.requests == 1

    run_virtually(main)


def test_a_worker_is_busy_from_the_write_on() -> None:
    async def main() -> None:
        one = Sealing(opens_in_s=1.0)
        with one.stop.enlisted() as worker:
            await one.sealer.enter()
            assert not worker.is_busy
            await one.sealed()
            assert worker.is_busy

    run_virtually(main)


def test_as_many_take_a_connection_as_get_their_turn_in_a_second_and_a_few_more() -> None:
    async def main() -> None:
        one = Sealing(rate_per_s=2.0, concurrency=64)
        entered: list[float] = []

        async def ask() -> None:
            await one.sealer.enter()
            entered.append(one.now)
            await one.sealed()

        asking = [asyncio.create_task(ask()) for _ in range(9)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        # The first had its turn at once, and left.
        assert len(entered) == 1 + 2 + ROOM_TO_SPARE
        await asyncio.gather(*asking)
        # Each that has its turn lets another one in.
        assert one.requests == 9
        assert one.now == pytest.approx(4.0, abs=0.3)

    run_virtually(main)


def test_who_gives_up_before_its_turn_leaves_its_place_to_another() -> None:
    async def main() -> None:
        one = Sealing(rate_per_s=1.0, concurrency=64)
        for _ in range(3 * (1 + ROOM_TO_SPARE)):
            async with asyncio.timeout(0.1):
                attempt = await one.sealer.enter()
            assert attempt.place is not None
            one.sealer.leave(attempt)
            assert attempt.place is None
        assert one.requests == 0

    run_virtually(main)


def test_where_all_connections_get_their_turn_nobody_waits_for_a_place() -> None:
    async def main() -> None:
        one = Sealing(rate_per_s=1000.0, concurrency=64)
        assert one.sealer.enter_at_once() is None, "the pace was not seen to be open yet"
        attempt = await one.sealer.enter()
        assert attempt.place is None
        assert one.sealer.enter_at_once() is attempt
        one.pace.close(5.0)
        assert one.sealer.enter_at_once() is None
        scarce = Sealing(rate_per_s=1.0, concurrency=64)
        await scarce.sealer.enter()
        assert scarce.sealer.enter_at_once() is None

    run_virtually(main)


def test_only_what_the_alarm_has_cut_goes_on_and_only_once() -> None:
    async def main() -> None:
        ends: list[bool] = []
        made: list[Attempt] = []

        async def ask() -> None:
            attempt = Attempt()
            made.append(attempt)
            for _ in range(2):
                try:
                    await asyncio.sleep(100)
                except asyncio.CancelledError:
                    ends.append(attempt.was_cut())
                    if not ends[-1]:
                        raise

        asking = asyncio.create_task(ask())
        await asyncio.sleep(1)
        made[0].looks = 12
        made[0].cut()
        await asyncio.sleep(1)
        assert made[0].looks == 0
        assert ends == [True]
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert ends == [True, False]
        both = asyncio.create_task(ask())
        await asyncio.sleep(1)
        made[1].cut()
        both.cancel()
        with pytest.raises(asyncio.CancelledError):
            await both
        assert ends == [True, False, False], "somebody else wants it to end as well"

    run_virtually(main)


def test_what_was_sent_is_hidden_in_what_came() -> None:
    async def main() -> None:
        one = Sealing()
        await one.sealer.enter()
        headers = await one.sealed()
        said = f"no {headers['Sign']} of {SECRETS.api_secret}".encode()
        assert one.sealer.hide(said) == b"no [signature] of [secret]"

    run_virtually(main)
