"""Changes: records that differ from what was delivered first, whole: as they were and as they are.

Theory of operation.  A row of cdr/ is not written again when the vendor's record changes: the old
and the new row go side by side into changes/, by the steps and in the form of a part of cdr/.  So
the kind of these files is derived from the kind of the rows, and everything that writes, lists and
inspects parts works on them.  What a call is now is `new` of its newest change (of the highest
publication), and its row of cdr/ where it has none.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import pyarrow as pa
from msgspec import structs

from harvester.dataset.kind import (
    ACCOUNT,
    CURRENCY_PRESUMED,
    IS_FINAL,
    IS_RATED,
    RUN_ID,
    TEXT,
    TIME,
    Column,
    Encoding,
    Partition,
    Personal,
    RecordKind,
)
from harvester.storage.output import CHANGE_FOLDER

NOT_COMPARED = frozenset({"fetched_at", "fetched_by", "run_id", "extra", "unparsed"})
"""Columns that differ without the record having changed: how and when it was fetched, and what has
no column.  One new field of the vendor would make every record a changed one."""
_OF_THE_CALL = frozenset({"voice_id", "account"})
ALARMING = ("voice_id", "callee", "submit_time")
"""Columns that no later answer may have otherwise: they say whose call it is."""
ENDED_AT = "hangup_time"
"""The column that says when it was over; a call that was is not going on again."""
OLD, NEW = "old", "new"
BY_VENDOR = "vendor"
"""Reason: the vendor's record is another one now."""
FINAL = "final"
"""Reason: the row was published before the call was over or rated, and now it is."""


@lru_cache(maxsize=8)
def changes_of(kind: RecordKind) -> RecordKind:
    """The kind of the changes of records of `kind`, in the same version."""
    row = pa.struct(list(kind.schema))
    columns = (
        Column(
            name=kind.key,
            type=TEXT,
            personal=Personal.OURS,
            nullable=False,
            meaning="the call's id",
        ),
        Column(
            name=kind.partition.folder,
            type=pa.date32(),
            meaning="the date of the folder of cdr/ that its row lies in; null where that has none",
        ),
        Column(
            name="changed_at",
            type=TIME,
            nullable=False,
            encoding=Encoding.DELTA,
            meaning="when the answer came that shows the change, on the vendor's clock",
        ),
        Column(
            name="publication",
            type=pa.int64(),
            nullable=False,
            meaning="the publication that brought it: a later change has a higher one",
        ),
        RUN_ID,
        Column(
            name="reason",
            type=TEXT,
            nullable=False,
            encoding=Encoding.DICTIONARY,
            personal=Personal.OURS,
            meaning='"vendor": the vendor\'s record is another one now; "final": the row was '
            "published before the call was over or rated",
        ),
        Column(
            name="changed",
            type=pa.list_(TEXT),
            nullable=False,
            personal=Personal.OURS,
            meaning="the columns that differ, in their order",
        ),
        Column(name=OLD, type=row, nullable=False, meaning="the row as it was"),
        Column(name=NEW, type=row, nullable=False, meaning="the row as it is"),
    )
    return RecordKind(
        name=f"{kind.name} changes",
        version=kind.version,
        key=kind.key,
        columns=columns,
        partition=Partition(column="changed_at", folder=CHANGE_FOLDER),
        usage=kind.usage,
    )


@lru_cache(maxsize=8)
def flat_changes_of(kind: RecordKind) -> RecordKind:
    """The same with a column for each of the old and the new row: `old_cost`, `new_cost`.

    For tables that know no rows within rows; `changed` is text there, its names joined by commas.
    """
    of = changes_of(kind)
    ours = [one for one in of.columns if one.name not in {OLD, NEW}]
    both = [
        structs.replace(column, name=f"{side}_{column.name}", nullable=True)
        for column in kind.columns
        if column.name not in _OF_THE_CALL
        for side in (OLD, NEW)
    ]
    plain = [structs.replace(one, type=TEXT) if pa.types.is_list(one.type) else one for one in ours]
    return replace(of, columns=(*plain, *both))


def rows_of(column: pa.ChunkedArray | pa.Array) -> pa.Table:
    """A column of whole rows, `old` or `new`, as a table of them."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return pa.Table.from_arrays(whole.flatten(), schema=pa.schema(list(whole.type)))


def records_in(rows: pa.Table) -> tuple[pa.Table, ...]:
    """The records that stand in rows of a part: those themselves, or old and new of changes."""
    return tuple(rows_of(rows[name]) for name in (OLD, NEW) if name in rows.schema.names) or (rows,)


def compared(kind: RecordKind) -> tuple[str, ...]:
    """The columns in which a record can have changed, in their order.

    Where fields are left out, the row of an earlier run may have them, and what was made of them:
    that is no change.
    """
    known = (IS_FINAL, IS_RATED, CURRENCY_PRESUMED, ACCOUNT)
    return tuple(
        one.name
        for one in kind.columns
        if one.name not in NOT_COMPARED
        and (not kind.omitted or one in known or (one.field or "") not in {"", *kind.omitted})
    )
