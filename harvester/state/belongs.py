"""What an output belongs to, as its state database has it."""

from __future__ import annotations

import sqlite3

from harvester.identity import Identity
from harvester.state.database import exists, get_meta, set_meta, transaction

_FIELDS = ("account", "partition_timezone", "base_urls")


def read_identity(db: sqlite3.Connection) -> Identity:
    """All of it that is known; an older version has written down the account alone."""
    found = {name: value for name in _FIELDS if (value := get_meta(db, name)) is not None}
    return Identity.decoded(found)


def binding(db: sqlite3.Connection) -> Identity:
    """That which holds: without an answer no address does, and without a part no time zone."""
    own = read_identity(db)
    has_parts = exists(db, "file")
    has_answers = has_parts or any(
        exists(db, table) for table in ("journal", "open_call", "dead_letter")
    )
    return Identity(
        account=own.account,
        timezone=own.timezone if has_parts else None,
        addresses=own.addresses if has_answers else (),
    )


def keep_identity(db: sqlite3.Connection, identity: Identity) -> None:
    """Write it down, if it isn't."""
    if identity == read_identity(db):
        return
    with transaction(db):
        for name, value in identity.encoded().items():
            set_meta(db, name, value)
