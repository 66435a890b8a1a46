"""Processes of our own programs, begun from one that has its imports done.

Theory of operation.  Over a thousand tests run `python -m harvester …` in a process of its own, and
half of what that costs is imports.  So each process of tests keeps a nursery: a process with one
thread, which has imported what the programs need and begun nothing.  Asked to, it forks twice, so
that the process which comes of it has no parent, and falls to the process of tests (its subreaper):
that waits for it, kills it and reads its exit code as with any other.  In between it takes on what
it was asked to be: program, arguments, folder, environment and streams.

What depends on how an interpreter begins is begun as usual: another program, a variable that is
read at start or by an import, a preloaded library.  `Popen` sees to that.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_SET_CHILD_SUBREAPER = 36
_READ_AT_START = (
    "PYTHON",
    "LD_",
    "SSL_",
    "FAKETIME",
    "LANG",
    "LC_",
    "TERM",
    "FORCE_COLOR",
    "NO_COLOR",
    "CLICOLOR",
    "_TYPER",
)
_IMPORTED = (
    "aiohttp",
    "asyncio",
    "pyarrow.compute",
    "pyarrow.parquet",
    "rich.console",
    "rich.table",
    "sqlite3",
    "structlog",
    "harvester.cli.main",
    "harvester.cli.commands.run",
    "harvester.pipeline.run.run",
    "harvester.pipeline.publish.compare",
    "harvester.operations.plan",
    "harvester.simulator.server",
    "tests.support.harvest_once",
    "tests.support.once",
)
"""Never DuckDB, which the process that fetches must not have, nor what a test imports alone."""
_MOST = 1 << 20


class Popen(subprocess.Popen[Any]):
    """`subprocess.Popen`, of a program that may be begun by the nursery."""

    def _execute_child(self, args: Any, *rest: Any) -> None:
        executable, preexec_fn, _, pass_fds, cwd, env, *others = rest
        _, _, shell, p2cread, _, _, c2pwrite, _, errwrite, *_ = others
        begun_anew = bool(executable or preexec_fn or pass_fds or shell or others[-2])
        wanted = None if begun_anew else _wanted(args, cwd, env)
        if wanted is None:
            super()._execute_child(args, *rest)  # type: ignore[misc]
            return
        fds = [
            given if given != -1 else own for own, given in enumerate((p2cread, c2pwrite, errwrite))
        ]
        self.pid = _nursery().bear(wanted, fds)
        self._child_created = True
        self._close_pipe_fds(*others[3:9])  # type: ignore[attr-defined]


def run(args: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
    """`subprocess.run`, with `Popen`."""
    given, timeout = options.pop("input", None), options.pop("timeout", None)
    check = options.pop("check", False)
    if options.pop("capture_output", False):
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if given is not None:
        options["stdin"] = subprocess.PIPE
    with Popen(args, **options) as process:
        try:
            out, err = process.communicate(given, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(args, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


def _wanted(args: Any, cwd: Any, env: Mapping[str, str] | None) -> dict[str, Any] | None:
    """What is to be begun; None if a nursery can't."""
    if not isinstance(args, list) or args[0] != sys.executable:
        return None
    words = list(map(str, args[1:]))
    strict = words[:2] == ["-W", "error"]
    words = words[2:] if strict else words
    environment = dict(os.environ if env is None else env)
    path = environment.pop("PYTHONPATH", None)
    if words[:1] != ["-m"] or path not in {None, str(ROOT), os.environ.get("PYTHONPATH")}:
        return None
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    differs = {
        name
        for name in own.keys() | environment.keys()
        if own.get(name) != environment.get(name) and name.startswith(_READ_AT_START)
    }
    if differs:
        return None
    return {
        "module": words[1],
        "words": words[2:],
        "strict": strict,
        "cwd": os.fspath(Path.cwd() if cwd is None else cwd),
        "env": environment | ({} if path is None else {"PYTHONPATH": path}),
        "umask": _umask(),
    }


def _umask() -> int:
    now = os.umask(0o022)
    os.umask(now)
    return now


class _Nursery:
    def __init__(self) -> None:
        self.of = os.getpid()
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        if prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "this process can't be a subreaper")
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.forked", str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )

    def bear(self, wanted: Mapping[str, Any], fds: list[int]) -> int:
        """Begin a process with these three streams; its pid."""
        socket.send_fds(self._ours, [json.dumps(wanted).encode()], fds)
        return int(self._ours.recv(64))


_nurseries: list[_Nursery] = []


def _nursery() -> _Nursery:
    if not (_nurseries and _nurseries[0].of == os.getpid()):
        _nurseries[:] = [_Nursery()]
    return _nurseries[0]


def _serve(sock: socket.socket) -> dict[str, Any] | None:
    """Bear whoever is asked for; comes back in each of them, and with None at the end."""
    while True:
        text, fds, _, _ = socket.recv_fds(sock, _MOST, 3)
        if not text:
            return None
        reading, writing = os.pipe()
        between = os.fork()
        if between == 0:
            born = os.fork()
            if born:
                os.write(writing, str(born).encode())
                os._exit(0)
            os.close(writing)
            os.close(reading)
            sock.close()
            _take_on(json.loads(text), fds)
            return dict(json.loads(text))
        os.close(writing)
        for fd in fds:
            os.close(fd)
        os.waitpid(between, 0)
        sock.send(os.read(reading, 64))
        os.close(reading)


def _take_on(wanted: Mapping[str, Any], fds: list[int]) -> None:
    for own, given in enumerate(fds):
        os.dup2(given, own)
    for given in fds:
        os.close(given)
    os.umask(wanted["umask"])
    os.environ.clear()
    os.environ.update(wanted["env"])
    time.tzset()
    # As an interpreter finds them at its start.
    is_terminal = os.isatty(1)
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", errors="strict")  # type: ignore[misc] # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", 1 if is_terminal else -1, encoding="utf-8")  # type: ignore[misc] # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", 1, encoding="utf-8", errors="backslashreplace")  # type: ignore[misc] # noqa: SIM115
    if wanted["strict"]:
        sys.warnoptions[:] = ["error"]
        warnings.simplefilter("error")
    os.chdir(wanted["cwd"])
    sys.path[0] = wanted["cwd"]


def main() -> None:
    """The nursery, on the socket of this number; each of its children goes on from here."""
    sock = socket.socket(fileno=int(sys.argv[1]))
    for name in _IMPORTED:
        importlib.import_module(name)
    gc.freeze()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path.insert(0, "")
    wanted = _serve(sock)
    if wanted is not None:
        sys.modules.pop(wanted["module"], None)  # as if nobody had imported it
        sys.argv = [wanted["module"], *wanted["words"]]
        runpy.run_module(wanted["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
