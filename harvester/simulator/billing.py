"""What the vendor's billing may do wrong or late: shares as text, drawn by id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harvester.errors import UsageError
from harvester.simulator.dice import Dice
from harvester.simulator.rates import Sheet

MISCHIEF: Mapping[str, str] = {
    "late": "rated late: the call is over, but cost and rate are empty and chargedDuration is 0 "
    "until so many seconds after its end (21600, or as in late=0.1:3600), or for so many answers "
    "to its id, as in late=0.1:2x",
    "rerated": "rated again later: after so many answers with its cost (1, or as in "
    "rerated=0.05:2x) a call costs half as much again",
    "early": "billed from ringing: callDuration is longer than from answerTime to hangupTime",
    "double": "billed twice: once more a second later, under another id, which --ids writes",
}
LATE_S = 21_600.0


@dataclass(frozen=True, slots=True)
class Billing:
    """Shares of the answered calls, 0 to 1 each."""

    late: float = 0.0
    late_s: float = LATE_S
    early: float = 0.0
    double: float = 0.0
    late_answers: int | None = None
    """Answers to an id that come without money, whatever the time; None: `late_s` counts."""
    rerated: float = 0.0
    rerated_after: int = 1
    """Answers to an id that have its first cost."""

    def draw(self, seed: int, voice_id: str) -> Mischief:
        """What becomes of the call behind `voice_id`, if it is answered."""
        dice = Dice(seed, voice_id, b"billing")
        # Drawn last: an earlier draw would change what becomes of the calls of a seed.
        shares = (self.late, self.early, self.double, self.rerated)
        return Mischief(*(dice.chance(share) for share in shares))


@dataclass(frozen=True, slots=True)
class Mischief:
    """What the billing does to one call."""

    late: bool
    early: bool
    double: bool
    rerated: bool = False


@dataclass(frozen=True, slots=True)
class Bill:
    """How calls are billed: what goes wrong, and the sheet that comes before the made-up one."""

    billing: Billing = Billing()
    sheet: Sheet | None = None


def parse_billing(text: str) -> Billing:
    """Read shares such as "late=0.1:3600,early=0.05,double=0.02", or "none".

    Raises UsageError naming the part that makes no sense.
    """
    found: dict[str, float] = {}
    late_answers: int | None = None
    rerated_after = 1
    for part in (piece.strip() for piece in text.split(",")):
        if part in ("", "none"):
            continue
        name, _, told = part.partition("=")
        share, colon, seconds = told.partition(":")
        if name not in MISCHIEF:
            raise UsageError(
                f"billing: {name!r} is none. Known are: none, {', '.join(MISCHIEF)}; written as "
                "name=share, for example early=0.05."
            )
        found[name] = _number(share, 1, part)
        if colon and name == "rerated" and seconds.endswith("x"):
            rerated_after = int(_number(seconds.removesuffix("x"), 1e9, part))
            continue
        if colon and name != "late":
            raise UsageError(f"billing: {part!r}: only late takes seconds, such as late=0.1:3600.")
        if colon and seconds.endswith("x"):
            late_answers = int(_number(seconds.removesuffix("x"), 1e9, part))
        elif colon:
            found["late_s"] = _number(seconds, 1e9, part)
    return Billing(**found, late_answers=late_answers, rerated_after=rerated_after)


def _number(text: str, most: float, part: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise UsageError(
            f"billing: {part!r} needs a share from 0 to 1, for example early=0.05 or late=0.1:3600."
        )
    return value
