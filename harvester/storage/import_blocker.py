"""What pyarrow looks for, and nobody here needs."""

from __future__ import annotations


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
