"""The right answer to an id, without any fault: truth, written down, at the time of asking."""

from __future__ import annotations

import re

from harvester.simulator import render
from harvester.simulator.calls import DEAD_STATUS, Call, Fate, as_open, call_of
from harvester.simulator.dice import Dice
from harvester.simulator.drift import state
from harvester.simulator.options import SimulatorOptions
from harvester.simulator.replies import Reply, refuse

_VOICE_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


class Records:
    """Answers from the truth; keeps only how far the calls that end later have come."""

    def __init__(self, options: SimulatorOptions) -> None:
        self._options = options
        self._asks: dict[str, int] = {}
        self._first_asked_at: dict[str, float] = {}

    def answer(self, voice_id: str, at: float, *, counts: bool = True) -> Reply:
        """The right answer at `at` (monotonic seconds).

        With `counts`, it is one of the asks after which an open call is over.
        """
        if not _VOICE_ID.fullmatch(voice_id):
            return refuse("-22", "bad_id")
        call = call_of(self._options.seed, voice_id, self._options.fates)
        status = DEAD_STATUS.get(call.fate)
        if status is not None:
            return refuse(status, call.fate.value, numeric=self._is_numeric(voice_id))
        if call.fate is Fate.NO_RECORD:
            return self._no_record(voice_id)
        if call.fate is Fate.RECORD or self._is_over(call, at, counts=counts):
            return self._record(call, "record")
        return self._record(as_open(call), "open")

    def record(self, voice_id: str) -> bytes:
        """The final record of any id, as JSON text, whatever its fate."""
        call = call_of(self._options.seed, voice_id, self._options.fates)
        return render.record(state(call, self._options.seed, drift=self._options.drift)).encode()

    def _record(self, call: Call, why: str) -> Reply:
        said = state(call, self._options.seed, drift=self._options.drift)
        body = render.success(render.record(said), numeric=said.numeric_status)
        return Reply("0", body, why)

    def _is_over(self, call: Call, at: float, *, counts: bool) -> bool:
        if call.fate is Fate.OPEN_FOREVER:
            return False
        asks = self._asks.get(call.voice_id, 0)
        first_at = self._first_asked_at.get(call.voice_id, at)
        if counts:
            self._asks[call.voice_id] = asks + 1
            self._first_asked_at.setdefault(call.voice_id, at)
        if self._options.final_after_s is not None:
            return at - first_at >= self._options.final_after_s
        return asks >= self._options.open_asks

    def _no_record(self, voice_id: str) -> Reply:
        """The vendor's page doesn't say how it tells that it has none; these three are likely."""
        match Dice(self._options.seed, voice_id, b"none").roll(3):
            case 0:
                return refuse("-24", "no_record", numeric=self._is_numeric(voice_id))
            case 1:
                return Reply("0", render.success("null"), "no_record")
            case _:
                return Reply("0", render.success("{}"), "no_record")

    def _is_numeric(self, voice_id: str) -> bool:
        """Whether a refusal's status drifted into a number."""
        return self._options.drift and not Dice(self._options.seed, voice_id, b"number").roll(4)
