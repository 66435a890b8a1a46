"""Prices are told per record, in CPU time of all threads: that is what a night pays."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.answers import answers
from harvester.answers.answer import Answer
from harvester.storage.import_blocker import NotHere

RECORDS = 20_000
Price: TypeAlias = Callable[..., None]

_PRICES = pytest.StashKey[dict[str, tuple[float, int]]]()


def pytest_configure(config: pytest.Config) -> None:
    """CPU, not wall time: a busy neighbour must not count.  And as the command line sets out."""
    sys.meta_path.insert(0, NotHere())
    config.stash[_PRICES] = {}
    config.option.benchmark_timer = "time.process_time"


@pytest.fixture(scope="session")
def sample() -> list[Answer]:
    """Answers in all the moods of writing that the simulator knows."""
    return list(answers(RECORDS))


@pytest.fixture(scope="session")
def plain() -> list[Answer]:
    """Answers as the vendor's page shows them."""
    return list(answers(RECORDS, drift=False))


@pytest.fixture
def price(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Price:
    """`price(records, function, *args)`: measure a call that serves so many records."""

    def measure(
        records: int,
        function: Callable[..., object],
        *args: object,
        setup: Callable[[], tuple[tuple[Any, ...], dict[str, Any]]] | None = None,
    ) -> None:
        benchmark.extra_info["records"] = records
        gc.freeze()  # as `harvester run` does with all that it has imported
        if setup is None:
            benchmark(function, *args)
        else:
            benchmark.pedantic(function, setup=setup, rounds=7)  # type: ignore[no-untyped-call]
        assert benchmark.stats is not None
        median_s: float = benchmark.stats.stats.median
        request.config.stash[_PRICES][request.node.name] = (1e6 * median_s / records, records)

    return measure


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """The table that goes into docs/performance.md."""
    lines = ["| stage | CPU us/record, median | records a call |", "|---|--:|--:|"]
    for name, (micros, records) in config.stash[_PRICES].items():
        lines.append(f"| {name.removeprefix('test_')} | {micros:.2f} | {records:,} |")
    terminalreporter.write_line("\n" + "\n".join(lines))
