"""What a run has counted, by name."""

from __future__ import annotations


class Tally(dict[str, int]):
    """Counts by name; what was never counted is 0, and stays out.

    A `collections.Counter` does the same and more.  But counting takes it twice as long, as it has
    a `__delitem__` of its own, and every id is counted three times.
    """

    def __missing__(self, name: str) -> int:
        """See `dict`."""
        return 0
