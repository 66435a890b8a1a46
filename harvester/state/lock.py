"""One run at a time per output; readers take turns with it.

The lock is the kernel's (flock), so a dead process holds none: its lock is taken over by simply
taking it.  The file's text only says who holds it, and is empty while nobody does.

Whoever only reads holds the lock for as long as reading takes, never while it writes out or waits
for somebody.  So a reader is waited for, a few seconds; a run is not: it may last all night.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from harvester.errors import AlreadyRunning, StoreError, disk_code

WAIT_FOR_READER_S = 10.0
_LOOK_EVERY_S = 0.05
_WRITERS = frozenset(
    {
        "run",
        "refetch",
        "discover",
        "reconcile",
        "publish",
        "compact",
        "drop",
        "erase",
        "rebuild",
    }
)


def reads(command: str) -> bool:
    """Whether it changes nothing, and will be done soon."""
    return command not in _WRITERS


class Holder(msgspec.Struct, frozen=True):
    """Who holds the lock, since when (ISO 8601, UTC), and by which command."""

    pid: int
    host: str
    since: str
    command: str = "run"


class OutputLock:
    """Held from `OutputLock(path)` until `release`; a context manager."""

    def __init__(
        self, path: Path, command: str = "run", *, wait_s: float = WAIT_FOR_READER_S
    ) -> None:
        """Take the lock for `command`; wait up to `wait_s` for one that only reads.

        Raises AlreadyRunning, naming the holder; StoreError if it can't.
        """
        self._path = path
        self._command = command
        deadline = time.monotonic() + wait_s
        while True:
            self._fd = _opened(path, is_read=reads(command))
            if self._take():
                if self._is_in_place():
                    break
                # Its file was removed between the two: whoever comes next would not meet this lock.
                os.close(self._fd)
                continue
            os.close(self._fd)
            holder = read_holder(path)
            if _is_run(holder) or time.monotonic() >= deadline:
                raise AlreadyRunning(_busy(path, holder))
            time.sleep(_LOOK_EVERY_S)
        if fcntl.fcntl(self._fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR:
            self._write_holder()

    def _take(self) -> bool:
        """Whether it was free."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as exc:
            os.close(self._fd)
            raise StoreError(
                f"{self._path} can't be locked: {exc.strerror}. This file system has no locks: put "
                "the output on one that has.",
                code="output.no_locks",
            ) from exc
        return True

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._fd), self._path.stat())
        except OSError:
            return False

    def release(self) -> None:
        """Give the lock back."""
        with suppress(OSError):  # its text is looked at only while somebody holds it
            os.ftruncate(self._fd, 0)
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def _write_holder(self) -> None:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        text = msgspec.json.encode(Holder(os.getpid(), socket.gethostname(), since, self._command))
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, text, 0)
        except OSError as exc:
            self.release()
            raise StoreError(
                f"the lock {self._path} can't be written: {exc.strerror}. Free some space and run "
                "the same command again.",
                code=disk_code(exc),
            ) from exc


def _opened(path: Path, *, is_read: bool) -> int:
    try:
        return os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        if is_read and os.access(path, os.R_OK):
            # Another user's, who lets us read.
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        raise StoreError(
            f"the lock {path} can't be made: {exc.strerror}. Check that the output folder is "
            "writable.",
            code=disk_code(exc),
        ) from exc


def read_holder(path: Path) -> Holder | None:
    """Who holds, or last held, the lock; None if nothing readable is there."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return None


def _is_run(holder: Holder | None) -> bool:
    """Whether the lock's text is a run's that lives; what a kill left behind says nothing."""
    if holder is None or reads(holder.command):
        return False
    return holder.host != socket.gethostname() or Path(f"/proc/{holder.pid}").exists()


def _busy(path: Path, holder: Holder | None) -> str:
    if holder is None:
        return (
            f"another process holds {path} and does not say which it is. Wait for it to end, then "
            "run the same command again."
        )
    who = f"process {holder.pid} on {holder.host}, since {holder.since},"
    if reads(holder.command):
        return (
            f"`harvester {holder.command}` reads this output: {who} holds {path}. Wait for it to "
            "end, or end it, then run the same command again: it changes nothing."
        )
    return (
        f"another run works on this output: {who} holds {path} for `harvester {holder.command}`. "
        "Wait for it to end, or see how it is doing with `harvester status`."
    )
