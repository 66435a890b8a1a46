"""The loop of tries: as often as somebody wants it, after pauses that are asked for once each."""

from __future__ import annotations

import asyncio

import pytest

from harvester.pipeline.limits.retrying import repeated
from tests.support.virtual_time import run_virtually, virtual_loop


def test_it_ends_with_the_first_result_that_wants_no_pause() -> None:
    async def main() -> tuple[int, float]:
        results = iter([3, 2, 0, 9])
        asked: list[int] = []

        async def attempt() -> int:
            return next(results)

        def pause_s(result: int) -> float | None:
            asked.append(result)
            return float(result) if result else None

        began = virtual_loop().time()
        last = await repeated(attempt, pause_s)
        assert asked == [3, 2, 0], "a pause is drawn by chance: once for each try"
        return last, virtual_loop().time() - began

    last, took_s = run_virtually(main)
    assert last == 0
    assert took_s == pytest.approx(5.0)


def test_a_pause_of_nothing_is_another_try_at_once() -> None:
    async def main() -> int:
        results = iter([1, 1, 2])

        async def attempt() -> int:
            return next(results)

        return await repeated(attempt, lambda result: 0.0 if result == 1 else None)

    assert run_virtually(main) == 2


def test_what_an_attempt_raises_ends_it() -> None:
    async def attempt() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(repeated(attempt, lambda _: 1.0))
