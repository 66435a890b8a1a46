"""What `import harvester` gives: these names, each of them, and nothing before it is wanted."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import harvester

NAMES = [
    "AlreadyRunning",
    "BudgetReached",
    "Config",
    "ConfigError",
    "Counts",
    "Event",
    "HarvesterError",
    "Interrupted",
    "Output",
    "RunResult",
    "Secrets",
    "SourceError",
    "StoreError",
    "UsageError",
    "Vendor",
    "VendorRefused",
    "VendorUnavailable",
    "__version__",
    "load_config",
    "open_output",
    "plan",
    "reconcile",
    "refetch",
    "run",
    "run_async",
    "simulate",
    "verify",
]


def test_these_names_and_no_others_are_promised() -> None:
    assert harvester.__all__ == NAMES
    assert dir(harvester) == NAMES


def test_each_of_them_is_there_and_documented() -> None:
    for name in NAMES:
        found = getattr(harvester, name)
        assert name == "__version__" or found.__doc__, name


def test_importing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, harvester; "
        "print([one for one in ('asyncio', 'pyarrow', 'msgspec', 'duckdb') if one in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(harvester, "harvest")


def test_the_version_is_that_of_the_package() -> None:
    root = Path(__file__).resolve().parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert harvester.__version__ == project["version"]
