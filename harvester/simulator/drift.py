"""How the vendor writes a call: field names, JSON text, and the drift between its versions.

For every field a `Sent` keeps three things together: the JSON text, what it means, and, where it
means nothing that its column could hold, the text as sent.  So the truth is known without parsing
an answer, and a test can compare a client's row with it.

Drift is drawn by id.  About half of the records are written as the vendor's page has them; the
others have other times, bare numbers, a sister brand's field, fields of newer versions, and a few
in a thousand a value that no type fits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import NamedTuple

from harvester.simulator.calls import Call
from harvester.simulator.dice import Dice

Value = str | int | Decimal | datetime | None


class Sent(NamedTuple):
    """One field: its JSON text (None: left out), its meaning, and what could not be typed."""

    literal: str | None
    value: Value = None
    unparsed: str | None = None


_LEFT_OUT = Sent(None)


@dataclass(slots=True)
class Statement:
    """All that the vendor says of a call, in the order in which it says it."""

    fields: dict[str, Sent]
    submit_offset_min: int | None = 480
    """The offset that submitTime is written with; None where it has none or is no time."""
    extra: dict[str, str] = field(default_factory=dict)
    """Fields that the vendor's page does not name: JSON text by name."""
    numeric_status: bool = False
    """Whether the envelope's status is a JSON number."""


class Clockwork(NamedTuple):
    """A way to write an instant: offset (None: unwritten), its text, separator, digits."""

    offset_min: int | None = 480
    suffix: str = "+08:00"
    separator: str = "T"
    digits: int = 0


PAGE_CLOCK = Clockwork()
_CLOCKS = (
    PAGE_CLOCK,
    Clockwork(digits=3),
    Clockwork(digits=6),
    Clockwork(digits=9),
    Clockwork(0, "Z"),
    Clockwork(0, "Z", digits=3),
    Clockwork(0, "+00:00"),
    Clockwork(480, "+0800"),
    Clockwork(330, "+05:30"),
    Clockwork(-180, "-03:00", digits=6),
    Clockwork(None, ""),
    Clockwork(None, "", " "),
    Clockwork(None, "", " ", digits=3),
)
# Text without an offset is the vendor's own time.
_SHIFT = {
    clock.offset_min: timedelta(minutes=480 if clock.offset_min is None else clock.offset_min)
    for clock in _CLOCKS
}
_MONEY = ("cost", "rate", "baseCost", "settleRate", "quoteExchange", "settlePay")

# What a column can't hold (docs/schema.md): (field, JSON text, text as sent).
SPOILT = (
    ("submitTime", '"0000-00-00 00:00:00"', "0000-00-00 00:00:00"),
    ("callTime", '"2026-02-30T10:00:00+08:00"', "2026-02-30T10:00:00+08:00"),
    ("ringingTime", '"none"', "none"),
    ("answerTime", '"0000-00-00 00:00:00"', "0000-00-00 00:00:00"),
    ("callDuration", "-1", "-1"),
    ("callDuration", "1000000000000", "1000000000000"),
    ("chargedDuration", '"12.5"', "12.5"),
    ("chargedDuration", '"13s"', "13s"),
    ("cost", '"1,20"', "1,20"),
    ("cost", '"0.012345678901"', "0.012345678901"),
    ("cost", "0.012345678901", "0.012345678901"),
    ("rate", '"12345678901"', "12345678901"),
    ("rate", '"1e30"', "1e30"),
    ("baseCost", '".5"', ".5"),
    ("billPeriod", '"monthly"', "monthly"),
)
# Odd to look at and no price of any call, and yet exactly typed.
ODD_MONEY = (
    ('"1e3"', "1000"),
    ('"-0.5"', "-0.5"),
    ("2.5e-3", "0.0025"),
    ('"0.00000001"', "0.00000001"),
    ('"9999999999.99999999"', "9999999999.99999999"),
    ("0.1", "0.1"),
)
_UNKNOWN = (
    {"callStatus": "50"},
    {"callStatus": "null", "outRecallCount": "0"},
    {"sipCode": '"486"', "taskId": '"T-1187"'},
    {"ext": '{"mcc":"404","legs":[{"no":1,"rate":0.10},{"no":2,"rate":null}],"note":"é\\u4e2d"}'},
)


def state(call: Call, seed: int, *, drift: bool, wild: bool = False) -> Statement:
    """The vendor's record of `call`; the same for the same seed, call, `drift` and `wild`.

    Without `wild`, amounts are written in odd ways but are those of the call.
    """
    dice = Dice(seed, call.voice_id, b"drift")
    drifts = drift and dice.roll(2) == 1
    clock = dice.pick(_CLOCKS) if drifts and dice.roll(2) else PAGE_CLOCK
    nanos = dice.roll(10**9) if clock.digits else 0
    statement = Statement(_as_on_the_page(call, clock, nanos), clock.offset_min)
    if drifts:
        _older_codes(statement, dice)
        _odd_money(statement, dice, wild=wild)
        for change in _CHANGES:
            change(statement, dice)
        if call.hangup_time is not None and not dice.roll(60):
            _spoil(statement, dice)
    return statement


def unrated(statement: Statement) -> Statement:
    """`statement` while the call is over and its price is not known yet: no money, no seconds."""
    for name in ("cost", "costEur", "rate", "settleRate", "settlePay"):
        if statement.fields.get(name, _LEFT_OUT).literal is not None:
            statement.fields[name] = Sent('""')
    statement.fields["chargedDuration"] = Sent("0", 0)
    return statement


def quoted(text: str, *, ascii_only: bool = True) -> str:
    """`text` as a JSON string."""
    return encode_basestring_ascii(text) if ascii_only else encode_basestring(text)


def _as_on_the_page(call: Call, clock: Clockwork, nanos: int) -> dict[str, Sent]:
    """The fields in the order of the vendor's example."""

    def time(instant: datetime | None) -> Sent:
        return Sent('""') if instant is None else write_time(instant, clock, nanos)

    period = f"{call.bill_initial_s}+{call.bill_increment_s}"
    return {
        "voiceId": _text(call.voice_id),
        "callee": _text(call.callee),
        "displayNum": _text(call.display_num),
        "code": Sent(quoted(call.place.code, ascii_only=False), call.place.code),
        "submitTime": time(call.submit_time),
        "callTime": time(call.call_time),
        "ringingTime": time(call.ringing_time),
        "answerTime": time(call.answer_time),
        "hangupTime": time(call.hangup_time),
        "callDuration": Sent(str(call.call_duration_s), call.call_duration_s),
        "chargedDuration": Sent(str(call.charged_duration_s), call.charged_duration_s),
        "terminationCode": _text(call.termination_code),
        "terminationReason": _text(call.termination_reason),
        "cost": _money(call.cost),
        "billPeriod": Sent(f'"{period}"', period),
        "rate": _money(call.rate),
        "baseCost": _money(call.base_cost),
        "voiceFileId": _text(call.voice_file_id),
        "feedbackValue": _text(call.feedback),
        "calledInfo": Sent(quoted(call.called_info or ""), call.called_info),
        "settleRate": _money(call.settle_rate),
        "quoteExchange": _money(call.quote_exchange),
        "currency": Sent(None) if call.currency is None else _text(call.currency),
        "settlePay": _money(call.settle_pay),
    }


def write_time(instant: datetime, clock: Clockwork, nanos: int = 0) -> Sent:
    """`instant` (in UTC) plus as much of `nanos` (nanoseconds) as `clock` writes."""
    # The shifted instant still calls itself UTC; what follows the seconds is cut off.
    local = (instant + _SHIFT[clock.offset_min]).isoformat(clock.separator, "seconds")[:19]
    if not clock.digits:
        return Sent(f'"{local}{clock.suffix}"', instant)
    fraction = f"{nanos:09d}"[: clock.digits]
    exact = instant + timedelta(microseconds=int(fraction[:6].ljust(6, "0")))
    return Sent(f'"{local}.{fraction}{clock.suffix}"', exact)


def _text(text: str | None) -> Sent:
    """Plain text that needs no escapes; nothing is written as the empty string."""
    return Sent(f'"{text or ""}"', text)


def _money(amount: Decimal | None) -> Sent:
    return Sent(None) if amount is None else Sent(f'"{amount}"', amount)


def _bare_numbers(statement: Statement, dice: Dice) -> None:
    """Text as numbers and numbers as text."""
    fields = statement.fields
    statement.numeric_status = dice.roll(4) == 0
    if not dice.roll(4):
        for name in _MONEY:
            fields[name] = _bare(fields[name])
    if not dice.roll(4):
        for name in ("callDuration", "chargedDuration"):
            fields[name] = fields[name]._replace(literal=f'"{fields[name].value}"')
    for name in ("terminationCode", "feedbackValue", "callee"):
        if not dice.roll(6):
            fields[name] = _bare(fields[name])


def _bare(sent: Sent) -> Sent:
    if sent.value is None:
        return sent
    value = sent.value
    # Without an exponent: 1E-8 is what str() makes of a small Decimal.
    return sent._replace(literal=f"{value:f}" if isinstance(value, Decimal) else str(value))


def _older_codes(statement: Statement, dice: Dice) -> None:
    """Older versions of the page: 0 is the code of a call that was put through."""
    if statement.fields["terminationCode"].value == "200" and not dice.roll(6):
        statement.fields["terminationCode"] = _text("0")


def _odd_money(statement: Statement, dice: Dice, *, wild: bool) -> None:
    """An absurd amount, or, unless it may be `wild`, the right one with an exponent."""
    if dice.roll(30):
        return
    literal, exact = dice.pick(ODD_MONEY)
    name = dice.pick(("cost", "rate"))
    if wild:
        statement.fields[name] = Sent(literal, Decimal(exact))
        return
    amount = statement.fields[name].value
    if isinstance(amount, Decimal):
        # Without a point: as many digits as there are, and a negative exponent.
        digits = f"{amount.scaleb(6):.0f}e-6"
        statement.fields[name] = Sent(f'"{digits}"', amount)


def _dollars_spelled_out(statement: Statement, dice: Dice) -> None:
    if statement.fields["currency"].value is None and not dice.roll(8):
        statement.fields["currency"] = _text("USD")


def _sister_brand(statement: Statement, dice: Dice) -> None:
    """A sister brand writes costEur for cost and leaves the currency out."""
    if not dice.roll(10):
        statement.fields = {
            "costEur" if name == "cost" else name: sent
            for name, sent in statement.fields.items()
            if name not in ("currency", "settleRate", "quoteExchange", "settlePay")
        }


def _ways_of_nothing(statement: Statement, dice: Dice) -> None:
    """Nothing to say: left out, null or "", and a field less here and there."""
    nothing = Sent(dice.pick((None, "null", '""')))
    dropped = dice.pick(("displayNum", "callTime", "terminationReason", "baseCost", "code", ""))
    for name, sent in statement.fields.items():
        if sent.value is None or (name == dropped and not dice.roll(3)):
            statement.fields[name] = nothing


def _newer_fields(statement: Statement, dice: Dice) -> None:
    if not dice.roll(4):
        statement.extra = dict(dice.pick(_UNKNOWN))


def _reordered(statement: Statement, dice: Dice) -> None:
    """JSON objects have no order, and not every version keeps this one."""
    if not dice.roll(8):
        statement.fields = dict(reversed(statement.fields.items()))


_CHANGES: tuple[Callable[[Statement, Dice], None], ...] = (
    _bare_numbers,
    _dollars_spelled_out,
    _sister_brand,
    _ways_of_nothing,
    _newer_fields,
    _reordered,
)


def _spoil(statement: Statement, dice: Dice) -> None:
    """One value that no column can hold.  Never hangupTime: whether the call is over is no riddle.

    A billing period keeps its text as its meaning: only the numbers in it are missing.
    """
    name, literal, text = dice.pick(SPOILT)
    if name not in statement.fields:
        return
    value = text if name == "billPeriod" else None
    statement.fields[name] = Sent(literal, value, text)
    if name == "submitTime":
        statement.submit_offset_min = None
