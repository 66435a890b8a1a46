"""Which column holds the ids."""

from __future__ import annotations

from collections.abc import Sequence

from harvester.errors import SourceError
from harvester.ids.clean import excerpt

_SHOWN = 30


def position(names: Sequence[str], column: str, path: str, *, only: bool = True) -> int:
    """Where `column` stands among `names`: spelt so, or in other case, or (if `only`) alone.

    Raises SourceError that lists the columns there are.
    """
    for same in (str, str.casefold):
        found = [i for i, name in enumerate(names) if same(name) == same(column)]
        if len(found) == 1:
            return found[0]
        if found:
            raise SourceError(
                f"{path}: {len(found)} columns are named {column!r}. Rename all but one."
            )
    if only and len(names) == 1:
        return 0
    raise SourceError(
        f"{path}: there is no column {column!r}. It has: {_listed(names)}. "
        "Name the one with the ids by --column or input.column."
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(excerpt(name) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
