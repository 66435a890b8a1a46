"""Five equations; a difference is always told."""

from __future__ import annotations

import pytest

from harvester.dataset.usage import UsageTotals
from harvester.pipeline.run.control_totals import (
    Difference,
    check_again,
    check_data,
    check_input,
    check_list,
    check_run,
)

INPUT = {
    "lines": 10,
    "bad": 1,
    "duplicate": 2,
    "distinct": 7,
    "resolved_before": 2,
    "listed": 4,
    "too_young": 1,
}
RUN = {"begun": 15, "delivered": 1, "open_": 2, "dead": 3, "deferred": 4, "cut_off": 5}
LIST = {"rows": 10, "delivered": 1, "open_": 2, "dead": 3, "resolved_bits": 6}

AGAIN = {"again": 15, "compared": 1, "forgotten": 2, "failed": 4, "in_journal": 8}


def test_books_that_balance_have_no_difference() -> None:
    assert check_input(**INPUT) == []
    assert check_run(**RUN) == []
    assert check_list(**LIST) == []
    assert check_again(**AGAIN) == []


@pytest.mark.parametrize("name", INPUT)
def test_one_line_too_many_anywhere_in_the_input_shows(name: str) -> None:
    assert check_input(**{**INPUT, name: INPUT[name] + 1})


@pytest.mark.parametrize("name", RUN)
def test_one_id_too_many_anywhere_in_the_run_shows(name: str) -> None:
    assert check_run(**{**RUN, name: RUN[name] + 1})


@pytest.mark.parametrize("name", ["delivered", "open_", "dead", "resolved_bits"])
def test_a_bit_without_an_outcome_or_an_outcome_without_a_bit_shows(name: str) -> None:
    assert check_list(**{**LIST, name: LIST[name] + 1})


@pytest.mark.parametrize("name", AGAIN)
def test_one_id_too_many_anywhere_among_those_fetched_again_shows(name: str) -> None:
    (difference,) = check_again(**{**AGAIN, name: AGAIN[name] + 1})
    assert difference.control_totals == "again"


def test_ids_of_a_list_that_were_fetched_again_are_settled_as_well() -> None:
    assert check_list(**{**LIST, "resolved_bits": 8}, refetched=2) == []
    (difference,) = check_list(**LIST, refetched=1)
    assert difference == Difference(
        "list", "rows = 10", "delivered + open + dead + refetched + pending = 11"
    )
    (without,) = check_list(**{**LIST, "rows": 9, "dead": 4})
    assert without == Difference("list", "rows = 9", "delivered + open + dead + pending = 10")


SUMS = UsageTotals(3, 60, 120, {"USD": 5, "EUR": 7})


@pytest.mark.parametrize(
    "data",
    [
        UsageTotals(2, 60, 120, {"USD": 5, "EUR": 7}),
        UsageTotals(3, 61, 120, {"USD": 5, "EUR": 7}),
        UsageTotals(3, 60, 121, {"USD": 5, "EUR": 7}),
        UsageTotals(3, 60, 120, {"USD": 6, "EUR": 7}),
        UsageTotals(3, 60, 120, {"USD": 5}),
        UsageTotals(3, 60, 120, {"USD": 5, "EUR": 7, "-": 1}),
    ],
    ids=["a row", "a second", "a charged second", "a cent", "a currency lost", "a currency more"],
)
def test_what_the_answers_said_and_what_was_read_back_must_agree(data: UsageTotals) -> None:
    (difference,) = check_data(SUMS, data)
    assert difference.control_totals == "data"
    assert check_data(SUMS, SUMS) == []


def test_a_currency_that_adds_up_to_nothing_is_no_difference() -> None:
    assert check_data(UsageTotals(1, 0, 0, {"USD": 0}), UsageTotals(1, 0, 0, {})) == []
