"""Which id the vendor must have a record for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harvester.pipeline.run.delivered_id import newest_delivered
from harvester.state import unresolved
from harvester.state.values import DeadLetter
from tests.support.fakes import House
from tests.support.nights import nights


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = nights(tmp_path / "out")
    yield made
    made.close()


def dies(house: House, voice_id: str) -> None:
    letter = DeadLetter(voice_id, "parameter_exception", "", 1, 0, 0, "run", published=True)
    unresolved.put_dead_letters(house.db, [letter])


def test_it_is_one_of_the_newest_publication_and_no_dead_letter(house: House) -> None:
    first = newest_delivered(house.db, house.output)
    assert first is not None
    dies(house, first)
    second = newest_delivered(house.db, house.output)
    assert second not in {None, first}
    assert second in house.published()


def test_without_data_there_is_none(tmp_path: Path) -> None:
    house = House(tmp_path / "out")
    assert newest_delivered(house.db, house.output) is None
    house.close()
