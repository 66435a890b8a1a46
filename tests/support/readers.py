"""What docs/reading.md says of each reader, tried (`make readers`; CI tries those that it has).

`python -m tests.support.readers PYTHON`: each block of the page is run by PYTHON, whose environment
has the readers, in a folder with a data set, and what it comes to is compared with sums made by
hand.  A reader whose other half is not on this machine (Java, a PostgreSQL server) is skipped, and
says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from tests.support import datasets
from tests.support.pages import blocks

PAGE = "docs/reading.md"
_LARGE = Decimal("9999999999.99999999")
"""The largest amount that the columns hold; a float makes 10000000000 of it."""
SUMS = {
    "2026-09-01 EUR 3.60000000",
    "2026-09-01 USD 0.50000005",
    "2026-09-03 USD 19999999999.99999998",
    "None USD 0.10000001",
}
"""Of `make_data`: day, currency and cost."""
_TOLD = {
    "DuckDB": "[(r['submit_date'], r['currency'], r['cost']) for r in by_day.to_pylist()]",
    "pyarrow": "[(r['submit_date'], r['currency'], r['cost_sum']) for r in by_day.to_pylist()]",
    "Polars": "by_day.select('submit_date', 'currency', 'cost').rows()",
    "pandas": "[(d if d == d else None, c, cost) for (d, c), cost in by_day.items()]",
    "Spark": "[tuple(row) for row in by_day.collect()]",
}
"""How each reader's `by_day` becomes tuples of day, currency and cost."""


def make_data(folder: Path) -> None:
    """The output `data` in `folder`."""
    first, third = (datetime(2026, 9, day, 12, tzinfo=UTC) for day in (1, 3))
    small = {"submit_time": first, "currency": "USD", "cost": Decimal("0.10000001")}
    euro = {"submit_time": first, "currency": "EUR", "cost": Decimal("1.2")}
    large = {"submit_time": third, "currency": "USD", "cost": _LARGE}
    rows = [*[small] * 5, *[euro] * 3, *[large] * 2, {**small, "submit_time": None}]
    datasets.made(folder / "data", rows)


def sums(reader: str, folder: Path, python: str) -> set[str]:
    """What the page's block for `reader` comes to.  Raises CalledProcessError."""
    code = "\n".join(blocks(PAGE, f"## {reader}", "python"))
    told = f"for row in {_TOLD[reader]}:\n    print('SUM', *row)\n"
    out = _run([python, "-c", f"{code}\n{told}"], folder)
    return {line.removeprefix("SUM ") for line in out.splitlines() if line.startswith("SUM ")}


def plain_pandas(folder: Path, python: str) -> str:
    """How the plain line of pandas ends."""
    code = (
        "import pandas\ntry:\n    pandas.read_parquet('data/cdr')\nexcept Exception as exc:\n    "
    )
    return _run([python, "-c", f"{code}print(exc)"], folder)


def fastparquet_cost(folder: Path, python: str) -> str:
    """The type and the value that fastparquet makes of the largest amount."""
    code = (
        "import fastparquet, glob\n"
        "file, = glob.glob('data/cdr/submit_date=2026-09-03/*.parquet')\n"
        "cost = fastparquet.ParquetFile(file).to_pandas(columns=['cost'])['cost']\n"
        "print(cost.dtype, cost[0])"
    )
    return _run([python, "-W", "ignore", "-c", code], folder).strip()


def postgres_sums(folder: Path) -> set[str]:
    """What the page's commands and load.sql come to, on a server of their own, typed in twice."""
    (script,) = blocks(PAGE, "## PostgreSQL", "")
    (load,) = blocks(PAGE, "## PostgreSQL", "sql")
    (folder / "load.sql").write_text(load)
    _run(["harvester", "rebuild", "--out", "data"], folder)  # an export goes by the state
    with _server(folder) as environment:
        for _ in range(2):
            command = script.replace("psql ", "psql -q -t -A -F ' ' -P null=None ")
            out = _run(["bash", "-e", "-c", command], folder, environment)
    return set(out.split("\n")) - {""}


@contextmanager
def _server(folder: Path) -> Iterator[dict[str, str]]:
    """A PostgreSQL server in `folder`, by a socket alone; the environment that leads to it."""
    place = folder / "postgres"
    place.mkdir()
    # It refuses to be root.
    prefix: list[str] = []
    if os.getuid() == 0:
        shutil.chown(place, "postgres", "postgres")
        prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        folder.chmod(0o711)
    database = str(place / "db")
    _run([*prefix, _server_program("initdb"), "-A", "trust", "-U", "cdr", "-D", database], place)
    options = f"-c listen_addresses='' -k {place} -c fsync=off"
    pg_ctl = [*prefix, _server_program("pg_ctl"), "-D", database]
    _run([*pg_ctl, "-w", "-o", options, "-l", str(place / "log"), "start"], place)
    try:
        yield {"PGHOST": str(place), "PGUSER": "cdr", "PGDATABASE": "postgres"}
    finally:
        _run([*pg_ctl, "-m", "immediate", "stop"], place)


def _server_program(name: str) -> str:
    found = shutil.which(name) or next(
        (str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))), None
    )
    assert found, name
    return found


def has_postgres() -> bool:
    """Whether this machine has a server to start and a client to ask it."""
    try:
        _server_program("initdb")
    except AssertionError:
        return False
    return shutil.which("psql") is not None and shutil.which("setpriv") is not None


def _run(words: list[str], folder: Path, env: dict[str, str] | None = None) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "PATH": path, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{words[:3]} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


def main() -> int:
    """Every reader of the page; 1 if one differs."""
    python = str(Path(sys.argv[1]).absolute())
    wrong = 0

    def said(name: str, found: object, wanted: object) -> None:
        nonlocal wrong
        wrong += found != wanted
        print(f"{name}: {'as the page says' if found == wanted else f'{found}, not {wanted}'}")

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_data(folder)
        for reader in _TOLD:
            if reader == "Spark" and shutil.which("java") is None:
                print("Spark: SKIPPED, there is no Java here")
                continue
            said(reader, sums(reader, folder, python), SUMS)
        told = plain_pandas(folder, python)
        said("pandas, the plain line", "Cannot yet unify dictionaries with nulls" in told, True)
        said("fastparquet", fastparquet_cost(folder, python), "float64 10000000000.0")
        if has_postgres():
            said("PostgreSQL", postgres_sums(folder), SUMS)
        else:
            print("PostgreSQL: SKIPPED, there is no server here to start")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
