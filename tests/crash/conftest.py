"""The vendor and the scenes, once for each process of tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.scenes import FATES, RERATED, VENDOR_SEED, Scene, make_scenes
from tests.support.simulated import Simulator
from tests.support.watchers import Watchers


@pytest.fixture(scope="session")
def vendor() -> Iterator[Simulator]:
    """A vendor without a limit."""
    with Simulator(rate_limit=0, seed=VENDOR_SEED, fates=FATES, billing=RERATED) as simulator:
        yield simulator


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory, vendor: Simulator) -> dict[str, Scene]:
    """See `make_scenes`."""
    return make_scenes(tmp_path_factory.mktemp("scenes"), vendor)


@pytest.fixture
def watchers(tmp_path: Path) -> Iterator[Watchers]:
    """Readers of the output of the trials; none may ever have counted wrong."""
    found = Watchers(tmp_path / "out", tmp_path / "control")
    yield found
    counts = found.close()
    print(f"counts: {counts}")
    for name, how in counts.items():
        assert how["right"], name
        assert not [one for one in how if one.startswith("wrong")], (name, how)
