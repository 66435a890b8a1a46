"""The limit file: one promise to the vendor for all processes of a machine that use one key.

Theory of operation.  The state of the bucket of `pace.py` is one number, the time at which it is
empty (GCRA, the virtual scheduling algorithm of ITU-T I.371).  It stands in a file, with the time
until which the vendor wants nobody to ask.  A turn is taken at the moment of the write, under a
lock on the file's first byte, so the proof of `bucket_shape` holds for any number of processes.

Nobody's death matters.  The locks belong to an open file (OFD locks), so the kernel frees them;
what is written is a few bytes by one call; and a turn that was taken by a process that died before
its request is lost, which breaks no promise.  The lock is held for microseconds and never waited
for: where it is taken, there is no turn now, for a process may be stopped while it holds it.

Priority.  A process of normal priority that has to wait says so for the next 100 ms, and takes it
back with the last turn that it waits for; one of low priority takes nothing while that stands.  So
a slow process of normal priority loses nothing to the others, and they lose nothing by its
slowness.

Who shares the file holds a slot, by a lock on the slot's first byte: also while it is stopped.
Only where nobody does, and nobody took a turn within 2 s, may the rate change.

All times are CLOCK_MONOTONIC, which all processes of one kernel share: the file names the boot and
the time namespace that they are of, and begins with a silent second where they are others.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import stat
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from harvester.config import Pace, Priority, Secrets, Vendor
from harvester.errors import ConfigError, HarvesterError, StoreError
from harvester.identity import normal_address
from harvester.pipeline.limits.pace import bucket_shape
from harvester.pipeline.limits.sharing import Party, Sharing
from harvester.storage.ownership import explained

SLOTS = 30
_MAGIC = b"cdrlimit"
_VERSION = 1
_OWNER_BYTES = 32
_OWNER_SHOWN = 4
_HEAD = struct.Struct("<8sI32s16sd")  # magic, version, owner, clock, rate; then its CRC-32
_CRC = struct.Struct("<I")
_HEAD_BYTES = _HEAD.size + _CRC.size
_TIMES = struct.Struct("<qqq")  # empty at, closed until, urgent until, in ns
_TIMES_AT = 96
_SLOT = struct.Struct("<qII112s")  # latest turn in ns, process, whether low, output
_SLOT_AT = 128
_SIZE = _SLOT_AT + SLOTS * _SLOT.size
_LATEST = struct.Struct("<q")
# `struct flock` of 64-bit Linux: type, whence, start, length, process.
_FLOCK = struct.Struct("hhqqi4x")
_TAKE = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
_FREE = _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 1, 0)

_SECOND = 1_000_000_000
_MILLISECOND = 1_000_000
_URGENT_NS = 100 * _MILLISECOND
_TAKEN_LATELY_NS = 2 * _SECOND
_TELL_EVERY_NS = 50 * _MILLISECOND  # of `status`; at each turn it would be a fifth of its price
_STUCK_NS = 60 * _SECOND
_FURTHEST_NS = 3600 * _SECOND
"""No bucket and no push-back reaches that far ahead: such a time is damage."""
_JOIN_S = 5.0
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_OLD = os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK


class LimitFile:
    """One process's part in a limit file.  Not for more than one thread at a time."""

    def __init__(
        self,
        path: Path,
        *,
        rate_per_s: float,
        owner: bytes,
        output: str,
        priority: Priority = "normal",
        now_ns: Callable[[], int] = time.monotonic_ns,
        clock: bytes | None = None,
    ) -> None:
        """Join those who share `path`, which is made where it is missing.

        `owner`: 32 bytes that stand for address and key.  `clock` (16 bytes) stands for the clock
        behind `now_ns`.  Raises ConfigError where another rate, key or clock has it, or it is no
        limit file; StoreError where it is damaged or can't be read and written.
        """
        self.path = path
        self._now_ns = now_ns
        self._is_low = priority == "low"
        capacity, leak = bucket_shape(rate_per_s)
        self._turn_ns = int(_SECOND / leak) + 1
        self._slack_ns = int((capacity - 1) * _SECOND / leak)
        self._closes_until = 0
        self._told_ns = -_SECOND
        self._locked_since: int | None = None
        self.closed_until_ns = 0
        """Until when the vendor wants nobody to ask, as last read; by `now_ns`."""
        wanted = _Head(owner, _this_clock() if clock is None else clock, rate_per_s)
        with _errors(path):
            self._fd = _opened(path)
            try:
                _refuse_special(path, os.fstat(self._fd))
                self._join(wanted, os.fsencode(output), priority)
            except BaseException:
                os.close(self._fd)
                raise
            self._inode = os.fstat(self._fd).st_ino

    def take(self, *, more: bool = False) -> int:
        """Take a turn, for a request that is written at once: 0.  Else the ns to wait, at least.

        `more`: others of this process wait as well, and will be here in a moment.  Raises
        StoreError where the file was cut short, or its lock is held for a minute.
        """
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _TAKE)
        except BlockingIOError:
            return self._locked()
        try:
            self._locked_since = None
            return self._take(more=more)
        finally:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FREE)

    def close_until(self, at_ns: int) -> None:
        """The vendor wants nobody to ask before `at_ns`; by `now_ns`."""
        self._closes_until = max(self._closes_until, at_ns)
        with suppress(BlockingIOError):  # then `take` writes it
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _TAKE)
            try:
                empty_at, closed_until, urgent_until = self._times()
                self._keep(empty_at, max(closed_until, self._closes_until), urgent_until)
            finally:
                fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FREE)

    def leave(self) -> None:
        """Share it no longer."""
        os.close(self._fd)

    def _take(self, *, more: bool) -> int:
        now = self._now_ns()
        empty_at, closed_until, urgent_until = self._times()
        closed_until = self.closed_until_ns = max(closed_until, self._closes_until)
        if closed_until > now:
            self._keep(empty_at, closed_until, urgent_until)
            return closed_until - now
        begins = max(empty_at, now)
        wait_ns = begins - now - self._slack_ns
        if self._is_low and urgent_until > now:
            # The next turn is another's; the one after it may be ours.
            ready_ns = max(0, wait_ns)
            return min(ready_ns + self._turn_ns, max(ready_ns, urgent_until - now))
        if wait_ns > 0:
            if not self._is_low:
                self._keep(empty_at, closed_until, now + _URGENT_NS)
            return wait_ns
        if not self._is_low:
            urgent_until = now + _URGENT_NS if more else 0
        self._keep(begins + self._turn_ns, closed_until, urgent_until)
        if now >= self._told_ns + _TELL_EVERY_NS:
            self._told_ns = now
            os.pwrite(self._fd, _LATEST.pack(now), self._slot_at)
        return 0

    def _locked(self) -> int:
        now = self._now_ns()
        if self._locked_since is None:
            self._locked_since = now
        if now - self._locked_since > _STUCK_NS:
            raise self._stuck()
        return _MILLISECOND

    def _stuck(self) -> StoreError:
        return StoreError(
            f"the limit file {self.path} is locked by a process that does not go on. Look for one "
            "that is stopped (Ctrl-Z, a frozen container), end it, and run the same command again.",
            code="limit_file.stuck",
        )

    def _times(self) -> tuple[int, int, int]:
        found = os.pread(self._fd, _TIMES.size, _TIMES_AT)
        if len(found) != _TIMES.size:
            raise _damaged(self.path)
        return _TIMES.unpack(found)

    def _keep(self, empty_at: int, closed_until: int, urgent_until: int) -> None:
        os.pwrite(self._fd, _TIMES.pack(empty_at, closed_until, urgent_until), _TIMES_AT)

    def refuse_moved(self) -> None:
        """Raise StoreError unless others find the same file, unchanged.  Safe in any thread."""
        try:
            found = self.path.stat().st_ino
        except OSError:
            found = None
        if found != self._inode:
            raise StoreError(
                f"the limit file {self.path} was moved or replaced while a run used it, so another "
                "process could send beside it. Leave it in its place, and run the same command "
                "again.",
                code="limit_file.moved",
            )
        if os.pread(self._fd, _HEAD_BYTES, 0) != self._head:
            raise _damaged(self.path)

    def _join(self, wanted: _Head, output: bytes, priority: Priority) -> None:
        self._wait_for_lock()
        try:
            now = self._now_ns()
            if _is_empty(self._fd):
                os.posix_fallocate(self._fd, 0, _SIZE)
                self._keep(0, now + _SECOND, 0)
                found = wanted
            else:
                found = _read_head(self.path, self._fd)
                self._refuse(found, wanted, now)
            self._head = wanted.packed()
            os.pwrite(self._fd, self._head, 0)
            if found.clock != wanted.clock:
                self._keep(0, now + _SECOND, 0)
            self._slot_at = self._free_slot()
            self._write_slot(output, priority)
        finally:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FREE)

    def _wait_for_lock(self) -> None:
        until = time.monotonic() + _JOIN_S
        while True:
            try:
                fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _TAKE)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise self._stuck() from None
                time.sleep(0.001)
            else:
                return

    def _refuse(self, found: _Head, wanted: _Head, now: int) -> None:
        if found.owner != wanted.owner:
            raise ConfigError(
                f"the limit file {self.path} belongs to another vendor address or key. Each key "
                "needs a file of its own: name another one in pace.limit_file. If key or secret "
                "were changed, remove the file once no process uses it.",
                code="limit_file.belongs",
            )
        parties = _parties(self._fd, now)
        if found.clock != wanted.clock:
            if parties:
                raise ConfigError(
                    f"the limit file {self.path} is in use by a process of another machine or "
                    "container, whose clock is another one. Give each of them a part of the rate "
                    "and a file of its own: pace.rate_per_s and pace.limit_file.",
                    code="limit_file.other_machine",
                )
            return
        empty_at, closed_until, urgent_until = self._times()
        if max(empty_at, closed_until, urgent_until) > now + _FURTHEST_NS:
            raise _damaged(self.path)
        if found.rate_per_s == wanted.rate_per_s:
            return
        if parties or now - empty_at < _TAKEN_LATELY_NS:
            who = (
                ", ".join(f"process {party.pid} with {party.output}" for party in parties)
                or "a process that has just ended"
            )
            raise ConfigError(
                f"the limit file {self.path} is in use at {found.rate_per_s:g} requests a second "
                f"({who}), but pace.rate_per_s is {wanted.rate_per_s:g}. All that share it need "
                "the same rate: change one of the two, or run the same command again once the "
                "others have ended.",
                code="limit_file.rate",
            )

    def _free_slot(self) -> int:
        for at in _slots():
            with suppress(BlockingIOError):
                lock = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, at, 1, 0)
                fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, lock)
                return at
        raise ConfigError(
            f"{SLOTS} processes share the limit file {self.path} already. Run the same command "
            "again once some of them have ended.",
            code="limit_file.full",
        )

    def _write_slot(self, output: bytes, priority: Priority) -> None:
        slot = _SLOT.pack(0, os.getpid(), priority == "low", output[-112:])
        os.pwrite(self._fd, slot, self._slot_at)


@contextmanager
def sharing(
    vendor: Vendor, pace: Pace, secrets: Secrets, output: Path
) -> Iterator[LimitFile | None]:
    """This process's part in `pace.limit_file`; None where none is named.  Raises as LimitFile."""
    if pace.limit_file is None:
        yield None
        return
    limit = LimitFile(
        Path(pace.limit_file),
        rate_per_s=pace.rate_per_s,
        owner=_owner(vendor, secrets),
        output=str(output.absolute()),
        priority=pace.priority,
    )
    try:
        yield limit
    finally:
        limit.leave()


def _owner(vendor: Vendor, secrets: Secrets) -> bytes:
    """What stands for address and key, and from which neither can be guessed.

    Secrets may be short: all of a digest would show by trying which one it is.  Four bytes tell
    keys apart as well, and leave tens of thousands of secrets of eight characters to choose from.
    """
    text = f"limit file: {normal_address(vendor.base_url)} {secrets.api_key}"
    digest = hmac.digest(secrets.api_secret.encode(), text.encode(), hashlib.sha256)
    return digest[:_OWNER_SHOWN].ljust(_OWNER_BYTES, b"\0")


def read_sharing(path: Path) -> Sharing | None:
    """Who shares the file, for those who only look; None where there is no file.

    Raises ConfigError, StoreError.
    """
    with _errors(path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            _refuse_special(path, os.fstat(fd))
            if _is_empty(fd):
                return None
            head, now = _read_head(path, fd), time.monotonic_ns()
            times = os.pread(fd, _TIMES.size, _TIMES_AT)
            if head.clock != _this_clock() or len(times) != _TIMES.size:
                return None
            return Sharing(
                file=str(path),
                rate_per_s=head.rate_per_s,
                closed_s=max(0, _TIMES.unpack(times)[1] - now) / _SECOND,
                parties=tuple(_parties(fd, now)),
            )
        finally:
            os.close(fd)


class _Head(msgspec.Struct, frozen=True):
    owner: bytes
    clock: bytes
    rate_per_s: float

    def packed(self) -> bytes:
        head = _HEAD.pack(_MAGIC, _VERSION, self.owner, self.clock, self.rate_per_s)
        return head + _CRC.pack(zlib.crc32(head))


def _read_head(path: Path, fd: int) -> _Head:
    found = os.pread(fd, _HEAD_BYTES, 0)
    if found[: len(_MAGIC)] != _MAGIC:
        raise ConfigError(
            f"{path} is no limit file. Nothing was changed: name another file in pace.limit_file.",
            code="limit_file.foreign",
        )
    head = found[: _HEAD.size]
    whole = len(found) == _HEAD_BYTES and os.fstat(fd).st_size == _SIZE
    if not whole or _CRC.unpack(found[_HEAD.size :])[0] != zlib.crc32(head):
        raise _damaged(path)
    _, version, owner, clock, rate_per_s = _HEAD.unpack(head)
    if version != _VERSION:
        raise ConfigError(
            f"the limit file {path} is of another version of the harvester. Use the same version "
            "for all that share it; remove the file once no process uses it.",
            code="limit_file.version",
        )
    return _Head(owner, clock, rate_per_s)


def _is_empty(fd: int) -> bool:
    """Whether it is new, or all that a loss of power has left are zeros."""
    return os.fstat(fd).st_size <= _SIZE and not os.pread(fd, _SIZE, 0).strip(b"\0")


def _damaged(path: Path) -> StoreError:
    return StoreError(
        f"the limit file {path} is damaged. End what uses it, remove it, and run the same command "
        "again: a new one is made.",
        code="limit_file.damaged",
    )


def _slots() -> range:
    return range(_SLOT_AT, _SIZE, _SLOT.size)


def _parties(fd: int, now: int) -> Iterator[Party] | list[Party]:
    return [party for at in _slots() if (party := _party(fd, at, now)) is not None]


def _party(fd: int, at: int, now: int) -> Party | None:
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, at, 1, 0)
    if _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0] == fcntl.F_UNLCK:
        return None
    latest, pid, is_low, output = _SLOT.unpack(os.pread(fd, _SLOT.size, at))
    return Party(
        pid=pid,
        output=os.fsdecode(output.rstrip(b"\0")),
        priority="low" if is_low else "normal",
        idle_s=max(0, now - latest) / _SECOND if latest else None,
    )


def _this_clock() -> bytes:
    """16 bytes that stand for this boot of this kernel, and for this process's time namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    try:
        namespace = os.stat("/proc/self/ns/time").st_ino  # noqa: PTH116 - a link to no file
    except OSError:  # before Linux 5.6 there is but one
        namespace = 0
    return hashlib.blake2s(boot + str(namespace).encode(), digest_size=16).digest()


def _opened(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        fd = os.open(path, _NEW, 0o660)
    except FileExistsError:
        return os.open(path, _OLD)
    os.fchmod(fd, 0o660)  # whatever the umask: another user of the group may share the key
    return fd


def _refuse_special(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(
            f"{path} is no file. Name another one in pace.limit_file.", code="limit_file.foreign"
        )


@contextmanager
def _errors(path: Path) -> Iterator[None]:
    try:
        yield
    except HarvesterError:
        raise
    except IsADirectoryError:
        raise ConfigError(
            f"{path} is no file. Name another one in pace.limit_file.", code="limit_file.foreign"
        ) from None
    except PermissionError as exc:
        raise explained(path, exc) from exc
    except OSError as exc:
        raise StoreError(
            f"the limit file {path} can't be used: {exc.strerror}. It needs a local file system "
            "with locks and some room: put it on one with pace.limit_file.",
            code="limit_file.unusable",
        ) from exc
