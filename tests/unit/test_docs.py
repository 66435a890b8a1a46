"""The pages hold together: links, anchors, the site's contents, the pins of its generator."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TOP = [ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md")]
SITE = yaml.safe_load((DOCS / "mkdocs.yml").read_text())

_FENCE = re.compile(r"(?ms)^```.*?^```$")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CELL = re.compile(r"(?<!\\)\|")


def page(name: str) -> str:
    """A page of docs/ without its blocks of code."""
    return _FENCE.sub("", (DOCS / f"{name}.md").read_text())


def section(text: str, heading: str) -> str:
    """What stands under `heading` ("## summary.json"), up to the next one of its level or above."""
    level = len(heading) - len(heading.lstrip("#"))
    found = re.search(rf"(?ms)^{re.escape(heading)}$(.*?)(?=^#{{1,{level}}} |\Z)", text)
    assert found, f"no heading {heading!r}"
    return found[1]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of each row of each table, headings left out."""
    lines = text.splitlines()
    for above, line in pairwise(lines):
        if not line.startswith("|") or not above.startswith("|") or line.startswith("|---"):
            continue
        yield [cell.strip() for cell in _CELL.split(line)[1:-1]]


def coded(cell: str) -> list[str]:
    """What a cell sets as code."""
    return re.findall(r"`([^`]+)`", cell)


def anchors(file: Path) -> set[str]:
    """The anchors of a page's headings that the site (Python-Markdown) and GitHub make alike."""
    found = re.findall(r"(?m)^#{1,6} (.+)$", _FENCE.sub("", file.read_text()))
    return {slug for heading in found if "--" not in (slug := _slug(heading))}


def _slug(heading: str) -> str:
    plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


def links(file: Path) -> list[str]:
    text = re.sub(r"`[^`]*`", "", _FENCE.sub("", file.read_text()))
    return [*_LINK.findall(text), *re.findall(r'src="([^"]+)"', text)]


@pytest.mark.parametrize("file", [*PAGES, *TOP], ids=lambda file: file.name)
def test_links_lead_somewhere(file: Path) -> None:
    for link in links(file):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (file.parent / name).resolve() if name else file
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_links_of_the_site_stay_within_it(file: Path) -> None:
    for link in links(file):
        assert not link.startswith(("../", "/")), link


@pytest.mark.parametrize("file", [*PAGES, *TOP], ids=lambda file: file.name)
def test_headings_of_a_page_differ(file: Path) -> None:
    found = re.findall(r"(?m)^#{1,6} (.+)$", _FENCE.sub("", file.read_text()))
    if file.name != "CHANGELOG.md":
        assert len(found) == len(set(found))


def _nav(entries: list[dict[str, object]]) -> Iterator[str]:
    for entry in entries:
        for value in entry.values():
            if isinstance(value, list):
                yield from _nav(value)
            else:
                yield str(value)


def test_every_page_is_in_the_sites_contents_once() -> None:
    assert sorted(_nav(SITE["nav"])) == [file.name for file in PAGES]


def test_every_page_but_the_first_is_linked_from_another() -> None:
    linked = {link.partition("#")[0] for file in PAGES for link in links(file) if file.name != link}
    assert {file.name for file in PAGES} - {"index.md"} <= linked


def test_the_site_fetches_nothing_from_elsewhere() -> None:
    assert SITE["theme"]["font"] is False
    assert "offline" in SITE["plugins"]
    # Without a file of this name Zensical would fetch one from another host.
    ours = [*SITE["extra_css"], *SITE["extra"]["polyfills"]]
    assert any("iframe-worker" in name for name in ours)
    for name in ours:
        text = (DOCS / name).read_text()
        assert "://" not in text, name


def test_pictures_fetch_nothing_and_name_what_they_show() -> None:
    for file in DOCS.glob("*.svg"):
        text = file.read_text()
        assert "<title" in text
        assert "<desc" in text
        assert "href=" not in text
        assert re.findall(r"https?://[^\"]+", text) == ["http://www.w3.org/2000/svg"]


def test_pins_of_the_generator_have_hashes_and_name_no_place() -> None:
    text = (DOCS / "requirements.txt").read_text()
    assert "--hash=sha256:" in text
    assert not re.search(r"(?m)^\s*(-i|--index|--extra-index|--trusted|--find|-f)\b", text)
    assert "://" not in text
    wanted = re.findall(r"(?m)^([a-z]+)>=", (DOCS / "requirements.in").read_text())
    assert wanted
    for name in wanted:
        assert re.search(rf"(?m)^{name}==", text)


@pytest.mark.parametrize("file", [*PAGES, ROOT / "README.md"], ids=lambda file: file.name)
def test_pages_name_only_files_of_the_repository_that_there_are(file: Path) -> None:
    named = re.findall(r"`((?:configs|docs|tests|harvester|bench)/[\w./-]+)`", file.read_text())
    for name in named:
        assert (ROOT / name).exists(), name
