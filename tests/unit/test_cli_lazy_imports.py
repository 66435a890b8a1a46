"""Imports that cost less, and leave no trace."""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
import sys

import pytest

from harvester.cli.logs.lazy_imports import uncollected, without
from harvester.storage.import_blocker import NotHere


def test_garbage_is_collected_again_after_an_import_that_failed() -> None:
    seen = []

    def fails() -> None:
        with uncollected():
            seen.append(gc.isenabled())
            importlib.import_module("no.such.module")

    assert gc.isenabled()
    with pytest.raises(ImportError):
        fails()
    assert seen == [False]
    assert gc.isenabled()


def test_whoever_switched_collection_off_finds_it_off() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_package_is_missing_for_the_moment_and_no_longer() -> None:
    name = "colorsys"
    sys.modules.pop(name, None)
    with without(name), pytest.raises(ModuleNotFoundError):
        importlib.import_module(name)
    assert importlib.import_module(name).__name__ == name


def test_a_package_that_is_there_stays() -> None:
    with without("gc"):
        assert importlib.import_module("gc") is gc
    assert sys.modules["gc"] is gc


def test_the_logs_do_without_rich_and_the_bar_has_it() -> None:
    program = (
        "import sys, harvester.cli.logs.logs\n"
        "assert 'rich' not in sys.modules\n"
        "import rich.console\n"
        "from harvester.cli.ui.progress_bar import ProgressBar"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize("name", ["pandas", "dateutil"])
def test_what_pyarrow_looks_for_is_not_here(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=name):
        NotHere().find_spec(name)


def test_nothing_else_is_hidden() -> None:
    NotHere().find_spec("pyarrow")


@pytest.mark.parametrize(("chosen", "pool"), [(None, "system"), ("mimalloc", "mimalloc")])
def test_arrow_takes_its_memory_from_the_system_unless_told_otherwise(
    chosen: str | None, pool: str
) -> None:
    program = (
        "import sys\n"
        "sys.argv = ['harvester', '--version']\n"
        "from harvester.cli.main import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    import pyarrow\n"
        "    print(pyarrow.default_memory_pool().backend_name)"
    )
    environ = {k: v for k, v in os.environ.items() if k != "ARROW_DEFAULT_MEMORY_POOL"}
    if chosen is not None:
        environ["ARROW_DEFAULT_MEMORY_POOL"] = chosen
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environ
    )
    assert told.stdout.splitlines()[-1] == pool


def test_a_run_without_workers_imports_nothing_of_theirs_and_nobody_imports_ray() -> None:
    program = (
        "import sys, harvester.api, harvester.cli.main, harvester.pipeline.run.run\n"
        "found = [m for m in sys.modules if m.startswith('harvester.pipeline.workers')]\n"
        "assert not found, found\n"
        "import harvester.pipeline.workers.engines, harvester.pipeline.workers.ray_worker\n"
        "import harvester.pipeline.workers.ray_link\n"
        "assert 'ray' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_run_does_without_what_fetches_by_pages() -> None:
    program = (
        "import sys, harvester.cli.commands.run, harvester.pipeline.run.run\n"
        "assert 'harvester.pipeline.by_pages.way' not in sys.modules\n"
        "assert 'harvester.pipeline.listing.walk' not in sys.modules\n"
        "import harvester.pipeline.by_pages.way\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
