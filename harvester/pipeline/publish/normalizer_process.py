"""Normalising in a process of its own, while this one's event loop asks.

Theory of operation.  Two threads of one interpreter take turns, and each turn costs: a publication
beside the event loop made a whole run a seventh more expensive (docs/performance.md).  So blobs of
the journal go to a child as they are, and come back as packed pieces; sorting and writing, which
Arrow does without the interpreter, stay here, and with them everything that touches the disk.  A
crash of either process is a crash before the commit point: nothing was promised yet.

A child serves one publication, and its memory is gone with it.  It lives by its stdin: when we
die, however suddenly, that ends, and the child with it.  Signals are kept from it: a Ctrl-C or a
service manager speaks to every process at once, and what becomes of a publication is ours to say.
"""

from __future__ import annotations

import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import NoReturn, Self

import msgspec

from harvester.dataset.kind import RecordKind
from harvester.dataset.packing import Piece
from harvester.errors import StoreError
from harvester.pipeline.publish import messages
from harvester.storage import subprocesses

_OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GONE_WITHIN_S = 10.0


class NormalizerAside:
    """See `Normalizing`.

    Raises StoreError if the child is killed, HarvesterError if it fails.
    """

    def __init__(self, account: str, timezone: str, kind: RecordKind) -> None:
        self.unparsed: Counter[str] = Counter()
        self.extra: Counter[str] = Counter()
        self.without_cost = 0
        self._order = messages.Order(
            account, timezone, kind.name, kind.version, tuple(sorted(kind.omitted))
        )
        self._resources = ExitStack()
        self._decode = msgspec.msgpack.Decoder(messages.Made).decode

    def __enter__(self) -> Self:
        with self._resources:
            try:
                self._complaints = self._resources.enter_context(tempfile.TemporaryFile())
                self._start()
            except OSError as exc:
                raise StoreError(
                    f"the normaliser process can't be started: {exc.strerror}. "
                    "Nothing is lost: see to memory, open files and room for temporary files, "
                    "then run the same command again.",
                    code="process.start",
                ) from exc
            self._send(self._order)
            self._resources = self._resources.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._resources.close()

    @property
    def pid(self) -> int:
        """The child's."""
        return self._child.pid

    def add(self, run_id: str, blob: bytes) -> Iterator[Piece]:
        """See `Normalizing`."""
        yield from self._asked(messages.Ask(run_id, blob)).pieces

    def rest(self) -> Iterator[Piece]:
        """See `Normalizing`."""
        made = self._asked(messages.Ask())
        self.unparsed, self.extra = Counter(made.unparsed), Counter(made.extra)
        self.without_cost = made.without_cost
        # Its memory is wanted elsewhere: the parts are still to be written.
        self._resources.close()
        yield from made.pieces

    def _start(self) -> None:
        # Blocked, not ignored: so they are from the child's first instruction on.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
        try:
            self._child = subprocesses.start(messages.MODULE, self._complaints)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._resources.callback(self._end)

    def _asked(self, ask: messages.Ask) -> messages.Made:
        # One question, one answer: neither side ever waits for room in a pipe that the other one
        # does not empty.
        self._send(ask)
        assert self._child.stdout is not None
        message = messages.read(self._child.stdout)
        if message is None:
            self._died()
        return self._decode(message)

    def _send(self, message: msgspec.Struct) -> None:
        assert self._child.stdin is not None
        try:
            messages.write(self._child.stdin, message)
        except BrokenPipeError:
            self._died()

    def _end(self) -> None:
        self._child.kill()  # it has nothing that could be lost
        self._child.communicate()

    def _died(self) -> NoReturn:
        try:
            code = self._child.wait(_GONE_WITHIN_S)
        except subprocess.TimeoutExpired as exc:
            raise StoreError(
                "the normaliser process has closed its output pipe but is still running. Nothing "
                "is lost: run the same command again, and please report this.",
                code="process.stuck",
            ) from exc
        subprocesses.died(
            "the normaliser process",
            code,
            self._complaints,
            if_killed="Nothing is lost: free memory, or lower output.publish_bytes, then run "
            "the same command again.",
        )
