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
PAGES = sorted(DOCS.rglob("*.md"))
TOP = [ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md")]
SITE = yaml.safe_load((DOCS / "mkdocs.yml").read_text())

_FENCE = re.compile(r"(?ms)^```.*?^```$")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CELL = re.compile(r"(?<!\\)\|")


def _named(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


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


@pytest.mark.parametrize("file", [*PAGES, *TOP], ids=_named)
def test_links_lead_somewhere(file: Path) -> None:
    for link in links(file):
        if link.startswith("https://"):
            continue
        name, _, anchor = link.partition("#")
        target = (file.parent / name).resolve() if name else file
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@pytest.mark.parametrize("file", PAGES, ids=_named)
def test_links_of_the_site_stay_within_it(file: Path) -> None:
    for link in links(file):
        assert not link.startswith("/"), link
        if not link.startswith("https://"):
            name = link.partition("#")[0]
            assert (file.parent / name).resolve().is_relative_to(DOCS), link


@pytest.mark.parametrize("file", [*PAGES, *TOP], ids=_named)
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
    assert sorted(_nav(SITE["nav"])) == sorted(file.relative_to(DOCS).as_posix() for file in PAGES)


def test_every_page_but_the_first_is_linked_from_another() -> None:
    linked = {
        target
        for file in PAGES
        for link in links(file)
        if (target := (file.parent / link.partition("#")[0]).resolve()) != file
    }
    assert set(PAGES) - {DOCS / "index.md"} <= linked


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


@pytest.mark.parametrize("file", [*PAGES, ROOT / "README.md"], ids=_named)
def test_pages_name_only_files_of_the_repository_that_there_are(file: Path) -> None:
    named = re.findall(r"`((?:configs|docs|tests|harvester|bench)/[\w./-]+)`", file.read_text())
    for name in named:
        assert (ROOT / name).exists(), name


# --- what the code cites --------------------------------------------------------------------------

_OUTSIDE = re.compile(
    r"design [§]|findings[/]|(?:notes|house|lake)[.]md|(?:billing|scale)[.]md [§]|/work[/]shared"
)
"""Pages that the project was planned on.  Who reads the code does not have them."""
_CITED = re.compile(r"(?<![\w./-])docs/[\w./-]*\w(?:#[\w-]+)?")
_FOLDERS = ("harvester", "tests", "bench", "configs", "docs")
_KINDS = (".py", ".toml", ".md", ".c", ".sh", ".txt", ".yaml", ".yml", ".in", ".service", ".timer")


def sources() -> list[Path]:
    """Everything that people wrote, but for the change log, which is of its day."""
    inside = (file for folder in _FOLDERS for file in (ROOT / folder).rglob("*"))
    top = [ROOT / "Makefile", *ROOT.glob("*.toml"), *(ROOT / ".ci").glob("*"), *TOP]
    found = [file for file in inside if file.suffix in _KINDS]
    return sorted({*found, *top} - {ROOT / "CHANGELOG.md"})


SOURCES = sources()


def test_code_and_pages_cite_nothing_outside_the_repository() -> None:
    assert len(SOURCES) > 400
    cited = {
        f"{_named(file)}: {found[0]}"
        for file in SOURCES
        if (found := _OUTSIDE.search(file.read_text(encoding="utf-8")))
    }
    assert not cited


def test_every_page_that_the_code_cites_is_there() -> None:
    cited = {
        (_named(file), name)
        for file in SOURCES
        if not file.is_relative_to(DOCS)
        for name in _CITED.findall(file.read_text(encoding="utf-8"))
    }
    assert len({file for file, _ in cited}) > 20
    for file, name in cited:
        path, _, anchor = name.partition("#")
        assert (ROOT / path).exists(), f"{file}: {name}"
        assert not anchor or anchor in anchors(ROOT / path), f"{file}: {name}"


@pytest.mark.parametrize(
    ("text", "is_outside"),
    [
        ("see design" + " §5", True),
        ("(findings" + "/storage.md)", True),
        ("shared/vendor/notes" + ".md §4", True),
        ("docs/internals/states.md; RFC 9110 §5.6.7", False),
    ],
)
def test_a_citation_from_outside_is_seen(text: str, is_outside: bool) -> None:
    assert bool(_OUTSIDE.search(text)) is is_outside


@pytest.mark.parametrize(
    ("text", "cited"),
    [
        ("(docs/sql.md).", ["docs/sql.md"]),
        ("docs/sql.md#cdr, and .docs/site or https://x.org/docs/a.md", ["docs/sql.md#cdr"]),
    ],
)
def test_a_cited_page_is_seen(text: str, cited: list[str]) -> None:
    assert _CITED.findall(text) == cited
