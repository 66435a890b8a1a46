"""The right answer to an id, without any fault: truth, written down, at the time of asking."""

from __future__ import annotations

import re
from dataclasses import replace

from harvester.simulator import render
from harvester.simulator.calls import DEAD_STATUS, Call, Fate, as_open, call_of
from harvester.simulator.dice import Dice
from harvester.simulator.drift import Statement, state, unrated
from harvester.simulator.ids import time_in_id
from harvester.simulator.options import SimulatorOptions
from harvester.simulator.replies import Reply, refuse

_VOICE_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_DAY_S = 86_400


class Records:
    """Answers from the truth; keeps only how far calls that end or are rated later have come."""

    def __init__(self, options: SimulatorOptions) -> None:
        self._options = options
        self._bill = options.bill
        self._asks: dict[str, int] = {}
        self._first_asked_at: dict[str, float] = {}
        self._late_answers: dict[str, int] = {}
        self._rated_answers: dict[str, int] = {}

    def answer(
        self, voice_id: str, at: float, *, counts: bool = True, now_s: float | None = None
    ) -> Reply:
        """The right answer at `at` (monotonic seconds) and `now_s` (the vendor's clock).

        With `counts`, it is one of the asks after which an open call is over.  Without `now_s`,
        all calls are over and rated, and none is too old.
        """
        if not _VOICE_ID.fullmatch(voice_id):
            return refuse("-22", "bad_id")
        beyond = self._beyond_the_clock(voice_id, now_s)
        if beyond is not None:
            return beyond
        call = self._call(voice_id)
        status = DEAD_STATUS.get(call.fate)
        if status is not None:
            return refuse(status, call.fate.value, numeric=self._is_numeric(voice_id))
        if call.fate is Fate.NO_RECORD:
            return self._no_record(voice_id)
        return _reply(*self.said(call, at, counts=counts, now_s=now_s))

    def said(
        self, call: Call, at: float, *, counts: bool, now_s: float | None
    ) -> tuple[Statement, str]:
        """What is said of a call that there is, and why; arguments as of `answer`."""
        if call.fate is not Fate.RECORD and not self._is_over(call, at, counts=counts):
            return self._said(as_open(call)), "open"
        if self._is_unrated(call, now_s, counts=counts):
            return unrated(self._said(call)), "unrated"
        return self._said(self._as_rated_now(call, now_s, counts=counts)), "record"

    def record(self, voice_id: str) -> bytes:
        """The final record of any id, as JSON text, whatever its fate."""
        return render.record(self._said(self._call(voice_id))).encode()

    def _call(self, voice_id: str) -> Call:
        return call_of(self._options.seed, voice_id, self._options.fates, self._bill)

    def _said(self, call: Call) -> Statement:
        options = self._options
        return state(call, options.seed, drift=options.drift, wild=options.wild)

    def _beyond_the_clock(self, voice_id: str, now_s: float | None) -> Reply | None:
        """What is said of an id whose date is in the future, or so old that it is forgotten."""
        told = time_in_id(voice_id) if now_s is not None else None
        if told is None or now_s is None:
            return None
        age_s = now_s - told.timestamp()
        if age_s < 0:
            return self._no_record(voice_id, "future")
        keep_days = self._options.keep_days
        if keep_days is None or age_s <= keep_days * _DAY_S:
            return None
        # The vendor's page says neither; both are likely (docs/vendor-api.md).
        if Dice(self._options.seed, voice_id, b"forgotten").roll(2):
            return refuse("-25", "forgotten", numeric=self._is_numeric(voice_id))
        return self._no_record(voice_id, "forgotten")

    def _is_unrated(self, call: Call, now_s: float | None, *, counts: bool) -> bool:
        billing = self._bill.billing
        if not billing.late or now_s is None or not call.answer_time or not call.hangup_time:
            return False
        if not billing.draw(self._options.seed, call.voice_id).late:
            return False
        if billing.late_answers is None:
            return now_s < call.hangup_time.timestamp() + billing.late_s
        given = self._late_answers.get(call.voice_id, 0)
        self._late_answers[call.voice_id] = given + counts
        return given < billing.late_answers

    def _as_rated_now(self, call: Call, now_s: float | None, *, counts: bool) -> Call:
        """The call with its later cost, once its first one has been given often enough."""
        billing = self._bill.billing
        if not billing.rerated or now_s is None or not call.answer_time:
            return call
        if not billing.draw(self._options.seed, call.voice_id).rerated:
            return call
        given = self._rated_answers.get(call.voice_id, 0)
        self._rated_answers[call.voice_id] = given + counts
        return call if given < billing.rerated_after else replace(call, cost=call.cost * 3 / 2)

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

    def _no_record(self, voice_id: str, why: str = "no_record") -> Reply:
        """The vendor's page doesn't say how it tells that it has none; these three are likely."""
        match Dice(self._options.seed, voice_id, b"none").roll(3):
            case 0:
                return refuse("-24", why, numeric=self._is_numeric(voice_id))
            case 1:
                return Reply("0", render.success("null"), why)
            case _:
                return Reply("0", render.success("{}"), why)

    def _is_numeric(self, voice_id: str) -> bool:
        """Whether a refusal's status drifted into a number."""
        return self._options.drift and not Dice(self._options.seed, voice_id, b"number").roll(4)


def _reply(said: Statement, why: str) -> Reply:
    return Reply("0", render.success(render.record(said), numeric=said.numeric_status), why)
