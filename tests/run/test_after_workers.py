"""The run after one with workers: these may send until their lease is over."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from harvester.config import Secrets, load
from harvester.pipeline.engine.progress import Progress
from harvester.pipeline.limits.shares import LEASE_S
from harvester.pipeline.run.requests import RunRequest
from harvester.pipeline.run.run import run
from harvester.simulator import make_ids
from harvester.state import between_runs
from tests.support.fakes import House
from tests.support.harvesting import FAST
from tests.support.simulated import ALL_RECORDS, END, Simulator

IDS = list(make_ids(5, 3, end=END))


class Silent:
    """Hears nothing."""

    def message(self, level: str, event: str, **fields: object) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        pass


def test_no_request_leaves_while_workers_of_the_run_before_may_send(tmp_path: Path) -> None:
    """A run that has none itself waits as well."""
    (tmp_path / "ids.txt").write_text("\n".join(IDS))
    with closing(House(tmp_path / "out")) as house:
        between_runs.had_workers(house.db, True)
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor:
        flags = {
            **FAST,
            "output.dir": str(tmp_path / "out"),
            "vendor.base_url": vendor.base_url,
            "vendor.account": "acme",
        }
        sent: list[float] = []
        began = time.monotonic()
        request = RunRequest(sources=(str(tmp_path / "ids.txt"),))
        secrets = Secrets("bDqJFiq9", "7bz1lzh9")
        done = run(load(flags=flags).config, secrets, request, Silent(), trace=sent.append)
    assert done.summary.run.delivered == len(IDS)
    # A second more than the lease lasts, as after any other run.
    assert min(sent) - began >= LEASE_S + 1
    with closing(House(tmp_path / "out")) as house:
        assert not between_runs.may_have_workers(house.db)
