"""A worker as a real process: what it is told, what ends it, and what is known of its end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester.config import Vendor
from harvester.pipeline.workers.child_link import ChildLink
from harvester.pipeline.workers.messages import Given, Hello, Order, Start, WorkerGone
from harvester.version import __version__
from tests.support.harvesting import gone, is_running
from tests.support.ports import free_port

SECRET = "7bz1lzh9"
START = Start(
    version=__version__,
    vendor=Vendor(base_url=f"http://127.0.0.1:{free_port()}/voice"),
    concurrency=2,
    secrets=("bDqJFiq9", SECRET),
    skew_s=0.0,
)


@pytest.fixture
async def link(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ChildLink]:
    monkeypatch.setenv("HARVESTER_API_SECRET", SECRET)
    one = ChildLink()
    yield one
    await one.close()


def pid_of(link: ChildLink) -> int:
    assert link.pid is not None
    return link.pid


async def test_it_works_by_orders_and_is_told_the_secrets_in_no_way_that_others_see(
    link: ChildLink,
) -> None:
    hello = await link.start(START)
    assert hello == Hello(version=__version__, at_ns=hello.at_ns)
    heard_ns, ids, done = hello.at_ns, ["a"], []
    for _ in range(50):
        order = Order(ids=ids, share_per_s=100.0, heard_ns=heard_ns, lease_s=2.0)
        report = await link.exchange(order)
        heard_ns, ids = report.at_ns, []
        done += report.done
        if done:
            break
    ((voice_id, given),) = done
    assert voice_id == "a"
    assert isinstance(given, Given)
    assert given.no_reply is not None
    assert given.no_reply.cause == "refused", "nobody listens there"
    seen = Path(f"/proc/{pid_of(link)}")
    assert SECRET.encode() not in (seen / "environ").read_bytes()
    assert SECRET.encode() not in (seen / "cmdline").read_bytes()


async def test_a_signal_that_all_get_ends_no_worker(link: ChildLink) -> None:
    """What becomes of a run at a Ctrl-C is its owner's to say."""
    await link.start(START)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid_of(link), number)
    assert (await link.exchange(Order())).requests == 0
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set(), "ours are as before"


async def test_one_that_fails_is_told_by_what_it_said(link: ChildLink) -> None:
    with pytest.raises(WorkerGone, match=r"failed \(exit 1\): AssertionError"):
        await link.start(replace(START, secrets=None))


async def test_one_that_was_killed_is_told_by_its_signal_and_another_can_be_started(
    link: ChildLink,
) -> None:
    await link.start(START)
    first = pid_of(link)
    os.kill(first, signal.SIGKILL)
    with pytest.raises(WorkerGone, match=f"worker process {first} was ended by signal 9"):
        await link.exchange(Order())
    await link.start(START)
    assert pid_of(link) != first
    assert (await link.exchange(Order())).requests == 0


async def test_one_that_is_started_anew_or_closed_is_gone(link: ChildLink) -> None:
    await link.start(START)
    first = pid_of(link)
    await link.start(START)
    assert not is_running(first)
    second = pid_of(link)
    await link.close()
    assert not is_running(second)
    assert link.pid is None
    await link.close()


async def test_one_that_was_never_started_takes_no_order() -> None:
    with pytest.raises(WorkerGone, match="never started"):
        await ChildLink().exchange(Order())


async def test_a_worker_ends_with_its_owner_whatever_it_has_on_the_wire(link: ChildLink) -> None:
    async with asyncio.timeout(60):
        asked = asyncio.Event()

        async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.set()
            await reader.read()  # until the other side is gone
            writer.close()

        server = await asyncio.start_server(hold, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            vendor = Vendor(base_url=f"http://127.0.0.1:{port}/voice")
            hello = await link.start(replace(START, vendor=vendor))
            pid = pid_of(link)
            lease = Order(ids=["a"], share_per_s=100.0, heard_ns=hello.at_ns, lease_s=9.0)
            await link.exchange(lease)
            await asked.wait()
            assert link._pipes is not None
            link._pipes.close()  # as the end of its owner does
            while is_running(pid):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.01)
    assert gone(pid)
