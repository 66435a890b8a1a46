"""Have the work list made by a child process, so that this one never loads DuckDB."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import IO, NoReturn

import msgspec

from harvester.config import ENV_PREFIX
from harvester.errors import HarvesterError, SourceError, StoreError
from harvester.ids.spec import FileCount, ListResult, ListSpec

__all__ = ["FileCount", "ListResult", "ListSpec", "make_list"]

_COMMAND = (sys.executable, "-P", "-m", "harvester.ids.child")
_COMPLAINT_BYTES = 4000


def make_list(spec: ListSpec) -> ListResult:
    """Make the list that `spec` describes; it and its companions appear whole or not at all.

    Blocks until the child is done.  Raises SourceError for the input's faults, StoreError for
    lack of memory or disk and for unreadable data, KeyboardInterrupt if the child was interrupted.
    """
    with tempfile.TemporaryFile() as complaints:
        with subprocess.Popen(  # noqa: S603 - our own interpreter and module
            _COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=_environment(os.environ),
        ) as child:
            try:
                answer = _asked(child, spec)
            except BaseException:
                child.kill()
                raise
        return _result(answer, child.returncode, complaints)


def _asked(child: subprocess.Popen[bytes], spec: ListSpec) -> bytes:
    """Hand over the spec and wait for the answer; stdin stays open, the child lives by it."""
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(json.dumps(msgspec.to_builtins(spec)).encode() + b"\n")
        child.stdin.flush()
    except BrokenPipeError:
        pass  # it died already; its exit code and stderr tell why
    answer = child.stdout.read()
    child.wait()
    return answer


def _environment(ours: Mapping[str, str]) -> dict[str, str]:
    """The child's: no setting and no secret of ours, and modules from the same places."""
    kept = {name: value for name, value in ours.items() if not name.startswith(ENV_PREFIX)}
    return {**kept, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _result(answer: bytes, code: int, complaints: IO[bytes]) -> ListResult:
    last = answer.strip().rpartition(b"\n")[2]
    if not last or code not in (0, 1):
        _died(code, complaints)
    try:
        spoken = json.loads(last)
    except ValueError:
        _died(code, complaints)
    if "source" in spoken:
        raise SourceError(spoken["source"])
    if "store" in spoken:
        raise StoreError(spoken["store"])
    return msgspec.convert(spoken["result"], ListResult)


def _died(code: int, complaints: IO[bytes]) -> NoReturn:
    if code == -signal.SIGINT:
        raise KeyboardInterrupt
    if code == -signal.SIGKILL:
        raise StoreError(
            "the process that makes the list was killed, probably for want of memory. "
            "Lower plan.memory_limit or free memory, then run again."
        )
    if code < 0:
        raise StoreError(f"the process that makes the list was ended by signal {-code}. Run again.")
    size = complaints.seek(0, os.SEEK_END)
    complaints.seek(max(0, size - _COMPLAINT_BYTES))
    said = complaints.read().decode("utf-8", "replace").strip()
    raise HarvesterError(f"the process that makes the list failed (exit {code}): {said}")
