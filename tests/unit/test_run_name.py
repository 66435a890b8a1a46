"""A run's name tells when it began, in UTC, whatever the clock of the machine shows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from harvester.run_name import began_at, is_run_id, stamp_at

BEGAN = datetime(2026, 9, 2, 1, 2, 3, tzinfo=UTC).timestamp()


@pytest.fixture(params=["UTC", "Pacific/Auckland", "America/New_York"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("zone")
def test_a_name_begins_with_the_second_of_utc_in_which_its_run_began() -> None:
    assert stamp_at(BEGAN) == stamp_at(BEGAN + 0.999) == "20260902T010203Z"
    assert began_at("20260902T010203Z-0a1b2c") == BEGAN
    assert began_at("20260902T010203Z") == BEGAN


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("20260902T010203Z-0a1b2c", True),
        ("20260902T010203Z", False),
        ("20260902T010203Z-0A1B2C", False),
        ("20260902T010203Z-0a1b2", False),
        ("20260902T010203Z-0a1b2cd", False),
        ("20260902T010203-0a1b2c", False),
        ("x20260902T010203Z-0a1b2c", False),
        ("20260902T010203Z-0a1b2c\n", False),
        ("erase-20260902T010203Z", False),
    ],
)
def test_a_run_is_named_by_its_beginning_and_six_digits(text: str, *, is_one: bool) -> None:
    assert is_run_id(text) is is_one


@pytest.mark.parametrize("name", ["", "notes", "20261302T010203Z-0a1b2c", "20260902-0a1b2c"])
def test_what_is_no_instant_is_none(name: str) -> None:
    with pytest.raises(ValueError, match="time data"):
        began_at(name)
