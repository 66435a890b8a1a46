"""The loop of tries: tenacity's, and known only here.

What is tried again, and after how long, is decided in `retry_policy` and `backoff`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_result, stop_never

T = TypeVar("T")


async def repeated(attempt: Callable[[], Awaitable[T]], pause_s: Callable[[T], float | None]) -> T:
    """Attempt again and again, `pause_s` seconds after each; the first result that has no pause."""

    async def one() -> tuple[T, float | None]:
        result = await attempt()
        return result, pause_s(result)

    retrying = AsyncRetrying(
        retry=retry_if_result(lambda tried: tried[1] is not None),
        wait=_pause_of,
        stop=stop_never,
        sleep=asyncio.sleep,
    )
    tried: tuple[T, float | None] = await retrying(one)
    return tried[0]


def _pause_of(state: RetryCallState) -> float:
    assert state.outcome is not None, "only what was tried has a pause behind it"
    pause_s: float = state.outcome.result()[1]
    return pause_s
