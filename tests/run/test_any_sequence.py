"""After any sequence of commands, and of deaths in the middle of them, every sum balances."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from harvester.errors import UsageError
from harvester.operations.compact import Order as CompactOrder
from harvester.operations.compact import compact
from harvester.operations.drop import Order as DropOrder
from harvester.operations.drop import drop
from harvester.operations.erase import Order as EraseOrder
from harvester.operations.erase import erase
from harvester.operations.rebuild import rebuild
from harvester.state.database import open_database
from harvester.storage import dropped
from harvester.storage.disk import Disk, RealDisk
from tests.support.changes import change, current, rows_of
from tests.support.cut_disk import CutDisk, Gone
from tests.support.events import SignallingEvents
from tests.support.fakes import ACCOUNT, House
from tests.support.nights import DAYS, damage, night, nights

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
FIRST = date(2026, 7, 1)
STEPS = 9


@dataclass(slots=True)
class Books:
    """What the output must hold, kept by other means."""

    house: House
    dice: random.Random
    nights: int = 0
    now: dict[str, Decimal] = field(default_factory=dict)
    """Call -> its cost now; those that were dropped are in it no more."""
    delivered: Decimal = Decimal(0)
    """All that was ever delivered, as it was then."""
    erased: set[str] = field(default_factory=set)
    said: list[str] = field(default_factory=list)

    def run(self) -> None:
        self._open()
        days = [str(FIRST + timedelta(self.dice.randrange(4))) for _ in range(2)]
        before = rows_of(self.house)
        many = tuple(sorted(set(days)))
        night(self.house, 10 + self.nights, rows=3, days=many, more=callee_of)
        self.nights += 1
        for voice_id in rows_of(self.house).keys() - before.keys():
            self._deliver(voice_id)
        self.house.close()

    def refetch(self) -> None:
        self._open()
        known = sorted(self.now)
        some = self.dice.sample(known, min(len(known), 4))
        costs = {one: f"{self.dice.randrange(10**6)}e-6" for one in some}
        if costs:
            change(self.house, costs, f"202610{self.dice.randrange(10, 30)}T000000Z-00000f")
            self.now |= {one: Decimal(cost) for one, cost in costs.items()}
        self.house.close()

    def compact(self) -> None:
        order = CompactOrder(min_files=self.dice.choice([2, 3]), older_than_s=0, rows_at_once=10)
        self._mortal(lambda disk: compact(self.house.config, order, SignallingEvents(), disk=disk))

    def drop(self) -> None:
        order = DropOrder(before=FIRST + timedelta(self.dice.randrange(3)), is_meant=True)
        # July goes by Shanghai's days, and noon in UTC is the same day there.
        self._mortal(lambda disk: drop(self.house.config, order, SignallingEvents(), disk=disk))
        left = {one for file in dropped.files(self.house.output.dropped) for one in ids_in(file)}
        self.now = {one: cost for one, cost in self.now.items() if one not in left}

    def erase(self) -> None:
        known = sorted(self.now)
        if known:
            number = number_of(self.dice.choice(known))
            self.erased.add(number)
            order = EraseOrder(numbers=(number,), because="T-1")
            self._mortal(
                lambda disk: erase(self.house.config, order, SignallingEvents(), disk=disk)
            )

    def rebuild(self) -> None:
        shutil.rmtree(self.house.output.state)
        rebuild(self.house.config)

    def _mortal(self, work: Callable[[Disk], object]) -> None:
        """Do it, perhaps killed once or twice; then once more, to its end."""
        for _ in range(self.dice.choice([0, 1, 2])):
            with suppress(Gone):
                work(CutDisk(self.dice.randrange(1, 30), with_syncs=True))
        work(RealDisk())

    def _deliver(self, voice_id: str) -> None:
        self.now[voice_id] = rows_of(self.house)[voice_id]["cost"]
        self.delivered += self.now[voice_id]

    def _open(self) -> None:
        self.house.db = open_database(self.house.output.database, ACCOUNT)

    def check(self) -> None:
        """Everything that can be added up comes to the same."""
        assert damage(self.house) == [], self.said
        found = current(self.house)
        assert {name: row["cost"] for name, row in found.items()} == self.now, self.said
        assert not {row["callee"] for row in found.values()} & self.erased, self.said
        first = dict(rows_of(self.house))
        changes = self.house.output.changes.glob("*/*.parquet")
        by_age = sorted(
            (row for path in changes for row in rows_in(path)), key=lambda row: -row["publication"]
        )
        for row in by_age:
            assert not {row["old"]["callee"], row["new"]["callee"]} & self.erased, self.said
            first[row["voice_id"]] = row["old"]
        left = sum(
            amount
            for one in dropped.read(self.house.output.dropped)
            for run in one.runs.values()
            for amount in run.cost.values()
        )
        there = sum((row["cost"] for row in first.values()), Decimal(0))
        assert there + Decimal(left).scaleb(-8) == self.delivered, self.said


def number_of(voice_id: str) -> str:
    """The number that a call went to: its own."""
    return f"49{voice_id[-9:]}"


def callee_of(voice_id: str) -> str:
    return f'"callee":"{number_of(voice_id)}",'


def rows_in(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    found: list[dict[str, Any]] = pq.read_table(path, partitioning=None).to_pylist()
    return found


def ids_in(path: Path) -> list[str]:
    return [str(row["voice_id"]) for row in rows_in(path)]


@pytest.mark.parametrize("number", range(6))
def test_after_any_sequence_the_sums_balance(tmp_path: Path, number: int) -> None:
    print(f"SEED={SEED}")
    dice = random.Random(f"{SEED} {number}")
    house = nights(tmp_path / "out", count=1, rows=1, days=(str(FIRST),), more=callee_of)
    books = Books(house, dice)
    for voice_id in rows_of(house):
        books._deliver(voice_id)
    house.close()
    commands = [books.run, books.run, books.refetch, books.refetch, books.compact, books.drop]
    commands.append(books.erase)
    for _ in range(STEPS):
        command = dice.choice([*commands, books.rebuild] if dice.random() < 0.4 else commands)
        books.said.append(command.__name__)
        with suppress(UsageError):  # a rebuild of a state that is right
            command()
        books.check()


def test_an_erasure_of_what_came_after_a_compaction_is_no_damage(tmp_path: Path) -> None:
    with closing(nights(tmp_path / "out", count=2, rows=1, days=DAYS, more=callee_of)) as house:
        pass
    # The files that the compaction made leave at once; those that it was made of may stay.
    compact(house.config, CompactOrder(min_files=2, older_than_s=0), SignallingEvents())
    before = rows_of(house)
    house.db = open_database(house.output.database, ACCOUNT)
    night(house, 2, rows=1, days=DAYS, more=callee_of)
    house.close()
    for voice_id in rows_of(house).keys() - before.keys():
        order = EraseOrder(numbers=(number_of(voice_id),), because="T-1")
        erase(house.config, order, SignallingEvents())
    assert damage(house) == []
