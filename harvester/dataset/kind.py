"""A kind of record: which columns it has, and which field of the vendor each comes from.

Every fact about a column stands once, in a `Column`; the schema, the decoders, the encodings of the
files, the masks and the names that are known are derived from the table.  What is computed from
columns, not read from a field, is the kind's own `derive`.

Theory of operation.  A kind is a value that the rest of the package gets as an argument.  What is
derived from it is computed at its first use and kept: the hot path reads plain attributes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import TypeAlias

import msgspec
import pyarrow as pa

from harvester.errors import ConfigError
from harvester.money import PRECISION, SCALE

TIME = pa.timestamp("ms", "UTC")
MONEY = pa.decimal128(PRECISION, SCALE)
SECONDS = pa.int32()
TEXT = pa.string()


class Reads(Enum):
    """How a field of the vendor is read; in the order in which `unparsed` lists fields."""

    TEXT = "text or number, as sent"
    TIME = "an instant"
    SECONDS = "whole seconds, 0 or more"
    MONEY = "an exact decimal"


class Encoding(Enum):
    """How a column is written to Parquet."""

    PLAIN = "plain"
    DICTIONARY = "dictionary"
    """For few values each: it saves a fifth of the bytes here, and costs bytes anywhere else."""
    DELTA = "DELTA_BINARY_PACKED"


class Personal(Enum):
    """What a mask of phone numbers makes of a column of text."""

    QUOTES = "text that others wrote, and that may quote a number"
    NUMBER = "a phone number and nothing else: masked whole"
    JSON = "JSON, masked value by value"
    OURS = "text that the harvester wrote, or that rows are joined by: left as it is"


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One column: all that is known of it."""

    name: str
    type: pa.DataType
    meaning: str
    """What the page about the schema says of it."""
    field: str | None = None
    """The vendor's field; None for a column that is made here."""
    reads: Reads | None = None
    """How `field` is read; None for the key, which is the id that was asked for."""
    encoding: Encoding = Encoding.PLAIN
    nullable: bool = True
    personal: Personal = Personal.QUOTES


class Partition(msgspec.Struct, frozen=True):
    """What the rows are divided by: the date of `column`, in folders named `folder`=YYYY-MM-DD."""

    column: str
    """A column that reads a time.  The other times of a record are held against it."""
    folder: str


class UsageColumns(msgspec.Struct, frozen=True):
    """The columns that control totals are made of, by their part in it."""

    call_duration: str
    charged_duration: str
    cost: str
    currency: str
    default_currency: str
    """Where the vendor names none."""
    other_cost: str | None = None
    """The field that stands for that of `cost` where it is left out."""
    other_currency: str | None = None
    """That of a cost which came in `other_cost`."""
    answered: str | None = None
    """The column that says whether a cost is to be expected; None where none says so."""


class Draft(msgspec.Struct):
    """A batch on its way: typed columns by name, and the untyped rest by position."""

    columns: dict[str, pa.Array]
    unparsed: dict[int, dict[str, str]]
    """Position -> field -> the text as sent."""
    by_other: pa.BooleanArray | None = None
    """Of each row, whether its cost came in `UsageColumns.other_cost`; None: of none."""

    def refuse(self, position: int, name: str, text: str) -> None:
        """Keep `text`, the value of the field `name`, that its column can't hold."""
        self.unparsed.setdefault(position, {})[name] = text


Derive: TypeAlias = Callable[[Draft], None]
"""Adds the columns that are computed from others."""


def derive_nothing(draft: Draft) -> None:
    """For a kind whose columns are all read."""
    del draft


@dataclass(frozen=True, eq=False)
class RecordKind:
    """A kind of record, as the vendor's API has it."""

    name: str
    version: int
    """Of its columns.  Every file carries it in its footer; a change of them needs a new one.

    The files of an output have one and the same: most readers fail where columns differ.
    """
    key: str
    """The column of the id that was asked for.  Rows are sorted by it."""
    columns: tuple[Column, ...]
    """In the order of the files."""
    partition: Partition
    usage: UsageColumns
    omitted: frozenset[str] = frozenset()
    """Fields that are never stored; their columns are null."""
    offset: str | None = None
    """The column for the offset that the partition's time was sent with; None: it is not kept."""
    derive: Derive = field(default=derive_nothing)

    @cached_property
    def schema(self) -> pa.Schema:
        """The Arrow schema of its tables and files."""
        return pa.schema(
            [pa.field(one.name, one.type, nullable=one.nullable) for one in self.columns]
        )

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Its columns by name."""
        return {one.name: one for one in self.columns}

    @cached_property
    def texts(self) -> tuple[tuple[str, Column], ...]:
        """(field, column) of what is read as text."""
        return self._read_as(Reads.TEXT)

    @cached_property
    def times(self) -> tuple[tuple[str, Column], ...]:
        """(field, column) of what is read as a time, the partition's first."""
        found = self._read_as(Reads.TIME)
        return tuple(sorted(found, key=lambda pair: pair[1].name != self.partition.column))

    @cached_property
    def seconds(self) -> tuple[tuple[str, Column], ...]:
        """(field, column) of what is read as whole seconds."""
        return self._read_as(Reads.SECONDS)

    @cached_property
    def money(self) -> tuple[tuple[str, Column], ...]:
        """(field, column) of what is read as an amount."""
        return self._read_as(Reads.MONEY)

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Every field that is known, in the order in which `unparsed` lists them."""
        key = self.by_name[self.key].field
        read = [name for name, _ in (*self.texts, *self.times, *self.seconds, *self.money)]
        return (*([key] if key else []), *read, *self._other_cost)

    @cached_property
    def order(self) -> dict[str, int]:
        """The position of each of `fields`."""
        return {name: position for position, name in enumerate(self.fields)}

    @cached_property
    def money_fields(self) -> tuple[str, ...]:
        """The fields that hold an amount."""
        return (*(name for name, _ in self.money), *self._other_cost)

    @cached_property
    def number_fields(self) -> tuple[str, ...]:
        """The fields that hold a phone number."""
        return tuple(
            one.field for one in self.columns if one.field and one.personal is Personal.NUMBER
        )

    @cached_property
    def needed_fields(self) -> frozenset[str]:
        """Fields without which a call can't be billed."""
        found = {self.field_of(self.usage.currency), self.field_of(self.partition.column)}
        return frozenset({*self.money_fields, *found})

    def _read_as(self, reads: Reads) -> tuple[tuple[str, Column], ...]:
        return tuple((one.field, one) for one in self.columns if one.field and one.reads is reads)

    def without(self, names: Iterable[str]) -> RecordKind:
        """The same kind, that leaves out the fields of these names: columns, or the vendor's own
        names, known or not.

        Raises ConfigError for one that control totals, dates or the id are made of.
        """
        fields = set()
        for name in names:
            column = self.by_name.get(name)
            field = name if column is None else column.field
            if field is None or field in self._indispensable:
                raise ConfigError(
                    f"configuration: $.output.omit_fields: {name} can't be left out: ids, dates "
                    "and control totals are made of it. Leave it out of the list.",
                    code="config.omit_fields",
                )
            fields.add(field)
        return replace(self, omitted=frozenset(fields)) if fields else self

    @property
    def _indispensable(self) -> frozenset[str]:
        usage = self.usage
        totals = (usage.call_duration, usage.charged_duration, usage.cost, usage.currency)
        found = {self.field_of(one) for one in (*totals, self.key, self.partition.column)}
        return frozenset({*found, *self._other_cost})

    @property
    def _other_cost(self) -> tuple[str, ...]:
        return () if self.usage.other_cost is None else (self.usage.other_cost,)

    def field_of(self, column: str) -> str:
        """The field that `column` is read from."""
        name = self.by_name[column].field
        assert name is not None, f"{column} is read from no field"
        return name

    def names(self, personal: Personal) -> frozenset[str]:
        """The columns that a mask treats so."""
        return frozenset(one.name for one in self.columns if one.personal is personal)

    @cached_property
    def dictionary(self) -> list[str]:
        """The columns that are written with a dictionary."""
        return [one.name for one in self.columns if one.encoding is Encoding.DICTIONARY]

    @cached_property
    def column_encoding(self) -> dict[str, str]:
        """Column -> its encoding, of those that neither are plain nor have a dictionary."""
        special = (Encoding.PLAIN, Encoding.DICTIONARY)
        return {one.name: one.encoding.value for one in self.columns if one.encoding not in special}

    @cached_property
    def part_name(self) -> re.Pattern[str]:
        """What a part is called, relative to cdr/: date, state, publication, k, and the rewrite
        that put it there, if one did.
        """
        return re.compile(
            rf"{re.escape(self.partition.folder)}"
            r"=(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2}|__HIVE_DEFAULT_PARTITION__)"
            r"/part-(?P<state>[0-9A-Za-z]{1,8})-(?P<publication>[0-9]+)-(?P<k>[0-9]+)"
            r"(?:-r(?P<rewrite>[0-9]+))?\.parquet"
        )


# What is not the vendor's: columns that every kind has, under these names.

ACCOUNT = Column(
    name="account",
    type=TEXT,
    meaning="`vendor.account`",
    encoding=Encoding.DICTIONARY,
    personal=Personal.OURS,
)
IS_FINAL = Column(
    name="is_final",
    type=pa.bool_(),
    meaning="false: the call never ended within `open_calls.max_age_s`, or its id died while it "
    "was open; the row is its last known state",
    nullable=False,
)
IS_RATED = Column(
    name="is_rated",
    type=pa.bool_(),
    meaning="false: the call is over and was answered, and the vendor put no price on it within "
    "`open_calls.unrated_max_age_s`, or forgot it; true for every other row, also where "
    "is_final is false",
    nullable=False,
)
CURRENCY_PRESUMED = Column(
    name="currency_presumed",
    type=pa.bool_(),
    meaning="true: the vendor named no currency, so that the default one stands in its column",
)
FETCHED_BY = Column(
    name="fetched_by",
    type=TEXT,
    meaning='the request that brought it: "single", one for this id; "pages", one for a page of '
    "the vendor's list",
    encoding=Encoding.DICTIONARY,
    nullable=False,
    personal=Personal.OURS,
)
EXTRA = Column(
    name="extra",
    type=TEXT,
    meaning="JSON: fields that the vendor's page does not name, untouched",
    personal=Personal.JSON,
)
UNPARSED = Column(
    name="unparsed",
    type=TEXT,
    meaning="JSON: {field: text as sent} of every value that could not be typed",
    personal=Personal.JSON,
)
FETCHED_AT = Column(
    name="fetched_at",
    type=TIME,
    meaning="when the answer came, on the vendor's clock: [the clock](when-it-stops.md#the-clock)",
    encoding=Encoding.DELTA,
    nullable=False,
)
RUN_ID = Column(
    name="run_id",
    type=TEXT,
    meaning="the run that fetched it",
    encoding=Encoding.DICTIONARY,
    nullable=False,
    personal=Personal.OURS,
)
