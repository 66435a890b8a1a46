"""The limit of several processes, for long: kills, stops and starts at every rate."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.run.test_one_limit import keep_the_promise_together
from tests.soak.test_soak import SECONDS, SEED

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3 * SECONDS + 600)]


@pytest.mark.parametrize("rate", [50, 200, 1_000, 4_000])
def test_the_promise_is_kept_by_all_together(tmp_path: Path, rate: int) -> None:
    print(f"seed {SEED}")
    keep_the_promise_together(tmp_path, rate, rounds=max(2, round(SECONDS / 10)), seed=SEED)
