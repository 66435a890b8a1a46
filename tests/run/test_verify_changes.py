"""`verify` of an output whose calls have changed: changes/ is looked at as cdr/ is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from harvester.analysis.verify.findings import Finding
from harvester.analysis.verify.verify import Order, verify
from harvester.storage.output import Output
from tests.support.changes import change
from tests.support.nights import DAYS, nights

REFETCH, LATER = "20261001T000000Z-00000a", "20261002T000000Z-00000b"
ONE, OTHER = (f"{DAYS[0].replace('-', '')[2:]}120000000000{row}" for row in range(2))


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nights; one call has changed twice since, and another one once."""
    root = tmp_path_factory.mktemp("changed") / "out"
    with closing(nights(root, count=2)) as house:
        change(house, {ONE: "1"}, REFETCH)
        change(house, {ONE: "2.5", OTHER: "0.00000001"}, LATER)
    return root


@pytest.fixture
def out(changed: Path, tmp_path: Path) -> Path:
    return shutil.copytree(changed, tmp_path / "out")


def looked_at(out: Path, *, deep: bool) -> list[Finding]:
    found = verify(Output(out), Order("UTC", "400MB", deep)).findings
    return [one for one in found if one.severity == "damage"]


@pytest.mark.parametrize("deep", [False, True])
def test_what_a_run_delivered_is_held_against_the_rows_as_they_were_then(
    out: Path, *, deep: bool
) -> None:
    assert looked_at(out, deep=deep) == []
    sizes = [path.stat().st_size for path in out.glob("c*/*/*.parquet")]
    whole = verify(Output(out), Order("UTC", "400MB"))
    assert (whole.files, whole.bytes) == (len(sizes), sum(sizes)) == (8, sum(sizes))
    assert (whole.rows, whole.ids, whole.runs) == (24, 24, 2)


def part(out: Path) -> Path:
    """The newest file of changes/."""
    return max((out / "changes").glob("*/*.parquet"))


def gone(path: Path) -> None:
    path.unlink()


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"PAR1")


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100].ljust(path.stat().st_size, b"x"))


def another_byte(path: Path) -> None:
    """In the data, so that the file can still be read."""
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)


def twice(path: Path) -> None:
    shutil.copy(path, path.with_name("copy.parquet"))


@pytest.mark.parametrize(
    ("damage", "kind"),
    [(gone, "missing_file"), (longer, "size"), (torn, "unreadable"), (twice, "copied")],
)
def test_a_file_of_changes_that_is_not_as_it_was_published_is_told_with_its_place(
    out: Path, damage: Callable[[Path], None], kind: str
) -> None:
    damage(part(out))
    told = [one for one in looked_at(out, deep=False) if one.severity == "damage"]
    found = [one for one in told if "/changes/change_date=" in one.where]
    assert kind in [one.kind for one in found]
    assert all("changes/" in one.remedy and "cdr/" not in one.remedy for one in found)
    assert found == told, "nothing is said of cdr/, which is whole"


def test_a_byte_that_has_changed_is_seen_by_whoever_reads_them_all(out: Path) -> None:
    another_byte(part(out))
    assert [one.kind for one in looked_at(out, deep=True)][:1] == ["sha256"]
