"""The packages are as tests/architecture.toml has them: arrows, purity, heavy imports."""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "harvester"
MOST_MODULES = 16
PLAN: dict[str, Any] = tomllib.loads((ROOT / "tests" / "architecture.toml").read_text())
PACKAGES: dict[str, list[str]] = PLAN["packages"]


@dataclass(frozen=True)
class Import:
    """One imported module; `at_top` is False inside a function and for type checkers alone."""

    name: str
    at_top: bool


def module_of(path: Path) -> str:
    """harvester/cli/commands/run.py -> "cli.run"; a package is named like its folder."""
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


WITH_PARTS = {module.partition(".")[0] for module in PATHS if module.count(".") > 1}


def package_of(module: str) -> str:
    """What it counts as: its package, or itself where it lies beside sub-packages."""
    top, *rest = module.split(".")
    return f"{top}.{rest[0]}" if rest and top in WITH_PARTS else top


IMPORTS: Mapping[str, list[Import]] = {module: imports_of(module) for module in PATHS}


def neighbours(module: str, *, at_top: bool) -> set[str]:
    return {
        name
        for found in IMPORTS[module]
        if (name := ours(found)) is not None and name != module and (found.at_top or not at_top)
    }


def arrows_of(module: str) -> set[str]:
    """The packages that it imports; whoever imports a part imports the whole that it is in."""
    own = package_of(module)
    found = {package_of(name) for name in neighbours(module, at_top=False)}
    return {name for name in found if name != own and not own.startswith(f"{name}.")} - {"__init__"}


@pytest.mark.parametrize("module", PATHS)
def test_module_imports_only_along_the_arrows(module: str) -> None:
    assert arrows_of(module) <= set(PACKAGES[package_of(module)])


def test_every_package_is_drawn_and_every_arrow_is_needed() -> None:
    needed: dict[str, set[str]] = {}
    for module in PATHS:
        needed.setdefault(package_of(module), set()).update(arrows_of(module))
    assert needed == {name: set(arrows) for name, arrows in PACKAGES.items()}


def test_no_arrow_leads_back() -> None:
    try:
        TopologicalSorter(PACKAGES).prepare()
    except CycleError as exc:
        pytest.fail(f"circle: {' -> '.join(exc.args[1])}")


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: neighbours(module, at_top=False) for module in PATHS}
    # A package's own page may name its modules; they don't look back at it.
    for module in PATHS:
        graph[module] -= {module.rsplit(".", n)[0] for n in range(1, module.count(".") + 1)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        pytest.fail(f"import cycle: {' -> '.join(exc.args[1])}")


def test_no_folder_holds_too_much() -> None:
    held = Counter(
        module.rpartition(".")[0] for module, path in PATHS.items() if path.name != "__init__.py"
    )
    crowded = {name: count for name, count in held.items() if count > MOST_MODULES}
    assert crowded.keys() <= set(PLAN["crowded"]["of_one_thing"])


@pytest.mark.parametrize("module", PLAN["pure"]["modules"])
def test_deciding_module_gets_the_world_as_arguments(module: str) -> None:
    forbidden = set(PLAN["pure"]["forbidden"])
    used = {found.name.partition(".")[0] for found in IMPORTS[module]} & forbidden
    assert not used


def heavy_of(module: str, *, at_top: bool) -> set[str]:
    packages = set(PLAN["heavy"]["packages"])
    found = [one for one in IMPORTS[module] if one.at_top or not at_top]
    return {one.name.partition(".")[0] for one in found} & packages


@pytest.mark.parametrize("module", PATHS)
def test_heavy_package_is_known_only_where_it_belongs(module: str) -> None:
    for package in heavy_of(module, at_top=False):
        allowed = PLAN["heavy"]["known_to"][package]
        within = {module.rsplit(".", n)[0] for n in range(module.count(".") + 1)}
        assert within & set(allowed), package


def test_command_line_reaches_no_heavy_package_before_a_command_needs_it() -> None:
    seen: dict[str, str] = {}
    waiting = [(PLAN["heavy"]["from"], "the entry")]
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


ASKS = {"execute", "executemany", "executescript", "cursor", "iterdump", "backup"}
"""What a connection is asked by; DuckDB's is called the same."""
OF_SQLITE = {"Connection", "Error"}
"""What whoever hands a connection on may know of SQLite: the rest opens or asks one."""


def sql_faults(module: str, tree: ast.Module) -> list[str]:
    """What `module` does to databases that it may not, by line."""
    rooms = PLAN["sql"]
    if package_of(module) in rooms["state"]:
        return []
    knows_sqlite = False
    asks, faults = [], []
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names) if any(one.name == "sqlite3" for one in names):
                knows_sqlite = True
            case ast.ImportFrom(module="sqlite3", names=names):
                knows_sqlite = True
                faults += [
                    f"{node.lineno}: {one.name}" for one in names if one.name not in OF_SQLITE
                ]
            case ast.Attribute(value=ast.Name(id="sqlite3"), attr=name) if name not in OF_SQLITE:
                faults.append(f"{node.lineno}: sqlite3.{name}")
            case ast.Call(func=ast.Attribute(attr=name)) if name in ASKS:
                asks.append(f"{node.lineno}: .{name}()")
    if knows_sqlite or module not in rooms["duckdb"]:
        faults += asks
    return faults


@pytest.mark.parametrize("module", PATHS)
def test_the_state_database_is_asked_in_its_own_package_alone(module: str) -> None:
    assert sql_faults(module, ast.parse(PATHS[module].read_text())) == []


@pytest.mark.parametrize("module", PLAN["sql"]["duckdb"])
def test_whoever_may_ask_duckdb_does(module: str) -> None:
    calls = ast.walk(ast.parse(PATHS[module].read_text()))
    assert any(isinstance(node, ast.Attribute) and node.attr in ASKS for node in calls)


@pytest.mark.parametrize(
    ("module", "source", "faults"),
    [
        ("operations.status", "def f(db):\n    return db.execute('SELECT 1')", 1),
        ("operations.status", "from sqlite3 import connect\ndb = connect('x')", 1),
        ("operations.status", "import sqlite3\nwith sqlite3.connect('x') as db: pass", 1),
        ("analysis.scope", "import sqlite3\ndef f(db): db.executemany('DELETE', [])", 1),
        ("analysis.scope", "def f(db): db.execute('SELECT 1')", 0),
        ("operations.status", "import sqlite3\ndef f(db: sqlite3.Connection): pass", 0),
        ("state.lock", "import sqlite3\nsqlite3.connect('x').execute('SELECT 1')", 0),
    ],
)
def test_a_question_in_the_wrong_package_is_found(module: str, source: str, faults: int) -> None:
    assert len(sql_faults(module, ast.parse(source))) == faults


def test_one_place_says_which_dead_letters_are_dead() -> None:
    """Whoever counted them in his own way counted those that are being retried as well."""
    told = {
        module
        for module, path in PATHS.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and "FROM dead_letter" in node.value
    }
    # known_id takes any that was resolved, dead or not.
    assert told == {"state.unresolved", "state.publications"}
