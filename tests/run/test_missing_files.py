"""A file of the data set that somebody removed makes no figure smaller in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import harvester
from harvester.errors import StoreError
from harvester.state.lock import OutputLock
from harvester.storage.output import Output
from tests.run.test_cli_commands import harvester as typed

COMMANDS = [
    ["report", "--json"],
    ["audit", "--json"],
    ["sql", "SELECT count(*) AS calls FROM cdr", "--json"],
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output of some dates, and of nothing else."""
    out = tmp_path_factory.mktemp("whole") / "out"
    with harvester.simulate(ids=60) as vendor:
        config = harvester.load_config(
            overrides={"vendor.base_url": vendor.base_url, "output.dir": str(out)}
        )
        harvester.run(config, vendor.secrets, ids=vendor.ids)
    return out


def test_a_missing_file_is_refused_by_whatever_adds_up(whole: Path) -> None:
    part = min(whole.glob("cdr/*/*.parquet"))
    aside = whole.parent / part.name
    part.rename(aside)
    try:
        for words in COMMANDS:
            done = typed(*words, "--out", whole, cwd=whole.parent)
            told = json.loads(done.stderr.splitlines()[-1])
            assert (done.returncode, told["code"]) == (6, "data.missing"), words
            assert part.name in told["message"]
        with pytest.raises(StoreError, match=part.name):
            harvester.open_output(whole).dataset()
        with pytest.raises(StoreError, match=part.name):
            harvester.open_output(whole).sql("SELECT 1")
        state = whole / "state"
        state.rename(whole / "elsewhere")
        try:
            for words in COMMANDS:
                done = typed(*words, "--out", whole, cwd=whole.parent)
                assert done.returncode == 0, "with the data alone nobody knows better"
        finally:
            (whole / "elsewhere").rename(state)
    finally:
        aside.rename(part)


def test_beside_a_run_what_is_there_is_taken(whole: Path) -> None:
    with OutputLock(Output(whole).lock, "run"):
        for words in COMMANDS:
            assert typed(*words, "--out", whole, cwd=whole.parent).returncode == 0


def test_a_file_that_was_changed_is_refused_by_whatever_is_for_a_bill(whole: Path) -> None:
    part = min(whole.glob("cdr/*/*.parquet"))
    good = part.read_bytes()
    part.chmod(0o600)
    part.write_bytes(good[:100] + bytes([good[100] ^ 1]) + good[101:])
    try:
        for words in (["report"], ["audit"], ["export", "delivered"]):
            done = typed(*words, "--json", "--out", whole, cwd=whole.parent)
            told = json.loads(done.stderr.splitlines()[-1])
            assert (done.returncode, told["code"]) == (6, "data.changed"), words
            assert part.name in told["message"]
    finally:
        part.write_bytes(good)
