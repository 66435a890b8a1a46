"""The settings of an output: its own in place of those that were not set."""

from __future__ import annotations

import sqlite3

from msgspec.structs import replace

from harvester.config import Config
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.origin import zone_of_folders
from harvester.identity import settled
from harvester.state import publications
from harvester.state.belongs import binding
from harvester.storage.output import Output


def own_settings(
    db: sqlite3.Connection,
    output: Output,
    config: Config,
    *,
    rebind: bool | None = None,
    is_kept: bool = False,
) -> Config:
    """What is in force for this output.

    `rebind` as in `identity.settled`; `is_kept`: the output will be held to it.  Raises ConfigError
    naming what was set and differs, or a time zone that its folders do not have.
    """
    own = binding(db)
    if own.timezone is None:
        names = list(publications.known_parts(db))
        zone = zone_of_folders(output.cdr, names, config, GROUP_RECORD, is_kept=is_kept)
        own = replace(own, timezone=zone)
    return settled(config, own, rebind=rebind)
