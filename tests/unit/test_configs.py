"""The shipped configurations say what the code does, and so do the pins."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from harvester.config import Config, effective, load

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "configs").glob("*.toml"))
DEFAULTS = {
    key: "none" if value is None else msgspec.json.encode(value).decode().replace(",", ", ")
    for key, value in effective(Config()).items()
}
_SECTION = re.compile(r"\[(\w+)\]")
_KEY = re.compile(r"#?(\w+) = (.+)")


def entries(text: str) -> dict[str, tuple[str, str, bool]]:
    """section.key -> (comment above it, its literal, whether it is commented out)."""
    found: dict[str, tuple[str, str, bool]] = {}
    section, comment = "", ""
    for line in text.splitlines():
        if heading := _SECTION.fullmatch(line):
            section, comment = heading[1], ""
        elif line.startswith("# "):
            comment += line.removeprefix("#")
        elif entry := _KEY.fullmatch(line):
            found[f"{section}.{entry[1]}"] = (comment.strip(), entry[2], line.startswith("#"))
            comment = ""
    return found


def test_all_three_are_there() -> None:
    assert [file.stem for file in FILES] == ["backfill", "demo", "nightly"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
class TestConfig:
    def test_loads(self, file: Path) -> None:
        assert load(file).config.vendor.account

    def test_names_every_key_and_no_other(self, file: Path) -> None:
        assert list(entries(file.read_text())) == list(DEFAULTS)

    def test_loads_with_every_line_uncommented(self, file: Path, tmp_path: Path) -> None:
        whole = tmp_path / "whole.toml"
        whole.write_text(re.sub(r"(?m)^#(?=\w+ = )", "", file.read_text()))
        assert load(whole).config.vendor.account

    @pytest.mark.parametrize("key", DEFAULTS)
    def test_comment_names_the_default(self, file: Path, key: str) -> None:
        comment, _, _ = entries(file.read_text())[key]
        assert f"Default: {DEFAULTS[key]}." in comment

    @pytest.mark.parametrize("key", [key for key in DEFAULTS if DEFAULTS[key] != "none"])
    def test_commented_line_shows_the_default(self, file: Path, key: str) -> None:
        _, literal, is_commented = entries(file.read_text())[key]
        if is_commented:
            assert literal == DEFAULTS[key]

    def test_comment_names_a_unit(self, file: Path) -> None:
        for key, (comment, _, _) in entries(file.read_text()).items():
            if key.endswith("_s") and "per_s" not in key:
                assert "econds" in comment, key
            if key.endswith("_bytes"):
                assert "ytes" in comment, key


def test_demo_asks_a_thousand_a_second_at_most() -> None:
    assert load(ROOT / "configs" / "demo.toml").config.pace.rate_per_s == 1000


def _requirements() -> dict[str, str]:
    """Name -> its range, as pyproject.toml has it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    every = project["dependencies"] + project["optional-dependencies"]["dev"]
    return {re.split(r"[<>=~!]", one)[0]: re.split(r"^[\w-]+", one)[1] for one in every}


def _pins(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text()
    return dict(re.findall(r"(?m)^([\w.-]+)==([\w.]+)", text))


def test_lowest_pins_are_the_lower_bounds() -> None:
    lowest = _pins("requirements-lowest.txt")
    for name, wanted in _requirements().items():
        if bound := re.search(r">=([\d.]+)", wanted):
            # A bound that names no release stands for the first one after it (9.2 for 9.2.1).
            assert f"{lowest[name]}.".startswith(f"{bound[1]}."), name


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_pins_have_hashes_and_name_no_place(file: str) -> None:
    text = (ROOT / file).read_text()
    assert "--hash=sha256:" in text
    assert not re.search(r"(?m)^\s*(-i|--index|--extra-index|--trusted|--find|-f)\b", text)
    assert "://" not in text


def test_both_pin_files_pin_the_same() -> None:
    runtime, dev = _pins("requirements.txt"), _pins("requirements-dev.txt")
    assert runtime.items() <= dev.items()


def test_every_requirement_is_pinned() -> None:
    dev = _pins("requirements-dev.txt")
    assert set(_requirements()) <= set(dev)
