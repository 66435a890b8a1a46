"""Who holds the lock of an output, who waits for it, and what the other is told."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from harvester.errors import AlreadyRunning, StoreError
from harvester.state.lock import Holder, OutputLock, read_holder, reads

WRITERS = (
    "run",
    "refetch",
    "discover",
    "reconcile",
    "publish",
    "compact",
    "drop",
    "erase",
    "rebuild",
)
AN_HOUR_S = 3600.0
"""Nobody who waits so long comes to the end of a test."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def count_open() -> int:
    """The files that this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def held_with(path: Path, text: bytes) -> Iterator[None]:
    """The lock is held, and its text is this."""
    with OutputLock(path):
        path.write_bytes(text)
        yield


@pytest.mark.parametrize("command", WRITERS)
def test_nobody_waits_for_a_command_that_writes(path: Path, command: str) -> None:
    assert not reads(command)
    told = f"another run works on this output: .* for `harvester {command}`"
    with OutputLock(path, command), pytest.raises(AlreadyRunning, match=told):
        OutputLock(path, "status", wait_s=AN_HOUR_S)


@pytest.mark.parametrize("command", ["status", "plan", "export", "report", "sql"])
def test_who_waited_in_vain_for_a_command_that_reads_is_told_that_it_does(
    path: Path, command: str
) -> None:
    assert reads(command)
    told = f"`harvester {command}` reads this output: process {os.getpid()} on "
    with OutputLock(path, command), pytest.raises(AlreadyRunning, match=told):
        OutputLock(path, wait_s=0)


def test_a_run_on_another_machine_is_taken_to_live(path: Path) -> None:
    text = msgspec.json.encode(Holder(2**22 + 1, "elsewhere", "then", "run"))
    told = f"process {2**22 + 1} on elsewhere, since then, holds .* for `harvester run`"
    with held_with(path, text), pytest.raises(AlreadyRunning, match=told):
        OutputLock(path, wait_s=AN_HOUR_S)


def test_a_holder_that_does_not_say_who_it_is_is_told_as_such(path: Path) -> None:
    with held_with(path, b""), pytest.raises(AlreadyRunning, match="does not say which it is"):
        OutputLock(path, wait_s=0)


def test_the_text_says_who_holds_it_since_when_and_for_what(path: Path) -> None:
    with OutputLock(path, "compact"):
        holder = read_holder(path)
    assert holder is not None
    assert (holder.pid, holder.host) == (os.getpid(), socket.gethostname())
    assert holder.command == "compact"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", holder.since)
    assert path.read_bytes() == b"", "nobody holds it any more"


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b'{"pid":"x"}', b"\xff"])
def test_a_text_that_is_none_names_nobody(path: Path, text: bytes) -> None:
    assert read_holder(path) is None
    path.write_bytes(text)
    assert read_holder(path) is None


@pytest.mark.parametrize("command", ["run", "status"])
def test_a_lock_that_can_not_be_made_is_an_error_of_the_store(path: Path, command: str) -> None:
    with pytest.raises(StoreError, match=r"lock .* can't be made: No such file.* is writable"):
        OutputLock(path / "lock", command)


def test_a_lock_that_can_only_be_read_lets_nobody_write(path: Path) -> None:
    path.mkdir()  # nobody can open a folder for writing, not even root
    with pytest.raises(StoreError, match="can't be made: Is a directory"):
        OutputLock(path, "run")
    with OutputLock(path, "status"):
        pass


class Raced(OutputLock):
    """One whose file is removed after it was opened, and before it is locked."""

    tries = 0

    def _take(self) -> bool:
        self.tries += 1
        if self.tries == 1:
            self._path.unlink()
        return super()._take()


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_anew(path: Path) -> None:
    before = count_open()
    with Raced(path) as lock:
        assert lock.tries == 2
        assert count_open() == before + 1
        with pytest.raises(AlreadyRunning):
            OutputLock(path, wait_s=0)


def test_whoever_is_refused_or_gives_it_back_keeps_no_file_open(path: Path) -> None:
    before = count_open()
    with OutputLock(path):
        assert count_open() == before + 1
        with pytest.raises(AlreadyRunning):
            OutputLock(path, wait_s=0)
        assert count_open() == before + 1
    assert count_open() == before
