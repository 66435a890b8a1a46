"""Which fault an attempt gets: odds as text, drawn by id and by how often it failed before.

The draw of an id's next attempt depends on its *faulty* answers so far, not on all its attempts.
So only ids that met a fault need a place in memory, and a night repeats itself exactly whatever
the order of its requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harvester.errors import UsageError
from harvester.simulator.dice import Dice

FAULTS: Mapping[str, str] = {
    "busy": "status -18",
    "expired": "status -16, although the time is right",
    "throttle": "status -15, or HTTP 429 with Retry-After in seconds or as a date",
    "refused": "status -1, although the signature is right",
    "unknown": "status -99, which no page lists",
    "http500": "HTTP 500 without envelope",
    "http502": "HTTP 502 without envelope",
    "http503": "HTTP 503 without envelope",
    "redirect": "HTTP 302 to another path",
    "torn": "the body ends before its Content-Length",
    "reset": "the connection is reset",
    "slow": "the right answer after slow_s",
    "drip": "one byte a second, broken off after drip_s",
    "html": "HTTP 200 with a web page",
    "empty": "HTTP 200 with nothing",
    "list": "a JSON list",
    "no_status": "an envelope without status",
    "data_text": "data is a string",
    "other_id": "the record of another call",
    "gzip": "the right answer, gzip-encoded",
    "chunked": "the right answer in chunks",
    "bomb": "a gzip body that decodes to more than 64 MiB",
    "long": "a body of more than 1 MiB",
}

HARMLESS = frozenset({"slow", "gzip", "chunked"})
"""Faults that carry the right answer all the same."""

# Push-back and refusals are rare: a client slows down or halts for them, as it should.
_ALL: Mapping[str, float] = {
    **dict.fromkeys(FAULTS, 0.0005),
    "busy": 0.02,
    "expired": 0.003,
    "torn": 0.003,
    "reset": 0.003,
    "slow": 0.002,
    "http500": 0.002,
    "gzip": 0.005,
    "chunked": 0.005,
    "throttle": 0.0002,
    "refused": 0.0002,
    "redirect": 0.0002,
    "unknown": 0.0002,
    "drip": 0.0002,
    "bomb": 0.0001,
    "long": 0.0001,
}


@dataclass(frozen=True, slots=True)
class Mix:
    """The odds of every fault for one attempt."""

    odds: tuple[tuple[str, float], ...] = ()

    def draw(self, share: float) -> str | None:
        """The fault that `share` (0 up to 1) falls on; None for a right answer."""
        for name, odds in self.odds:
            share -= odds
            if share < 0:
                return name
        return None


def parse_mix(text: str) -> Mix:
    """Read odds such as "busy=0.02,torn=0.005", "none", "all", or "all,busy=0.1".

    Raises UsageError naming the part that makes no sense.
    """
    odds: dict[str, float] = {}
    for part in (piece.strip() for piece in text.split(",")):
        if part in ("", "none"):
            continue
        if part == "all":
            odds.update(_ALL)
            continue
        name, value = _parse_part(part)
        odds[name] = value
    if sum(odds.values()) > 1 + 1e-9:
        raise UsageError(f"faults: the odds in {text!r} add up to over 1.")
    return Mix(tuple((name, value) for name, value in odds.items() if value > 0))


def _parse_part(part: str) -> tuple[str, float]:
    name, equals, number = part.partition("=")
    if name not in FAULTS:
        raise UsageError(
            f"faults: {name!r} is none. Known are: all, none, {', '.join(FAULTS)}; "
            "written as name=odds, for example busy=0.02."
        )
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not equals or not 0 <= value <= 1:
        raise UsageError(f"faults: {part!r} needs odds from 0 to 1, for example {name}=0.02.")
    return name, value


@dataclass(slots=True)
class Weather:
    """A mix at work, with what it has done so far."""

    mix: Mix
    times: int | None = None
    """Faulty answers that one id gets at most; None for no bound."""
    total: int | None = None
    """Faulty answers in all; None for no bound."""
    done: int = 0
    by_id: dict[str, int] = field(default_factory=dict)

    def next_fault(self, seed: int, voice_id: str) -> str | None:
        """The fault of this id's next answer, counted as given; None for a right answer."""
        if not self.mix.odds or (self.total is not None and self.done >= self.total):
            return None
        before = self.by_id.get(voice_id, 0)
        if self.times is not None and before >= self.times:
            return None
        fault = self.mix.draw(Dice(seed, f"{voice_id}/{before}", b"fault").share())
        if fault is not None:
            self.by_id[voice_id] = before + 1
            self.done += 1
        return fault
