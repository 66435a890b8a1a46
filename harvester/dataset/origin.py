"""What the parts of a data set say that they belong to, and the time zone of those that do not say.

Parts that an older version wrote have no such words in their footers.  Whose days their folders
name shows in their rows: each row's submit_time lies within its folder's day in that zone, and in
few others.  The footers' statistics have the first and the last submit_time, so no row is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import replace

from harvester.config import Config
from harvester.dataset.files import list_parts
from harvester.dataset.footer import FOOTER_SCHEMA_VERSION
from harvester.dataset.kind import RecordKind
from harvester.errors import ConfigError
from harvester.identity import Identity, same_dates, settled

_PREFIX = "cdr."
_VENDORS = "Asia/Shanghai"
_SHOWN = 3
_KNOWN_YEARS = (1975, 2200)
"""Of folders that tell anything: before, zones had other offsets than they have now."""

Span = tuple[date, datetime, datetime]
"""A folder's date, and the first and last submit_time (UTC) of rows in it."""


def footer_of(identity: Identity) -> dict[str, str]:
    """The keys of a Parquet footer that say it."""
    return {_PREFIX + name: value for name, value in identity.encoded().items()}


def identity_in(metadata: Mapping[bytes, bytes] | None) -> Identity:
    """What a Parquet footer says.  Raises ValueError if it is none of ours."""
    fields = {
        key.decode().removeprefix(_PREFIX): value.decode()
        for key, value in (metadata or {}).items()
        if key.startswith(_PREFIX.encode())
    }
    return Identity.decoded(fields)


def identities(cdr: Path, names: Iterable[str]) -> dict[str, Identity]:
    """What each part says of itself; one that can't be read is left out."""
    found = {}
    for name in names:
        try:
            found[name] = identity_in(pq.read_metadata(cdr / name).metadata)
        except (OSError, ValueError, pa.ArrowException):
            continue
    return found


def own_days(cdr: Path, config: Config, kind: RecordKind) -> Config:
    """The settings with the data set's own time zone and account, for who only reads.

    Raises ConfigError if others were set; StoreError if the folder can't be read.
    """
    names = _newest_first(list_parts(cdr, kind).parts, kind)
    for name in names:
        own = identities(cdr, [name]).get(name, Identity())
        if own.timezone is not None:
            return settled(config, replace(own, addresses=()))
    zone = zone_of_folders(cdr, names, config, kind, is_kept=False)
    return settled(config, Identity(timezone=zone))


def own_version(cdr: Path, names: Iterable[str], versions: Mapping[int, RecordKind]) -> RecordKind:
    """The version that these parts of one output are written in, by the newest of them.

    A part that can't be read, or does not say it, is passed over; without any it is the newest.
    """
    newest = versions[max(versions)]
    for name in _newest_first(names, newest):
        try:
            footer = pq.read_metadata(cdr / name).metadata or {}
        except (OSError, pa.ArrowException):
            continue
        said = footer.get(FOOTER_SCHEMA_VERSION.encode(), b"")
        if said.isdigit():
            return versions.get(int(said), newest)
    return newest


def refuse_other_settings(cdr: Path, config: Config, kind: RecordKind) -> None:
    """Raise ConfigError if another time zone or account was set than the data set's own."""
    if config.is_set("output.partition_timezone") or config.is_set("vendor.account"):
        own_days(cdr, config, kind)


def zone_of_folders(
    cdr: Path, names: Sequence[str], config: Config, kind: RecordKind, *, is_kept: bool
) -> str | None:
    """The time zone whose days the folders of these parts are; None if nothing tells.

    The one that was set, or else the default, wherever the rows do not contradict it.  `is_kept`:
    whoever asks will hold the output to it, so several that fit are not enough.  Raises ConfigError
    naming some that fit.
    """
    spans = [span for name in names if (span := _span(cdr, name, kind)) is not None]
    given = config.output.partition_timezone
    if not spans:
        return None
    fits = _judge(spans)
    if fits(given):
        return given
    is_set = config.is_set("output.partition_timezone")
    found = [zone for zone in (_VENDORS, *sorted(available_timezones())) if fits(zone)]
    if not found:
        return None  # damaged, or moved: whoever reads the rows says which
    certain = found[0] == _VENDORS or all(same_dates(found[0], zone) for zone in found[1:])
    if is_set or (is_kept and not certain):
        raise ConfigError(_unlike(config, found), code="state.belongs.timezone")
    return found[0]


def _unlike(config: Config, found: list[str]) -> str:
    more = "" if len(found) <= _SHOWN else f" and {len(found) - _SHOWN} more"
    return (
        f"the folders of {config.output.dir} do not have the days of "
        f"{config.output.partition_timezone}; by the rows in them they can be those of "
        f"{', '.join(found[:_SHOWN])}{more}. Set output.partition_timezone to the zone that they "
        "were made with."
    )


def _judge(spans: Sequence[Span]) -> Callable[[str], bool]:
    def fits(zone: str) -> bool:
        try:
            info = ZoneInfo(zone)
        except (ValueError, OSError):
            return False
        return all(
            first.astimezone(info).date() == day == last.astimezone(info).date()
            for day, first, last in spans
        )

    return fits


def _span(cdr: Path, name: str, kind: RecordKind) -> Span | None:
    found = kind.part_name.fullmatch(name)
    column = kind.schema.get_field_index(kind.partition.column)
    try:
        day = date.fromisoformat(found["date"] if found else "")
        metadata = pq.read_metadata(cdr / name)
        statistics = [
            metadata.row_group(group).column(column).statistics
            for group in range(metadata.num_row_groups)
        ]
    except (OSError, ValueError, IndexError, pa.ArrowException):
        return None
    told = [one for one in statistics if one is not None and one.has_min_max]
    if not told or not _KNOWN_YEARS[0] <= day.year <= _KNOWN_YEARS[1]:
        return None
    return day, min(one.min for one in told), max(one.max for one in told)


def _newest_first(names: Iterable[str], kind: RecordKind) -> list[str]:
    return sorted(names, key=lambda name: _publication(name, kind), reverse=True)


def numbers_of(name: str, kind: RecordKind) -> tuple[int, int | None]:
    """(publication, rewrite) in the name of a part, relative to cdr/; 0 if it is none of ours."""
    found = kind.part_name.fullmatch(name)
    if found is None:
        return 0, None
    return int(found["publication"]), None if found["rewrite"] is None else int(found["rewrite"])


def _publication(name: str, kind: RecordKind) -> int:
    publication, rewrite = numbers_of(name, kind)
    return max(publication, rewrite or 0)
