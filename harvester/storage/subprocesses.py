"""Processes of ours: how one is started, and what it means when one ends before its time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import IO, NoReturn

from harvester.config import ENV_PREFIX
from harvester.errors import HarvesterError, StoreError

_COMPLAINT_BYTES = 4000


def start(module: str, complaints: IO[bytes]) -> subprocess.Popen[bytes]:
    """`module` in our own interpreter, its stdin and stdout in our hands, without our secrets."""
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        (sys.executable, "-P", "-m", module),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=complaints,
        env=_environment(os.environ),
    )


def died(what: str, code: int, complaints: IO[bytes], *, if_killed: str) -> NoReturn:
    """Say why a process ended without an answer.  `what`: "the process that …".

    Raises KeyboardInterrupt if it was interrupted, StoreError if it was killed (`if_killed`: what
    to do about want of memory), else HarvesterError.
    """
    if code == -signal.SIGINT:
        raise KeyboardInterrupt
    if code == -signal.SIGKILL:
        raise StoreError(
            f"{what} was killed, probably for want of memory. {if_killed}", code="process.killed"
        )
    if code < 0:
        raise StoreError(f"{what} was ended by signal {-code}. Run again.", code="process.killed")
    size = complaints.seek(0, os.SEEK_END)
    complaints.seek(max(0, size - _COMPLAINT_BYTES))
    said = complaints.read().decode("utf-8", "replace").strip()
    raise HarvesterError(f"{what} failed (exit {code}): {said}", code="internal.process")


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """The child's: no setting and no secret of ours, and modules from the same places."""
    kept = {name: value for name, value in ours.items() if not name.startswith(ENV_PREFIX)}
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
