"""What regions add up to, and what is said of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from harvester.reconciling.figures import (
    REGIONS,
    Group,
    Region,
    agreeing,
    alive,
    by_day,
    commands,
    fold,
    instant,
    meanings,
    order_of,
)


def group(region: str, **changes: Any) -> Group:
    plain: dict[str, Any] = {
        "region": region,
        "state": "",
        "currency": "USD",
        "day": "2026-11-02",
        "calls": 1,
        "charged_duration_s": 0,
        "cost": None,
        "with_cost": 0,
        "oldest_ms": None,
        "newest_ms": None,
    }
    return Group(**plain | changes)


def test_a_region_adds_up_all_that_its_groups_have() -> None:
    groups = [
        group(
            "VB",
            state="delivered",
            calls=5,
            charged_duration_s=61,
            cost=Decimal("0.5"),
            with_cost=4,
            oldest_ms=2_000,
            newest_ms=9_000,
        ),
        group(
            "VB",
            state="delivered",
            calls=3,
            charged_duration_s=40,
            cost=Decimal("0.25"),
            with_cost=3,
            oldest_ms=1_000,
            newest_ms=8_000,
        ),
        group("VB", state="open", currency="EUR", calls=2, cost=Decimal(1), with_cost=1),
        group("D", calls=7),
    ]
    found = fold(groups, {"VB": "both"}, {"VB": "do it", "V": "never"})
    assert tuple(found) == REGIONS
    assert found["VB"] == Region(
        calls=10,
        charged_duration_s=101,
        cost={"EUR": Decimal(1), "USD": Decimal("0.75")},
        without_cost=2,
        states={"delivered": 8, "open": 2},
        oldest_ms=1_000,
        newest_ms=9_000,
        meaning="both",
        next="do it",
    )
    # 101 seconds are 1.68333... minutes.
    assert found["VB"].minutes == Decimal("1.6833")
    assert (found["D"].calls, found["D"].without_cost) == (7, 0), "a dialer has no costs"
    assert (found["V"].calls, found["V"].next) == (0, "")


@pytest.mark.parametrize(
    ("state", "counted"),
    [
        ("delivered", "delivered"),
        ("open", "open"),
        ("unrated", "open"),
        ("dead", "dead"),
        ("pending", "pending"),
        ("dropped", "dropped"),
        ("", "missing"),
    ],
)
def test_a_listed_call_counts_on_its_day_by_where_it_stands_here(state: str, counted: str) -> None:
    groups = [group("VBD", state=state, calls=4), group("B", state=state), group("D")]
    (one,) = by_day(groups, {"2026-11-02": 7}, 9)
    assert (one.listed, getattr(one, counted), one.listed_ms, one.counted_ms) == (4, 4, 7, 9)


@pytest.mark.parametrize(("has_dialer", "agree"), [(True, 9 + 2), (False, 5 + 2)])
def test_lists_agree_where_all_have_a_call_or_where_it_is_dead_and_nobody_has_it(
    *, has_dialer: bool, agree: int
) -> None:
    found = fold(
        [
            group("VBD", calls=9),
            group("VB", calls=5),
            group("B", state="dead", calls=2),
            group("B", state="open", calls=3),
            group("BD", state="dead", calls=4),
        ],
        {},
        {},
    )
    assert agreeing(found, has_dialer=has_dialer) == agree


def test_alive_are_calls_of_the_vendor_without_a_final_record_here() -> None:
    found = fold(
        [
            group("VB", state="dead", calls=1),
            group("VBD", state="dead", calls=2),
            group("VBD", state="delivered", calls=9),
            group("V", calls=9),
            group("VB", state="unrated", calls=3),
            group("B", state="dead", calls=9),
            group("BD", state="open", calls=9),
        ],
        {},
        {},
    )
    assert alive(found) == {"dead": 3, "unrated": 3}


@pytest.mark.parametrize("has_dialer", [True, False])
def test_every_region_that_can_be_is_shown_and_has_a_meaning(*, has_dialer: bool) -> None:
    names = meanings(has_dialer=has_dialer)
    assert sorted(order_of(has_dialer=has_dialer)) == sorted(names)
    assert order_of(has_dialer=has_dialer)[0] == "V"


def test_before_a_list_is_old_it_is_looked_at_again_before_anybody_is_asked() -> None:
    young = commands("a", "b", has_dialer=True, files="f", is_old=False)
    old = commands("a", "b", has_dialer=True, files="f", is_old=True)
    again = "the same command again when the list is 12 days old"
    assert {name for name in young if young[name].startswith(again)} == {"D", "BD"}
    assert not any(again in text for text in old.values())
    assert "f/BD.parquet" in old["BD"]
    assert "`harvester discover --from a --to b --take`" in old["VD"]
    bare = commands("a", "b", has_dialer=False, files=None, is_old=False)
    assert bare["B"].startswith(again)
    assert "-o DIR writes their ids" in bare["B"]


def test_instants_are_told_on_the_vendors_clock() -> None:
    assert instant(0) == "1970-01-01T08:00:00+08:00"
    assert instant(None) is None
