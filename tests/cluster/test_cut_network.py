"""A Ray node with a network of its own, which is cut from the run and not from the vendor.

Both workers are there.  They are out of reach and go on: what they may send ends with their lease.
Needs to be root, for network namespaces.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed here: `make scale` runs these tests")
if os.geteuid() != 0 or shutil.which("ip") is None:
    pytest.skip("network namespaces need root and iproute2", allow_module_level=True)

from tests.cluster.test_ray import IDS, KEYS, ids, on_ray, vendor
from tests.support.harvesting import assert_kept, traced
from tests.support.outputs import wait_for_requests
from tests.support.ports import free_port
from tests.support.simulated import ROOT, Simulator

__all__ = ["ids", "vendor"]

LIMIT = 200.0
SPACE = f"cdr{os.getpid() % 100_000}"
OF_RAY = ("10.77.1.1", "10.77.1.2")
OF_VENDOR = ("10.77.2.1", "10.77.2.2")
_STARTED = "Ray runtime started"
_HEAD = 6399  # Ray wants one outside of 10002 to 19999, where free ones are
INSIDE = ["ip", "netns", "exec", SPACE]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def process(
    words: list[str], environment: Mapping[str, str], ready: str | None = None
) -> Iterator[None]:
    """From when it says `ready`; it and all that it starts are ended at the end."""
    started = subprocess.Popen(
        words,
        cwd=ROOT,
        env=dict(environment),
        start_new_session=True,
        stdout=subprocess.DEVNULL if ready is None else subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        if ready is not None:
            assert started.stdout is not None
            said = []
            while ready not in (line := started.stdout.readline()):
                said.append(line)
                assert line, "".join(said)
        yield
    finally:
        started.terminate()
        try:
            started.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
        if started.stdout is not None:
            started.stdout.close()


@contextmanager
def wire(name: str, addresses: tuple[str, str]) -> Iterator[str]:
    """Between here and the namespace; its end here."""
    here, there = f"{name}a{SPACE[3:]}"[:15], f"{name}b{SPACE[3:]}"[:15]
    ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", SPACE)
    try:
        ip("addr", "add", f"{addresses[0]}/24", "dev", here)
        ip("link", "set", here, "up")
        ip("-n", SPACE, "addr", "add", f"{addresses[1]}/24", "dev", there)
        ip("-n", SPACE, "link", "set", there, "up")
        yield here
    finally:
        ip("link", "del", here)


@contextmanager
def namespace() -> Iterator[None]:
    ip("netns", "add", SPACE)
    try:
        ip("-n", SPACE, "link", "set", "lo", "up")
        yield
    finally:
        ip("netns", "del", SPACE)


def test_workers_that_are_cut_off_stop_with_their_lease_and_the_run_goes_on(
    tmp_path: Path, ids: Path, vendor: Simulator
) -> None:
    python, ray = sys.executable, str(Path(sys.executable).parent / "ray")
    relay, port = [python, "-m", "tests.support.relay"], free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    own |= {**KEYS, "RAY_AUTH_MODE": "disabled"}
    start = [ray, "start", "--block", "--disable-usage-stats"]
    with ExitStack() as stack:
        stack.enter_context(namespace())
        to_ray = stack.enter_context(wire("r", OF_RAY))
        stack.enter_context(wire("v", OF_VENDOR))
        # The simulator listens to this machine alone, and the node has a loopback of its own.
        here = [OF_VENDOR[0], str(port), "127.0.0.1", str(vendor.port)]
        there = ["127.0.0.1", str(vendor.port), OF_VENDOR[0], str(port)]
        stack.enter_context(process([*relay, *here], own))
        stack.enter_context(process([*INSIDE, *relay, *there], own))
        address = f"{OF_RAY[0]}:{_HEAD}"
        of_head = [f"--node-ip-address={OF_RAY[0]}", f"--port={_HEAD}", "--num-cpus=0"]
        of_head += [f"--temp-dir=/tmp/ray-{SPACE}", "--include-dashboard=false"]
        stack.enter_context(process([*start, "--head", *of_head], own, _STARTED))
        of_node = [f"--address={address}", f"--node-ip-address={OF_RAY[1]}", "--num-cpus=2"]
        stack.enter_context(process([*INSIDE, *start, *of_node], own, _STARTED))
        harvest = on_ray(
            tmp_path / "out", vendor, pace__rate_per_s=LIMIT, workers__ray_address=address
        )
        assert harvest.environment is not None
        harvest.environment["RAY_AUTH_MODE"] = "disabled"
        running = harvest.start(ids, trace=traced(tmp_path))
        wait_for_requests(vendor, 900)
        ip("link", "set", to_ray, "down")
        ended = harvest.ended(running)
        assert ended.code == 0, ended.err
        assert ended.err.count("no report within 10 s") == 2, ended.err
        assert harvest.ids() == sorted(IDS)
        # What they sent in their lease and could not report is sent again.
        assert 0 < vendor.stats()["requests"] - len(IDS) <= 3 * LIMIT
        assert_kept(tmp_path, vendor, LIMIT, lost=round(3 * LIMIT))
