"""What of later answers has changed: by typed values, against the newest that is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester.answers.answer import Answer
from harvester.dataset.changes import changes_of, compared
from harvester.dataset.group_record import GROUP_RECORD, GROUP_RECORD_1
from harvester.dataset.kind import RecordKind
from harvester.dataset.normalize import normalize
from harvester.dataset.packing import Piece, pieces_of
from harvester.dataset.parts import stage
from harvester.pipeline.publish.compare import Comparison
from harvester.pipeline.publish.known_rows import KnownRows
from harvester.state.values import Compared, PartRecord
from harvester.storage.output import Output

RECORD: Mapping[str, Any] = {
    "callee": "4915112345678",
    "submitTime": "2026-11-01T10:00:00.000+00:00",
    "answerTime": "2026-11-01T10:00:05.000+00:00",
    "hangupTime": "2026-11-01T10:01:05.000+00:00",
    "callDuration": "60",
    "chargedDuration": "60",
    "cost": "1.50",
    "rate": "1.5",
    "currency": "USD",
}
LATER_MS = 1_800_000_000_000


def answer(
    voice_id: str, at: int = 0, run: str = "first", *, is_final: bool = True, **fields: Any
) -> Answer:
    said = {"voiceId": voice_id, **RECORD, **fields}
    left = {name: value for name, value in said.items() if value is not None}
    return Answer(
        voice_id,
        json.dumps({"status": "0", "data": left}).encode(),
        LATER_MS + at,
        run,
        is_final,
        True,
    )


def rows_of(*answers: Answer, kind: RecordKind = GROUP_RECORD) -> pa.Table:
    return normalize(list(answers), "main", kind).table


class House:
    """An output of which parts are made as a publication makes them."""

    def __init__(self, root: Path, kind: RecordKind = GROUP_RECORD) -> None:
        self._kind = kind
        self.output = Output(root / "out")
        self.parts: list[PartRecord] = []
        self.changes: list[PartRecord] = []
        self._staging = root / "staging"
        self._staging.mkdir()

    def deliver(self, *answers: Answer) -> None:
        pieces = pieces_of([rows_of(*answers, kind=self._kind)], "UTC", self._kind)
        self._put(list(pieces), self.parts, is_change=False)

    def refetch(self, *answers: Answer, **twice: int) -> tuple[list[dict[str, Any]], Comparison]:
        """The rows of changes/ that a publication of these answers writes."""
        number = len(self.parts) + len(self.changes) + 1
        known = KnownRows(self.parts, self.changes, self.output.place_of, self._kind)
        comparison = Comparison(known, self._kind, "UTC", number)
        pieces = pieces_of([rows_of(*answers, kind=self._kind)], "UTC", self._kind)
        found = self._put(list(comparison.changes(pieces, twice)), self.changes, is_change=True)
        return found, comparison

    def _put(
        self, pieces: list[Piece], known: list[PartRecord], *, is_change: bool
    ) -> list[dict[str, Any]]:
        number = len(self.parts) + len(self.changes) + 1
        kind = changes_of(self._kind) if is_change else self._kind
        found: list[dict[str, Any]] = []
        for part in stage(
            pieces, kind, staging=self._staging, state_id="s", publication=number, mode=0o600
        ):
            place = self.output.place_of(part.path)
            place.parent.mkdir(parents=True, exist_ok=True)
            part.staged.rename(place)
            known.append(PartRecord(part.path, number, part.rows, part.bytes, part.sha256))
            found += pq.ParquetFile(place).read().to_pylist()
        return found


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_the_same_in_other_words_is_the_same(house: House) -> None:
    house.deliver(answer("a"), answer("b"))
    found, comparison = house.refetch(
        answer("a", 5, "second", cost="1.500", chargedDuration=60), answer("b", 6, "second")
    )
    assert found == []
    assert comparison.counts == {"second": Compared(same=2)}


def test_a_call_that_has_hung_up_is_not_going_on_again_by_a_wrong_clock(house: House) -> None:
    house.deliver(answer("a"), answer("b"), answer("c"))
    found, comparison = house.refetch(
        answer("a", 5, "second", is_final=False),
        answer("b", 5, "second", is_final=False, cost="2.25"),
        # Of this one the vendor says something else itself.
        answer("c", 5, "second", is_final=False, hangupTime=None),
    )
    by_id = {row["voice_id"]: row for row in found}
    assert by_id.keys() == {"b", "c"}
    assert (by_id["b"]["changed"], by_id["b"]["new"]["is_final"]) == (["cost"], True)
    assert by_id["c"]["new"]["is_final"] is False
    assert comparison.counts["second"].alarmed == {"is_final": 1}


@pytest.mark.parametrize(
    ("field", "value", "column"),
    [
        ("cost", "2.25", "cost"),
        ("cost", None, "cost"),
        ("rate", "9", "rate"),
        ("chargedDuration", "61", "charged_duration_s"),
        ("hangupTime", "2026-11-01T10:02:00.000+00:00", "hangup_time"),
        ("terminationReason", "x", "termination_reason"),
    ],
)
def test_a_change_is_kept_whole_and_says_which_columns(
    house: House, field: str, value: object, column: str
) -> None:
    house.deliver(answer("a"), answer("b"))
    fields: dict[str, Any] = {field: value}
    (row,), comparison = house.refetch(answer("a", 7, "second", **fields), answer("b"))
    assert column in row["changed"]
    assert (row["voice_id"], row["run_id"], row["reason"]) == ("a", "second", "vendor")
    assert row["old"] == rows_of(answer("a")).to_pylist()[0]
    assert row["new"] == rows_of(answer("a", 7, "second", **fields)).to_pylist()[0]
    assert str(row["submit_date"]) == "2026-11-01"
    assert row["changed_at"] == row["new"]["fetched_at"]
    assert comparison.counts["second"].changed == 1


def test_a_new_field_of_the_vendor_is_no_change(house: House) -> None:
    house.deliver(answer("a"), answer("b"))
    found, comparison = house.refetch(
        answer("a", 7, "second", novelty="x"), answer("b", 8, "second", novelty="x", cost="3")
    )
    assert [row["voice_id"] for row in found] == ["b"]
    assert (comparison.counts["second"].extra_only, comparison.counts["second"].changed) == (1, 1)
    assert {"fetched_at", "fetched_by", "run_id", "extra", "unparsed"}.isdisjoint(
        compared(GROUP_RECORD)
    )


def test_money_is_added_up_by_currency(house: House) -> None:
    house.deliver(answer("a"), answer("b"), answer("c", cost="0.10000001"), answer("d"))
    _, comparison = house.refetch(
        answer("a", 1, "second", cost="2.00"),
        answer("b", 1, "second", cost="1.25"),
        answer("c", 1, "second", cost="0.10000002"),
        answer("d", 1, "second", currency="EUR"),
    )
    found = comparison.counts["second"]
    cost = {currency: Decimal(amount) for currency, amount in found.cost.items()}
    assert cost == {"USD": Decimal("-1.24999999"), "EUR": Decimal("1.5")}
    moved = {currency: Decimal(amount) for currency, amount in found.moved.items()}
    assert moved == {"USD": Decimal("2.25000001"), "EUR": Decimal("1.5")}


def test_the_newest_change_is_what_is_known(house: House) -> None:
    house.deliver(answer("a"), answer("b"))
    house.refetch(answer("a", 1, "second", cost="2"))
    house.refetch(answer("a", 2, "third", cost="3"))
    (row,), comparison = house.refetch(answer("a", 3, "fourth", cost="1.50"))
    assert (row["old"]["cost"], row["new"]["cost"]) == (3, Decimal("1.5"))
    assert row["old"]["run_id"] == "third"
    assert house.refetch(answer("a", 4, "fifth"), answer("b"))[0] == []
    assert comparison.counts["fourth"].cost == {"USD": "-1.50000000"}


def test_a_call_whose_date_changes_stays_where_it_is_and_is_an_alarm(house: House) -> None:
    house.deliver(*(answer(one, submitTime=f"2026-11-0{n}T10:00:00Z") for n, one in DAYS))
    (row,), comparison = house.refetch(
        answer("a", 1, "second", submitTime="2026-11-03T10:00:00Z"),
        answer("c", 1, "second", submitTime="2026-11-03T10:00:00Z"),
    )
    assert str(row["submit_date"]) == "2026-11-01"
    assert comparison.counts["second"].alarmed == {"submit_time": 1}
    # And once more: its row lies where it lay.
    (row,), _ = house.refetch(answer("a", 2, "third", submitTime="2026-11-02T10:00:00Z"))
    assert str(row["submit_date"]) == "2026-11-01"
    assert row["old"]["submit_time"].day == 3


DAYS = [(1, "a"), (2, "b"), (3, "c")]


def test_another_callee_is_an_alarm_that_names_ids_and_no_number(house: House) -> None:
    house.deliver(answer("a"), answer("b"))
    _, comparison = house.refetch(answer("a", 1, "second", callee="4915100000000"), answer("b"))
    assert comparison.counts["second"].alarms == {"callee": ("a",)}


def test_a_known_cost_that_is_gone_and_a_call_that_goes_on_again_are_alarms(house: House) -> None:
    house.deliver(answer("a"), answer("b"), answer("c"), answer("d"))
    found, comparison = house.refetch(
        answer("a", 1, "second", cost=None),
        answer("b", 1, "second", cost="much"),
        answer("c", 1, "second", is_final=False, hangupTime=None),
        answer("d", 1, "second", cost="7"),
    )
    assert len(found) == 4
    assert comparison.counts["second"].alarms == {"cost": ("a", "b"), "is_final": ("c",)}


def test_a_call_that_ended_since_is_final(house: House) -> None:
    house.deliver(answer("a", is_final=False, hangupTime=None), answer("b", is_final=False))
    found, _ = house.refetch(answer("a", 1, "second"), answer("b", 1, "second", is_final=False))
    assert [(row["voice_id"], row["reason"]) for row in found] == [("a", "final")]


def test_a_row_that_is_gone_is_counted(house: House) -> None:
    house.deliver(answer("b"))
    found, comparison = house.refetch(answer("a", 1, "second"), answer("b", 1, "second"))
    assert found == []
    assert comparison.counts == {"second": Compared(same=1, missing=1)}


def test_of_two_answers_in_one_range_the_last_counts(house: House) -> None:
    house.deliver(answer("a"), answer("b"))
    answers = (answer("a", 1, "second", cost="7"), answer("a", 2, "third", cost="8"))
    (row,), comparison = house.refetch(*answers, a=LATER_MS + 2)
    assert (row["old"]["cost"], row["new"]["cost"]) == (Decimal("1.5"), 8)
    assert comparison.counts["second"] == Compared(same=1)
    assert comparison.counts["third"].changed == 1


def test_of_an_alarm_all_rows_are_counted_and_five_are_named(house: House) -> None:
    names = [f"{at}" for at in range(7)]
    days = {name: f"2026-11-0{1 + at % 2}T10:00:00Z" for at, name in enumerate(names)}
    house.deliver(*(answer(name, submitTime=day) for name, day in days.items()))
    changed = (answer(name, 1, "second", submitTime=days[name], callee="49") for name in names)
    _, comparison = house.refetch(*changed)
    found = comparison.counts["second"]
    # Date after date.
    assert found.alarms == {"callee": ("0", "2", "4", "6", "1")}
    assert found.alarmed == {"callee": 7}


def test_alarms_are_those_of_the_run_that_fetched_the_row(house: House) -> None:
    house.deliver(answer("a"), answer("b"), answer("c"))
    _, comparison = house.refetch(
        answer("a", 1, "second", callee="49"), answer("b", 1, "third", callee="49", cost=None)
    )
    assert comparison.counts["second"].alarms == {"callee": ("a",)}
    assert comparison.counts["third"].alarms == {"cost": ("b",), "callee": ("b",)}
    assert comparison.counts["third"].alarmed == {"cost": 1, "callee": 1}


def test_squares_of_differences_are_added_up_for_what_a_sample_means(house: House) -> None:
    house.deliver(answer("a"), answer("b"), answer("c"))
    _, comparison = house.refetch(
        answer("a", 1, "second", cost="2.00"),
        answer("b", 1, "second", cost="1.20"),
        answer("c", 1, "second", rate="9"),
    )
    squares = comparison.counts["second"].squares
    # 0.5 * 0.5 + 0.3 * 0.3
    assert {name: Decimal(one) for name, one in squares.items()} == {"USD": Decimal("0.34")}


def test_a_call_whose_price_comes_later_is_final_then_and_counted(house: House) -> None:
    house.deliver(
        unrated(answer("a", cost=None)), unrated(answer("b", cost=None)), answer("c"), answer("d")
    )
    found, comparison = house.refetch(
        answer("a", 1, "second"),
        unrated(answer("b", 1, "second", cost=None, rate="9")),
        unrated(answer("c", 1, "third", cost=None)),
        answer("d", 1, "third", rate="9"),
    )
    assert {row["voice_id"]: row["reason"] for row in found} == {
        "a": "final",
        "b": "vendor",
        "c": "vendor",
        "d": "vendor",
    }
    assert comparison.counts["second"].unrated == -1
    assert comparison.counts["third"].unrated == 1
    assert comparison.counts["second"].cost == {"USD": "1.50000000"}


def unrated(one: Answer) -> Answer:
    """The same answer, of a call that waits for its price."""
    return Answer(one.voice_id, one.body, one.fetched_at_ms, one.run_id, one.is_final, False)


def test_a_call_without_a_date_lies_in_a_folder_that_has_none(house: House) -> None:
    house.deliver(answer("a", submitTime=None), answer("b"))
    (row,), comparison = house.refetch(
        answer("a", 1, "second", submitTime=None, cost="2"), answer("b", 1, "second")
    )
    assert (row["voice_id"], row["submit_date"]) == ("a", None)
    assert comparison.counts["second"].alarmed == {}


def test_each_run_is_told_what_became_of_its_own_answers(house: House) -> None:
    house.deliver(*(answer(name) for name in "abcdef"))
    _, comparison = house.refetch(
        answer("a", 1, "second"),
        answer("b", 1, "third"),
        answer("c", 1, "third"),
        answer("d", 1, "third", novelty=1),
        answer("e", 1, "second", cost="2"),
        answer("f", 1, "second", cost="3"),
        answer("x", 1, "second"),
        answer("y", 1, "third", submitTime="2026-11-02T10:00:00Z"),
        answer("z", 1, "third"),
    )
    second, third = comparison.counts["second"], comparison.counts["third"]
    assert (second.same, second.changed, second.extra_only, second.missing) == (1, 2, 0, 1)
    assert (third.same, third.changed, third.extra_only, third.missing) == (2, 0, 1, 2)


def test_only_ids_with_two_answers_are_judged_by_when_the_last_came(house: House) -> None:
    house.deliver(answer("a"), answer("b"))
    found, comparison = house.refetch(
        answer("a", 1, "second", cost="7"),
        answer("a", 2, "second", cost="1.5"),
        answer("b", 1, "second", cost="8"),
        a=LATER_MS + 2,
    )
    assert [row["voice_id"] for row in found] == ["b"]
    assert (comparison.counts["second"].same, comparison.counts["second"].changed) == (2, 1)


def test_rows_of_the_oldest_version_are_compared_as_well(tmp_path: Path) -> None:
    house = House(tmp_path, GROUP_RECORD_1)
    house.deliver(answer("a", is_final=False, hangupTime=None), answer("b"))
    found, comparison = house.refetch(answer("a", 1, "second"), answer("b", 1, "second", cost="2"))
    # Whether a call has its price is no column there: it is final once it is over.
    assert {row["voice_id"]: row["reason"] for row in found} == {"a": "final", "b": "vendor"}
    assert comparison.counts["second"].unrated == 0
