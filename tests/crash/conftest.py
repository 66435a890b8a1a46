"""The vendor and the scenes, once for each process of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.scenes import FATES, RERATED, VENDOR_SEED, Scene, make_scenes
from tests.support.simulated import Simulator


@pytest.fixture(scope="session")
def vendor() -> Iterator[Simulator]:
    """A vendor without a limit."""
    with Simulator(rate_limit=0, seed=VENDOR_SEED, fates=FATES, billing=RERATED) as simulator:
        yield simulator


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory, vendor: Simulator) -> dict[str, Scene]:
    """See `make_scenes`."""
    return make_scenes(tmp_path_factory.mktemp("scenes"), vendor)
