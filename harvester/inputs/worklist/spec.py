"""What crosses the border between the run and the work-list builder process."""

from __future__ import annotations

import msgspec

from harvester.inputs.discover import IdFile


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which ids of the data set to fetch again."""

    what: str
    """delivered, unrated or not-final."""
    parts: tuple[str, ...]
    """The files of the data set."""
    changes: tuple[str, ...] = ()
    """Those of what has changed in it since."""
    erased: tuple[str, ...] = ()
    """Parquet files of ids that are not fetched again: numbers were erased in their records."""
    has_rated: bool = True
    """Whether they have the column `is_rated`."""
    column: str = "submit_time"
    """The time that dates a call."""
    since_ms: int | None = None
    until_ms: int | None = None
    """Calls dated from the one instant on and before the other; None: no bound."""
    files: tuple[IdFile, ...] | None = None
    """Only ids of these files; None: whichever."""
    share: float | None = None
    """Only so many of them, 0 to 1, drawn by id and `salt`; None: all."""
    salt: str = ""


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of a selection."""

    population: int = 0
    """Ids that it names, of which a sample is drawn."""
    left_out: int = 0
    """Ids that are such as is wanted, and dated outside its bounds or erased."""
    outside: int = 0
    """Wanted ids that the data set does not have, and lines of the list that are no id."""
    outside_ids: tuple[str, ...] = ()
    """Some of them."""


class ListSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A list to be made.  Paths are files of ids in a column `voice_id` unless told otherwise."""

    files: tuple[IdFile, ...]
    """The input; empty when only what is left over or asked again is to be listed."""
    column: str
    data_glob: str | None
    """The data set: 'OUT/cdr/*/*.parquet'; None when there is none yet.  What stands before the
    first part with a `*` may be a real folder's name, whatever characters it has."""
    resolved: tuple[str, ...]
    """Parquet files: ids of the journal, the open calls and the dead letters."""
    carried_over: str | None
    """Parquet: ids of the old list that aren't settled."""
    retried: str | None
    """Parquet: dead letters to be asked again; they are not among `resolved`."""
    selection: Selection | None = None
    """Ids of the data set to be fetched again; they are not compared with what is settled."""
    again: str | None = None
    """Parquet: such ids of the old list that have no outcome yet."""
    list_path: str
    """Out: Parquet (rank int8, voice_id string), sorted by both."""
    input_path: str | None
    """Out: Parquet (voice_id): the input's distinct ids, settled or not, sorted."""
    bad_ids_path: str
    """Out: JSON lines of file, line, reason and excerpt."""
    scratch: str
    """A folder for temporary files; the caller empties it."""
    memory_limit: str
    """What the child may use, such as '400MB'."""
    max_bad_share: float = 0.5
    """A file with more bad lines than that is refused."""
    too_young: tuple[str, str] | None = None
    """Ids dated after one stamp and up to another (`id_dates.between`) are not listed yet; None:
    all are."""
    threads: int = 2


class FileCount(msgspec.Struct, frozen=True):
    """What one file of the input held."""

    file: str
    lines: int
    bad: int


class ListResult(msgspec.Struct, frozen=True, kw_only=True):
    """The books of a list: lines = bad + duplicate + distinct; of the distinct ids, those that
    aren't settled are listed, but for the ones that are too young.

    The list has listed + retried rows of rank 0, carried_over rows of rank 1, and rows of rank 2
    for ids that are fetched again.
    """

    lines: int
    bad: int
    duplicate: int
    distinct: int
    resolved: int
    listed: int
    retried: int
    carried_over: int
    bad_by_reason: dict[str, int]
    files: tuple[FileCount, ...]
    too_young: int = 0
    """Ids of the input that are not settled and not listed, because they were dated too late."""
    again: int = 0
    """Rows of rank 2."""
    chosen: Chosen | None = None
    """Of a selection."""
