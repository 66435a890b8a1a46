"""The truth about a call, made up from seed and voiceId alone.

`call_of` never looks at a clock, a file or another id: asked twice, in any order, by a server or
by a test's oracle, it tells the same story.  How the vendor *writes* the story, with all its
moods, is `drift`'s business; the values here are plain and typed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from harvester.simulator.billing import Bill
from harvester.simulator.dice import Dice
from harvester.simulator.ids import VENDOR_ZONE, double_of, original_of, time_in_id
from harvester.simulator.places import PLACES, Place
from harvester.simulator.rates import BILL_PERIODS, Rate, made_up_rate, micros


class Fate(StrEnum):
    """What the vendor will ever say about an id."""

    RECORD = "record"
    OPEN_THEN_FINAL = "open_then_final"
    OPEN_FOREVER = "open_forever"
    NO_RECORD = "no_record"
    DEAD_PARAM = "dead_param"
    DEAD_EMPTY = "dead_empty"
    DEAD_RANGE = "dead_range"


DEAD_STATUS = {Fate.DEAD_PARAM: "-22", Fate.DEAD_EMPTY: "-14", Fate.DEAD_RANGE: "-25"}


@dataclass(frozen=True, slots=True)
class Fates:
    """Shares of all ids, each 0 to 1; what they leave over becomes records."""

    dead_param: float = 0.003
    dead_empty: float = 0.0002
    dead_range: float = 0.0002
    open_then_final: float = 0.002
    open_forever: float = 0.001
    no_record: float = 0.001
    answered: float = 0.6
    """Share of the calls, not of the ids, that somebody picked up."""

    def of(self, share: float) -> Fate:
        """The fate of an id that drew `share` (0 up to 1)."""
        for fate, odds in (
            (Fate.DEAD_PARAM, self.dead_param),
            (Fate.DEAD_EMPTY, self.dead_empty),
            (Fate.DEAD_RANGE, self.dead_range),
            (Fate.OPEN_THEN_FINAL, self.open_then_final),
            (Fate.OPEN_FOREVER, self.open_forever),
            (Fate.NO_RECORD, self.no_record),
        ):
            share -= odds
            if share < 0:
                return fate
        return Fate.RECORD


DEFAULT_FATES = Fates()
AS_AGREED = Bill()


@dataclass(frozen=True, slots=True)
class Call:
    """One call; instants in UTC, money exact, None where there is nothing to say."""

    voice_id: str
    fate: Fate
    callee: str
    display_num: str | None
    place: Place
    submit_time: datetime
    call_time: datetime | None
    ringing_time: datetime | None
    answer_time: datetime | None
    hangup_time: datetime | None
    call_duration_s: int
    charged_duration_s: int
    termination_code: str | None
    termination_reason: str | None
    bill_initial_s: int
    bill_increment_s: int
    rate: Decimal
    cost: Decimal
    base_cost: Decimal
    currency: str | None
    """None means USD: the vendor leaves it out."""
    settle_rate: Decimal | None
    quote_exchange: Decimal | None
    settle_pay: Decimal | None
    voice_file_id: str | None
    feedback: str
    """The key that was pressed, or "-1"."""
    called_info: str | None


_FAILURES = (
    ("486", "Busy Here"),
    ("487", "Request Terminated"),
    ("480", "Temporarily Unavailable"),
    ("404", "Not Found"),
    ("603", "Decline"),
)
_NO_RING = ("404", "603")
_EXCHANGE = (Decimal("0.938"), Decimal("0.9215"), Decimal("1.0837"))
_SECOND = timedelta(seconds=1)
_CALLED_INFO = (
    'said "call me back" and hung up',
    "line one\nline two\ttabbed",
    "您的验证码是 4821",
    "back\\slash / slash 📞 ünïcödé",
    "a" * 1000,
)


def call_of(seed: int, voice_id: str, fates: Fates | None = None, bill: Bill = AS_AGREED) -> Call:
    """The call behind `voice_id` as it stands when it is over and rated."""
    fates = fates if fates is not None else DEFAULT_FATES
    original = original_of(voice_id) if bill.billing.double else None
    if original is not None:
        call = _made_up(seed, original, fates, bill)
        if _is_billed_twice(seed, call, bill):
            return _a_second_later(call, voice_id)
    return _made_up(seed, voice_id, fates, bill)


def twin_of(
    seed: int, voice_id: str, fates: Fates | None = None, bill: Bill = AS_AGREED
) -> str | None:
    """The other id under which the call is billed once more; None for most calls."""
    call = call_of(seed, voice_id, fates, bill)
    is_original = call.voice_id == voice_id and original_of(voice_id) is None
    return double_of(voice_id) if is_original and _is_billed_twice(seed, call, bill) else None


def _made_up(seed: int, voice_id: str, fates: Fates, bill: Bill) -> Call:
    dice = Dice(seed, voice_id, b"call")
    fate = fates.of(dice.share())
    answered = dice.chance(fates.answered)
    place = dice.pick(PLACES)
    submitted = submit_time_of(seed, voice_id, dice)
    duration_s = _duration_s(dice) if answered else 0
    # Before there was a rate sheet, period, rate and exchange were drawn here and below.  The
    # draws stay, so that whatever follows them is what it was for the same seed.
    dice.roll(len(BILL_PERIODS))
    code, reason = ("200", "success") if answered else dice.pick(_FAILURES)
    called, ringing, answer, hangup = _times(submitted, duration_s, code, dice)
    dice.roll(90_000)
    if not dice.roll(7):
        dice.roll(3)
    callee = place.number(dice.roll(10**9))
    if bill.billing.early and ringing and answer and hangup:
        early = bill.billing.draw(seed, voice_id).early
        duration_s = int((hangup - ringing).total_seconds()) if early else duration_s
    rate = rate_of(seed, place, callee, submitted, bill)
    charged_s = charged(duration_s, rate.initial_s, rate.increment_s)
    cost = micros(int(rate.rate * 1_000_000) * charged_s // 60) if answered else Decimal(0)
    settle_rate, exchange, settle_pay = _settled(rate, cost, _exchange(seed, submitted))
    return Call(
        voice_id=voice_id,
        fate=fate,
        callee=callee,
        display_num=str(10**9 + dice.roll(10**9)) if dice.roll(5) else None,
        place=place,
        submit_time=submitted,
        call_time=called,
        ringing_time=ringing,
        answer_time=answer,
        hangup_time=hangup,
        call_duration_s=duration_s,
        charged_duration_s=charged_s,
        termination_code=code,
        termination_reason=reason,
        bill_initial_s=rate.initial_s,
        bill_increment_s=rate.increment_s,
        rate=rate.rate,
        cost=cost,
        base_cost=Decimal(0) if dice.roll(10) else micros(dice.roll(10_000)),
        currency=None if rate.currency == "USD" else rate.currency,
        settle_rate=settle_rate,
        quote_exchange=exchange,
        settle_pay=settle_pay,
        voice_file_id=_file_id(submitted, dice) if answered else None,
        feedback=str(dice.roll(10)) if answered and not dice.roll(4) else "-1",
        called_info=_called_info(dice),
    )


def rate_of(seed: int, place: Place, callee: str, submitted: datetime, bill: Bill) -> Rate:
    """The rate of a call, by the vendor's day on which it was handed in."""
    day = _vendor_day(submitted)
    told = bill.sheet.rate(place, callee, day) if bill.sheet is not None else None
    return told or made_up_rate(seed, place, day)


def _is_billed_twice(seed: int, call: Call, bill: Bill) -> bool:
    answered = call.fate is Fate.RECORD and call.answer_time is not None
    return answered and bill.billing.draw(seed, call.voice_id).double


def _a_second_later(call: Call, voice_id: str) -> Call:
    """`call` once more under another id: nothing but its times tells them apart."""

    def later(instant: datetime | None) -> datetime | None:
        return None if instant is None else instant + _SECOND

    return replace(
        call,
        voice_id=voice_id,
        submit_time=call.submit_time + _SECOND,
        call_time=later(call.call_time),
        ringing_time=later(call.ringing_time),
        answer_time=later(call.answer_time),
        hangup_time=later(call.hangup_time),
    )


def as_open(call: Call) -> Call:
    """`call` while it is not over: still ringing, or talking, and nothing charged yet."""
    talking = call.answer_time is not None
    return replace(
        call,
        hangup_time=None,
        call_duration_s=0,
        charged_duration_s=0,
        # An early success code is no end of a call; a failure code would be one.
        termination_code="200" if talking else None,
        termination_reason=None,
        cost=Decimal(0),
        settle_pay=None if call.settle_pay is None else Decimal(0),
        feedback="-1",
    )


def submit_time_of(seed: int, voice_id: str, dice: Dice) -> datetime:
    """When the call was handed in: the id's own digits, else within 60 days of the seed's date."""
    told = time_in_id(voice_id)
    if told is not None:
        return told.astimezone(UTC)
    # Long ago for every seed: a call of the future would be none.
    anchor = datetime(2022, 1, 1, tzinfo=UTC) + timedelta(days=seed % 365)
    return anchor - timedelta(seconds=dice.roll(60 * 86_400))


def charged(duration_s: int, initial_s: int, increment_s: int) -> int:
    """The seconds that are charged: a first period, then whole increments; 0 for no call."""
    if duration_s <= 0:
        return 0
    beyond = max(0, duration_s - initial_s)
    return initial_s + -(-beyond // increment_s) * increment_s


def _duration_s(dice: Dice) -> int:
    """Mostly under two minutes, as group calls are; now and then an hour."""
    return 1 + (dice.roll(3600) if not dice.roll(50) else dice.roll(110))


def _times(
    submitted: datetime, duration_s: int, code: str, dice: Dice
) -> tuple[datetime, datetime | None, datetime | None, datetime | None]:
    """When it was dialled, rang, was answered and ended."""
    called = submitted + timedelta(seconds=dice.roll(9))
    ringing = None if code in _NO_RING else called + timedelta(seconds=1 + dice.roll(5))
    picked_up = called + timedelta(seconds=6 + dice.roll(25))
    if duration_s:
        return called, ringing, picked_up, picked_up + timedelta(seconds=duration_s)
    # Some calls that nobody took have no end either; their code says that they are over.
    return called, ringing, None, picked_up if dice.roll(7) else None


def _settled(
    rate: Rate, cost: Decimal, exchange: Decimal
) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
    """settleRate, quoteExchange and settlePay: valued where the quote isn't in USD."""
    if rate.currency == "USD":
        return None, None, None
    cent = Decimal("0.0001")
    return (rate.rate / exchange).quantize(cent), exchange, (cost / exchange).quantize(cent)


def _exchange(seed: int, submitted: datetime) -> Decimal:
    """What a unit of the quote is worth on the vendor's day."""
    return Dice(seed, _vendor_day(submitted).isoformat(), b"exchange").pick(_EXCHANGE)


def _vendor_day(instant: datetime) -> date:
    return instant.astimezone(VENDOR_ZONE).date()


def _file_id(submitted: datetime, dice: Dice) -> str:
    day = submitted.year * 10_000 + submitted.month * 100 + submitted.day
    return f"1{day}{dice.roll(1 << 128):032x}.mp3"


def _called_info(dice: Dice) -> str | None:
    kind = dice.roll(200)
    if kind < len(_CALLED_INFO):
        return _CALLED_INFO[kind]
    return f"order {dice.roll(10**6)}" if kind < 100 else None
