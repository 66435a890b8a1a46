"""The pace: the promise to the vendor.

Theory of operation.  In no sliding second, from the first on, are more than `rate_per_s` requests
written to the socket, whoever sends them and why.  A leaky bucket of capacity c that leaks
(rate - c) a second lets out at most c + (rate - c) = rate in any second, by construction;
aiolimiter's usual form, capacity = rate, lets out nearly twice that in its first second.  A small
capacity is what lets the pace make good a late wake-up; one per cent is kept back for the
microseconds between a turn and the write, and for the handful.

One task at a time waits in the bucket, the others in a fair lock.  While the bucket is nearly empty
a handful of turns is taken from it at once, and whoever comes next has one without waiting
(`take`).  A second may so see a handful more than the bucket lets out in it: at most half of the
one per cent.

Push-back lowers the rate and may close the pace for a while; from its end the rate climbs back to
the whole limit in 5 s of calm (busy answers of a moment ago still count) and 12 s of climb.  A
changed rate is a new bucket, and a new bucket is filled before anything else, so a change never
opens a gap in the promise.  The pace opens one second after the output's lock was taken: then a run
that follows a killed one keeps the promise for both.

`SharedPace` takes its turns from a limit that other processes share (`limit_file.py`): with it the
promise is that of all of them.  Push-back closes the shared limit, and lowers each one's own pace
beside it.

`LeasedPace` keeps a share of the limit that may change, and that holds until a moment; see
`shares.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Protocol

from harvester.pipeline.limits.leaky_bucket import LeakyBucket

SLOWEST_SHARE = 0.1
_LOWERED_TO = 0.7
_LOWER_EVERY_S = 5.0
_CLIMB_S = 12.0
_STEP_S = 1.0
_BUSY_WINDOW_S = 5
_BUSY_SHARE = 0.25
_BUSY_ANSWERS = 20
_DEFAULT_PAUSE_S = 1.0  # a push-back that names no time
_SMALL_RATE = 40.0
_HANDFUL = 16
_NS = 1_000_000_000
_PATIENCE_S = 1.0
_PATIENCE_TURNS = 4
_ROOM = 4
"""A handful is at most this part of the bucket's capacity, which is two per cent of the rate."""


def bucket_shape(rate_per_s: float) -> tuple[float, float]:
    """(capacity, leak per second) of the bucket that keeps `rate_per_s` in every sliding second."""
    if rate_per_s >= _SMALL_RATE:
        capacity = max(1.25, 0.02 * rate_per_s)
        return capacity, 0.99 * rate_per_s - capacity
    # Few a second: nearly even spacing, so that request k + n comes a second after request k.  A
    # fraction of a request can't be sent: 2.5 a second means two in any second.  The capacity
    # over 1 makes good a wake-up that is up to 10 ms late; it needs no more than the same 10 ms
    # of the second's end: n + 1 requests take (n + 1 - capacity) / leak = 1.01 s.
    whole = float(int(rate_per_s)) if rate_per_s >= 1 else rate_per_s
    return 1.0 + 0.01 * whole, 0.98 * whole


class Pace:
    """Hands out turns.  Lives on one event loop; its clock is the loop's."""

    def __init__(self, rate_per_s: float, *, opens_at: float) -> None:
        """`opens_at`: the loop time before which no turn is given, in seconds."""
        self._limit = rate_per_s
        self._floor = max(SLOWEST_SHARE, min(1.0, 1.0 / rate_per_s))
        self._loop = asyncio.get_running_loop()
        self._one_waits = asyncio.Lock()
        self._share = 1.0
        self._climbs_from = (1.0, 0.0)
        self._bucket = LeakyBucket(*bucket_shape(rate_per_s))
        self._is_new = False
        """Whether the bucket is one of a changed rate, and still to be filled."""
        self._handful = max(1, min(_HANDFUL, int(self._bucket.capacity / _ROOM)))
        self._in_hand = 0
        self._opens_at = opens_at
        self._until = float("inf")
        """When it ends, if somebody gave it until then."""
        self._lowered_at = float("-inf")
        self._stepped_at = 0.0
        self._seconds: deque[tuple[int, int, int]] = deque(maxlen=_BUSY_WINDOW_S - 1)
        """(second, answers, busy ones of them) of late; then follows the second that goes on."""
        self._second = -1
        self._second_ends = float("-inf")
        self._answers = self._busy = 0
        self.is_open = False
        """Whether the pace was seen to be open, and was not closed since."""
        self.throttled = 0

    @property
    def rate_per_s(self) -> float:
        """The rate in force."""
        return self._limit * self._share

    @property
    def limit_per_s(self) -> float:
        """The limit, as configured."""
        return self._limit

    @property
    def closed_for_s(self) -> float:
        """Seconds until the pace opens; 0 when it is open."""
        return max(0.0, self._opens_at - self._loop.time())

    async def opened(self) -> None:
        """Wait while the pace is closed."""
        # The opening may be put off while we sleep, never brought forward: no event is needed.
        while (wait_s := self.closed_for_s) > 0:  # noqa: ASYNC110
            await asyncio.sleep(wait_s)
        self.is_open = True

    async def admitted(self) -> None:
        """Wait until an attempt may take a connection, to wait for its turn with it."""
        await self.opened()

    def take(self) -> bool:
        """A turn, if it can be had without waiting and out of nobody's turn; else False.

        The caller writes its request at once.
        """
        if not self._in_hand or self._one_waits.locked():
            return False
        if not self._opens_at <= self._loop.time() < self._until:
            return False
        self._in_hand -= 1
        return True

    async def turn(self) -> None:
        """Wait for the turn of one request; the caller writes it at once."""
        if self.take():
            return
        async with self._one_waits:
            while True:
                await self.opened()
                self._climb()
                if await self._turn_of_bucket():
                    return

    async def _turn_of_bucket(self) -> bool:
        """Pour a turn into the bucket, or a handful; False if it is spent unused."""
        bucket, turns = self._bucket, self._handful
        if self._is_new:
            self._is_new = False
            await bucket.pour(bucket.capacity)
        if turns > 1 and (self._share < 1.0 or not bucket.has_room(turns)):
            turns = 1
        await bucket.pour(turns)
        # Closed or slowed down while we waited?  The new bucket knows nothing of these turns.
        if bucket is not self._bucket or self._opens_at > self._loop.time():
            return False
        self._in_hand = turns - 1
        return True

    def slow_down(self, after_s: float | None) -> None:
        """The vendor asked for fewer requests: close for `after_s` seconds, and slow down."""
        self.throttled += 1
        self.close(_DEFAULT_PAUSE_S if after_s is None else after_s)
        self._lower()

    def close(self, pause_s: float) -> None:
        """Give no turn for `pause_s` seconds."""
        self._opens_at = max(self._opens_at, self._loop.time() + pause_s)
        self.is_open = False

    def note(self, now: float, *, busy: bool) -> None:
        """Note an answer at `now` (loop time); `busy`: a -18 or a 5xx.

        Too many of these slow the pace down.
        """
        if now >= self._second_ends:
            self._seconds.append((self._second, self._answers, self._busy))
            self._answers = self._busy = 0
            self._second = int(now)
            self._second_ends = self._second + 1.0
        self._answers += 1
        if busy:
            self._busy += 1
            if self._are_many_busy():
                self._lower()

    def _are_many_busy(self) -> bool:
        answers, busy = self._answers, self._busy
        for second, answers_then, busy_then in self._seconds:
            if self._second - second < _BUSY_WINDOW_S:
                answers += answers_then
                busy += busy_then
        return answers >= _BUSY_ANSWERS and busy > _BUSY_SHARE * answers

    def _lower(self) -> None:
        now = self._loop.time()
        if now - self._lowered_at >= _LOWER_EVERY_S:
            self._lowered_at = now
            self._set_share(max(self._floor, self._share * _LOWERED_TO))
        # The climb starts anew from wherever this push-back ends.
        calm_at = max(self._opens_at, now + _LOWER_EVERY_S)
        self._climbs_from = (self._share, calm_at)

    def _climb(self) -> None:
        now = self._loop.time()
        if self._share >= 1.0 or now - self._stepped_at < _STEP_S:
            return
        self._stepped_at = now
        share, since = self._climbs_from
        if now > since:
            self._set_share(min(1.0, share + (1.0 - share) * (now - since) / _CLIMB_S))

    def _set_share(self, share: float) -> None:
        self._share = share
        self._bucket = LeakyBucket(*bucket_shape(self._limit * share))
        self._is_new = True
        self._in_hand = 0


class LeasedPace(Pace):
    """A pace whose limit is a share that its owner gives, until a moment, and may change."""

    def __init__(self, *, opens_at: float) -> None:
        """There is no share yet."""
        super().__init__(1.0, opens_at=opens_at)
        self._until = float("-inf")
        self._renewed = asyncio.Event()
        self.pushed_back = 0
        """How often vendor throttling was met here."""

    def lease(self, share_per_s: float, until: float) -> bool:
        """Have `share_per_s` from now on, and no turn from `until` (loop time) on.

        True if that is another share than before.
        """
        self._until = until if share_per_s > 0 else float("-inf")
        is_new = share_per_s not in {0.0, self._limit}
        if is_new:
            self._limit = share_per_s
            self._floor = max(SLOWEST_SHARE, min(1.0, 1.0 / share_per_s))
            self._set_share(self._share)
            capacity = bucket_shape(share_per_s)[0]
            self._handful = max(1, min(_HANDFUL, int(capacity / _ROOM)))
        self._renewed.set()
        return is_new

    @property
    def is_lowered(self) -> bool:
        """Whether push-back keeps the rate below the share."""
        return self._share < 1.0

    @property
    def rate_per_s(self) -> float:
        """The rate in force."""
        return super().rate_per_s if self._is_leased else 0.0

    @property
    def _is_leased(self) -> bool:
        return self._loop.time() < self._until

    def slow_down(self, after_s: float | None) -> None:
        """See Pace."""
        self.pushed_back += 1
        super().slow_down(after_s)

    def heed(self, pause_s: float) -> None:
        """Another party met vendor throttling: close and slow down as it does."""
        self.close(pause_s)
        self._lower()

    async def opened(self) -> None:
        """Wait while the pace is closed, and while there is no share."""
        await super().opened()
        while not self._is_leased:
            self.is_open = False
            self._renewed.clear()
            await self._renewed.wait()
            await super().opened()

    async def _turn_of_bucket(self) -> bool:
        return await super()._turn_of_bucket() and self._is_leased


class SharedLimit(Protocol):
    """What the processes of a machine share.  Times are the loop's, in ns."""

    closed_until_ns: int
    """Until when the vendor wants nobody to ask, as last seen."""

    def take(self, *, more: bool = False) -> int:
        """Take a turn, for a request that is written at once: 0.  Else the ns to wait.

        `more`: others of this process wait as well.
        """
        ...

    def close_until(self, at_ns: int) -> None:
        """The vendor wants nobody to ask before that."""
        ...


class HeldUp(Exception):
    """Others have the whole limit: let the connection go, and wait in `admitted`."""


class SharedPace(Pace):
    """A pace whose turns are those of a limit that others share.

    A turn is waited for with a connection in hand, and others may have the whole limit for hours:
    the vendor would close the connection, and the turn be lost.  So whoever gets none for a second
    lets go (`HeldUp`), and until one is had, a single attempt a second goes and looks.
    """

    def __init__(self, rate_per_s: float, *, opens_at: float, limit: SharedLimit) -> None:
        super().__init__(rate_per_s, opens_at=opens_at)
        self._shared = limit
        self._patience_s = max(_PATIENCE_S, _PATIENCE_TURNS / rate_per_s)
        self._waiting = 0
        self._held_up_at = float("-inf")
        self._looks_at = 0.0
        self._free = asyncio.Event()
        self._free.set()

    def slow_down(self, after_s: float | None) -> None:
        """As Pace has it, and for all that share the limit."""
        super().slow_down(after_s)
        self._shared.close_until(int(self._opens_at * _NS))

    async def opened(self) -> None:
        """Wait while the pace is closed."""
        await super().opened()
        self.is_open = self._free.is_set()

    async def admitted(self) -> None:
        """Wait while the pace is closed, and while others have the whole limit."""
        await self.opened()
        while not self._free.is_set():
            now = self._loop.time()
            if now >= self._looks_at:
                self._looks_at = now + self._patience_s
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(self._looks_at - now):
                    await self._free.wait()
            await self.opened()

    async def turn(self) -> None:
        """Wait for the turn of one request; the caller writes it at once.  Raises HeldUp."""
        if self.take():
            return
        began = self._loop.time()
        self._waiting += 1
        try:
            async with self._one_waits:
                while not await self._taken(began):
                    pass
        finally:
            self._waiting -= 1

    async def _taken(self, began: float) -> bool:
        await self.opened()
        self._climb()
        if self._share < 1.0 and not await self._turn_of_bucket():
            return False
        bucket = self._bucket
        is_had = await self._take_after_the_others(began)
        return is_had and bucket is self._bucket and self._opens_at <= self._loop.time()

    async def _take_after_the_others(self, began: float) -> bool:
        """Wait for a turn; False if the pace closes.  `began`: when the attempt began to wait."""
        patience_ends = self._loop.time() + self._patience_s
        while wait_ns := self._shared.take(more=self._waiting > 1):
            if self._heed_the_others():
                return False
            now = self._loop.time()
            if now >= patience_ends:
                self._held_up_at = now
                self._free.clear()
                self.is_open = False
            if began <= self._held_up_at:
                raise HeldUp
            await asyncio.sleep(wait_ns / _NS)
        self._had_one()
        return True

    def take(self) -> bool:
        """See Pace."""
        is_closed = self._opens_at > self._loop.time()
        if is_closed or self._share < 1.0 or self._one_waits.locked():
            return False
        if self._shared.take():
            self._heed_the_others()
            return False
        self._had_one()
        return True

    def _had_one(self) -> None:
        if self._held_up_at > 0:
            self._held_up_at = float("-inf")
            self._free.set()

    def _heed_the_others(self) -> bool:
        """Close while the vendor wants nobody to ask, whoever was told so; whether it does."""
        closed_until = self._shared.closed_until_ns / _NS
        if closed_until <= self._loop.time():
            return False
        self._opens_at = max(self._opens_at, closed_until)
        self.is_open = False
        return True
