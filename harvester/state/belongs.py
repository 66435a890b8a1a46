"""What an output belongs to, as its state database has it, and the version of its data set."""

from __future__ import annotations

import sqlite3

from harvester.identity import Identity
from harvester.state.database import exists, get_meta, set_meta, transaction

_VERSION = "data_schema"
FIRST_VERSION = 1
"""Of outputs whose state database does not say it: they were begun before there was another."""
_HISTORY = ("file", "journal", "open_call", "dead_letter", "deferred", "run")
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
        exists(db, table) for table in ("journal", "open_call", "dead_letter", "listed_file")
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


def data_version(db: sqlite3.Connection, newest: int) -> int:
    """The version of its columns that this output is written in; `newest`: that of new ones."""
    said = get_meta(db, _VERSION)
    if said is not None:
        return int(said)
    return FIRST_VERSION if any(exists(db, table) for table in _HISTORY) else newest


def keep_data_version(db: sqlite3.Connection, version: int) -> None:
    """Write it down, if it isn't: from now on every part of the output is written so."""
    if get_meta(db, _VERSION) != str(version):
        with transaction(db):
            note_data_version(db, version)


def note_data_version(db: sqlite3.Connection, version: int) -> None:
    """Write it down, inside whatever transaction is open."""
    set_meta(db, _VERSION, str(version))
