"""What `harvester audit` expects of a bill: each rule with its assumption and its tolerance.

Theory of operation.  The vendor publishes no formula (its samples even contradict each other), so
every rule is a guess that is told with its figures, and none of them rejects or changes a record.
Money is reckoned in whole units of 10^-8, the scale of the data set: `cost_u` is `cost` in units.
Nothing is divided before it has been multiplied, and no float is used anywhere.

An amount is what was charged beyond what the rule expects: above zero to our disadvantage.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from harvester.money import WHOLE

CENT_OF_A_CENT = WHOLE // 10_000
"""0.0001 in units: amounts are sent with four to six decimals, each rounded in its own way."""
TIMES = ("submit_time", "call_time", "ringing_time", "answer_time", "hangup_time")
"""The times of a call, in the order in which they come about."""
CLOCK_TOLERANCE_MS = 1_000
"""A duration in whole seconds may be rounded, and so may the two times that it lies between."""
NEAR_MS = 2_000
"""Submitted so close to each other, two calls of one length to one callee are one call twice."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One expectation, as SQL over the columns of a record and those of `DERIVED`."""

    name: str
    assumption: str
    tolerance: str
    applies: str
    differs: str
    amount: str
    """In units, of `currency`; NULL for a rule that has no money of its own."""
    found: str
    expected: str
    currency: str = "currency"


def _periods(seconds: str) -> str:
    """`seconds` (a BIGINT) as they are charged: a first period, then whole increments."""
    return f"""CASE WHEN bill_increment_s > 0 AND bill_initial_s >= 0 THEN
        CASE WHEN {seconds} <= 0 THEN 0
             WHEN {seconds} <= bill_initial_s THEN bill_initial_s::BIGINT
             ELSE bill_initial_s + ({seconds} - bill_initial_s + bill_increment_s - 1)
                  // bill_increment_s * bill_increment_s END
    END"""


_DISORDER = " ".join(
    f"WHEN {later} < {earlier} THEN '{later} before {earlier}'"
    for earlier, later in combinations(TIMES, 2)
)
_TOLD_TIMES = " + ".join(f"({name} IS NOT NULL)::INT" for name in TIMES)

DERIVED = f"""
    units(cost) AS cost_u, units(rate) AS rate_u, units(settle_rate) AS settle_rate_u,
    units(quote_exchange) AS exchange_u, units(settle_pay) AS settle_pay_u,
    {_periods("call_duration_s::BIGINT")} AS expected_s,
    rate_u * charged_duration_s // 60 AS metered_u,
    metered_u + coalesce(units(base_cost), 0) AS with_base_u,
    CASE WHEN abs(cost_u - metered_u) <= abs(cost_u - with_base_u) THEN metered_u
         ELSE with_base_u END AS expected_u,
    CASE WHEN quote_exchange > 0 THEN rate_u * {WHOLE} // exchange_u END AS expected_rate_u,
    CASE WHEN quote_exchange > 0 THEN cost_u * {WHOLE} // exchange_u END AS expected_pay_u,
    epoch_ms(hangup_time) - epoch_ms(answer_time) AS talk_ms,
    -- A second that was begun counts as a whole one: in doubt for the vendor.
    (talk_ms + 999) // 1000 AS talk_s,
    -- Times that go backwards measure nothing: what they cost too much can't be said.
    CASE WHEN talk_ms >= 0 THEN {_periods("talk_s")} END AS talk_charged_s,
    CASE {_DISORDER} END AS disorder
"""

RULES = (
    Rule(
        "charged_duration",
        "charged seconds = the first period, then whole increments (bill_period); 0 for no call",
        "none",
        "charged_duration_s IS NOT NULL AND expected_s IS NOT NULL",
        "charged_duration_s <> expected_s",
        "rate_u * (charged_duration_s - expected_s) // 60",
        "charged_duration_s || ' s'",
        "expected_s || ' s'",
    ),
    Rule(
        "period_over",
        "whatever the rounding, no call is charged more than one period beyond its duration",
        "none",
        "call_duration_s > 0 AND charged_duration_s IS NOT NULL AND expected_s IS NOT NULL",
        "charged_duration_s::BIGINT - call_duration_s > greatest(bill_initial_s, bill_increment_s)",
        "rate_u * (charged_duration_s::BIGINT - expected_s) // 60",
        "charged_duration_s || ' s for ' || call_duration_s || ' s'",
        "'at most ' || (call_duration_s::BIGINT + greatest(bill_initial_s, bill_increment_s))"
        " || ' s'",
    ),
    Rule(
        "cost",
        "rate is a price a minute: cost = rate * charged seconds / 60, with or without base_cost",
        "0.0001",
        "answered AND cost_u IS NOT NULL AND metered_u IS NOT NULL",
        f"abs(cost_u - expected_u) > {CENT_OF_A_CENT}",
        "cost_u - expected_u",
        "amount(cost_u)::VARCHAR",
        "amount(expected_u)::VARCHAR",
    ),
    Rule(
        "settle_rate",
        "settle_rate = rate / quote_exchange (fits the vendor's own sample)",
        "0.0001",
        "settle_rate_u IS NOT NULL AND expected_rate_u IS NOT NULL",
        f"abs(settle_rate_u - expected_rate_u) > {CENT_OF_A_CENT}",
        "(settle_rate_u - expected_rate_u) * coalesce(charged_duration_s, 0) // 60",
        "amount(settle_rate_u)::VARCHAR",
        "amount(expected_rate_u)::VARCHAR",
        "'settled'",
    ),
    Rule(
        "settle_pay",
        "settle_pay = cost / quote_exchange, as settle_rate is to rate",
        "0.0001",
        "settle_pay_u IS NOT NULL AND expected_pay_u IS NOT NULL",
        f"abs(settle_pay_u - expected_pay_u) > {CENT_OF_A_CENT}",
        "settle_pay_u - expected_pay_u",
        "amount(settle_pay_u)::VARCHAR",
        "amount(expected_pay_u)::VARCHAR",
        "'settled'",
    ),
    Rule(
        "currency",
        "a destination (code) is billed in one currency: the one that most of its calls have",
        "none",
        "code IS NOT NULL AND currency IS NOT NULL",
        "currency <> usual_currency",
        # Money of two currencies has no difference: without a rate of exchange nobody can say what
        # the call costs too much.
        "NULL::HUGEINT",
        "concat_ws(' ', amount(cost_u), named(currency))",
        "'an amount in ' || named(usual_currency)",
    ),
    Rule(
        "price",
        "an answered call has a rate above zero, and costs nothing below it",
        "none",
        "answered AND rate IS NOT NULL",
        "rate <= 0 OR cost < 0",
        "cost_u",
        "'rate ' || rate || ', cost ' || coalesce(cost::VARCHAR, 'none')",
        "'above zero'",
    ),
    Rule(
        "answered_free",
        "an answered call of a second or more costs something",
        "none",
        "answered AND call_duration_s > 0",
        "cost IS NULL OR cost = 0",
        "-metered_u",
        "coalesce(cost::VARCHAR, 'none')",
        "coalesce(amount(metered_u)::VARCHAR, 'above zero')",
    ),
    Rule(
        "unanswered_charged",
        "a call that nobody answered is charged neither money nor seconds",
        "none",
        "NOT answered",
        "cost > 0 OR charged_duration_s > 0",
        "cost_u",
        "coalesce(cost::VARCHAR, 'none') || ', ' || coalesce(charged_duration_s, 0) || ' s'",
        "'nothing'",
    ),
    Rule(
        "duplicate",
        "two records with the same callee and the same five times are one call under two ids",
        "none",
        "callee IS NOT NULL AND call_time IS NOT NULL",
        "first_id IS NOT NULL",
        "cost_u",
        "'the same call'",
        "'only ' || first_id",
    ),
    Rule(
        "duration_times",
        "call_duration_s is the time from answer_time to hangup_time",
        "1 s",
        "call_duration_s IS NOT NULL AND talk_ms IS NOT NULL",
        f"abs(call_duration_s::BIGINT * 1000 - talk_ms) > {CLOCK_TOLERANCE_MS}",
        "rate_u * (charged_duration_s - talk_charged_s) // 60",
        "call_duration_s || ' s'",
        "talk_ms::DECIMAL(18, 0) * 0.001::DECIMAL(4, 3) || ' s by its times'",
    ),
    Rule(
        "times_order",
        "submit_time <= call_time <= ringing_time <= answer_time <= hangup_time; absent times are "
        "skipped",
        "none",
        f"{_TOLD_TIMES} > 1",
        "disorder IS NOT NULL",
        "NULL::HUGEINT",
        "disorder",
        "'one after the other'",
    ),
    Rule(
        "overlap",
        "a callee is in one answered call at a time; the one answered later is the one too many",
        "none",
        "answered AND callee IS NOT NULL AND answer_time IS NOT NULL AND hangup_time IS NOT NULL",
        "overlap_id IS NOT NULL",
        "cost_u",
        "'answered before ' || overlap_id || ' hung up'",
        "'one call at a time'",
    ),
    Rule(
        "near_duplicate",
        "two calls of a second or more with the same callee and duration, submitted within 2 s, "
        "are one call under two ids",
        "2 s",
        "call_duration_s > 0 AND callee IS NOT NULL AND submit_time IS NOT NULL",
        "near_id IS NOT NULL",
        "cost_u",
        "'the same call'",
        "'only ' || near_id",
    ),
)
