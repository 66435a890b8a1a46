"""Failures that are neither an id's nor the vendor's, and how a run says what fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harvester.client.transport import NoReply, Reply
from harvester.errors import VendorUnavailable
from harvester.pipeline.engine.engine import Engine
from harvester.pipeline.run.messages import tell_failures
from tests.support.fakes import FakeVendor, House, houses, record
from tests.support.virtual_time import run_virtually, virtual_loop

IDS = [f"{n:03}" for n in range(40)]
NO_FILES = NoReply("exhausted", "this machine has no more file descriptor: raise its limit")


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    with houses(tmp_path, IDS) as make:
        yield make


def test_a_want_of_descriptors_costs_no_id_an_attempt(house: Callable[..., House]) -> None:
    """Far more failures than `network_attempts`, and than what shuts the gate."""
    out = house(retry__network_attempts=2)
    vendor = FakeVendor(script=lambda i, n: record(i) if n > 9 or i < "020" else NO_FILES)
    engine = run_virtually(lambda: out.run(vendor))
    assert out.delivered() == IDS
    assert out.deferred() == {}
    assert engine.stop.reason is None
    assert engine.result().figures.outages == 0, "it says nothing of the vendor"
    assert engine.counters.retries.get("exhausted", 0) == 10 * 20


def test_a_last_try_without_descriptors_costs_nothing_either(house: Callable[..., House]) -> None:
    out = house(IDS[:2], retry__network_attempts=1)
    replies = {0: NoReply("reset", ""), 1: NO_FILES, 2: NO_FILES}
    vendor = FakeVendor(script=lambda i, n: replies.get(n) or record(i))
    run_virtually(lambda: out.run(vendor))
    assert out.delivered() == IDS[:2]


def test_a_run_without_any_descriptor_waits_and_then_ends_with_exit_5(
    house: Callable[..., House],
) -> None:
    out = house(retry__max_outage_s=120, retry__max_runs=1)
    for run in (1, 2):
        began: list[float] = []

        async def main(began: list[float] = began) -> Engine:
            began.append(virtual_loop().time())
            engine = await out.run(FakeVendor(script=lambda i, n: NO_FILES))
            began.append(virtual_loop().time())
            return engine

        engine = run_virtually(main)
        assert isinstance(engine.stop.reason, VendorUnavailable), run
        assert "no request could be sent for over 120 s: this machine has no more file" in str(
            engine.stop.reason
        )
        assert 120 < began[1] - began[0] < 240
        assert out.pending() == IDS
        assert (out.dead(), out.deferred()) == ({}, {})


def test_an_answer_in_between_shows_that_there_are_descriptors(
    house: Callable[..., House],
) -> None:
    """Some workers hold all there are: the others wait for as long as that takes."""
    out = house(retry__max_outage_s=60, pace__concurrency=2)

    def script(voice_id: str, before: int) -> Any:
        if voice_id == "000":
            return record(voice_id) if virtual_loop().time() > 1300 else NO_FILES
        return record(voice_id)

    vendor = FakeVendor(script=script, latency_s=lambda i, n: 0.05 if i == "000" else 8.0)
    engine = run_virtually(lambda: out.run(vendor))
    assert engine.stop.reason is None
    assert out.delivered() == IDS


BUSY = Reply(200, b'{"status": "-18", "reason": "busy"}')
TORN = NoReply("torn", "")


@pytest.mark.parametrize("answer", [BUSY, TORN], ids=["busy", "torn"])
@pytest.mark.parametrize("odd", [IDS[:12], IDS[-12:]], ids=["oldest", "youngest"])
def test_ids_that_always_fail_are_deferred_though_only_they_are_left(
    house: Callable[..., House], odd: list[str], answer: Reply | NoReply
) -> None:
    """Alone with each other they look like an outage, which would cost them nothing, for ever."""
    out = house(retry__max_outage_s=600, retry__network_attempts=8, retry__max_runs=2)

    async def main() -> tuple[Engine, float]:
        began = virtual_loop().time()
        engine = await out.run(FakeVendor(script=lambda i, n: answer if i in odd else record(i)))
        return engine, virtual_loop().time() - began

    engine, took_s = run_virtually(main)
    assert engine.result().figures.outages > 0
    assert engine.stop.reason is None
    assert took_s < 600
    assert engine.counters.deferred == len(odd)
    assert engine.counters.cut_off == 0
    assert sorted(out.deferred()) == odd
    assert out.delivered() == sorted(set(IDS) - set(odd))


def test_an_outage_that_ends_a_run_says_what_failed_last(house: Callable[..., House]) -> None:
    tls = NoReply("tls", "the certificate is not accepted: certificate has expired")
    out = house([f"{n:03}" for n in range(100)], retry__max_outage_s=60)
    engine = run_virtually(lambda: out.run(FakeVendor(script=lambda i, n: tls)))
    assert "The latest failure: the certificate is not accepted: certificate has expired." in str(
        engine.stop.reason
    )


def test_what_fails_is_said_once_a_run_for_each_cause() -> None:
    said: list[tuple[str, str, dict[str, object]]] = []
    events = SimpleNamespace(message=lambda level, name, **rest: said.append((level, name, rest)))
    seen: dict[str, str] = {}
    told: set[str] = set()

    def tell(**failures: str) -> list[object]:
        said.clear()
        seen.update(failures)
        tell_failures(seen, cast("Any", events), told)
        assert all(one[:2] == ("warning", "requests_fail") for one in said)
        return [one[2]["cause"] for one in said]

    assert tell() == []
    assert tell(timeout="late", reset="", torn="", too_long="") == []
    assert tell(tls="expired") == ["tls"]
    assert said[0][2] == {"cause": "tls", "reason": "expired"}
    assert tell(tls="another", protocol="x", coding="zstd", exhausted="files") == [
        "protocol",
        "coding",
        "exhausted",
    ]
    assert tell(timeout="HTTPS_PROXY is set: name it as vendor.proxy") == ["timeout"]
