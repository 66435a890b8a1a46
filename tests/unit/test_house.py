"""The house stands as tests/house.toml draws it: arrows, purity, heavy imports."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "harvester"
HOUSE: dict[str, Any] = tomllib.loads((ROOT / "tests" / "house.toml").read_text())
ROOMS: dict[str, list[str]] = HOUSE["rooms"]


@dataclass(frozen=True)
class Import:
    """One imported module; `at_top` is False inside a function and for type checkers alone."""

    name: str
    at_top: bool


def module_of(path: Path) -> str:
    """harvester/cli/run.py -> "cli.run"; a package is named like its folder."""
    parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


PATHS = {module_of(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}


def imports_of(module: str) -> list[Import]:
    return list(_walk(ast.parse(PATHS[module].read_text()), at_top=True))


def _walk(node: ast.AST, *, at_top: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import(names=names):
                yield from (Import(alias.name, at_top) for alias in names)
            case ast.ImportFrom(module=name, names=names):
                assert name is not None, "relative imports are not used here"
                yield Import(name, at_top)
                # `from harvester.cli import run` names a module, not something inside one.
                yield from (Import(f"{name}.{alias.name}", at_top) for alias in names)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _walk(child, at_top=False)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield from _walk(child, at_top=False)
            case _:
                yield from _walk(child, at_top=at_top)


def ours(found: Import) -> str | None:
    """The module of ours that an import means, without the package's name."""
    if found.name == PACKAGE:
        return "__init__"
    name = found.name.removeprefix(f"{PACKAGE}.")
    return name if name != found.name and name in PATHS else None


def room_of(module: str) -> str:
    return module.partition(".")[0]


IMPORTS: Mapping[str, list[Import]] = {module: imports_of(module) for module in PATHS}


def neighbours(module: str, *, at_top: bool) -> set[str]:
    return {
        name
        for found in IMPORTS[module]
        if (name := ours(found)) is not None and name != module and (found.at_top or not at_top)
    }


@pytest.mark.parametrize("module", PATHS)
def test_module_imports_only_along_the_arrows(module: str) -> None:
    room = room_of(module)
    allowed = {room, "__init__", *ROOMS[room]}
    strangers = {name for name in neighbours(module, at_top=False) if room_of(name) not in allowed}
    assert not strangers


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: neighbours(module, at_top=False) for module in PATHS}
    # A package's own page may name its modules; they don't look back at it.
    for module in PATHS:
        graph[module] -= {room_of(module)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        pytest.fail(f"import cycle: {' -> '.join(exc.args[1])}")


@pytest.mark.parametrize("module", HOUSE["pure"]["modules"])
def test_deciding_module_gets_the_world_as_arguments(module: str) -> None:
    forbidden = set(HOUSE["pure"]["forbidden"])
    used = {found.name.partition(".")[0] for found in IMPORTS[module]} & forbidden
    assert not used


def heavy_of(module: str, *, at_top: bool) -> set[str]:
    packages = set(HOUSE["heavy"]["packages"])
    found = [one for one in IMPORTS[module] if one.at_top or not at_top]
    return {one.name.partition(".")[0] for one in found} & packages


@pytest.mark.parametrize("module", PATHS)
def test_heavy_package_is_known_only_where_it_belongs(module: str) -> None:
    for package in heavy_of(module, at_top=False):
        allowed = HOUSE["heavy"]["rooms"][package]
        assert module in allowed or room_of(module) in allowed, package


def test_command_line_reaches_no_heavy_package_before_a_command_needs_it() -> None:
    seen: dict[str, str] = {}
    waiting = [(HOUSE["heavy"]["from"], "the entry")]
    while waiting:
        module, importer = waiting.pop()
        if module in seen:
            continue
        seen[module] = importer
        assert not heavy_of(module, at_top=True), f"{module}, imported by {importer}"
        waiting += [(name, module) for name in neighbours(module, at_top=True)]
        # A module's packages are imported with it.
        parents = {module.rsplit(".", n)[0] for n in range(1, module.count(".") + 1)}
        waiting += [(parent, module) for parent in parents if parent in PATHS]


def test_every_room_is_drawn() -> None:
    assert {room_of(module) for module in PATHS} <= set(ROOMS)
