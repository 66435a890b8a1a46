"""A worker as a process on this machine; see `child`."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import tempfile
from contextlib import suppress
from typing import IO, Final

import msgspec

from harvester.pipeline.workers import frames
from harvester.pipeline.workers.messages import Hello, Order, Report, Start, WorkerGone
from harvester.storage import subprocesses

MODULE: Final = "harvester.pipeline.workers.child"
_OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_COMPLAINT_BYTES = 2000
_LAST_WORDS_S = 5.0


class ChildLink:
    """See `Link`."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        self._child: subprocess.Popen[bytes] | None = None
        self._complaints: IO[bytes] | None = None
        self._pipes: frames.Pipes | None = None
        self._hello = msgspec.msgpack.Decoder(Hello).decode
        self._report = msgspec.msgpack.Decoder(Report).decode

    @property
    def pid(self) -> int | None:
        """The process of now."""
        return None if self._child is None else self._child.pid

    async def start(self, start: Start) -> Hello:
        """See `Link`."""
        await self.close()
        try:
            await self._begin()
        except OSError as exc:
            raise WorkerGone(f"a worker process can't be started: {exc.strerror}") from exc
        return self._hello(await self._asked(start))

    async def exchange(self, order: Order) -> Report:
        """See `Link`."""
        return self._report(await self._asked(order))

    async def close(self) -> None:
        """See `Link`."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        if self._pipes is not None:
            self._pipes.close()
            self._pipes = None
        await asyncio.to_thread(child.wait)
        if self._complaints is not None:
            self._complaints.close()

    async def _begin(self) -> None:
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        # Blocked, not ignored: so they are from the child's first instruction on.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
        try:
            child = subprocesses.start(MODULE, self._complaints)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._child = child
        assert child.stdin is not None
        assert child.stdout is not None
        self._pipes = await frames.opened(child.stdout, child.stdin)

    async def _asked(self, message: msgspec.Struct) -> bytes:
        if self._pipes is None:
            raise WorkerGone("it was never started")
        try:
            await self._pipes.write(message)
        except OSError:
            answer = None
        else:
            answer = await self._pipes.read()
        if answer is None:
            raise WorkerGone(await self._why())
        return answer

    async def _why(self) -> str:
        """What it died of."""
        child, complaints = self._child, self._complaints
        assert child is not None
        assert complaints is not None
        # Its pipe closes before it has said what went wrong.
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(child.wait, _LAST_WORDS_S)
        child.kill()
        code = await asyncio.to_thread(child.wait)
        if code < 0:
            return f"worker process {child.pid} was ended by signal {-code}"
        complaints.seek(max(0, complaints.seek(0, 2) - _COMPLAINT_BYTES))
        said = complaints.read().decode("utf-8", "replace").strip()
        return f"worker process {child.pid} failed (exit {code}): {said}"
