"""A disk that is full, read-only or not ours: the run says so, and nothing acknowledged is lost."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from harvester.simulator import make_ids
from tests.support import forked
from tests.support.harvesting import Harvest
from tests.support.mounts import resize, set_read_only, small_disk
from tests.support.simulated import ALL_RECORDS, END, ROOT, Simulator

IDS = sorted(make_ids(6_000, 17, end=END))


@pytest.mark.parametrize("size_kb", [200, 700, 1_100, 1_500, 2_000])
def test_a_full_disk_stops_the_run_and_the_same_command_completes_it(
    tmp_path: Path, size_kb: int
) -> None:
    source = tmp_path / "ids.txt"
    source.write_text("\n".join(IDS))
    with (
        small_disk(tmp_path / "disk", size_kb) as disk,
        Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor,
    ):
        harvest = Harvest(disk / "out", vendor.base_url, output__publish_records=2_500)
        stopped = harvest.run(source)
        assert stopped.code == 6, stopped.err
        assert "space" in stopped.err.lower()
        assert len(harvest.ids()) == len(set(harvest.ids()))
        still = harvest.run(source)
        assert still.code == 6, still.err

        resize(disk, 64_000)
        done = harvest.run(source)
        assert done.code == 0, done.err
        assert harvest.ids() == IDS


def test_a_read_only_disk_stops_the_run_before_the_first_request(tmp_path: Path) -> None:
    source = tmp_path / "ids.txt"
    source.write_text("\n".join(IDS[:50]))
    with (
        small_disk(tmp_path / "disk", 32_000) as disk,
        Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor,
    ):
        harvest = Harvest(disk / "out", vendor.base_url)
        assert harvest.run(source).code == 0
        set_read_only(disk, read_only=True)
        source.write_text("\n".join(IDS[:100]))
        refused = harvest.run(source)
        assert refused.code == 6, refused.err
        assert str(disk) in refused.err
        assert vendor.stats()["requests"] == 50
        set_read_only(disk, read_only=False)
        assert harvest.run(source).code == 0
        assert harvest.ids() == IDS[:100]


def test_what_only_reads_works_on_a_disk_that_can_only_be_read(tmp_path: Path) -> None:
    source = tmp_path / "ids.txt"
    source.write_text("\n".join(IDS[:50]))
    with (
        small_disk(tmp_path / "disk", 32_000) as disk,
        Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor,
    ):
        assert Harvest(disk / "out", vendor.base_url).run(source).code == 0
        set_read_only(disk, read_only=True)
        for words in (["verify"], ["verify", "--deep"], ["status"], ["export", "dead"], ["report"]):
            command = [sys.executable, "-m", "harvester", *words, "--out", str(disk / "out")]
            done = forked.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
            assert done.returncode == 0, (words, done.stderr)
        set_read_only(disk, read_only=False)


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("not a folder")
    refused = Harvest(tmp_path / "out", "http://127.0.0.1:9/voice").run()
    assert refused.code == 6
    assert "choose another with --out" in refused.err


def test_data_without_its_state_is_refused_and_left_alone(tmp_path: Path) -> None:
    harvest = _harvested(tmp_path, 60)
    shutil.rmtree(harvest.out / "state")
    before = harvest.ids()
    refused = harvest.run()
    assert refused.code == 6
    assert "holds data" in refused.err
    assert harvest.ids() == before


def test_a_state_older_than_the_data_is_refused_and_left_alone(tmp_path: Path) -> None:
    source = tmp_path / "ids.txt"
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        source.write_text("\n".join(IDS[:60]))
        assert harvest.run(source).code == 0
        shutil.copytree(harvest.out / "state", tmp_path / "backup")
        source.write_text("\n".join(IDS[:90]))
        assert harvest.run(source).code == 0
        shutil.rmtree(harvest.out / "state")
        shutil.copytree(tmp_path / "backup", harvest.out / "state")
        refused = harvest.run(source)
        assert refused.code == 6
        assert "older than the data" in refused.err
        assert vendor.stats()["requests"] == 90
    assert harvest.ids() == IDS[:90]


def test_a_part_that_is_missing_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    harvest = _harvested(tmp_path, 60)
    part = next(harvest.out.glob("cdr/*/*.parquet"))
    part.unlink()
    refused = harvest.run()
    assert refused.code == 6
    assert part.name in refused.err


def _harvested(tmp_path: Path, count: int) -> Harvest:
    source = tmp_path / "ids.txt"
    source.write_text("\n".join(IDS[:count]))
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        assert harvest.run(source).code == 0
    return harvest
