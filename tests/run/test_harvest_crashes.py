"""Any answers, any faults, and deaths at any effect: each id settles once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harvester.pipeline.run.recovery import open_output
from tests.support.fakes import FakeVendor, House, config_of, published_ids
from tests.support.mortal import DEAD, Life, Mortals, reopened
from tests.support.virtual_time import run_virtually

IDS = [f"{n:05}" for n in range(60)]


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    with Mortals() as served:
        yield served


@settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 60),
    concurrency=st.integers(1, 20),
    publish_records=st.sampled_from([1, 5, 100_000]),
    deaths=st.lists(st.tuples(st.integers(0, 90), st.floats(5.0, 120.0)), min_size=1, max_size=5),
)
def test_wherever_a_run_dies_each_id_settles_once(
    mortals: Mortals,
    seed: int,
    count: int,
    concurrency: int,
    publish_records: int,
    deaths: list[tuple[int, float]],
) -> None:
    ids = IDS[:count]
    quick = {
        "pace__rate_per_s": 50,
        "pace__concurrency": concurrency,
        "output__publish_records": publish_records,
    }
    with TemporaryDirectory() as folder:
        root = Path(folder) / "out"
        with closing(House(root, ids, **quick)):
            pass
        acknowledged: Counter[str] = Counter()
        for n, (dies_at, stops_at_s) in enumerate(deaths):
            life = Life(str(root), quick, ids, seed + n, dies_at, stops_at_s)
            assert mortals.live(life) in (0, DEAD)
            seen = published_ids(root / "cdr")
            assert len(seen) == len(set(seen)), "a reader saw a row twice"
            acknowledged = _recovered(root, ids, quick, acknowledged)
        calm = FakeVendor()
        with open_output(config_of(root, **quick)) as opened:
            house = reopened(opened, ids, **quick)
            run_virtually(lambda: house.run(calm))
            assert house.pending() == []
            assert Counter([*house.published(), *house.open(), *house.dead()]) == Counter(ids)
        assert not set(calm.asked) & set(acknowledged)


def _recovered(
    root: Path, ids: list[str], quick: dict[str, int], acknowledged: Counter[str]
) -> Counter[str]:
    """What is settled at the next start, each id in one state."""
    with open_output(config_of(root, **quick)) as opened:
        house = reopened(opened, ids, **quick)
        settled = Counter([*house.delivered(), *house.open(), *house.dead()])
        assert settled + Counter(house.pending()) == Counter(ids)
        assert house.work_list.pending == len(house.pending())
        assert acknowledged <= settled, "what was acknowledged stays"
        return settled
