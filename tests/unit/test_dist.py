"""The wheel and the sdist: what is in them, and that a spoilt one is seen."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.dist import STEM, build, sdist_complaints, wheel_complaints
from tests.support.simulated import ROOT


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(tmp_path_factory.mktemp("dist"))


def test_what_is_built_is_whole(built: tuple[Path, Path]) -> None:
    sdist, wheel = built
    assert sdist_complaints(sdist) == []
    assert wheel_complaints(wheel) == []


def test_the_wheels_templates_are_the_files_of_configs(built: tuple[Path, Path]) -> None:
    configs = {
        f"harvester/templates/{path.relative_to(ROOT / 'configs')}": path.read_bytes()
        for path in (ROOT / "configs").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(built[1]) as archive:
        found = {
            name: archive.read(name)
            for name in archive.namelist()
            if name.startswith("harvester/templates/")
        }
    assert found == configs
    assert len(found) == 10


def respelt(wheel: Path, folder: Path, changes: dict[str, bytes | None]) -> list[str]:
    """The complaints about a wheel with some files changed, added, or (None) left out."""
    spoilt = folder / wheel.name
    with zipfile.ZipFile(wheel) as archive, zipfile.ZipFile(spoilt, "w") as other:
        content: dict[str, bytes | None] = {name: archive.read(name) for name in archive.namelist()}
        for name, text in {**content, **changes}.items():
            if text is not None:
                other.writestr(name, text)
    return wheel_complaints(spoilt)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"harvester/py.typed": None}, "harvester/py.typed is missing"),
        (
            {"harvester/templates/schedule/crontab": None},
            "harvester/templates/schedule/crontab is missing",
        ),
        (
            {"harvester/templates/nightly.toml": b"older"},
            "harvester/templates/nightly.toml differs from the checkout's",
        ),
        ({"harvester/errors.py": None}, "harvester/errors.py is missing"),
        (
            {f"{STEM}.dist-info/licenses/LICENSE": None},
            f"{STEM}.dist-info/licenses/LICENSE is missing",
        ),
        ({"tests/support/oracle.py": b""}, "tests/support/oracle.py is no part of it"),
        ({"bench/__init__.py": b""}, "bench/__init__.py is no part of it"),
        ({f"{STEM}.dist-info/entry_points.txt": b""}, "entry_points.txt has no `harvester`"),
    ],
)
def test_a_spoilt_wheel_is_seen(
    built: tuple[Path, Path], tmp_path: Path, changes: dict[str, bytes | None], told: str
) -> None:
    assert respelt(built[1], tmp_path, changes) == [told]


def test_metadata_of_another_version_is_seen(built: tuple[Path, Path], tmp_path: Path) -> None:
    name = f"{STEM}.dist-info/METADATA"
    with zipfile.ZipFile(built[1]) as archive:
        text = archive.read(name).replace(b"\nVersion: 0.1.0\n", b"\nVersion: 9.9\n")
    told = respelt(built[1], tmp_path, {name: text})
    assert told == ["METADATA says Version: 9.9, not 0.1.0"]
