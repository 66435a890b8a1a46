"""Have the work list made by a child process, so that this one never loads DuckDB."""

from __future__ import annotations

import json
import subprocess
import tempfile
from typing import IO, NoReturn

import msgspec

from harvester.errors import SourceError, StoreError
from harvester.inputs.worklist.spec import FileCount, ListResult, ListSpec
from harvester.storage import subprocesses

__all__ = ["FileCount", "ListResult", "ListSpec", "make_list"]

_CHILD = "harvester.inputs.worklist.build_child"


def make_list(spec: ListSpec) -> ListResult:
    """Make the list that `spec` describes; it and its companions appear whole or not at all.

    Blocks until the child is done.  Raises SourceError for the input's faults, StoreError for
    lack of memory or disk and for unreadable data, KeyboardInterrupt if the child was interrupted.
    """
    with tempfile.TemporaryFile() as complaints:
        with subprocesses.start(_CHILD, complaints) as child:
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


def _result(answer: bytes, code: int, complaints: IO[bytes]) -> ListResult:
    if code not in (0, 1):
        _died(code, complaints)
    try:
        spoken = json.loads(answer.strip().rpartition(b"\n")[2])
    except ValueError:
        _died(code, complaints)
    if "source" in spoken:
        raise SourceError(spoken["source"], code=spoken["code"])
    if "store" in spoken:
        raise StoreError(spoken["store"], code=spoken["code"])
    return msgspec.convert(spoken["result"], ListResult)


def _died(code: int, complaints: IO[bytes]) -> NoReturn:
    subprocesses.died(
        "the work-list builder process",
        code,
        complaints,
        if_killed="Lower plan.memory_limit or free memory, then run again.",
    )
