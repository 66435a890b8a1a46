"""A night in which the vendor's clock is a new one ends no id by its age, and says so."""

from __future__ import annotations

from pathlib import Path

from harvester.config import Secrets, load
from harvester.pipeline.engine.progress import Progress
from harvester.pipeline.run.requests import RunRequest
from harvester.pipeline.run.run import run
from harvester.simulator import make_ids
from tests.support.harvesting import FAST
from tests.support.simulated import ALL_RECORDS, END, Simulator

IDS = list(make_ids(4, 6, end=END))
SECRETS = Secrets("bDqJFiq9", "7bz1lzh9")


class Heard:
    """The names of the warnings that were said."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def message(self, level: str, event: str, **fields: object) -> None:
        if level == "warning":
            self.warnings.append(event)

    def progress(self, progress: Progress) -> None:
        pass


def is_held(folder: Path, vendor: Simulator, ids: list[str]) -> bool:
    """Whether a run with these ids says that ages were held."""
    (folder / "ids.txt").write_text("\n".join(ids))
    flags = {**FAST, "output.dir": str(folder / "out"), "vendor.base_url": vendor.base_url}
    heard = Heard()
    request = RunRequest(sources=(str(folder / "ids.txt"),))
    done = run(load(flags=flags).config, SECRETS, request, heard)
    assert done.exit_code == 0
    assert (done.summary.requests > 0) is (done.summary.run.attempted > 0)
    assert done.summary.ages_held is ("ages_held" in heard.warnings)
    return done.summary.ages_held


def test_a_skew_of_over_ten_minutes_holds_ages_in_the_first_night_that_meets_it(
    tmp_path: Path,
) -> None:
    """The next ones know it; and one that asks nothing has seen none, whatever it remembers."""
    with Simulator(rate_limit=0, fates=ALL_RECORDS, drift=False, clock_skew_s=1_200) as vendor:
        assert is_held(tmp_path, vendor, IDS[:2])
        assert not is_held(tmp_path, vendor, IDS[:2])
        assert not is_held(tmp_path, vendor, IDS)


def test_a_skew_of_some_minutes_holds_none(tmp_path: Path) -> None:
    with Simulator(rate_limit=0, fates=ALL_RECORDS, drift=False, clock_skew_s=300) as vendor:
        assert not is_held(tmp_path, vendor, IDS)
