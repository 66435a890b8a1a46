"""Every figure of an audit is what plain Python makes of the same records."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harvester.analysis.apart import Apart
from harvester.analysis.audit.audit import Audit
from harvester.analysis.audit.bill import Difference, Verdict, opened
from harvester.analysis.audit.rules import RULES
from harvester.analysis.clock import Clock
from harvester.analysis.period import Period
from harvester.analysis.scope import Scope
from harvester.cli.commands.audit import screen
from harvester.cli.main import run_command
from harvester.config import DateBy
from harvester.dataset.files import list_parts
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.stated import Stated
from harvester.identity import Identity
from harvester.redact import number_in_part
from harvester.simulator import SimulatorOptions
from tests.support.datasets import made, simulated
from tests.support.oracle import Row

OPTIONS = SimulatorOptions(seed=20261105, wild=True)
COUNT = 4_000
UNIT = Decimal("0.00000001")
TOLERANCE = Decimal("0.0001")
SCOPE = Scope(Clock("UTC", "submit"), Period())


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Row]]:
    out = tmp_path_factory.mktemp("audit") / "out"
    return out, simulated(out, OPTIONS, COUNT)


@pytest.fixture(scope="module")
def found_of_night(
    night: tuple[Path, list[Row]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Verdict]:
    return verdicts(night[0], tmp_path_factory.mktemp("scratch"))


@pytest.fixture(scope="module")
def again_of_night(night: tuple[Path, list[Row]]) -> dict[str, Reckoned]:
    return reckon(night[1])


def verdicts(out: Path, tmp_path: Path) -> dict[str, Verdict]:
    files = sorted(out.glob("cdr/*/*.parquet"))
    with opened(files, SCOPE, GROUP_RECORD, memory_limit="400MB", scratch=tmp_path) as billing:
        return {one.rule: one for one in billing.verdicts()}


# --- the rules, written a second time ------------------------------------------------------------


@dataclass
class Reckoned:
    ids: set[str]
    amounts: dict[str, list[Decimal]]
    costs: dict[str, Decimal]
    records: list[tuple[Decimal | None, Decimal | None, str]]
    """Of each that differs: (amount, cost, id)."""
    checked: int = 0


def cut(amount: Decimal) -> Decimal:
    return amount.quantize(UNIT, ROUND_DOWN)


def periods(row: Row) -> int | None:
    initial, increment = row["bill_initial_s"], row["bill_increment_s"]
    duration = row["call_duration_s"]
    if initial is None or not increment or duration is None:
        return None
    charged = 0
    while charged < duration:
        charged += initial if not charged else increment
    return charged


def metered(row: Row) -> Decimal | None:
    if row["rate"] is None or row["charged_duration_s"] is None:
        return None
    return cut(row["rate"] * row["charged_duration_s"] / 60)


def reckon(rows: list[Row]) -> dict[str, Reckoned]:
    found = {
        rule.name: Reckoned(set(), defaultdict(list), defaultdict(Decimal), []) for rule in RULES
    }
    usual: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row["code"] is not None and row["currency"] is not None:
            usual[row["code"]][row["currency"]] += 1
    first_ids: dict[tuple[Any, ...], str] = {}
    for row in sorted(rows, key=lambda row: str(row["voice_id"])):
        first_ids.setdefault(_call(row), row["voice_id"])
    of_callee: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        of_callee[row["callee"]].append(row)
    for row in rows:
        alone = judge(row, usual, first_ids)
        for name, differs, amount in (
            *alone,
            *of_times(row),
            *beside(row, of_callee[row["callee"]]),
        ):
            one = found[name]
            one.checked += 1
            if differs:
                one.ids.add(row["voice_id"])
                currency = "settled" if name.startswith("settle") else row["currency"]
                if amount:
                    one.amounts[currency].append(amount)
                one.costs[row["currency"]] += row["cost"] or 0
                one.records.append((amount, row["cost"], row["voice_id"]))
    return found


def _call(row: Row) -> tuple[Any, ...]:
    """What two records of one call have in common."""
    times = ("submit_time", "call_time", "ringing_time", "answer_time", "hangup_time")
    return tuple(row[name] for name in ("callee", *times))


def judge(
    row: Row, usual: dict[str, Counter[str]], first_ids: dict[tuple[Any, ...], str]
) -> Iterator[tuple[str, bool, Decimal | None]]:
    """(rule, differs, amount) of the rules that can be asked of one record."""
    cost, rate, charged = row["cost"], row["rate"], row["charged_duration_s"]
    whole, plain = periods(row), metered(row)
    if whole is not None and charged is not None:
        over = None if rate is None else cut(rate * (charged - whole) / 60)
        yield "charged_duration", charged != whole, over
        if row["call_duration_s"] > 0:
            period = max(row["bill_initial_s"], row["bill_increment_s"])
            yield "period_over", charged - row["call_duration_s"] > period, over
    if row["answered"] and cost is not None and plain is not None:
        off = min((cost - plain, cost - plain - (row["base_cost"] or 0)), key=abs)
        yield "cost", abs(off) > TOLERANCE, off
    exchange = row["quote_exchange"]
    if exchange is not None and exchange > 0:
        if row["settle_rate"] is not None and rate is not None:
            off = row["settle_rate"] - cut(rate / exchange)
            yield "settle_rate", abs(off) > TOLERANCE, cut(off * (charged or 0) / 60)
        if row["settle_pay"] is not None and cost is not None:
            off = row["settle_pay"] - cut(cost / exchange)
            yield "settle_pay", abs(off) > TOLERANCE, off
    if row["code"] is not None and row["currency"] is not None:
        most = max(usual[row["code"]].items(), key=lambda item: (item[1], item[0]))[0]
        yield "currency", row["currency"] != most, None
    if row["answered"] and rate is not None:
        yield "price", rate <= 0 or (cost is not None and cost < 0), cost
    if row["answered"] and (row["call_duration_s"] or 0) > 0:
        yield "answered_free", not cost, None if plain is None else -plain
    if not row["answered"]:
        yield "unanswered_charged", (cost or 0) > 0 or (charged or 0) > 0, cost
    if row["callee"] is not None and row["call_time"] is not None:
        yield "duplicate", first_ids[_call(row)] != row["voice_id"], cost


def of_times(row: Row) -> Iterator[tuple[str, bool, Decimal | None]]:
    """What the times of one record say of its duration, and of each other."""
    names = ("submit_time", "call_time", "ringing_time", "answer_time", "hangup_time")
    times = [row[name] for name in names if row[name] is not None]
    if len(times) > 1:
        yield "times_order", times != sorted(times), None
    if None not in (row["answer_time"], row["hangup_time"], row["call_duration_s"]):
        talked = row["hangup_time"] - row["answer_time"]
        off = abs(talked - timedelta(seconds=row["call_duration_s"]))
        assert off <= timedelta(seconds=1), "a simulated call lasts as long as its times say"
        yield "duration_times", False, None


def beside(row: Row, others: list[Row]) -> Iterator[tuple[str, bool, Decimal | None]]:
    """What a record is beside the others of the same callee, each with each."""
    if row["callee"] is None:
        return
    times = row["answer_time"], row["hangup_time"]
    if row["answered"] and None not in times:
        before = [
            one
            for one in others
            if one["answered"]
            and one["hangup_time"] is not None
            and one["answer_time"] is not None
            and _place(one, "answer_time") < _place(row, "answer_time")
        ]
        overlaps = any(row["answer_time"] < one["hangup_time"] for one in before)
        yield "overlap", overlaps, row["cost"]
    if (row["call_duration_s"] or 0) > 0 and row["submit_time"] is not None:
        near = any(
            one["call_duration_s"] == row["call_duration_s"]
            and one["submit_time"] is not None
            and _place(one, "submit_time") < _place(row, "submit_time")
            and row["submit_time"] - one["submit_time"] <= timedelta(seconds=2)
            for one in others
        )
        yield "near_duplicate", near, row["cost"]


def _place(row: Row, name: str) -> tuple[Any, ...]:
    return (row[name], row["submit_time"] or datetime.max.replace(tzinfo=UTC), row["voice_id"])


def _worst_first(one: tuple[Decimal | None, Decimal | None, str]) -> tuple[Any, ...]:
    """By amount, then by cost, whatever its sign; then by id; what has none comes last."""
    amount, cost, voice_id = one
    return (*((known is None, -abs(known or Decimal(0))) for known in (amount, cost)), voice_id)


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_rule_comes_to_what_the_records_say(
    found_of_night: dict[str, Verdict], again_of_night: dict[str, Reckoned], rule: str
) -> None:
    found, again = found_of_night[rule], again_of_night[rule]
    assert (found.checked, found.differing) == (again.checked, len(again.ids))
    for side, sign in ((found.over, 1), (found.under, -1)):
        sums = {
            currency: sum((sign * one for one in amounts if sign * one > 0), Decimal(0))
            for currency, amounts in again.amounts.items()
        }
        assert side == {currency: amount for currency, amount in sums.items() if amount}
    assert found.cost == {name: cost for name, cost in again.costs.items() if cost}
    worst = sorted(again.records, key=_worst_first)[:10]
    assert [(one.amount, one.voice_id) for one in found.worst] == [(o[0], o[2]) for o in worst]


def test_simulated_night_breaks_several_rules(
    found_of_night: dict[str, Verdict],
) -> None:
    broken = {name for name, verdict in found_of_night.items() if verdict.differing}
    assert {"cost", "currency", "price"} <= broken


# --- one record for each rule --------------------------------------------------------------------

UNANSWERED = {
    "answered": False,
    "answer_time": None,
    "call_duration_s": 0,
    "charged_duration_s": 0,
    "cost": Decimal(0),
    "termination_code": "486",
    "sip_code": 486,
}

NO_TALK = {
    "hangup_time": datetime(2026, 11, 2, 10, 0, 10, tzinfo=UTC),  # when it was answered
    "call_duration_s": 0,
    "charged_duration_s": 0,
    "cost": Decimal(0),
}


def apart(number: int) -> dict[str, Any]:
    return {"callee": f"9180000000{number:02}"}


def settled(rate: str, pay: str) -> dict[str, Any]:
    return {
        "quote_exchange": Decimal("0.8"),
        "settle_rate": Decimal(rate),
        "settle_pay": Decimal(pay),
    }


def periods_of(text: str, duration: int, charged: int) -> dict[str, Any]:
    """A call whose cost fits its charged seconds; seconds cost 0.0002."""
    initial, increment = text.split("+")
    return {
        "bill_period": text,
        "bill_initial_s": int(initial),
        "bill_increment_s": int(increment),
        "call_duration_s": duration,
        "charged_duration_s": charged,
        "cost": Decimal("0.0002") * charged,
    }


@pytest.mark.parametrize(
    ("rule", "row", "amount"),
    [
        ("charged_duration", {"charged_duration_s": 80, "cost": Decimal("0.016")}, "0.004"),
        ("charged_duration", {"charged_duration_s": 40, "cost": Decimal("0.008")}, "-0.004"),
        ("period_over", {"charged_duration_s": 81, "cost": Decimal("0.0162")}, "0.0042"),
        # Charged 62 s for 41 s, of which 60 s are right; 97 s for 36 s (60 s); 68 s for 7 s (66 s).
        ("period_over", periods_of("20+20", 41, 62), "0.0004"),
        ("period_over", periods_of("60+6", 36, 97), "0.0074"),
        ("period_over", periods_of("6+60", 7, 68), "0.0004"),
        ("cost", {"cost": Decimal("0.0123")}, "0.0003"),
        ("cost", {"cost": Decimal("0.01210001")}, "0.00010001"),
        ("cost", {"cost": Decimal("0.01189999")}, "-0.00010001"),
        ("cost", {"cost": Decimal("0.0153"), "base_cost": Decimal("0.003")}, "0.0003"),
        ("settle_rate", settled("0.016", "0.015"), "0.001"),
        ("settle_rate", settled("0.01510001", "0.015"), "0.00010001"),
        ("settle_rate", settled("0.01489999", "0.015"), "-0.00010001"),
        ("settle_pay", settled("0.015", "0.01510001"), "0.00010001"),
        ("settle_pay", settled("0.015", "0.01489999"), "-0.00010001"),
        ("settle_pay", settled("0.015", "0.016"), "0.001"),
        ("price", {"rate": Decimal(0)}, "0.012"),
        ("price", {"cost": Decimal("-0.012")}, "-0.012"),
        ("price", {"rate": Decimal("-0.00000001")}, "0.012"),
        ("price", {"cost": -UNIT}, "-0.00000001"),
        ("answered_free", {"cost": None}, "-0.012"),
        ("answered_free", {"cost": Decimal(0), "call_duration_s": 1}, "-0.012"),
        ("unanswered_charged", UNANSWERED | {"cost": Decimal("0.01")}, "0.01"),
        ("unanswered_charged", UNANSWERED | {"charged_duration_s": 20}, "0"),
        ("unanswered_charged", UNANSWERED | {"cost": UNIT}, "0.00000001"),
        ("unanswered_charged", UNANSWERED | {"charged_duration_s": 1}, "0"),
    ],
)
def test_one_odd_record_is_found(
    tmp_path: Path, rule: str, row: dict[str, Any], amount: str
) -> None:
    made(tmp_path / "out", [apart(0), apart(1), apart(2) | row, apart(3)])
    found = verdicts(tmp_path / "out", tmp_path)[rule]
    (worst,) = found.worst
    assert (found.differing, worst.voice_id[-1]) == (1, "2")
    assert worst.amount == Decimal(amount)


@pytest.mark.parametrize(
    "row",
    [
        {},
        UNANSWERED,
        {"cost": Decimal("0.0121")},
        {"cost": Decimal("0.015"), "base_cost": Decimal("0.003")},
        settled("0.0151", "0.0149"),
        {"cost": Decimal("0.0119")},
        settled("0.0149", "0.0151"),
        {"call_duration_s": 61, "charged_duration_s": 80, "cost": Decimal("0.016")},
        NO_TALK,
        NO_TALK | {"rate": UNIT},
        {"cost": None, "rate": None, "bill_initial_s": None, "call_duration_s": None},
    ],
)
def test_what_is_within_a_rule_is_not_told(tmp_path: Path, row: dict[str, Any]) -> None:
    made(tmp_path / "out", [apart(0), apart(1) | row])
    found = verdicts(tmp_path / "out", tmp_path)
    assert {name: one.differing for name, one in found.items() if one.differing} == {}


@pytest.mark.parametrize(
    ("text", "duration", "charged"),
    [
        ("60+6", 1, 60),
        ("60+6", 60, 60),
        ("60+6", 61, 66),
        ("60+6", 66, 66),
        ("60+6", 67, 72),
        ("1+1", 1, 1),
        ("0+60", 1, 60),
        ("0+60", 60, 60),
        ("6+60", 7, 66),
        ("60+60", 0, 0),
    ],
)
def test_charged_are_the_first_period_and_then_whole_increments(
    tmp_path: Path, text: str, duration: int, charged: int
) -> None:
    """Right, one second less and one second more."""
    rows = [periods_of(text, duration, charged + off) for off in (0, -1, 1)]
    made(tmp_path / "out", [apart(n) | row for n, row in enumerate(rows)])
    found = verdicts(tmp_path / "out", tmp_path)["charged_duration"]
    assert {one.voice_id[-1]: one.amount for one in found.worst} == {
        "1": Decimal("-0.0002"),
        "2": Decimal("0.0002"),
    }
    assert {one.expected for one in found.worst} == {f"{charged} s"}


def test_without_an_increment_nothing_is_expected_of_the_seconds(tmp_path: Path) -> None:
    rows = [apart(n) | periods_of(text, 10, 99) for n, text in enumerate(("20+0", "0+0"))]
    made(tmp_path / "out", [*rows, apart(2) | {"bill_initial_s": -1}])
    found = verdicts(tmp_path / "out", tmp_path)
    assert (found["charged_duration"].checked, found["period_over"].checked) == (0, 0)


@pytest.mark.parametrize(
    "row",
    [
        periods_of("20+20", 41, 61),
        periods_of("60+6", 36, 96),
        periods_of("6+60", 7, 67),
        periods_of("20+20", 0, 99),
    ],
)
def test_a_call_may_be_charged_one_whole_period_beyond_its_duration(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    made(tmp_path / "out", [row])
    assert verdicts(tmp_path / "out", tmp_path)["period_over"].differing == 0


@pytest.mark.parametrize(
    ("currencies", "odd"),
    [(["USD", "USD", "EUR"], {"2"}), (["EUR", "USD"], {"0"}), (["USD", "USD", None], set())],
)
def test_the_usual_currency_is_that_of_most_calls_and_of_two_the_later_by_name(
    tmp_path: Path, currencies: list[str | None], odd: set[str]
) -> None:
    made(tmp_path / "out", [apart(n) | {"currency": c} for n, c in enumerate(currencies)])
    found = verdicts(tmp_path / "out", tmp_path)["currency"]
    assert {one.voice_id[-1] for one in found.worst} == odd


def test_another_currency_is_no_overcharge_by_the_whole_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of five calls two came in euros: nobody can say how much too much, only what they cost."""
    euros = [{"currency": "EUR", "cost": Decimal(cost)} for cost in ("0.5", "7.25")]
    made(tmp_path / "out", [apart(n) | row for n, row in enumerate([{}, {}, {}, *euros])])
    found = verdicts(tmp_path / "out", tmp_path)["currency"]
    assert (found.differing, found.over, found.under) == (2, {}, {})
    assert found.cost == {"EUR": Decimal("7.75")}
    told = [(one.voice_id[-1], one.amount, one.found, one.expected) for one in found.worst]
    assert told == [  # the dearest first
        ("4", None, "7.25000000 EUR", "an amount in USD"),
        ("3", None, "0.50000000 EUR", "an amount in USD"),
    ]
    words = ["audit", "--out", str(tmp_path / "out")]
    # Their cost is far from rate * seconds, which is another rule's: 0.5 - 0.012 + 7.25 - 0.012.
    assert run_command([*words, "--fail-above", "EUR=7.726"]) == 0
    shown = capsys.readouterr().out
    assert "over: -; under: -; these records cost 7.75 EUR in all" in shown
    assert run_command([*words, "--json"]) == 0
    rules = map(json.loads, capsys.readouterr().out.splitlines())
    (rule,) = (one for one in rules if one.get("rule") == "currency")
    assert (rule["over"], rule["under"], rule["cost"]) == ({}, {}, {"EUR": "7.75"})


# --- pairs across the edge of a period -----------------------------------------------------------

MIDNIGHT = datetime(2026, 10, 31, 16, tzinfo=UTC)
"""November begins, in Shanghai."""
MONTHS = (
    Period(date(2026, 10, 1), date(2026, 10, 31)),
    Period(date(2026, 11, 1), date(2026, 11, 30)),
)


def call_at(submitted: timedelta, answered: timedelta, hung_up: timedelta) -> dict[str, Any]:
    """A call by its times from midnight on."""
    times = {
        "submit_time": MIDNIGHT + submitted,
        "call_time": MIDNIGHT + submitted,
        "ringing_time": MIDNIGHT + submitted,
        "answer_time": MIDNIGHT + answered,
        "hangup_time": MIDNIGHT + hung_up,
    }
    return times | {"call_duration_s": int((hung_up - answered).total_seconds())}


def of_month(
    out: Path, rule: str, month: Period, scratch: Path, date_by: DateBy = "submit"
) -> set[str]:
    """The ids that differ from a rule in a month of Shanghai's clock, as the command reads it."""
    scope = Scope(Clock("Asia/Shanghai", date_by), month)
    parts = scope.parts_around(list_parts(out / "cdr", GROUP_RECORD).parts)
    files = [out / "cdr" / part for part in parts]
    with opened(files, scope, GROUP_RECORD, memory_limit="400MB", scratch=scratch) as billing:
        found = {one.rule: one for one in billing.verdicts()}[rule]
        ids = {one.voice_id[-1] for one in found.worst}
        assert len(ids) == found.differing
        return ids


SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("rule", "rows", "date_by", "in_month"),
    [
        # The first is still talking when the second is answered, after midnight.
        (
            "overlap",
            [call_at(-9 * SECOND, -5 * SECOND, HOUR), call_at(SECOND, 5 * SECOND, 9 * SECOND)],
            "submit",
            [set(), {"1"}],
        ),
        # The same call in two months, submitted a second apart.
        (
            "near_duplicate",
            [
                call_at(-SECOND, 5 * SECOND, 9 * SECOND),
                call_at(timedelta(), 30 * HOUR, 30 * HOUR + 4 * SECOND),
            ],
            "submit",
            [set(), {"1"}],
        ),
        # By hang-up the first one is of November, and the later one, within it, of October.
        (
            "overlap",
            [call_at(-HOUR, -HOUR, HOUR), call_at(-60 * SECOND, -50 * SECOND, -40 * SECOND)],
            "hangup",
            [{"1"}, set()],
        ),
        # Both in one month: found there alone.
        (
            "overlap",
            [call_at(-9 * SECOND, -8 * SECOND, HOUR), call_at(-5 * SECOND, -4 * SECOND, HOUR)],
            "submit",
            [{"1"}, set()],
        ),
    ],
)
def test_a_pair_across_midnight_counts_once_where_the_later_call_lies(
    tmp_path: Path,
    rule: str,
    rows: list[dict[str, Any]],
    date_by: DateBy,
    in_month: list[set[str]],
) -> None:
    made(tmp_path / "out", rows)
    found = [of_month(tmp_path / "out", rule, month, tmp_path, date_by) for month in MONTHS]
    assert found == in_month


@pytest.mark.parametrize(("before", "found"), [(24 * HOUR, {"1"}), (48 * HOUR, set())])
def test_a_pair_is_looked_for_up_to_a_day_beyond_the_period(
    tmp_path: Path, before: timedelta, found: set[str]
) -> None:
    long = call_at(-before, -before, 2 * HOUR)
    made(tmp_path / "out", [long, call_at(timedelta(), SECOND, HOUR)])
    assert of_month(tmp_path / "out", "overlap", MONTHS[1], tmp_path) == found
    assert of_month(tmp_path / "out", "overlap", MONTHS[0], tmp_path) == set()


def test_a_call_without_a_day_may_be_the_other_one_of_a_pair(tmp_path: Path) -> None:
    undated = call_at(timedelta(), timedelta(), HOUR) | {"answer_time": None}
    made(tmp_path / "out", [undated, call_at(SECOND, SECOND, HOUR + SECOND)])
    found = of_month(tmp_path / "out", "near_duplicate", MONTHS[1], tmp_path, "answer")
    assert found == {"1"}


@pytest.mark.parametrize(
    ("rule", "apart_ms", "differs"),
    [
        ("overlap", -1, True),
        ("overlap", 0, False),
        ("near_duplicate", 2_000, True),
        ("near_duplicate", 2_001, False),
    ],
)
def test_two_calls_are_too_close_up_to_a_border(
    tmp_path: Path, rule: str, apart_ms: int, *, differs: bool
) -> None:
    """Answered just when the one before hung up; submitted two seconds after it."""
    apart = timedelta(milliseconds=apart_ms)
    first = call_at(timedelta(), SECOND, 61 * SECOND)
    second = call_at(30 * SECOND, 61 * SECOND + apart, HOUR)
    if rule == "near_duplicate":
        second = call_at(apart, 61 * SECOND, 121 * SECOND)
    made(tmp_path / "out", [first, second])
    found = verdicts(tmp_path / "out", tmp_path)[rule]
    assert [one.voice_id[-1] for one in found.worst] == ["1"] * differs


def test_the_command_reads_the_files_around_its_month(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [call_at(-HOUR, -HOUR, 2 * HOUR), call_at(timedelta(), SECOND, HOUR)]
    made(tmp_path / "out", rows)
    words = ["audit", "--out", str(tmp_path / "out"), "--zone", "Asia/Shanghai", "--json"]
    assert run_command([*words, "--month", "2026-11"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    differing = {one["rule"]: (one["checked"], one["differing"]) for one in told[:-1]}
    assert differing["overlap"] == (1, 1), "one call is of November, and one too many"


def test_same_call_under_two_ids_is_found_once(tmp_path: Path) -> None:
    at = datetime(2026, 11, 2, 10, 0, 2, tzinfo=UTC)
    made(tmp_path / "out", [apart(1), apart(2), apart(1), apart(1) | {"call_time": at}])
    found = verdicts(tmp_path / "out", tmp_path)["duplicate"]
    (worst,) = found.worst
    assert (found.checked, found.differing, worst.voice_id[-1]) == (4, 1, "2")
    assert worst.expected == f"only {0:019}"
    assert found.over == {"USD": Decimal("0.012")}


def test_greatest_amounts_are_summed_without_error(tmp_path: Path) -> None:
    most = Decimal("9999999999.99999999")
    absurd: dict[str, Any] = {
        "cost": most,
        "rate": most,
        "quote_exchange": UNIT,
        "settle_rate": UNIT,
    }
    absurd |= {"settle_pay": -most, "charged_duration_s": 2**31 - 1, "base_cost": most}
    made(tmp_path / "out", [absurd] * 500)
    found = verdicts(tmp_path / "out", tmp_path)
    assert found["cost"].differing == 500


# --- the command ---------------------------------------------------------------------------------

NUMBER = "918055512345"


def odd(out: Path) -> None:
    made(out, [{"callee": NUMBER, "cost": Decimal(1)}, apart(1)])


def test_phone_numbers_are_masked_but_for_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd(tmp_path / "out")
    file = tmp_path / "differences.parquet"
    words = ["audit", "--out", str(tmp_path / "out")]
    assert run_command([*words, "-o", str(file)]) == 0
    shown = capsys.readouterr().out
    assert run_command([*words, "--json"]) == 0
    told = capsys.readouterr().out
    for text in (shown, told):
        assert NUMBER not in text
        assert "918*******45" in text
    (row,) = pq.read_table(file).to_pylist()
    assert (row["rule"], row["amount"], row["callee"]) == ("cost", Decimal("0.988"), NUMBER)
    assert file.stat().st_mode & 0o777 == 0o600
    rules = [json.loads(line) for line in told.splitlines()]
    assert [one["rule"] for one in rules[:-1]] == [rule.name for rule in RULES]
    assert rules[-1]["differing"] == 1


def audit_of(*found: Verdict, **changes: Any) -> Audit:
    plain: dict[str, Any] = {
        "output": "out",
        "made_at": datetime(2026, 11, 4, 12, 30, tzinfo=UTC),
        "scope": SCOPE,
        "first_day": date(2026, 11, 1),
        "last_day": date(2026, 11, 3),
        "files": 12,
        "calls": 1_005,
        "verdicts": found,
        "apart": Apart(),
        "stated": Stated(Identity(account="acme"), 1_000, 990, 2),
        "above": (),
    }
    return Audit(**{**plain, **changes})


def test_the_screen_shows_money_of_either_side_and_three_of_the_worst() -> None:
    worst = tuple(
        Difference(f"id{n}", "918055512345", "India", Decimal("0.50"), "USD", "1 s", "2 s")
        for n in range(4)
    )
    one, none = {"USD": Decimal(1)}, dict[str, Decimal]()
    found = (
        Verdict("plain", "a", "none", 5, 0, none, none, none, ()),
        Verdict("under", "b", "none", 1_005, 4, none, one, {"EUR": Decimal(7)}, worst),
        Verdict("over", "c", "none", 5, 1, one, none, none, worst[:1]),
    )
    told = [line.text for line in screen(audit_of(*found), None)]
    assert [line for line in told if "differ" in line and "assumed" not in line][:3] == [
        "under: 4 of 1,005 differ",
        "over: 1 of 5 differ",
        "plain: 0 of 5 differ",
    ]
    assert [line for line in told if line.startswith("  over")] == [
        "  over: -; under: 1.00 USD; these records cost 7.00 EUR in all",
        "  over: 1.00 USD; under: -; these records cost nothing",
    ]
    assert [line for line in told if "  id" in line] == [
        f"    id{n}  918*******45  India: 1 s, expected 2 s (0.5 USD)" for n in (0, 1, 2, 0)
    ]


def test_short_numbers_are_masked_whole() -> None:
    assert number_in_part("1234567") == "***"
    assert number_in_part("12345678") == "123***78"
    assert number_in_part("") == "***"


def test_file_has_every_differing_record(
    night: tuple[Path, list[Row]],
    found_of_night: dict[str, Verdict],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, _ = night
    file = tmp_path / "all.parquet"
    assert run_command(["audit", "--out", str(out), "-o", str(file)]) == 0
    capsys.readouterr()
    rules = Counter(pq.read_table(file, columns=["rule"])["rule"].to_pylist())
    found = {name: one.differing for name, one in found_of_night.items() if one.differing}
    assert rules == found


def test_period_without_calls_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd(tmp_path / "out")
    assert run_command(["audit", "--out", str(tmp_path / "out"), "--from", "2027-01-01"]) == 2
    assert "holds no calls of these days" in capsys.readouterr().err
