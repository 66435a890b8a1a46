"""What answers add to the books: durations and cost.

Read apart from the table and summed when an answer is settled, so that the books compare two ways
through the same night: what the answers said, and what the Parquet says.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import msgspec
from msgspec import Raw

from harvester.answers import literals
from harvester.answers.opening import value_of
from harvester.dataset.kind import RecordKind
from harvester.dataset.parse import Known, as_text, reader_of
from harvester.money import in_units

_NULL = Raw(b"null")
_astuple = msgspec.structs.astuple
_REFUSED = (msgspec.DecodeError, ValueError, RecursionError)

_NOTHING = Decimal(0)
_INT32_MAX = literals.INT32_MAX
_Found: TypeAlias = tuple[int, int, Decimal | None, str | None]
_CURRENCY = re.compile(r"[A-Za-z]{3}")
NO_CURRENCY = "-"
ODD_CURRENCY = "odd"

_ANSWERS = "usage.answers"
_CALL_S = "usage.call_duration_s"
_CHARGED_S = "usage.charged_duration_s"
_COST = "usage.cost."


@lru_cache(maxsize=256)
def currency_name(currency: str | None) -> str:
    """The name under which costs in `currency` are summed up and told.

    Whatever is no currency goes under one name: it could be a number that nobody should read in
    a summary, and a different one in each record.  The data keep it as sent.
    """
    if not currency:
        return NO_CURRENCY
    return currency if _CURRENCY.fullmatch(currency) else ODD_CURRENCY


class Usage(NamedTuple):
    """Of one answer.  Seconds are 0 and the cost is None where the record's columns are null."""

    call_duration_s: int
    charged_duration_s: int
    cost: Decimal | None
    currency: str | None


class UsageTotals(msgspec.Struct, frozen=True):
    """Of many answers, or of the rows of many: the same, if nothing is wrong."""

    rows: int = 0
    call_duration_s: int = 0
    charged_duration_s: int = 0
    cost: Mapping[str, int] = {}
    """By `currency_name`, in units of 10^-8; a currency without a single cost is left out."""

    def __add__(self, other: UsageTotals) -> UsageTotals:
        cost = dict(self.cost)
        for currency, amount in other.cost.items():
            cost[currency] = cost.get(currency, 0) + amount
        return UsageTotals(
            self.rows + other.rows,
            self.call_duration_s + other.call_duration_s,
            self.charged_duration_s + other.charged_duration_s,
            cost,
        )

    @property
    def amounts(self) -> tuple[int, ...]:
        """Those that are not 0."""
        fixed = (self.rows, self.call_duration_s, self.charged_duration_s)
        return tuple(one for one in (*fixed, *self.cost.values()) if one)

    def __neg__(self) -> UsageTotals:
        """What takes these away when it is added."""
        return UsageTotals(
            -self.rows,
            -self.call_duration_s,
            -self.charged_duration_s,
            {currency: -amount for currency, amount in self.cost.items()},
        )


class UsageReader:
    """Reads what answers of one kind add.  One serves all batches: see `usage_reader_of`."""

    def __init__(self, kind: RecordKind) -> None:
        usage, cost = kind.usage, kind.field_of(kind.usage.cost)
        call, charged = (
            kind.field_of(one) for one in (usage.call_duration, usage.charged_duration)
        )
        currency = kind.field_of(usage.currency)
        # Money comes as text or as a number, and a number must stay a literal: hence `Raw`.
        fields: list[Any] = [(call, Known, None), (charged, Known, None), (cost, Raw, _NULL)]
        fields += [] if usage.other_cost is None else [(usage.other_cost, Raw, _NULL)]
        data = msgspec.defstruct("_Data", [*fields, (currency, Known, None)], gc=False)
        answer = msgspec.defstruct("_Answer", [("data", data)], gc=False)
        self._decode = msgspec.json.Decoder[Any](answer).decode
        self._decode_all = msgspec.json.Decoder[Any](list[answer]).decode  # type: ignore[valid-type]
        self._values = _astuple if usage.other_cost is not None else _without_other
        self._read_record = reader_of(kind).read_record
        names = (call, charged, cost, currency)
        self._at = tuple(kind.order[name] for name in names)
        self._other_field = usage.other_cost
        self._other_at = None if usage.other_cost is None else kind.order[usage.other_cost]
        self._currency_field = currency
        self._default = usage.default_currency
        self._other_currency = usage.other_currency or usage.default_currency

    def usage_of(self, bodies: Sequence[bytes]) -> UsageTotals:
        """The usage of many answers, each a whole JSON text.  Never raises for what they hold."""
        try:
            # All at once is half the price.  One that the decoder refuses sends all the careful
            # way.
            answers = self._decode_all(b"[" + b",".join(bodies) + b"]")
            return self._sum_of(answers)
        except _REFUSED:
            return _sum(len(bodies), (self.answer_totals(body) for body in bodies))

    def answer_totals(self, body: bytes) -> Usage:
        """An answer's usage, by the rules of the table.  Never raises for what the body holds."""
        try:
            return Usage(*self._typed(self._decode(body).data))
        except _REFUSED:
            return self._careful(body)

    def _sum_of(self, answers: Sequence[Any]) -> UsageTotals:
        """The sum of what `_typed` finds, column by column: a call for each costs twice as much."""
        if not answers:
            return UsageTotals()
        values = self._values
        columns = zip(*[values(answer.data) for answer in answers], strict=True)
        calls, charged, amounts, others, currencies = columns
        costs: dict[str | None, Decimal] = {}
        for raw_cost, raw_other, sent in zip(amounts, others, currencies, strict=True):
            is_sent, cost = _amount(bytes(raw_cost))
            if is_sent and type(sent) is str and sent:  # as most are
                currency: str | None = sent
            else:
                cost, currency = self._cost_of(raw_cost, raw_other, sent)
            if cost is not None:
                # Exact for up to 10^10 answers, as each cost has 18 digits and a sum 28.
                costs[currency] = costs.get(currency, _NOTHING) + cost
        return UsageTotals(
            len(answers),
            sum(map(_seconds, calls)) if _are_odd(calls) else sum(calls),
            sum(map(_seconds, charged)) if _are_odd(charged) else sum(charged),
            cost_units(costs.items()),
        )

    def _typed(self, data: Any) -> _Found:  # noqa: ANN401 - made at run time
        """As `Usage`, which takes longer to make.  Raises ValueError for a cost that is none."""
        call, charged, raw_cost, raw_other, sent = self._values(data)
        return _seconds(call), _seconds(charged), *self._cost_of(raw_cost, raw_other, sent)

    def _cost_of(
        self, raw_cost: Raw, raw_other: Raw, sent: Known
    ) -> tuple[Decimal | None, str | None]:
        """Raises ValueError for a cost that is none."""
        is_sent, cost = _amount(bytes(raw_cost))
        currency = self._default
        if not is_sent and raw_other is not _NULL:
            is_sent, cost = _amount(bytes(raw_other))
            currency = self._other_currency if is_sent else currency
        return cost, currency if sent is None else as_text(sent) or currency

    def _careful(self, body: bytes) -> Usage:
        record = self._read_record(body)
        call, charged, cost, sent = (record.row[at] for at in self._at)
        other = None if self._other_at is None else as_text(record.row[self._other_at])
        currency = as_text(sent)
        if currency is None and not record.unparsed.keys() & {self._currency_field, "data"}:
            by_other = other is not None or self._other_field in record.unparsed
            currency = self._other_currency if by_other else self._default
        amount = _money(as_text(cost) or other)
        return Usage(_seconds(call), _seconds(charged), amount, currency)


@lru_cache(maxsize=16)  # its decoders take a while to make
def usage_reader_of(kind: RecordKind) -> UsageReader:
    """The reader of a kind."""
    return UsageReader(kind)


def usage_of(bodies: Sequence[bytes], kind: RecordKind) -> UsageTotals:
    """See `UsageReader`."""
    return usage_reader_of(kind).usage_of(bodies)


def answer_totals(body: bytes, kind: RecordKind) -> Usage:
    """See `UsageReader`."""
    return usage_reader_of(kind).answer_totals(body)


def _without_other(data: Any) -> tuple[Any, ...]:  # noqa: ANN401 - made at run time
    *begin, currency = _astuple(data)
    return (*begin, _NULL, currency)


def cost_units(costs: Iterable[tuple[str | None, Decimal]]) -> dict[str, int]:
    """Costs by currency as sent, as `UsageTotals` has them."""
    units: dict[str, int] = {}
    for currency, cost in costs:
        name = currency_name(currency)
        units[name] = units.get(name, 0) + in_units(cost)
    return units


def as_counters(totals: UsageTotals) -> Counter[str]:
    """What a run counts of the answers that it keeps."""
    counters = Counter(
        {
            # Runs of versions that read some answers for their rows but not for this lack it.
            _ANSWERS: totals.rows,
            _CALL_S: totals.call_duration_s,
            _CHARGED_S: totals.charged_duration_s,
        }
    )
    for currency, cost in totals.cost.items():
        counters[f"{_COST}{currency}"] = cost
    return counters


def from_counters(counters: Mapping[str, int], rows: int) -> UsageTotals:
    """What a run has counted; `rows`: those that it has kept, by its other counters."""
    cost = {
        name.removeprefix(_COST): amount
        for name, amount in counters.items()
        if name.startswith(_COST)
    }
    return UsageTotals(rows, counters.get(_CALL_S, 0), counters.get(_CHARGED_S, 0), cost)


def counted_all(counters: Mapping[str, int]) -> bool:
    """Whether the run's version counted every answer that it read for its rows."""
    return _ANSWERS in counters


def _sum(rows: int, found: Iterable[_Found]) -> UsageTotals:
    call_s = charged_s = 0
    costs: dict[str | None, Decimal] = {}
    for call, charged, cost, currency in found:
        call_s += call
        charged_s += charged
        if cost is not None:
            # Exact for up to 10^10 answers, as each cost has 18 digits and a sum 28.
            costs[currency] = costs.get(currency, _NOTHING) + cost
    return UsageTotals(rows, call_s, charged_s, cost_units(costs.items()))


@lru_cache(maxsize=4_096)  # calls of the same length cost the same
def _amount(literal: bytes) -> tuple[bool, Decimal | None]:
    """Whether an amount was sent, and which; None for one that is none.

    Raises ValueError for what is neither text nor number.
    """
    text = value_of(literal.decode()) or None
    return text is not None, _money(text)


def _are_odd(seconds: Sequence[Known]) -> bool:
    """Whether there is more among them than the numbers that a duration may be."""
    return set(map(type, seconds)) != {int} or min(seconds) < 0 or max(seconds) > _INT32_MAX  # type: ignore[type-var,operator]


def _seconds(value: Known) -> int:
    text = as_text(value)
    try:
        return 0 if text is None else literals.seconds_of(text)
    except ValueError:
        return 0


def _money(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        return literals.decimal_of(text)
    except ValueError:
        return None
