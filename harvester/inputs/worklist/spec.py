"""What crosses the border between the run and the work-list builder process."""

from __future__ import annotations

import msgspec

from harvester.inputs.discover import IdFile


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

    The list has listed + retried rows of rank 0 and carried_over rows of rank 1.
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
