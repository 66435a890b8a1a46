"""Workers as actors of a Ray cluster.

Theory of operation.  Ray starts a process somewhere, carries packed messages to it and tells when
it is gone; all else is the same as on this machine.  An actor is never restarted by Ray.  One that
outlives the run sends nothing once its lease is over.

Waiting for Ray is done in threads, so that a cluster that does not answer holds nobody up.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from harvester.errors import ConfigError
from harvester.pipeline.workers.messages import Hello, Order, Report, Start, WorkerGone

T = TypeVar("T")

_SHOWN = 300
_CPUS = 1
_STARTS_WITHIN_S = 45.0
_KILLED_WITHIN_S = 5.0
_ANSWERS_WITHIN_S = 10.0
_CALLS_END_WITHIN_S = 50.0
_OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Cluster:
    """A connection to a cluster, which all links of a run share."""

    def __init__(self, address: str) -> None:
        """Raises ConfigError where Ray is not installed, or no cluster answers."""
        # Before it is imported: nobody is told that this is used.
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        try:
            import ray
        except ImportError:
            raise ConfigError(
                'configuration: $.workers.engine is "ray", and Ray is not installed here. '
                'Install it with: pip install "cdr-harvester[ray]", on every node as well; or set '
                'workers.engine = "local".',
                code="config.ray",
            ) from None
        self.ray: Any = ray
        self._calls: list[threading.Thread] = []
        try:
            _knock(address)
            self._connect(address)
        except (ValueError, OSError) as exc:
            raise ConfigError(
                f"no Ray cluster answers at workers.ray_address = {address!r}: "
                f"{_shown(exc)}. Start one (`ray start --head`), or name its address. If `ray "
                "start` has said that token authentication is enabled, set RAY_AUTH_MODE=token "
                'here too. Or set workers.engine = "local".',
                code="config.ray_cluster",
            ) from exc
        except RuntimeError as exc:
            raise ConfigError(
                f"the Ray cluster at workers.ray_address = {address!r} does not let this process "
                f"in: {_shown(exc)}. Python and Ray have to be of the same version here and on "
                'every node. Or set workers.engine = "local".',
                code="config.ray_cluster",
            ) from exc

    def _connect(self, address: str) -> None:
        import logging

        ours = {number: signal.getsignal(number) for number in _OURS}
        try:
            self._init(address, logging.ERROR)
        finally:
            if threading.current_thread() is threading.main_thread():
                # Ray puts a handler of its own in the place of ours.
                for number, handler in ours.items():
                    signal.signal(number, handler)

    def _init(self, address: str, level: int) -> None:
        self.ray.init(
            address=None if address == "local" else address,
            include_dashboard=False if address == "local" else None,
            log_to_driver=False,
            configure_logging=False,
            logging_level=level,
            namespace=f"cdr-harvester-{os.getpid()}",
        )

    def free_cpus(self) -> int:
        """How many workers could be started now."""
        return int(self.ray.available_resources().get("CPU", 0))

    def call(self, function: Callable[[], None]) -> None:
        """Run `function` in a thread of its own."""
        # Not one of asyncio's: the end of a loop waits for those, and these may wait for ever.
        thread = threading.Thread(target=function, daemon=True)
        self._calls = [call for call in self._calls if call.is_alive()]
        self._calls.append(thread)
        thread.start()

    def close(self) -> None:
        """Let go of the cluster, and with it of every actor.

        A call that is under way then would end this process; so they are waited for, and if one
        does not come back the connection is left to the end of the process.
        """
        ends = time.monotonic() + _CALLS_END_WITHIN_S
        for call in self._calls:
            call.join(max(0.0, ends - time.monotonic()))
        if not any(call.is_alive() for call in self._calls):
            with suppress(Exception):
                self.ray.shutdown()


class RayLink:
    """See `Link`."""

    def __init__(self, cluster: Cluster) -> None:
        """Nothing is started yet."""
        self._cluster = cluster
        self._ray = cluster.ray
        self._actor: Any = None
        self._hello = msgspec.msgpack.Decoder(Hello).decode
        self._report = msgspec.msgpack.Decoder(Report).decode

    async def start(self, start: Start) -> Hello:
        """See `Link`."""
        await self.close()
        from harvester.pipeline.workers.ray_worker import RayWorker

        made = self._ray.remote(num_cpus=_CPUS, max_restarts=0, max_concurrency=1)(RayWorker)
        self._actor = await self._called(made.remote)
        packed, actor = msgspec.msgpack.encode(start), self._actor
        return self._hello(await self._called(lambda: self._said_hello(actor, packed)))

    async def exchange(self, order: Order) -> Report:
        """See `Link`."""
        return self._report(await self._asked("exchange", order))

    async def close(self) -> None:
        """See `Link`."""
        actor, self._actor = self._actor, None
        if actor is not None:
            with suppress(WorkerGone, TimeoutError):
                async with asyncio.timeout(_KILLED_WITHIN_S):
                    await self._called(lambda: self._ray.kill(actor, no_restart=True))

    def _said_hello(self, actor: Any, packed: bytes) -> bytes:  # noqa: ANN401 - Ray has no types
        answer = actor.start.remote(packed)
        if not self._ray.wait([answer], timeout=_STARTS_WITHIN_S)[0]:
            raise WorkerGone(
                f"the cluster did not start it within {_STARTS_WITHIN_S:.0f} s: each worker needs "
                "a free CPU on some node (`ray status`)"
            )
        said: bytes = self._ray.get(answer)
        return said

    async def _asked(self, method: str, message: msgspec.Struct) -> bytes:
        packed, actor = msgspec.msgpack.encode(message), self._actor
        answer = await self._called(lambda: self._ray.get(getattr(actor, method).remote(packed)))
        assert isinstance(answer, bytes)
        return answer

    async def _called(self, function: Callable[[], T]) -> T:
        """What `function` gives, in a thread of its own.  Raises WorkerGone for whatever fails."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()

        def call() -> None:
            try:
                value = function()
            except BaseException as exc:  # noqa: BLE001 - all that Ray may raise
                gone = exc if isinstance(exc, WorkerGone) else WorkerGone(_shown(exc))
                _settle(loop, result, lambda: result.set_exception(gone))
            else:
                _settle(loop, result, lambda: result.set_result(value))

        self._cluster.call(call)
        return await result


def _knock(address: str) -> None:
    """Raise OSError where nobody listens: Ray would try again for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), _ANSWERS_WITHIN_S).close()


def _settle(
    loop: asyncio.AbstractEventLoop, result: asyncio.Future[T], settle: Callable[[], None]
) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(lambda: None if result.done() else settle())


def _shown(exc: BaseException) -> str:
    """The beginning of what Ray says, which may be a page."""
    if any(kind.__name__ == "RayTaskError" for kind in type(exc).__mro__):
        # A fault in our own code there.  Without its words: they may quote a record.
        return f"it failed: {type(getattr(exc, 'cause', None)).__name__}"
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return f"{type(exc).__name__}: {' '.join(lines)[:_SHOWN]}" if lines else type(exc).__name__
