"""Workers on a Ray cluster, as far as that can be seen without one: a small stand-in for Ray."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any

import msgspec
import pytest

from harvester.config import Pace, Retry, Vendor, Workers
from harvester.errors import ConfigError
from harvester.pipeline.engine.local_workers import Fetching
from harvester.pipeline.workers import engines, ray_link
from harvester.pipeline.workers.child_link import ChildLink
from harvester.pipeline.workers.dispatcher import Crew
from harvester.pipeline.workers.messages import Given, Hello, Order, Report, Start, WorkerGone
from harvester.pipeline.workers.ray_link import Cluster, RayLink
from harvester.pipeline.workers.ray_worker import RayWorker
from harvester.version import __version__
from tests.support.fakes import SECRETS, FakeVendor
from tests.support.ports import free_port

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
START = Start(
    version=__version__,
    vendor=Vendor(base_url="https://vendor.example.com/voice"),
    concurrency=2,
    secrets=None,
    skew_s=0.0,
)


class RayTaskError(Exception):
    """As Ray has one: it quotes what the task's own exception said."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(f"worker died: {cause}")
        self.cause = cause


class Ref:
    """What a remote call comes to."""

    def __init__(self, call: Callable[[], bytes]) -> None:
        self.call = call


class Method:
    """Of an actor."""

    def __init__(self, call: Callable[[bytes], bytes]) -> None:
        self._call = call

    def remote(self, packed: bytes) -> Ref:
        return Ref(lambda: self._call(packed))


class Actor:
    """The handle of one."""

    def __init__(self, start: Callable[[bytes], bytes], exchange: Callable[[bytes], bytes]) -> None:
        self.start = Method(start)
        self.exchange = Method(exchange)


class FakeRay(ModuleType):
    """The few functions of Ray that are used."""

    def __init__(self) -> None:
        super().__init__("ray")
        self.inits: list[dict[str, Any]] = []
        self.made: list[dict[str, Any]] = []
        self.killed: list[tuple[Actor, bool]] = []
        self.shut_down = 0
        self.refuses: Exception | None = None
        self.is_slow = False
        self.hello = Hello(version=__version__, at_ns=7)
        self.exchange: Callable[[bytes], bytes] = lambda packed: msgspec.msgpack.encode(
            Report(at_ns=9, done=[], requests=len(packed))
        )

    def init(self, **how: Any) -> None:
        self.inits.append(how)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # Ray puts handlers of its own there
        if self.refuses is not None:
            raise self.refuses

    def remote(self, **how: Any) -> Callable[[type], Any]:
        self.made.append(how)
        hello = msgspec.msgpack.encode(self.hello)

        def exchange(packed: bytes) -> bytes:
            return self.exchange(packed)  # as it is by then

        class Made:
            @staticmethod
            def remote() -> Actor:
                return Actor(lambda _: hello, exchange)

        return lambda _: Made

    def wait(self, refs: list[Ref], *, timeout: float) -> tuple[list[Ref], list[Ref]]:
        assert timeout > 0
        return ([], refs) if self.is_slow else (refs, [])

    def get(self, ref: Ref) -> bytes:
        return ref.call()

    def kill(self, actor: Actor, *, no_restart: bool) -> None:
        self.killed.append((actor, no_restart))

    def available_resources(self) -> dict[str, float]:
        return {"CPU": 3.7, "GPU": 9.0}

    def shutdown(self) -> None:
        self.shut_down += 1


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRay]:
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    ours = {number: signal.getsignal(number) for number in SIGNALS}
    yield fake
    for number, handler in ours.items():
        signal.signal(number, handler)


def test_without_ray_its_engine_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r'pip install "cdr-harvester\[ray\]"') as refused:
        Cluster("auto")
    assert refused.value.code == "config.ray"


def test_a_run_keeps_its_own_signals_and_tells_nobody_that_ray_is_used(ray: FakeRay) -> None:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    cluster = Cluster("auto")
    assert {number: signal.getsignal(number) for number in SIGNALS} == before
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert ray.inits[0]["address"] == "auto"
    assert ray.inits[0]["log_to_driver"] is False
    assert cluster.free_cpus() == 3
    cluster.close()
    assert ray.shut_down == 1


def test_a_cluster_of_its_own_is_started_without_a_dashboard(ray: FakeRay) -> None:
    Cluster("local")
    assert (ray.inits[0]["address"], ray.inits[0]["include_dashboard"]) == (None, False)


@pytest.mark.parametrize(
    ("refuses", "words"),
    [
        (ConnectionError("nobody there"), "no Ray cluster answers"),
        (ValueError("not an address"), "no Ray cluster answers"),
        (RuntimeError("another version"), "does not let this process in"),
    ],
)
def test_a_cluster_that_does_not_answer_or_let_us_in_is_told(
    ray: FakeRay, refuses: Exception, words: str
) -> None:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    ray.refuses = refuses
    with pytest.raises(ConfigError, match=words) as refused:
        Cluster("auto")
    assert refused.value.code == "config.ray_cluster"
    assert {number: signal.getsignal(number) for number in SIGNALS} == before


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_nobody_waits_for_a_port_at_which_nobody_listens(ray: FakeRay, scheme: str) -> None:
    with pytest.raises(ConfigError, match="no Ray cluster answers"):
        Cluster(f"{scheme}127.0.0.1:{free_port()}")
    assert ray.inits == []


async def test_a_worker_is_started_asked_and_ended_and_never_restarted_by_ray(ray: FakeRay) -> None:
    link = RayLink(Cluster("auto"))
    assert await link.start(START) == ray.hello
    assert ray.made == [{"num_cpus": 1, "max_restarts": 0, "max_concurrency": 1}]
    order = Order(ids=["a"])
    report = await link.exchange(order)
    assert report == Report(at_ns=9, done=[], requests=len(msgspec.msgpack.encode(order)))
    await link.start(START)
    assert len(ray.killed) == 1, "the one before is gone first"
    await link.close()
    await link.close()
    assert [no_restart for _, no_restart in ray.killed] == [True, True]
    assert ray.killed[0][0] is not ray.killed[1][0]


async def test_a_worker_that_no_node_has_room_for_is_told_as_that(ray: FakeRay) -> None:
    ray.is_slow = True
    with pytest.raises(WorkerGone, match="each worker needs a free CPU"):
        await RayLink(Cluster("auto")).start(START)


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (RayTaskError(ValueError("callee 8613800138000")), "it failed: ValueError"),
        (OSError("the node is\n gone "), "OSError: the node is gone"),
        (KeyError(), "KeyError"),
        (SystemExit("3"), "SystemExit: 3"),
    ],
)
async def test_whatever_ray_raises_is_a_worker_that_is_gone_and_quotes_no_record(
    ray: FakeRay, raised: BaseException, told: str
) -> None:
    link = RayLink(Cluster("auto"))
    await link.start(START)

    def fail(packed: bytes) -> bytes:
        raise raised

    ray.exchange = fail
    with pytest.raises(WorkerGone) as gone:
        await link.exchange(Order())
    assert str(gone.value) == told


async def test_of_what_ray_says_the_beginning_is_told(ray: FakeRay) -> None:
    assert len(ray_link._shown(OSError("x" * 10_000))) <= 320


async def test_a_cluster_that_hangs_holds_up_nobody_who_gives_up_waiting(ray: FakeRay) -> None:
    link, goes_on = RayLink(Cluster("auto")), threading.Event()
    await link.start(START)

    def hang(packed: bytes) -> bytes:
        goes_on.wait(30)
        return b""

    ray.exchange = hang
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await link.exchange(Order())
    goes_on.set()


# The other end: what an actor holds.


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A node with the key; signals are put back."""
    monkeypatch.setenv("HARVESTER_API_KEY", "key")
    monkeypatch.setenv("HARVESTER_API_SECRET", "secret")
    monkeypatch.delenv("HARVESTER_VENDOR__PROXY", raising=False)
    ours = signal.getsignal(signal.SIGINT)
    yield monkeypatch
    signal.signal(signal.SIGINT, ours)


def hello_of(worker: RayWorker, start: Start) -> Hello:
    return msgspec.msgpack.decode(worker.start(msgspec.msgpack.encode(start)), type=Hello)


def test_an_actor_outlives_a_ctrl_c(node: pytest.MonkeyPatch) -> None:
    RayWorker()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_node_of_another_version_says_which_and_reads_no_key(node: pytest.MonkeyPatch) -> None:
    node.delenv("HARVESTER_API_KEY")
    hello = hello_of(RayWorker(), msgspec.structs.replace(START, version="0.0.1"))
    assert hello == Hello(version=__version__, at_ns=0)


def test_a_node_without_the_key_says_so_by_its_name(node: pytest.MonkeyPatch) -> None:
    node.delenv("HARVESTER_API_SECRET")
    hello = hello_of(RayWorker(), START)
    assert hello.trouble.startswith(f"node {platform.node()}: ")
    assert "HARVESTER_API_SECRET" in hello.trouble


@pytest.mark.parametrize("has_proxy", [True, False])
def test_an_actor_goes_through_the_proxy_of_its_own_node(
    node: pytest.MonkeyPatch, has_proxy: bool
) -> None:
    """Nobody listens there: so it is that which is told, or that no vendor listens."""
    if has_proxy:
        node.setenv("HARVESTER_VENDOR__PROXY", f"http://127.0.0.1:{free_port()}")
    vendor = Vendor(base_url=f"https://127.0.0.1:{free_port()}/voice")
    worker = RayWorker()
    hello = hello_of(worker, msgspec.structs.replace(START, vendor=vendor))
    assert (hello.version, hello.trouble) == (__version__, "")
    heard_ns, done, ids = hello.at_ns, [], ["a"]
    for _ in range(50):
        order = Order(ids=ids, share_per_s=100.0, heard_ns=heard_ns, lease_s=2.0)
        packed = worker.exchange(msgspec.msgpack.encode(order))
        report = msgspec.msgpack.decode(packed, type=Report)
        heard_ns, ids = report.at_ns, []
        done += report.done
        if done:
            break
    ((voice_id, given),) = done
    assert voice_id == "a"
    assert isinstance(given, Given)
    assert given.no_reply is not None
    assert given.no_reply.cause == ("proxy" if has_proxy else "refused")


# Which of them a run has


def crew_of(workers: Workers) -> Crew:
    fetching = Fetching(
        vendor=Vendor(),
        pace=Pace(),
        retry=Retry(),
        secrets=SECRETS,
        connect=FakeVendor().connect,
        locked_at=0.0,
    )
    made = engines.with_workers(fetching, workers, 1_000)
    assert isinstance(made, partial)
    crew = made.args[1]
    assert isinstance(crew, Crew)
    return crew


def test_the_configured_engine_makes_the_links_and_only_this_machine_is_told_the_secrets(
    ray: FakeRay,
) -> None:
    local = crew_of(Workers(count=3))
    assert ray.inits == [], "who needs no Ray does not wait for it"
    assert (local.count, local.to_fetch, local.tells_secrets) == (3, 1_000, True)
    assert [type(link) for link in local.links(2)] == [ChildLink, ChildLink]
    local.close()
    assert ray.shut_down == 0
    remote = crew_of(Workers(count=3, engine="ray", ray_address="auto"))
    assert (remote.count, remote.to_fetch, remote.tells_secrets) == (3, 1_000, False)
    assert [type(link) for link in remote.links(2)] == [RayLink, RayLink]
    assert len(ray.inits) == 1, "all share one connection"
    remote.close()
    assert ray.shut_down == 1
