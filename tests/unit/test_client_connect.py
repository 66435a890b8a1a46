"""Which transport a configuration names, and what its making must not do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("name", ["aiohttp", "lean"])
def test_no_transport_opens_a_log_of_keys(tmp_path: Path, name: str) -> None:
    """In a process of its own: aiohttp makes a context as it is imported."""
    keys = tmp_path / "keys"
    code = (
        "from harvester.config import Vendor\n"
        "from harvester.client.connect import way_to\n"
        f"print(way_to(Vendor(transport={name!r})).__name__)\n"
    )
    environ = {**os.environ, "SSLKEYLOGFILE": str(keys)}
    told = subprocess.run(
        [sys.executable, "-c", code], env=environ, check=True, capture_output=True, text=True
    )
    assert told.stdout.lower().strip() == f"{name}transport"
    assert not keys.exists()


def test_no_library_that_a_command_loads_opens_a_file_for_keys(tmp_path: Path) -> None:
    """Arrow does as it is loaded."""
    keys = tmp_path / "keys"
    environ = {**os.environ, "SSLKEYLOGFILE": str(keys)}
    for words in (("config", "show"), ("status", "--out", "none"), ("report", "--out", "none")):
        command = [sys.executable, "-m", "harvester", *words]
        subprocess.run(command, env=environ, check=False, capture_output=True, cwd=tmp_path)
        assert not keys.exists(), words
