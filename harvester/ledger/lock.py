"""One run at a time per output.

The lock is the kernel's (flock), so a dead process holds none: its lock is taken over by simply
taking it.  The file's text only tells people who holds it.
"""

from __future__ import annotations

import fcntl
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from harvester.errors import AlreadyRunning, StoreError


class Holder(msgspec.Struct, frozen=True):
    """Who holds the lock, and since when (ISO 8601, UTC)."""

    pid: int
    host: str
    since: str


class OutputLock:
    """Held from `OutputLock(path)` until `release`; a context manager."""

    def __init__(self, path: Path) -> None:
        """Take the lock.  Raises AlreadyRunning, naming the holder; StoreError if it can't."""
        self._path = path
        self._fd = _opened(path)
        self._take()
        while not self._is_in_place():
            # Its file was removed between the two: whoever comes next would not meet this lock.
            os.close(self._fd)
            self._fd = _opened(path)
            self._take()
        self._write_holder()

    def _take(self) -> None:
        path = self._path
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(self._fd)
            raise AlreadyRunning(_tell(path, read_holder(path))) from exc
        except OSError as exc:
            os.close(self._fd)
            raise StoreError(
                f"{path} can't be locked: {exc.strerror}. This file system has no locks: put the "
                "output on one that has."
            ) from exc

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._fd), self._path.stat())
        except OSError:
            return False

    def release(self) -> None:
        """Give the lock back."""
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
        text = msgspec.json.encode(Holder(os.getpid(), socket.gethostname(), since))
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, text, 0)
        except OSError as exc:
            self.release()
            raise StoreError(
                f"the lock {self._path} can't be written: {exc.strerror}. Free some space and run "
                "the same command again."
            ) from exc


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise StoreError(
            f"the lock {path} can't be made: {exc.strerror}. Check that the output folder is "
            "writable."
        ) from exc


def read_holder(path: Path) -> Holder | None:
    """Who holds, or last held, the lock; None if nothing readable is there."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return None


def _tell(path: Path, holder: Holder | None) -> str:
    who = f"process {holder.pid} on {holder.host}, since {holder.since}," if holder else "a process"
    return (
        f"another run works on this output: {who} holds {path}. Wait for it to end, or see how "
        "it is doing with `harvester status`."
    )
