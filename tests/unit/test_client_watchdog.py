"""The watchdog: whose time is up is cut off within one look, and nobody before that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, cast

import pytest

from harvester.client.http11_connection import TOO_SLOW, LeanConnection, SeenHeads
from harvester.client.http11_transport import LeanTransport
from harvester.client.watchdog import Watchdog, look_every_s
from harvester.config import Vendor
from tests.support.virtual_time import run_virtually, virtual_loop
from tests.unit.test_lean_heads import Wire


class Attempt:
    """Notes what befalls it, and when."""

    def __init__(self) -> None:
        self.looks: list[float] = []
        self.cuts: list[float] = []

    def look(self) -> None:
        self.looks.append(virtual_loop().time())

    def cut_off(self) -> None:
        self.cuts.append(virtual_loop().time())


def watched(timeout_s: float, then: Callable[[Watchdog], Awaitable[None]]) -> None:
    async def main() -> None:
        watchdog = Watchdog(timeout_s)
        try:
            await then(watchdog)
        finally:
            watchdog.stop()

    run_virtually(main)


@pytest.mark.parametrize(
    ("timeout_s", "every_s"), [(15.0, 0.5), (2.0, 0.5), (1.0, 0.25), (0.2, 0.05)]
)
def test_it_looks_often_enough_for_the_timeout(timeout_s: float, every_s: float) -> None:
    assert look_every_s(timeout_s) == every_s


@pytest.mark.parametrize("timeout_s", [15.0, 1.0, 0.2])
@pytest.mark.parametrize("late_s", [0.0, 0.01, 0.3, 0.49])
def test_an_attempt_is_cut_off_within_one_look_of_its_time(timeout_s: float, late_s: float) -> None:
    async def then(watchdog: Watchdog) -> None:
        await asyncio.sleep(late_s)
        one, began = Attempt(), virtual_loop().time()
        assert watchdog.is_at_rest
        watchdog.watch(one)
        assert not watchdog.is_at_rest
        await asyncio.sleep(3 * timeout_s)
        (cut,) = one.cuts
        assert timeout_s <= cut - began <= timeout_s + look_every_s(timeout_s) + 0.001
        assert all(at < cut for at in one.looks)
        assert len(one.looks) >= 3
        assert watchdog.has_cut_off(one)
        assert not watchdog.is_at_rest
        watchdog.forget(one)
        assert not watchdog.has_cut_off(one)
        assert watchdog.is_at_rest

    watched(timeout_s, then)


def test_whoever_is_forgotten_or_watched_again_begins_afresh() -> None:
    async def then(watchdog: Watchdog) -> None:
        forgotten, again, other = Attempt(), Attempt(), Attempt()
        watchdog.watch(forgotten)
        watchdog.watch(again)
        await asyncio.sleep(9.0)
        assert watchdog.watched_s(again) == pytest.approx(9.0, abs=0.01)
        watchdog.forget(forgotten)
        watchdog.forget(again)
        assert watchdog.watched_s(again) == 0.0
        watchdog.watch(again)
        watchdog.watch(other)
        await asyncio.sleep(9.0)
        assert (forgotten.cuts, again.cuts, other.cuts) == ([], [], [])
        await asyncio.sleep(2.0)
        assert (len(again.cuts), len(other.cuts), forgotten.cuts) == (1, 1, [])

    watched(10.0, then)


def test_a_watchdog_that_is_stopped_looks_no_longer() -> None:
    async def then(watchdog: Watchdog) -> None:
        one = Attempt()
        watchdog.watch(one)
        watchdog.stop()
        await asyncio.sleep(100)
        assert (one.looks, one.cuts) == ([], [])

    watched(1.0, then)


# The lean transport keeps the time in its connections.


async def test_a_lean_connection_is_cut_off_by_when_it_was_asked() -> None:
    connection = LeanConnection(SeenHeads())
    wire = Wire()
    connection.connection_made(cast("asyncio.BaseTransport", wire))
    connection.cut_off(monotonic() + 99)
    assert not wire.is_aborted, "nobody waits"
    before = monotonic()
    answer = connection.ask(b"GET / HTTP/1.1\r\n\r\n")
    connection.cut_off(before - 0.001)
    assert not answer.done()
    connection.cut_off(monotonic())
    assert await answer is TOO_SLOW
    assert wire.is_aborted
    assert not connection.is_usable()


async def test_the_lean_transport_cuts_off_what_is_older_than_its_timeout() -> None:
    heard: list[float] = []

    class Held:
        def cut_off(self, asked_before: float) -> None:
            heard.append(asked_before)

        def abort(self) -> None:
            """See LeanConnection."""

    began = monotonic()
    transport = LeanTransport(Vendor(timeout_s=1000.0), 1, dict)
    transport._open.add(cast("Any", Held()))
    async with asyncio.timeout(30):
        while len(heard) < 2:  # noqa: ASYNC110 - a timer of the transport's
            await asyncio.sleep(0.05)
    await transport.close()
    assert all(began - 1000 <= at <= monotonic() - 1000 for at in heard)


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nX: b", "a\rb", "a\0b"])
async def test_no_header_can_smuggle_a_line(value: str) -> None:
    transport = LeanTransport(Vendor(), 1, dict)
    try:
        with pytest.raises(ValueError, match="line break"):
            transport._written(b"1", None, {"Sign": value})
    finally:
        await transport.close()
