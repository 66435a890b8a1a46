"""Which column holds the ids."""

from __future__ import annotations

from collections.abc import Sequence

from harvester.errors import SourceError
from harvester.inputs.voice_id import excerpt, same_name

_SHOWN = 30


IDS = "ids by --column or input.column"
TIMES = "times by --time-column"


def position(
    names: Sequence[str], column: str, path: str, *, only: bool = True, of: str = IDS
) -> int:
    """Where `column` stands among `names`, in whatever spelling; or the only one (if `only`).

    `of`: what it holds, and how to name it.

    Raises SourceError that lists the columns there are, or those that could be meant.
    """
    found = places(names, column)
    if len(found) > 1:
        twins = " and ".join(repr(excerpt(names[place])) for place in found[:_SHOWN])
        raise SourceError(
            f"{path}: {len(found)} columns are named {column!r}: {twins}. "
            "Case, blanks and underscores make no difference. Rename all but one.",
            code="input.ambiguous_column",
        )
    if found:
        return found[0]
    if only and len(names) == 1:
        return 0
    raise SourceError(
        f"{path}: there is no column {column!r}. It has: {_listed(names)}. "
        f"Name the one with the {of}.",
        code="input.no_column",
    )


def places(names: Sequence[str], column: str) -> list[int]:
    """Where names stand that are `column` but for case, blanks and underscores."""
    wanted = same_name(column)
    return [place for place, name in enumerate(names) if same_name(name) == wanted]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(excerpt(name) for name in names[:_SHOWN])
    return shown + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
