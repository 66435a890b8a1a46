"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def describe() -> str:
    """One line: date, CPU, cores, load, versions."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    load = ", ".join(f"{one:.2f}" for one in os.getloadavg())
    return (
        f"{now}; {_cpu()}, {os.cpu_count()} cores, load {load}; Linux {platform.release()}, "
        f"Python {platform.python_version()}, aiohttp {version('aiohttp')}, "
        f"pyarrow {version('pyarrow')}"
    )


def busy_s() -> float:
    """CPU seconds that all cores have worked or been taken away, since the machine started."""
    user, nice, system, _, _, irq, softirq, steal = (
        int(ticks) for ticks in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def busy_s_of(pid: int) -> float:
    """CPU seconds of one process."""
    told = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
