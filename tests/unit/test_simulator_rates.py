"""What made-up calls cost: the seed's own sheet, and one of a file."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from harvester.errors import UsageError
from harvester.simulator.billing import Bill
from harvester.simulator.calls import Call, Fates, call_of, charged
from harvester.simulator.ids import VENDOR_ZONE, make_ids
from harvester.simulator.places import PLACES
from harvester.simulator.rates import (
    BILL_PERIODS,
    PRICE_DAYS,
    Rate,
    Sheet,
    made_up_rate,
    parse_sheet,
)

FIRST = date(2026, 1, 1)
DAYS = [FIRST + timedelta(days=n) for n in range(200)]
ANSWERED = Fates(0, 0, 0, 0, 0, 0, 1)
MUMBAI = next(place for place in PLACES if place.code == "India(Mumbai)")


def test_a_destination_has_one_rate_a_day_on_the_vendors_clock() -> None:
    seen: dict[tuple[str, date], tuple[object, ...]] = {}
    for voice_id in make_ids(5_000, 11, end=date(2026, 9, 30)):
        call = call_of(1, voice_id)
        day = call.submit_time.astimezone(VENDOR_ZONE).date()
        rate = (call.rate, call.bill_initial_s, call.bill_increment_s, call.currency)
        assert seen.setdefault((call.place.code, day), rate) == rate


@pytest.mark.parametrize("seed", [1, 7])
def test_a_price_holds_for_thirty_days_and_stays_near_the_usual_one(seed: int) -> None:
    changed = set[date]()
    for place in PLACES:
        rates = [made_up_rate(seed, place, day) for day in DAYS]
        days = [day for day, (a, b) in zip(DAYS[1:], pairwise(rates), strict=True) if a != b]
        # One step of 41 is no step at all: then it holds for twice as long.
        assert 4 <= len(days) <= 7
        assert all((b - a).days % PRICE_DAYS == 0 for a, b in pairwise(days))
        changed.update(days)
        prices = [rate.rate for rate in rates]
        cut = Decimal("0.000001")
        assert max(prices) * 80 <= (min(prices) + cut) * 120
        assert {rate[1:] for rate in rates} == {rates[0][1:]}
    assert len(changed) > 20  # not all on one day


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_periods_and_currencies_are_dealt_out_to_the_destinations(seed: int) -> None:
    rates = [made_up_rate(seed, place, FIRST) for place in PLACES]
    assert sorted((rate.initial_s, rate.increment_s) for rate in rates) == sorted(BILL_PERIODS * 2)
    assert sorted(rate.currency for rate in rates) == ["EUR"] * 2 + ["USD"] * 10
    assert all(Decimal("0.0008") <= rate.rate < Decimal("0.11") for rate in rates)


def test_another_seed_has_another_sheet() -> None:
    assert [made_up_rate(1, place, FIRST) for place in PLACES] != [
        made_up_rate(2, place, FIRST) for place in PLACES
    ]


SHEET = """destination,from,rate,increment,currency
India(Mumbai),2026-11-01,0.012,60+6,USD
India(Mumbai),2026-11-15,0.015,60+6,USD
9198,2026-11-01,0.02,20,EUR
919820,2026-11-10,0.03,1,USD
India,2026-11-01,0.5,60,GBP
"""


def rate(price: str, initial_s: int, increment_s: int, currency: str = "USD") -> Rate:
    return Rate(Decimal(price), initial_s, increment_s, currency)


@pytest.mark.parametrize(
    ("code", "callee", "day", "expected"),
    [
        ("India(Mumbai)", "919820111111", date(2026, 11, 14), rate("0.012", 60, 6)),
        ("India(Mumbai)", "919820111111", date(2026, 11, 15), rate("0.015", 60, 6)),
        ("India(Karnataka)", "919845111111", date(2026, 11, 15), rate("0.02", 20, 20, "EUR")),
        ("India(Karnataka)", "919820111111", date(2026, 11, 9), rate("0.02", 20, 20, "EUR")),
        ("India(Karnataka)", "919820111111", date(2026, 11, 10), rate("0.03", 1, 1)),
        ("India(Karnataka)", "919448111111", date(2026, 11, 10), rate("0.5", 60, 60, "GBP")),
        ("India(Mumbai)", "919820111111", date(2026, 10, 31), None),
        ("United Kingdom", "447400111111", date(2026, 11, 10), None),
    ],
)
def test_the_nearest_line_in_force_counts(
    code: str, callee: str, day: date, expected: Rate | None
) -> None:
    """The destination itself, then the longest prefix, then the country."""
    place = next(one for one in PLACES if one.code == code)
    assert parse_sheet(SHEET.splitlines(), "rates.csv").rate(place, callee, day) == expected


def call_at(moment: datetime, sheet: Sheet) -> Call:
    """The first answered call to Mumbai of that second."""
    told = moment.astimezone(VENDOR_ZONE).strftime("%y%m%d%H%M%S")
    calls = (call_of(1, f"{told}{n:07d}", ANSWERED, Bill(sheet=sheet)) for n in range(1_000))
    return next(call for call in calls if call.place == MUMBAI)


def test_a_call_is_priced_by_the_vendors_day() -> None:
    sheet = parse_sheet(SHEET.splitlines(), "rates.csv")
    midnight = datetime(2026, 11, 14, 16, tzinfo=UTC)  # of the 15th at +08:00
    for moment, price in ((midnight - timedelta(seconds=1), "0.012"), (midnight, "0.015")):
        call = call_at(moment, sheet)
        assert (call.rate, call.bill_initial_s, call.bill_increment_s) == (Decimal(price), 60, 6)
        seconds = charged(call.call_duration_s, 60, 6)
        assert call.charged_duration_s == seconds
        assert call.cost == Decimal(price) * seconds / 60  # 6 s cost 0.0012 or 0.0015
        assert call.currency is None


def test_a_quote_in_another_currency_has_its_settlement() -> None:
    told = "prefix,from,rate,increment,currency\n91,2026-01-01,0.0125,60,GBP\n"
    call = call_at(datetime(2026, 11, 2, tzinfo=UTC), parse_sheet(told.splitlines(), "r.csv"))
    assert (call.currency, call.rate) == ("GBP", Decimal("0.0125"))
    assert call.settle_pay is not None
    assert call.settle_rate is not None


def test_what_no_line_is_for_has_the_made_up_price() -> None:
    call = call_at(datetime(2026, 11, 2, tzinfo=UTC), Sheet(()))
    assert call.rate == made_up_rate(1, MUMBAI, date(2026, 11, 2)).rate


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("India,2026-11-01,0.0125x,60,USD", "r.csv:2: a rate has up to six decimals"),
        ("India,2026-11-01,-1,60,USD", "r.csv:2: a rate"),
        ("India,2026-11-01,0.01,0,USD", "an increment is 60 or"),
        ("India,2026-11-01,0.01,60+,USD", "an increment is 60 or"),
        ("India,2026-11-01,0.01,60+0,USD", "an increment is 60 or"),
        ("India,01.11.2026,0.01,60,USD", "from is a day such as"),
        (",2026-11-01,0.01,60,USD", "needs a destination"),
        ("India,2026-11-01,0.01,60,usd", "a currency such as USD"),
        ("India,2026-11-01,0,01,60,USD", "more cells than columns"),
        ("India,2026-11-01", "r.csv:2: a rate"),
    ],
)
def test_a_line_that_makes_no_sense_is_refused_with_its_number(line: str, named: str) -> None:
    with pytest.raises(UsageError, match=named.replace(".", r"\.")):
        parse_sheet(["destination,from,rate,increment,currency", line], "r.csv")


@pytest.mark.parametrize("heading", ["", "destination,rate", "India,2026-11-01,0.01,60,USD"])
def test_a_sheet_has_a_heading(heading: str) -> None:
    with pytest.raises(UsageError, match="the columns of a rate sheet are destination, from"):
        parse_sheet([heading], "r.csv")
