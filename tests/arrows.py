"""`make arrows`: write the arrows of tests/architecture.toml again, as the imports are.

Look at the difference before you keep it: an arrow that is new is a decision.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from tests.unit.test_architecture import PATHS, ROOT, arrows_of, package_of

FILE = ROOT / "tests" / "architecture.toml"
_WIDTH = 100


def arrows() -> dict[str, set[str]]:
    """Each package, and those that it imports."""
    found: dict[str, set[str]] = {}
    for module in PATHS:
        found.setdefault(package_of(module), set()).update(arrows_of(module))
    return found


def table(found: Mapping[str, set[str]]) -> str:
    """The table as it stands in the file, from the ground up.  Raises CycleError."""
    floors: dict[str, int] = {}
    for name in TopologicalSorter(found).static_order():
        floors[name] = 1 + max((floors[one] for one in found[name]), default=-1)
    order = sorted(found, key=lambda name: (floors[name], name))
    lines = [_line(name, [one for one in order if one in found[name]]) for name in order]
    return "".join(f"{line}\n" for line in lines)


def _line(name: str, to: Sequence[str]) -> str:
    key = f'"{name}"' if "." in name else name
    short = f"{key} = [{', '.join(_quoted(one) for one in to)}]"
    if len(short) <= _WIDTH:
        return short
    rows, row = [], " "
    for one in to:
        piece = f" {_quoted(one)},"
        if len(row) + len(piece) > _WIDTH:
            rows.append(row)
            row = " "
        row += piece
    return "\n".join([f"{key} = [", *rows, row, "]"])


def _quoted(name: str) -> str:
    return f'"{name}"'


def main() -> int:
    """Write the file; the exit code."""
    try:
        drawn = table(arrows())
    except CycleError as exc:
        print(f"circle: {' -> '.join(exc.args[1])}. Nothing was written.", file=sys.stderr)
        return 1
    text = FILE.read_text()
    head, rest = text.split("[packages]\n", 1)
    FILE.write_text(f"{head}[packages]\n{drawn}\n{rest[rest.index('[pure]') :]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
