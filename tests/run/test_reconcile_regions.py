"""The seven regions against Python's own sets, whatever stands where."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.dataset.changes import changes_of
from harvester.dataset.group_record import GROUP_RECORD
from harvester.inputs.id_dates import stamp_sql
from harvester.inputs.voice_id import dated
from harvester.pipeline.listing import rows as listed_rows
from harvester.pipeline.listing.days import of_days
from harvester.reconciling import ours
from harvester.reconciling.figures import REGIONS, Group, agreeing, by_day, commands, fold, meanings
from harvester.reconciling.regions import ROWS, Sources, compared
from harvester.storage.duckdb_engine import Room, connect
from harvester.vendor_clock import CLOCK
from tests.support.datasets import filled

FIRST, LAST = date(2026, 11, 1), date(2026, 11, 30)
DAYS = of_days(FIRST, LAST)
BEGIN, END = (datetime.fromtimestamp(at, UTC) for at in (DAYS.start_s, DAYS.until_s))
MS = timedelta(milliseconds=1)
INSIDE = st.sampled_from([BEGIN, BEGIN + timedelta(days=3, hours=5), END - MS])
OUTSIDE = st.sampled_from([BEGIN - MS, END, BEGIN - timedelta(days=40)])
TIME = st.one_of(INSIDE, OUTSIDE)
MONEY = st.one_of(
    st.none(),
    st.decimals(-(10**9), 10**9, places=8),
    st.sampled_from([Decimal("0.00000001"), Decimal("9999999999.99999999"), Decimal(-1)]),
)
PAID = st.fixed_dictionaries(
    {
        "charged_duration_s": st.one_of(st.none(), st.integers(0, 7200)),
        "cost": MONEY,
        "currency": st.sampled_from(["USD", "EUR", None, "not one"]),
    }
)
IDS = [
    "26103123595900000001",
    "26110100000000000002",
    "26113023595900000003",
    "26120100000000000004",
    "2611150000000000005",
    "126111500000000000x6",
    *(f"call-{n}" for n in range(6)),
]
STATES = ("delivered", "dead", "published", "open", "unrated", "pending", "dropped", "")


@st.composite
def calls(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """By id: how each list has it."""
    found = {}
    for voice_id in IDS:
        state = draw(st.sampled_from(STATES))
        found[voice_id] = {
            "state": state,
            "waits": draw(st.booleans()) if state in ("", "open", "pending") else False,
            "ours": draw(PAID),
            "ours_rated": draw(st.booleans()),
            "submit_time": draw(st.one_of(st.none(), TIME)),
            "seen_at": draw(TIME),
            "listed": draw(st.one_of(st.none(), PAID)),
            "listed_at": draw(st.one_of(st.none(), INSIDE)),
            "is_rated": draw(st.booleans()),
            "is_final": draw(st.booleans()),
            "nearby": draw(st.booleans()),
            "sent": draw(st.one_of(st.none(), st.lists(st.one_of(st.none(), TIME), max_size=3))),
        }
    return found


def state_of(one: Mapping[str, Any]) -> str:
    if one["state"] == "" and one["waits"]:
        return "pending"
    return "dead" if one["state"] == "published" else str(one["state"])


def has_row(one: Mapping[str, Any]) -> bool:
    return one["state"] in ("delivered", "published")


def is_of_days(voice_id: str, one: Mapping[str, Any]) -> bool:
    at = one["submit_time"] if has_row(one) else None
    at = at or dated(voice_id) or one["seen_at"]
    return bool(BEGIN <= at < END)


def in_dialer(one: Mapping[str, Any], *, by_time: bool) -> bool:
    if one["sent"] is None:
        return False
    if one["listed"] is not None:
        return True
    if one["nearby"]:
        return False
    if has_row(one) and one["submit_time"] and not BEGIN <= one["submit_time"] < END:
        return False
    if not by_time:
        return True
    return not one["sent"] or any(at is None or BEGIN <= at < END for at in one["sent"])


def expected_regions(
    found: Mapping[str, dict[str, Any]], *, has_dialer: bool, by_time: bool
) -> dict[str, set[str]]:
    v = {key for key, one in found.items() if one["listed"] is not None}
    d = {key for key, one in found.items() if has_dialer and in_dialer(one, by_time=by_time)}
    known = {key for key, one in found.items() if state_of(one)}
    b = {
        key
        for key in known
        if key in v | d
        or (
            state_of(found[key]) != "dropped"
            and is_of_days(key, found[key])
            and not found[key]["nearby"]
        )
    }
    regions: dict[str, set[str]] = {name: set() for name in REGIONS}
    for key in v | b | d:
        name = "".join(letter for letter, ids in (("V", v), ("B", b), ("D", d)) if key in ids)
        regions[name].add(key)
    return regions


def write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> Path:
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def sources_of(
    at: Path, found: Mapping[str, dict[str, Any]], *, has_dialer: bool, by_time: bool, parts: int
) -> Sources:
    """The lists as files; calls of V in so many of them, the older ones with other amounts."""
    listed = [
        {
            "voice_id": key,
            "submit_time": one["listed_at"],
            "answered": True,
            "is_final": one["is_final"],
            "is_rated": one["is_rated"],
            "asked_at": END,
            **one["listed"],
        }
        for key, one in found.items()
        if one["listed"] is not None
    ]
    older = [
        row | {"asked_at": BEGIN, "cost": Decimal(77), "charged_duration_s": 99} for row in listed
    ]
    files = [write(at / "v0.parquet", listed, listed_rows.SCHEMA)]
    files += [write(at / f"v{n}.parquet", older, listed_rows.SCHEMA) for n in range(1, parts)]
    nearby = [
        {"voice_id": key, "answered": True, "is_final": True, "is_rated": True, "asked_at": END}
        for key, one in found.items()
        if one["nearby"] and one["listed"] is None
    ]
    rows = [
        {"voice_id": key, "submit_time": one["submit_time"], "fetched_at": one["seen_at"]}
        | {"is_rated": one.get("ours_rated", True)}
        | one["ours"]
        for key, one in found.items()
        if has_row(one)
    ]
    pq.write_table(filled(rows), at / "cdr.parquet")
    states = []
    for key, one in found.items():
        if one["state"] not in ("", "delivered", "dropped"):
            states.append({"voice_id": key, "state": one["state"], "seen_at": one["seen_at"]})
        if one["waits"]:
            # A dead letter that is retried may be deferred as well.
            row = {"voice_id": key, "state": ours.WAITING, "seen_at": one["seen_at"]}
            states += [row, row]
    left = [{"voice_id": key} for key, one in found.items() if one["state"] == "dropped"]
    placed = [{"voice_id": key} for key, one in found.items() if one["sent"] is not None]
    sent = [
        {"voice_id": key, "sent_at": time}
        for key, one in found.items()
        for time in one["sent"] or ()
    ]
    ids = pa.schema([("voice_id", pa.string())])
    times = pa.schema([("voice_id", pa.string()), ("sent_at", pa.timestamp("ms", tz="UTC"))])
    return Sources(
        listed=files,
        files=[at / "cdr.parquet"] if rows else [],
        changes=[],
        states=write(at / "states.parquet", states, ours.SCHEMA),
        dropped=[write(at / "dropped.parquet", left, ids)] if left else [],
        dialer=write(at / "d.parquet", placed, ids) if has_dialer else None,
        nearby=[write(at / "nearby.parquet", nearby, listed_rows.SCHEMA)] if nearby else [],
        sent=write(at / "sent.parquet", sent, times) if by_time else None,
    )


@settings(max_examples=40)
@given(calls(), st.booleans(), st.booleans(), st.integers(1, 2))
def test_each_id_is_in_the_region_that_sets_put_it_in(
    found: dict[str, dict[str, Any]], has_dialer: bool, by_time: bool, parts: int
) -> None:
    by_time = by_time and has_dialer
    regions = expected_regions(found, has_dialer=has_dialer, by_time=by_time)
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        sources = sources_of(at, found, has_dialer=has_dialer, by_time=by_time, parts=parts)
        with compared(sources, DAYS, Room("400MB", at)) as lists:
            groups, rows = lists.groups(), list(lists.rows())
            assert lists.vendor == sum(len(regions[name]) for name in REGIONS if "V" in name)
            assert lists.placed == sum(len(regions[name]) for name in REGIONS if "D" in name)
    got: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, table in rows:
        assert table.schema == ROWS
        got[name] += table.to_pylist()
    assert {name: sorted(regions[name]) for name in REGIONS} == {
        name: sorted(row["voice_id"] for row in got[name]) for name in REGIONS
    }
    told = fold(groups, meanings(has_dialer=has_dialer), {})
    dead = sum(state_of(found[key]) == "dead" for key in regions["B"])
    equal = regions["VBD" if has_dialer else "VB"]
    assert agreeing(told, has_dialer=has_dialer) == len(equal) + dead
    for name in REGIONS:
        _compare_figures(told[name], name, regions[name], found)
        _compare_rows(got[name], found)
    days = by_day(groups, {f"2026-11-{day:02}": 1 for day in range(1, 31)}, 5)
    assert all(
        one.listed == one.delivered + one.open + one.dead + one.pending + one.dropped + one.missing
        for one in days
    )


def paid_of_ours(one: Mapping[str, Any]) -> dict[str, Any]:
    """What stands where the price will stand is no cost."""
    ours: dict[str, Any] = one["ours"]
    is_price = one.get("ours_rated", True) and ours["cost"] != -1
    return ours if is_price else ours | {"cost": None}


def paid_of_listed(one: Mapping[str, Any]) -> dict[str, Any]:
    """The list's price, where it has one: that of a call that goes on is none."""
    listed: dict[str, Any] = one["listed"]
    if not (one["is_rated"] and one["is_final"] and listed["cost"] != -1):
        listed = listed | {"cost": None}
    ours: dict[str, Any] = paid_of_ours(one) if has_row(one) else {}
    known = ours.get("cost"), ours.get("charged_duration_s")
    return listed if listed["cost"] is not None or known == (None, None) else ours


def _compare_figures(
    region: Any, name: str, ids: set[str], found: Mapping[str, dict[str, Any]]
) -> None:
    paid = []
    for key in ids:
        one = found[key]
        if "V" in name:
            paid.append(paid_of_listed(one))
        elif has_row(one):
            paid.append(paid_of_ours(one))
        elif name != "D":
            paid.append({"charged_duration_s": None, "cost": None, "currency": None})
    cost: dict[str, Decimal] = defaultdict(Decimal)
    for one in paid:
        if one["cost"] is not None:
            currency = {None: "-", "not one": "(not a currency)"}.get(
                one["currency"], one["currency"]
            )
            cost[currency] += one["cost"]
    assert region.calls == len(ids)
    listed_at = [found[key]["listed_at"] for key in ids]
    if "V" in name and ids and all(listed_at):
        assert region.oldest_ms == int(min(listed_at).timestamp() * 1000)
        assert region.newest_ms == round(max(listed_at).timestamp() * 1000)
    assert region.charged_duration_s == sum(one["charged_duration_s"] or 0 for one in paid)
    assert {k: v for k, v in region.cost.items() if k in ("USD", "EUR")} == {
        k: v for k, v in cost.items() if k in ("USD", "EUR")
    }
    assert sum(region.cost.values(), Decimal(0)) == sum(cost.values(), Decimal(0))
    assert region.without_cost == sum(one["cost"] is None for one in paid)
    states = Counter(state_of(found[key]) for key in ids) if "B" in name else {}
    assert region.states == {state: n for state, n in states.items() if state}


def _compare_rows(rows: list[dict[str, Any]], found: Mapping[str, dict[str, Any]]) -> None:
    times = [at for row in rows if (at := row["submit_time"] or row["sent_at"]) is not None]
    assert times == sorted(times)
    for row in rows:
        one = found[row["voice_id"]]
        if has_row(one):
            assert row["our_cost"] == paid_of_ours(one)["cost"]
        assert row["state"] == (state_of(one) or None)
        if one["listed"] is not None and one["listed_at"] is not None:
            assert row["submit_time"] == one["listed_at"]


def test_a_correction_decides_the_day_and_the_cost_of_our_call(tmp_path: Path) -> None:
    row = filled(
        [
            {"voice_id": "moved-in", "submit_time": END, "cost": Decimal(1), "currency": "USD"},
            {"voice_id": "moved-out", "submit_time": BEGIN, "cost": Decimal(1), "currency": "USD"},
        ]
    )
    pq.write_table(row, tmp_path / "cdr.parquet")
    kind = changes_of(GROUP_RECORD)
    old = row.to_pylist()
    changes = [
        {"voice_id": "moved-in", "new": old[0] | {"submit_time": BEGIN, "cost": Decimal(3)}},
        {"voice_id": "moved-out", "new": old[1] | {"submit_time": END}},
    ]
    schema = pa.schema([field.with_nullable(True) for field in kind.schema])
    changed = [one | {"publication": 2, "old": None} for one in changes]
    table = pa.Table.from_pylist(
        [{**one, "change_date": None, "submit_date": None} for one in changed], schema=schema
    )
    pq.write_table(table, tmp_path / "changes.parquet")
    sources = Sources(
        listed=[],
        files=[tmp_path / "cdr.parquet"],
        changes=[tmp_path / "changes.parquet"],
        states=write(tmp_path / "states.parquet", [], ours.SCHEMA),
        dropped=[],
        dialer=None,
        sent=None,
    )
    with compared(sources, DAYS, Room("400MB", tmp_path)) as lists:
        (group,) = lists.groups()
    assert (group.region, group.calls, group.cost, group.day) == ("B", 1, Decimal(3), "2026-11-01")


@given(st.lists(st.sampled_from(IDS) | st.text("0123456789", min_size=18, max_size=21), max_size=9))
def test_digits_say_the_same_in_sql(ids: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = connect("400MB", Path(folder))
        try:
            database.register("given", pa.table({"id": pa.array(ids, pa.string())}))
            told = database.execute(f"SELECT id, {stamp_sql('id')} FROM given").fetchall()
        finally:
            database.close()
    for voice_id, stamp in told:
        at = dated(voice_id)
        assert stamp == (None if at is None else at.astimezone(CLOCK).strftime("%y%m%d%H%M%S"))


@pytest.mark.parametrize("has_dialer", [True, False])
def test_every_region_that_differs_says_what_to_do(has_dialer: bool) -> None:
    names = meanings(has_dialer=has_dialer)
    equal = "VBD" if has_dialer else "VB"
    told = commands("2026-11-01", "2026-11-30", has_dialer=has_dialer, files=None, is_old=False)
    assert names.keys() - {equal} == told.keys()


def test_days_that_were_not_asked_for_are_not_counted() -> None:
    group = Group("VB", "delivered", "USD", "2026-12-01", 3, 1, None, 0, None, None)
    (one,) = by_day([group], {"2026-11-30": None}, 7)
    assert (one.listed, one.listed_ms, one.is_complete) == (0, None, False)


@pytest.mark.parametrize("has_dialer", [True, False])
def test_our_call_that_is_listed_on_the_next_day_is_not_missing_here(
    tmp_path: Path, has_dialer: bool
) -> None:
    """A rounded second at midnight, or a dead letter dated by its digits alone."""
    last = END - timedelta(seconds=1)
    nothing = {"charged_duration_s": 6, "cost": Decimal(1), "currency": "USD"}
    one = {"state": "delivered", "waits": False, "ours": nothing, "submit_time": last}
    one |= {"seen_at": END, "listed": None, "listed_at": None, "is_rated": True}
    one |= {"is_final": True, "sent": []}
    found = {
        "126113023595912345": one | {"nearby": True},
        "126113023595912346": one | {"nearby": False},
        "126113023595912347": one | {"nearby": True, "state": "dead", "submit_time": None},
    }
    sources = sources_of(tmp_path, found, has_dialer=has_dialer, by_time=False, parts=1)
    with compared(sources, DAYS, Room("400MB", tmp_path)) as lists:
        rows = [(name, table["voice_id"].to_pylist()) for name, table in lists.rows()]
    assert rows == [("BD" if has_dialer else "B", ["126113023595912346"])]


@pytest.mark.parametrize("by_time", [True, False])
def test_a_call_that_our_record_has_on_another_day_is_not_of_these(
    tmp_path: Path, by_time: bool
) -> None:
    """The dialer's clock is a second behind at midnight, and the next day is not listed."""
    paid = {"charged_duration_s": 6, "cost": Decimal(1), "currency": "USD"}
    one = {"state": "delivered", "waits": False, "ours": paid, "submit_time": END}
    one |= {"seen_at": END, "listed": None, "listed_at": None, "is_rated": True}
    one |= {"is_final": True, "nearby": False, "sent": [END - timedelta(seconds=1)]}
    found = {"next": one, "undated": one | {"submit_time": None}}
    sources = sources_of(tmp_path, found, has_dialer=True, by_time=by_time, parts=1)
    with compared(sources, DAYS, Room("400MB", tmp_path)) as lists:
        rows = [(name, table["voice_id"].to_pylist()) for name, table in lists.rows()]
        assert lists.placed == 1
    assert rows == [("BD", ["undated"])]


def test_ids_that_lost_their_last_digits_are_those_of_listed_calls(tmp_path: Path) -> None:
    cut, double, shortest, exact, stolen = (f"126111012000{n}4567" for n in range(1000, 1005))
    nothing = {"charged_duration_s": None, "cost": None, "currency": None}
    never = {"state": "", "waits": False, "ours": nothing, "submit_time": None, "seen_at": BEGIN}
    listed = {**never, "listed": nothing, "listed_at": BEGIN, "nearby": False}
    listed |= {"is_rated": True, "is_final": True}
    placed = {**never, "listed": None, "nearby": False, "sent": []}
    found = {one: {**listed, "sent": None} for one in (cut, double, shortest, stolen)}
    found[exact] = {**listed, "sent": []}
    # A spreadsheet's number; what C prints of a double; what JavaScript and JSON do.
    rounded = [f"{cut[:15]}00000", f"{float(double):.0f}", f"{str(float(shortest))[:18]:0<21}"]
    rounded[2] = rounded[2].replace(".", "")
    assert all(len(one) == 20 for one in (*rounded, stolen))
    assert len({*rounded, cut, double, shortest}) == 6
    found |= dict.fromkeys([*rounded, "12611101200099994567"], placed)
    sources = sources_of(tmp_path, found, has_dialer=True, by_time=False, parts=1)
    with compared(sources, DAYS, Room("400MB", tmp_path)) as lists:
        assert lists.rounded == 3
        assert sum(one.calls for one in lists.groups() if one.region == "D") == 4
