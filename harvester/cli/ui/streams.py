"""stdin, stdout and stderr, as the commands may rely on them.

Theory of operation.  What a stream can't take must end up as one of two things, never as an error
of the state database, of the data or of ours: nobody reads stdout any more (`| head`), and the
command ends as one that died of SIGPIPE would; or stdout can't be written (closed, full), and the
command ends with exit code 6 and says so.  So stdout's lowest layer, by which all must pass that is
written, however and by whom, turns an error of the operating system into one of these, once; what
is written after that goes nowhere.  stderr's takes everything: there is nobody left to complain to.

A descriptor that is closed (`>&-`) would be given to the first file that is opened, and what is
printed would get into that file: it is taken first, by /dev/null opened the wrong way round, so
that reading or writing it fails as it should.

A character that the locale's encoding lacks is replaced, and never an error.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from collections.abc import Callable, Mapping
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, TextIO, cast

from harvester.errors import HarvesterError, StoreError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_IN, _OUT, _ERR = 0, 1, 2


class NobodyReads(HarvesterError):
    """Whoever read stdout has gone."""

    code = "stdout.closed"
    exit_code = 141  # as a shell shows a process that died of SIGPIPE


class StdoutFailed(StoreError):
    """stdout is closed, or what it goes to is full."""


STDOUT_ERRORS = (NobodyReads, StdoutFailed)


def prepare_streams() -> None:
    """Make the three streams such as described above; once, before anything is opened."""
    for descriptor, wrong_way in ((_IN, os.O_WRONLY), (_OUT, os.O_RDONLY), (_ERR, os.O_WRONLY)):
        _take(descriptor, wrong_way)
    if sys.stdin is None:
        sys.stdin = open(_IN, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stdout = _fit(sys.stdout, _Stdout(_OUT))
    sys.stderr = _fit(sys.stderr, _Stderr(_ERR))


def _take(descriptor: int, flags: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        # The lowest that is free: those below are taken already.
        opened = os.open(os.devnull, flags)
        os.set_inheritable(opened, True)


def _fit(stream: TextIO | None, raw: _Stdout | _Stderr) -> TextIO:
    """The same stream, with `raw` below it."""
    if stream is not None:
        stream.flush()
    fitted = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        errors="backslashreplace" if isinstance(raw, _Stderr) else "replace",
        line_buffering=isinstance(raw, _Stderr) or raw.isatty(),
    )
    return cast("TextIO", fitted)


class _Stream(io.FileIO):
    """A descriptor of the process; a write to it never takes in part, and waits for room."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self.is_lost = False

    def write(self, data: ReadableBuffer, /) -> int:
        size = memoryview(data).nbytes
        if self.is_lost:
            return size
        try:
            # None: somebody else has made the pipe or terminal one that does not wait.
            while (written := super().write(data)) is None:
                select.select([], [self.fileno()], [])
        except OSError as exc:
            self.is_lost = True
            self.lost(exc)
            return size
        return written

    def lost(self, exc: OSError) -> None:
        """What becomes of the error."""


class _Stderr(_Stream):
    """Takes everything."""


class _Stdout(_Stream):
    """Says what is wrong, once."""

    def lost(self, exc: OSError) -> None:
        if exc.errno == errno.EPIPE:
            raise NobodyReads from exc
        raise StdoutFailed(
            f"stdout can't be written: {exc.strerror}. What was shown is incomplete; nothing "
            "else has failed. Give the command a stdout with room, and run it again.",
            code="stdout.failed",
        ) from exc


class Aside:
    """Writes objects to stdout in a thread of its own, one a line, until `close`.

    For a run: it goes on, and holds its output no longer, if whoever reads stdout is slow, stands
    still or is gone.
    """

    def __init__(
        self,
        write: Callable[[Mapping[str, object]], None],
        on_failure: Callable[[str], None],
    ) -> None:
        """`on_failure` is told why, once, and nothing is written after that."""
        self._write = write
        self._on_failure = on_failure
        self._waiting: SimpleQueue[Mapping[str, object] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="stdout", daemon=True)
        self._thread.start()

    def __call__(self, message: Mapping[str, object]) -> None:
        """Write it when there is room."""
        self._waiting.put(message)

    def close(self) -> None:
        """Return when all is written, or lost."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        try:
            while (message := self._waiting.get()) is not None:
                self._write(message)
        except STDOUT_ERRORS as exc:
            self._on_failure(getattr(exc.__cause__, "strerror", None) or str(exc))
