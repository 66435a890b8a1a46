"""Who takes part: how each is started, and what it needs to be there."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.places import OURS, PEERS
from harvester.config import load
from harvester.errors import ConfigError

CONCURRENCY = 64
FLOOR = "bare aiohttp (FLOOR)"

SECRETS = {"HARVESTER_API_KEY": "bDqJFiq9", "HARVESTER_API_SECRET": "7bz1lzh9"}
"""The vendor's check vector; the upstream looks at neither."""

_FAR_ABOVE = "1000000"
"""A limit, a second, that nothing here reaches: the pace is asked, and never says wait."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way of doing the job.  {ids}, {address} and {out} in its command are filled in."""

    name: str
    command: Sequence[str | Path]
    environ: Mapping[str, str] = field(default_factory=dict)
    writes: bool = True
    """Whether there are Parquet files to check."""
    most: int | None = None
    """It is given no more ids than this: it would take all day."""

    def filled(self, ids: Path, address: str, out: Path) -> list[str]:
        """Its command."""
        given = {"{ids}": str(ids), "{address}": address, "{out}": str(out)}
        return [_fill(str(part), given) for part in self.command]


def floor(concurrency: int = CONCURRENCY) -> Contestant:
    """What every ratio is taken against."""
    command = (OURS, "-m", "bench.floor", "{ids}", "{address}", str(concurrency))
    return Contestant(FLOOR, command, writes=False)


def ours(transport: str, *, rate: str = _FAR_ABOVE, concurrency: int = CONCURRENCY) -> Contestant:
    """`harvester run` with everything on."""
    command: list[str | Path] = [OURS, "-m", "harvester", *run_arguments(rate, concurrency)]
    return Contestant(f"harvester run, {transport}", command, environ(transport))


def run_arguments(rate: str, concurrency: int) -> list[str]:
    """Those of `harvester run`, to be filled in."""
    base = ["run", "{ids}", "--base-url", "{address}/voice", "--out", "{out}"]
    return [*base, "--rate", rate, "--concurrency", str(concurrency), "-q"]


def environ(transport: str) -> dict[str, str]:
    """Secrets and the transport."""
    return {**SECRETS, "HARVESTER_VENDOR__TRANSPORT": transport}


def transports(*, aloud: bool = True) -> list[str]:
    """The transports that this harvester has; a missing one is skipped, aloud."""
    found = []
    for name in ("aiohttp", "lean"):
        try:
            load(flags={"vendor.transport": name})
        except ConfigError:
            if aloud:
                print(f'SKIPPED: vendor.transport = "{name}" does not exist here yet.')
        else:
            found.append(name)
    return found


def peers(*, everyone: bool) -> list[Contestant]:
    """Two peers, or all that are installed; the missing ones are named."""
    found = []
    for peer, package in _PEERS if everyone else _PEERS[:2]:
        if package is None or _has(package):
            found.append(peer)
        else:
            print(
                f"SKIPPED: {peer.name} needs {package} in .venv-bench (`make bench` installs it)."
            )
    return found


def clients() -> list[Contestant]:
    """Bare GETs: our transports without the harvest, and the candidates that were not chosen."""
    named = [(OURS, name, f"ours: {name}") for name in transports()]
    named += [(PEERS, name, name) for name in ("wreq", "pyreqwest") if _is_there(name)]
    return [
        Contestant(title, (python, "-m", "bench.gets", client, "{ids}", "{address}"), writes=False)
        for python, client, title in named
    ]


def _is_there(package: str) -> bool:
    if _has(package):
        return True
    print(f"SKIPPED: {package} is not in .venv-bench (`make bench` installs it).")
    return False


def _peer(
    name: str,
    module: str,
    *,
    python: Path = PEERS,
    most: int | None = None,
    writes: bool = True,
) -> Contestant:
    command = (python, "-m", f"bench.peers.{module}", "{ids}", "{address}", "{out}")
    return Contestant(name, command, writes=writes, most=most)


_PEERS: tuple[tuple[Contestant, str | None], ...] = (
    (_peer("aiohttp+aiolimiter+tenacity+pyarrow", "plain", python=OURS), None),
    (_peer("requests in threads", "threads", most=5_000), "requests"),
    (_peer("img2dataset's pattern (urllib)", "img2dataset", python=OURS, most=20_000), None),
    (_peer("httpx + polars", "httpx_polars", most=2_000), "httpx, polars"),
    (_peer("dlt, async transformer", "dlt_pipeline", most=20_000), "dlt, aiohttp"),
    (_peer("Scrapy + Parquet pipeline", "scrapy_spider", most=10_000), "scrapy"),
    (_peer("singer-sdk tap > /dev/null", "singer_tap", most=5_000, writes=False), "singer_sdk"),
)


def _has(package: str) -> bool:
    if not PEERS.exists():
        return False
    done = subprocess.run([PEERS, "-c", f"import {package}"], capture_output=True, check=False)
    return done.returncode == 0


def _fill(part: str, given: Mapping[str, str]) -> str:
    for name, value in given.items():
        part = part.replace(name, value)
    return part
