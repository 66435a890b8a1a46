"""The vendor's desk: takes a question, gives an answer, and knows no socket.

The order is the vendor's: is it there at all, is it over the limit, who is asking, and only then
what.  Every request counts against the limit, whatever became of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Protocol

from harvester.simulator import signature
from harvester.simulator.control import Change
from harvester.simulator.dice import Dice
from harvester.simulator.faults import HARMLESS, Weather, parse_mix
from harvester.simulator.ids import last_whole_day
from harvester.simulator.limit import SlidingSecond
from harvester.simulator.listing import RecordList
from harvester.simulator.logbook import Entry, Logbook
from harvester.simulator.options import SimulatorOptions
from harvester.simulator.records import Records
from harvester.simulator.replies import Occasion, Reply, bare, refuse, reset, spoil, too_many
from harvester.simulator.signature import Credentials

LIST = "recordGroupQuery"
"""What the log calls a question for the list."""


class Right(Protocol):
    """Gives the right answer; `counts`: the client gets it."""

    def __call__(self, *, counts: bool = True) -> Reply: ...


class Desk:
    """Answers questions.  `clock` is wall time and `ticks` monotonic time, both in seconds."""

    def __init__(
        self,
        options: SimulatorOptions,
        *,
        clock: Callable[[], float],
        ticks: Callable[[], float],
        keep: Callable[[Entry], None] | None = None,
    ) -> None:
        """`keep` is called with every request once it is decided."""
        self.options = options
        self.limit = SlidingSecond(options.rate_limit)
        self.book = Logbook(options.log_size)
        self._clock, self._ticks, self._keep = clock, ticks, keep
        self._records = Records(options)
        today = datetime.fromtimestamp(clock() + options.clock_skew_s, UTC)
        self.list = RecordList(options, last_whole_day(today), self._records)
        self._weather = Weather(parse_mix(options.faults), options.max_faults)
        self._weather_of: dict[str, Weather] = {}
        self._down = False
        self._refuse: str | None = None
        self._closed_until = -math.inf

    def now_s(self) -> float:
        """The vendor's clock, skew and all."""
        return self._clock() + self.options.clock_skew_s

    def answer(self, voice_id: str, credentials: Credentials) -> Reply:
        """The answer to a request that arrives now."""

        def right(*, counts: bool = True) -> Reply:
            at = self._ticks()
            return self._records.answer(voice_id, at, counts=counts, now_s=self.now_s())

        return self._answered(voice_id, voice_id, credentials, right)

    def answer_list(self, body: bytes, credentials: Credentials) -> Reply:
        """The answer to a question for a page of the list."""

        def right(*, counts: bool = True) -> Reply:
            del counts
            return self.list.answer(body, self.now_s(), self._ticks())

        # A question counts as an id: it gets its faults, and then its answer.
        question = blake2b(body, digest_size=10).hexdigest()
        return self._answered(LIST, question, credentials, right)

    def _answered(self, name: str, voice_id: str, credentials: Credentials, right: Right) -> Reply:
        """What becomes of a question called `name`, whose faults are those of `voice_id`."""
        at = self._ticks()
        within = self.limit.arrive(at)
        reply = (
            self._in_this_mood(at)
            or self._over_the_limit(at, within=within)
            or self._turned_away(credentials)
            or self._in_this_weather(voice_id, right)
        )
        entry = Entry(at, name, reply.status, reply.why, reply.http)
        self.book.note(entry)
        if self._keep is not None:
            self._keep(entry)
        return self._delayed(reply)

    def change(self, change: Change) -> None:
        """Do as a test wishes, from the next request on.

        Raises UsageError for a setting that makes no sense, and then changes nothing.
        """
        self.options = replace(self.options, **dict(change.settings()))  # type: ignore[arg-type]
        self.limit.limit = self.options.rate_limit
        weather = change.weather()
        if weather is not None and change.only is None:
            self._weather = weather
        elif weather is not None:
            self._weather_of.update(dict.fromkeys(change.only or (), weather))
        if isinstance(change.down, bool):
            self._down = change.down
        if isinstance(change.refuse, str | None):
            self._refuse = change.refuse
        if isinstance(change.retry_after, float):
            self._closed_until = self._ticks() + change.retry_after
        if change.forget:
            self.limit = SlidingSecond(self.options.rate_limit)
            self.book = Logbook(self.options.log_size)

    def stats(self) -> dict[str, object]:
        """What was seen so far; times are monotonic seconds."""
        return {
            "requests": self.limit.total,
            "statuses": dict(self.book.statuses),
            "whys": dict(self.book.whys),
            "worst_window": self.limit.worst,
            "over_limit": self.limit.over,
            "rate_limit": self.limit.limit,
            "enforced": self.options.enforce,
            "first_at": self.limit.first_at,
            "last_at": self.limit.last_at,
        }

    def _in_this_mood(self, at: float) -> Reply | None:
        if self._down:
            return reset("down")
        if at < self._closed_until:
            return too_many(math.ceil(self._closed_until - at), "retry_after")
        if self._refuse is None:
            return None
        if self._refuse.startswith("http"):
            return bare(int(self._refuse.removeprefix("http")), "refuse")
        return refuse(self._refuse, "refuse")

    def _over_the_limit(self, at: float, *, within: bool) -> Reply | None:
        if within or not self.options.enforce:
            return None
        # Both of the vendor's ways to say it, one after the other.
        if self.limit.over % 2:
            return refuse("-15", "limit")
        return too_many(max(1, math.ceil(self.limit.next_free_s(at))), "limit")

    def _turned_away(self, credentials: Credentials) -> Reply | None:
        options = self.options
        status = signature.check(credentials, options.keys, self.now_s(), options.window_s)
        if status == "0":
            return None
        return refuse(status, "clock" if status == signature.EXPIRED else "signature")

    def _in_this_weather(self, voice_id: str, right: Right) -> Reply:
        weather = self._weather_of.get(voice_id, self._weather)
        fault = weather.next_fault(self.options.seed, voice_id)
        if fault is None:
            return right()
        counts = fault in HARMLESS
        occasion = Occasion(
            right=right(counts=counts),
            other=lambda: self._records.record(_neighbour(voice_id)),
            dice=Dice(self.options.seed, f"{voice_id}/{weather.done}", b"spoil"),
            now_s=self.now_s(),
            slow_s=self.options.slow_s,
            prefix=self.options.prefix,
            drift=self.options.drift,
        )
        return spoil(fault, occasion)

    def _delayed(self, reply: Reply) -> Reply:
        """With the way there and back, which every answer takes."""
        options = self.options
        if not options.latency_ms and not options.jitter_ms:
            return reply
        delay_ms = options.latency_ms
        if options.jitter_ms:
            dice = Dice(options.seed, str(self.limit.total), b"jitter")
            delay_ms += options.jitter_ms * dice.share()
        return replace(reply, delay_s=reply.delay_s + delay_ms / 1000)


def _neighbour(voice_id: str) -> str:
    """Another id of the same form."""
    last = voice_id[-1]
    return voice_id[:-1] + ("0" if last != "0" else "1")
