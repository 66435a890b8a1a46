"""The process that makes a list, started by `build_process`.

It reads a ListSpec as one line of JSON from stdin and answers with one line on stdout: the result,
or what went wrong and whose trouble it is.  DuckDB stays in here, so that its memory is gone when
the fetching begins.

The caller holds stdin open as long as it lives.  When stdin ends, nobody waits for the list any
more, and the process ends at once; a signal does the same.  Files get their names only when they
are whole, so there is nothing to tidy up.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
import traceback

import msgspec

from harvester.errors import SourceError, StoreError, first_line
from harvester.inputs.worklist.spec import ListSpec

ORPHANED = 3


def main() -> int:
    """Make one list.  The exit code is 0, or 1 when the answer is an error."""
    # The terminal sends SIGINT to us, too; the caller is the one to speak about it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    line = sys.stdin.buffer.readline()
    threading.Thread(target=_watch, args=(sys.stdin.fileno(),), daemon=True).start()
    answer = _answer(line)
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    sys.stdout.flush()
    return 0 if "result" in answer else 1


def _watch(stdin: int) -> None:
    # Not through the buffered stream: the interpreter aborts at its end if a thread holds that.
    while os.read(stdin, 1024):
        pass
    os._exit(ORPHANED)


def _answer(line: bytes) -> dict[str, object]:
    gc.disable()  # what is imported stays: there is nothing to collect
    import duckdb
    import pyarrow as pa

    from harvester.inputs.worklist.build import make

    gc.freeze()
    gc.enable()

    # json, not msgspec's: a file's name may hold bytes that are no UTF-8 (as lone surrogates).
    spec = msgspec.convert(json.loads(line), ListSpec)
    try:
        return {"result": msgspec.to_builtins(make(spec))}
    except SourceError as exc:
        return {"source": str(exc), "code": exc.code}
    except StoreError as exc:
        return {"store": str(exc), "code": exc.code}
    except (duckdb.OutOfMemoryException, pa.ArrowMemoryError, MemoryError) as exc:
        return _out_of_room(spec, exc)
    except (duckdb.Error, pa.ArrowException, OSError) as exc:
        traceback.print_exc()
        return _trouble(spec, exc)


def _out_of_room(spec: ListSpec, exc: BaseException) -> dict[str, object]:
    # DuckDB calls a full temp_directory out of memory as well.
    if "max_temp_directory_size" in str(exc) or "offload" in str(exc):
        return _disk_full(spec, exc)
    return {
        "store": f"building the work list needs more than plan.memory_limit = {spec.memory_limit}. "
        f"Raise it (700MB serves 100 million ids), then run again. ({first_line(exc)})",
        "code": "limit.memory",
    }


def _trouble(spec: ListSpec, exc: BaseException) -> dict[str, object]:
    text = str(exc)
    if "No space left" in text or "Disk quota" in text:
        return _disk_full(spec, exc)
    return {
        "store": f"the work list can't be built: {first_line(exc)}. If that names a file of the "
        "data set, run `harvester verify`; else see that the folders of the output can be written.",
        "code": "data.unreadable",
    }


def _disk_full(spec: ListSpec, exc: BaseException) -> dict[str, object]:
    return {
        "store": f"no room on the disk to build the work list, in {spec.scratch} or beside "
        f"{spec.list_path}: sorting takes about 100 bytes a line there. Make room, then run again. "
        f"({first_line(exc)})",
        "code": "output.full",
    }


if __name__ == "__main__":
    ended = main()
    sys.stderr.flush()
    # At once: every file is whole, and to take Arrow and DuckDB apart takes a tenth of the time
    # that a short list does.
    os._exit(ended)
