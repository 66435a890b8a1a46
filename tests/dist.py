"""What is handed out: sdist and wheel are built, looked into, installed and tried (`make dist`).

`python -m tests.dist FOLDER [--ids N]`.  The wheel is built from the sdist, so that
whatever the sdist lacks is missed here.  Then a fresh environment gets the wheel, with what it
requires from the package index, and makes a demo and an `init` in an empty folder, with nothing of
this checkout in sight.
"""

from __future__ import annotations

import argparse
import email
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

from harvester.cli.commands.init import FOLDER
from harvester.cli.templates import files_for_users
from tests.support.simulated import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STEM = f"cdr_harvester-{PROJECT['version']}"
_IN_SDIST = ("PKG-INFO", "LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "docs/index.md")
_DEMO_CONFIG = "demo.toml"


def build(folder: Path) -> tuple[Path, Path]:
    """The sdist of this checkout and the wheel of that sdist, in `folder`."""
    _hatchling(ROOT, folder, "sdist")
    sdist = folder / f"{STEM}.tar.gz"
    with tempfile.TemporaryDirectory() as temporary:
        with tarfile.open(sdist) as archive:
            archive.extractall(temporary, filter="data")
        _hatchling(Path(temporary) / STEM, folder, "wheel")
    return sdist, folder / f"{STEM}-py3-none-any.whl"


def sdist_complaints(sdist: Path) -> list[str]:
    """What is wrong with an sdist."""
    with tarfile.open(sdist) as archive:
        names = set(archive.getnames())
    wanted = [*_IN_SDIST, *(f"configs/{name}" for name in templates())]
    found = [f"{name} is missing" for name in wanted if f"{STEM}/{name}" not in names]
    return found + [f"{name} is no part of it" for name in sorted(names) if _is_rubbish(name)]


def wheel_complaints(wheel: Path) -> list[str]:
    """What is wrong with a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    return [*_unwanted(content), *_missing(content), *_odd_metadata(content)]


def templates() -> dict[str, bytes]:
    """What has to be in the wheel's templates/."""
    return {**files_for_users(), _DEMO_CONFIG: (ROOT / "configs" / _DEMO_CONFIG).read_bytes()}


def _unwanted(content: dict[str, bytes]) -> Iterator[str]:
    for name in content:
        if name.partition("/")[0] not in ("harvester", f"{STEM}.dist-info") or _is_rubbish(name):
            yield f"{name} is no part of it"


def _missing(content: dict[str, bytes]) -> Iterator[str]:
    wanted = {f"harvester/templates/{name}": text for name, text in templates().items()}
    wanted["harvester/py.typed"] = (ROOT / "harvester" / "py.typed").read_bytes()
    wanted[f"{STEM}.dist-info/licenses/LICENSE"] = (ROOT / "LICENSE").read_bytes()
    for path in (ROOT / "harvester").rglob("*.py"):
        wanted[str(path.relative_to(ROOT))] = path.read_bytes()
    for name, text in wanted.items():
        if name not in content:
            yield f"{name} is missing"
        elif content[name] != text:
            yield f"{name} differs from the checkout's"


def _odd_metadata(content: dict[str, bytes]) -> Iterator[str]:
    told = email.message_from_bytes(content.get(f"{STEM}.dist-info/METADATA", b""))
    for field, value in (
        ("Name", PROJECT["name"]),
        ("Version", PROJECT["version"]),
        ("Summary", PROJECT["description"]),
        ("License-Expression", PROJECT["license"]),
        ("Requires-Python", PROJECT["requires-python"]),
        ("Description-Content-Type", "text/markdown"),
    ):
        if told[field] != value:
            yield f"METADATA says {field}: {told[field]}, not {value}"
    asked = {one for one in told.get_all("Requires-Dist") or [] if "extra ==" not in one}
    if {_requirement(one) for one in asked} != {_requirement(o) for o in PROJECT["dependencies"]}:
        yield "METADATA has other requirements than pyproject.toml"
    payload = told.get_payload(decode=True)
    assert isinstance(payload, bytes)
    if payload.decode().strip() != (ROOT / "README.md").read_text().strip():
        yield "METADATA's description is not README.md"
    entries = content.get(f"{STEM}.dist-info/entry_points.txt", b"").decode()
    if "harvester = harvester.__main__:main" not in entries:
        yield "entry_points.txt has no `harvester`"


def _requirement(text: str) -> frozenset[str]:
    """Its characters' order is the builder's: "a<2,>=1" is "a>=1,<2"."""
    return frozenset(text.replace(">", ",>").replace("<", ",<").replace(" ", "").split(","))


def _is_rubbish(name: str) -> bool:
    return "__pycache__" in name or "/.venv" in name or name.endswith(".pyc")


def _hatchling(source: Path, folder: Path, target: str) -> None:
    words = [sys.executable, "-m", "hatchling", "build", "-d", str(folder.resolve()), "-t", target]
    subprocess.run(words, cwd=source, check=True, capture_output=True)


def try_out(wheel: Path, ids: int) -> None:
    """Install and use it as a stranger would.  Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as temporary:
        environment, empty = Path(temporary) / "environment", Path(temporary) / "empty"
        empty.mkdir()
        venv.create(environment, with_pip=True)
        pip = [str(environment / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", "--quiet", str(wheel.resolve())], check=True)
        harvester = environment / "bin" / "harvester"
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("HARVESTER_", "PYTHON"))}
        for arguments in (["--version"], ["demo", "--ids", str(ids)], ["init"]):
            subprocess.run([harvester, *arguments], cwd=empty, env=clean, check=True)
        for name, text in files_for_users().items():
            assert (empty / FOLDER / name).read_bytes() == text, name


def main() -> int:
    """Build, look, try; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.dist", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ids", type=int, default=10_000, help="calls of the demo")
    asked = parser.parse_args()
    began = time.monotonic()
    sdist, wheel = build(asked.folder)
    wrong = [f"{sdist.name}: {told}" for told in sdist_complaints(sdist)]
    wrong += [f"{wheel.name}: {told}" for told in wheel_complaints(wheel)]
    if wrong:
        print("make dist: FAILED.", *wrong, sep="\n  ", file=sys.stderr)
        return 1
    try_out(wheel, asked.ids)
    print(f"\nBuilt, looked into, installed and tried in {time.monotonic() - began:.0f} s:")
    print(f"  {sdist}\n  {wheel}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
