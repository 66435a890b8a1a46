"""voiceIds whose answers can be foretold: the upstream makes an answer of the id's own digits.

An id is yyMMddHHmm, two digits of seconds, and seven digits d1…d7 that are never the same twice:
its cost is d1.d4d5d6d7, its duration d6d7, and d7 = 9 was never answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOST = 10_000_000
"""So many have a number of their own."""

_STRIDE = 7_368_787  # shares no factor with 10^7: i * stride visits each number once
_DAYS = 5


@dataclass(frozen=True, slots=True)
class Facts:
    """What the output of a whole harvest must add up to; `cost` in millionths."""

    rows: int
    cost: int
    answered: int


def voice_id(i: int) -> str:
    """The i-th id, of five days of January 2022."""
    number = (i * _STRIDE + 1_234_567) % MOST
    day, hour, minute = 14 + i % _DAYS, i // 5 % 24, i // 120 % 60
    return f"2201{day}{hour:02}{minute:02}{i // 7 % 3}{i % 10}{number:07}"


def facts(count: int) -> Facts:
    """What the first `count` ids come to."""
    cost = answered = 0
    for i in range(count):
        told = voice_id(i)
        cost += int(told[12]) * 1_000_000 + int(told[15:]) * 100
        answered += told[18] != "9"
    return Facts(count, cost, answered)


def id_file(folder: Path, count: int, first: int = 0) -> Path:
    """A file of `count` ids from the `first` on; made once."""
    if not 0 <= first <= first + count <= MOST:
        raise ValueError(f"ids {first} to {first + count}: there are {MOST}.")
    path = folder / f"ids-{first}-{count}.txt"
    if not path.exists():
        fresh = path.with_suffix(".new")
        with fresh.open("w", encoding="ascii") as file:
            file.writelines(f"{told}\n" for told in _ids(first, count))
        fresh.rename(path)
    return path


def _ids(first: int, count: int) -> Iterator[str]:
    return (voice_id(i) for i in range(first, first + count))
