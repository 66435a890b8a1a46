"""Imports that cost less, or are not made at all."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class NotHere:
    """Finds neither pandas nor dateutil.

    pyarrow looks for them at nearly every array that it makes of Python values.  Where they are not
    installed that is a search of the whole path each time, a fifth of what normalising costs; where
    they are, it is 60 MB that nobody needs.  (An empty entry in `sys.modules` would not do: what
    pyarrow finds there it takes for pandas.  And `importlib.abc`, whose kind of finder this is,
    would take longer to import than all of our commands.)
    """

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """See `importlib.abc.MetaPathFinder`."""
        del path, target
        if name in ("pandas", "dateutil"):
            raise ModuleNotFoundError(f"no {name} here", name=name)


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection meanwhile.

    What an import makes stays; to look through all of it again and again is a sixteenth of a
    run's start.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def without(name: str) -> Iterator[None]:
    """What is imported meanwhile does without the package `name`, unless it is there already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # as importlib documents it
    try:
        yield
    finally:
        del sys.modules[name]
