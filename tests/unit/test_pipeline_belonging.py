"""The settings of an output: its own in place of those that were not set."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from harvester.config import Config
from harvester.dataset.files import list_parts
from harvester.dataset.group_record import GROUP_RECORD
from harvester.errors import ConfigError
from harvester.identity import Identity
from harvester.pipeline.run.belonging import own_settings
from harvester.state.belongs import keep_identity
from harvester.state.database import open_database
from harvester.state.restore import take_over
from harvester.state.values import PartRecord
from harvester.storage.output import Output, make_folders
from tests.support.datasets import filled, write
from tests.support.fakes import ACCOUNT, config_of

MINE, OTHER = "https://vendor.example/", "https://other.example/"


@pytest.fixture
def output(tmp_path: Path) -> Output:
    made = Output(tmp_path / "out")
    make_folders(made, 0o750)
    return made


@pytest.fixture
def db(output: Output) -> Iterator[sqlite3.Connection]:
    """A state that does not say which zone's days the folders are."""
    with closing(open_database(output.database, ACCOUNT)) as opened:
        yield opened


def publish(db: sqlite3.Connection, output: Output, zone: str, times: Sequence[datetime]) -> None:
    """A part for each day, in the folders of `zone`."""
    write(output.root, [filled([{"submit_time": one} for one in times])], zone)
    parts = list_parts(output.cdr, GROUP_RECORD).parts
    take_over(db, [PartRecord(path, 1, 1, size, "") for path, size in parts.items()], 0)


def whole_day(zone: str) -> list[datetime]:
    """The first and the last minute of a day."""
    own = ZoneInfo(zone)
    return [
        datetime(2026, 11, 2, hour, minute, tzinfo=own).astimezone(UTC)
        for hour, minute in ((0, 0), (23, 59))
    ]


def zone_of(config: Config) -> str:
    return config.output.partition_timezone


def test_days_that_are_those_of_several_zones_bind_an_output_to_none_of_them(
    db: sqlite3.Connection, output: Output
) -> None:
    """Who only reads takes one in which they are right; in others the summer's days differ."""
    publish(db, output, "Europe/Berlin", whole_day("Europe/Berlin"))
    config = config_of(output.root)
    with pytest.raises(ConfigError, match=r"Set output\.partition_timezone") as told:
        own_settings(db, output, config, is_kept=True)
    assert told.value.code == "state.belongs.timezone"
    taken = ZoneInfo(zone_of(own_settings(db, output, config)))
    assert {one.astimezone(taken).day for one in whole_day("Europe/Berlin")} == {2}


@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai"])
def test_days_of_the_default_and_of_the_vendor_are_taken_for_what_they_are(
    db: sqlite3.Connection, output: Output, zone: str, is_kept: bool
) -> None:
    publish(db, output, zone, whole_day(zone))
    assert zone_of(own_settings(db, output, config_of(output.root), is_kept=is_kept)) == zone


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_zone_that_was_set_holds_where_the_days_are_its_own_and_is_refused_elsewhere(
    db: sqlite3.Connection, output: Output, is_kept: bool
) -> None:
    publish(db, output, "Europe/Berlin", whole_day("Europe/Berlin"))
    right = config_of(output.root, output__partition_timezone="Europe/Berlin")
    assert zone_of(own_settings(db, output, right, is_kept=is_kept)) == "Europe/Berlin"
    wrong = config_of(output.root, output__partition_timezone="Asia/Shanghai")
    with pytest.raises(ConfigError, match="do not have the days of Asia/Shanghai"):
        own_settings(db, output, wrong, is_kept=is_kept)


def test_only_the_last_row_of_a_folder_may_tell_that_a_zone_is_not_its_own(
    db: sqlite3.Connection, output: Output
) -> None:
    publish(db, output, "UTC", whole_day("UTC"))
    config = config_of(output.root, output__partition_timezone="Asia/Shanghai")
    with pytest.raises(ConfigError, match="do not have the days of Asia/Shanghai"):
        own_settings(db, output, config)


def test_what_the_state_says_is_not_looked_for_in_the_folders(
    db: sqlite3.Connection, output: Output
) -> None:
    publish(db, output, "UTC", whole_day("UTC"))
    keep_identity(db, Identity(account=ACCOUNT, timezone="Asia/Tokyo"))
    assert zone_of(own_settings(db, output, config_of(output.root))) == "Asia/Tokyo"


def test_an_output_without_a_part_has_the_days_that_are_set(
    db: sqlite3.Connection, output: Output
) -> None:
    """What was kept of it before binds nobody yet."""
    keep_identity(db, Identity(account=ACCOUNT, timezone="Asia/Tokyo", addresses=(MINE,)))
    assert own_settings(db, output, config_of(output.root)) == config_of(output.root)


@pytest.mark.parametrize(
    ("rebind", "asked"), [(None, OTHER), (True, OTHER), (False, None)], ids=str
)
def test_another_address_is_refused_by_who_sends_unless_it_is_meant(
    db: sqlite3.Connection, output: Output, rebind: bool | None, asked: str | None
) -> None:
    publish(db, output, "UTC", whole_day("UTC"))
    keep_identity(db, Identity(account=ACCOUNT, timezone="UTC", addresses=(MINE,)))
    config = config_of(output.root)
    other = replace(config, vendor=replace(config.vendor, base_url=OTHER))
    if asked is None:
        with pytest.raises(ConfigError) as told:
            own_settings(db, output, other, rebind=rebind)
        assert told.value.code == "state.belongs.address"
    else:
        assert own_settings(db, output, other, rebind=rebind).vendor.base_url == asked
    if rebind is not None:
        assert own_settings(db, output, config, rebind=rebind).vendor.base_url == MINE
