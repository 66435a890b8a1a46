"""The simulator as a process of its own, for tests that want real sockets."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.request
from datetime import date
from types import TracebackType
from typing import Any, Self

from tests.support import forked, ways
from tests.support.ports import free_port

END = date(2023, 1, 10)
"""The last day of the ids that tests make up: the same ids, calls and partitions on any day.

The product judges an id by its age (pipeline/engine/settle.py), so the clock must not come
near: these are older than any border, and will be.  Ids that must be younger have digits that tell
no date.
"""
ALL_RECORDS = "dead_param=0,dead_empty=0,dead_range=0,open_then_final=0,open_forever=0,no_record=0"
"""Fates of calls that all have a record which is final."""
ROOT = forked.ROOT
# Loopback needs no proxy, whatever the environment says.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_STARTS_WITH = "listening on "


class Simulator:
    """`python -m harvester.simulator` on a free port, for as long as the `with` lasts.

    `Simulator(rate_limit=50, faults="busy=0.1", drift=False)` is `--rate-limit 50 --faults
    busy=0.1 --no-drift`.  `base_url` holds host, port and prefix.
    """

    def __init__(self, **options: object) -> None:
        certificate = ways.certificate()
        if certificate is not None:
            options = {"tls_cert": certificate, **options}
        options = {"port": free_port(), **options}
        self._command = [sys.executable, "-m", "harvester.simulator", *_arguments(options)]
        self._process: subprocess.Popen[str] | None = None
        self.base_url = ""

    def __enter__(self) -> Self:
        # A file, not a pipe: nobody reads along, and a full pipe would stop it.
        with tempfile.TemporaryFile("w+") as complaints:
            self._process = forked.Popen(
                self._command, cwd=ROOT, stdout=subprocess.PIPE, stderr=complaints, text=True
            )
            assert self._process.stdout is not None
            first_line = self._process.stdout.readline()
            if not first_line.startswith(_STARTS_WITH):
                self.stop()
                complaints.seek(0)
                raise RuntimeError(f"the simulator didn't start: {complaints.read()}")
        self.base_url = first_line.removeprefix(_STARTS_WITH).strip()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.base_url.split("://", 1)[1].split("/", 1)[0].rsplit(":", 1)[1])

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> int:
        """End it, by its own pid; its exit code."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        return self._process.returncode

    def stats(self) -> dict[str, Any]:
        """Counts of everything so far."""
        found: dict[str, Any] = json.loads(self._control("stats"))
        return found

    def asks(self) -> dict[str, int]:
        """How often each id was asked for, as far back as the log goes."""
        found: dict[str, int] = json.loads(self._control("asks"))
        return found

    def listed(self) -> dict[str, Any]:
        """The ids of all calls that it lists sooner or later, and how many do not show yet."""
        found: dict[str, Any] = json.loads(self._control("listed"))
        return found

    def log(self) -> list[dict[str, Any]]:
        """The last requests: at, voice_id, status, why, http."""
        return [json.loads(line) for line in self._control("log").splitlines()]

    def post_faults(self, faults: str | None = None, **wishes: object) -> None:
        """Change its mix and moods (harvester/simulator/control.py names them)."""
        wishes = wishes if faults is None else {"faults": faults, **wishes}
        self._control("faults", json.dumps(wishes).encode())

    def _control(self, name: str, body: bytes | None = None) -> bytes:
        scheme = self.base_url.split(":", 1)[0]
        address = f"{scheme}://127.0.0.1:{self.port}/_simulator/{name}"
        with _DIRECT.open(urllib.request.Request(address, data=body)) as response:
            answer: bytes = response.read()
        return answer


def _arguments(options: dict[str, object]) -> list[str]:
    arguments: list[str] = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            arguments.append(f"--{flag}={value}")
    return arguments
