"""The order in which runs were made: by the numbers that the ledger gave them, not by our clock.

A run's number is the first publication that could be its own: each is higher than all before.  A
run's name begins with the time by our clock, which may have been another month's for one night.
"""

from __future__ import annotations

from collections.abc import Container, Mapping


def in_order(
    numbers: Mapping[str, int | None],
    published: Mapping[str, int] | None = None,
    silent: Container[str] = (),
) -> list[str]:
    """Runs by their numbers, oldest first.

    An older version wrote no number down.  `published` has those publications that hold a run's
    first rows: it goes by that, and one that left no rows goes with the one without a number before
    it by name.  `silent` are those that left nothing to say it in, so each may be of any version:
    they go with the one before by name, whatever that is.
    """
    found: dict[str, tuple[int, str]] = {}
    last = before = 0
    for name in sorted(numbers):
        number = numbers[name]
        if number is None:
            number = (published or {}).get(name, before if name in silent else last)
            last = last if name in silent else number
        before = number
        found[name] = (number, name)
    return sorted(found, key=lambda name: found[name])
