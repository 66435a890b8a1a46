"""The files under cdr/ against the ledger: all there, whole, unchanged, and none but ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harvester.analysis.places import Places
from harvester.analysis.verify.findings import MOVE_OUT, OLDER_STATE, RESTORE_FILE, Finding, damage
from harvester.dataset.changes import changes_of
from harvester.dataset.files import Listing, file_sha256, list_parts, verify_part
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.inspection import Fault, inspect
from harvester.dataset.kind import RecordKind
from harvester.dataset.origin import identities
from harvester.errors import StoreError
from harvester.identity import Identity, disagreement, told
from harvester.state.values import PartRecord

_MAGIC = b"PAR1"
_REMEDY = {
    "wrong_date": "If output.partition_timezone is another one than when the data was harvested, "
    f"name the configuration with -c. Else: {RESTORE_FILE}",
}


@dataclass(frozen=True, slots=True)
class Expected:
    """What the data set should be, by the ledger and the configuration."""

    live: Sequence[PartRecord]
    changes: Sequence[PartRecord]
    """Files of changes/."""
    committed: frozenset[str]
    """Paths of a publication of the journal past its commit point that isn't finished."""
    state_id: str
    newest_publication: int
    account: str
    partition_timezone: str
    identity: Identity = field(default_factory=Identity)
    kind: RecordKind = GROUP_RECORD
    """In the version that the data set is written in."""


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What was found, and which files the rest may build on."""

    findings: list[Finding]
    readable: list[Path]
    """Live parts that can be read."""
    complete: bool
    """Every live part is among them, with the rows that the ledger names."""
    can_sum: bool
    """And so is every file of changes/, which say how rows were before."""


def check_files(
    places: Places, expected: Expected, *, deep: bool, tell: Callable[[int, int], None]
) -> FileCheck:
    """Compare cdr/ with the state database.  `deep` reads every byte.  Raises StoreError.

    `tell` is told before each file how many are done, and of how many.
    """
    listing = list_parts(places.cdr, GROUP_RECORD)
    findings: list[Finding] = []
    readable = []
    for done, part in enumerate(expected.live):
        tell(done, len(expected.live))
        path = places.cdr / part.path
        found = list(_live(path, part, listing.parts.get(part.path), expected.kind))
        usable = not _is_unusable(found)
        if usable and deep:
            found += _content(path, part, expected)
            usable = not _is_unusable(found)
        if usable:
            readable.append(path)
        findings += found
    findings += _unknown(places.cdr, listing, expected)
    of_changes = list(_changes(places, expected, deep=deep))
    complete = len(readable) == len(expected.live)
    can_sum = complete and not _is_unusable(of_changes)
    return FileCheck([*findings, *of_changes], readable, complete, can_sum)


def _changes(places: Places, expected: Expected, *, deep: bool) -> Iterator[Finding]:
    """The same of the files of changes/; nothing else builds on them."""
    listing = list_parts(places.changes, changes_of(GROUP_RECORD))
    expected = replace(expected, live=expected.changes, kind=changes_of(expected.kind))
    found: list[Finding] = []
    for part in expected.live:
        path = places.changes / part.path
        of_part = list(_live(path, part, listing.parts.get(part.path), expected.kind))
        if deep and not _is_unusable(of_part):
            of_part += _content(path, part, expected)
        found += of_part
    for finding in (*found, *_unknown(places.changes, listing, expected)):
        yield replace(finding, remedy=finding.remedy.replace("cdr/", "changes/"))


_UNUSABLE = frozenset({"missing_file", "unreadable", "rows"})


def _is_unusable(found: Iterable[Finding]) -> bool:
    return any(finding.kind in _UNUSABLE for finding in found)


def _live(path: Path, part: PartRecord, size: int | None, kind: RecordKind) -> Iterator[Finding]:
    if size is None:
        yield damage("missing_file", f"a file of {part.rows} rows is gone", path, RESTORE_FILE)
        return
    if size != part.bytes:
        what = f"has {size} bytes, the state database says {part.bytes}"
        yield damage("size", what, path, RESTORE_FILE)
    try:
        rows = verify_part(path, kind)
    except StoreError as exc:
        yield damage("unreadable", str(exc), path, RESTORE_FILE)
        return
    if rows != part.rows:
        what = f"has {rows} rows, the state database says {part.rows}"
        yield damage("rows", what, path, RESTORE_FILE)


def _content(path: Path, part: PartRecord, expected: Expected) -> Iterator[Finding]:
    if file_sha256(path) != part.sha256:
        what = "its content has changed since it was published (sha256 differs)"
        yield damage("sha256", what, path, RESTORE_FILE)
    inspection = inspect(path, part.path, expected.partition_timezone, expected.kind)
    for fault in inspection.faults:
        yield damage(fault.kind, fault.what, path, _remedy(fault))
    foreign = inspection.accounts - {expected.account}
    if foreign:
        what = f"holds rows of another account: {', '.join(sorted(foreign))}"
        yield damage("account", what, path, RESTORE_FILE)
    for said in identities(path.parent, [path.name]).values():
        differs = disagreement(expected.identity, said)
        if differs:
            ours = told(expected.identity, differs)
            what = f"its footer has {told(said, differs)}, the output has {ours}"
            yield damage("footer", what, path, RESTORE_FILE)


def _remedy(fault: Fault) -> str:
    return _REMEDY.get(fault.kind, RESTORE_FILE)


def _unknown(cdr: Path, listing: Listing, expected: Expected) -> Iterator[Finding]:
    """Whatever lies under cdr/ that the state database doesn't name."""
    ours = {part.path for part in expected.live} | expected.committed
    unknown = [name for name in listing.parts if name not in ours]
    if not unknown and not listing.foreign:
        return
    by_size: dict[int, list[PartRecord]] = {}
    for part in expected.live:
        by_size.setdefault(part.bytes, []).append(part)
    for name in (*unknown, *listing.foreign):
        yield _unknown_file(cdr / name, name, by_size, expected)


def _unknown_file(
    path: Path, name: str, by_size: Mapping[int, Sequence[PartRecord]], expected: Expected
) -> Finding:
    if path.is_symlink() or not path.is_file():
        return damage("foreign", "is not a regular file", path, MOVE_OUT)
    original = _original(path, by_size)
    if original is not None:
        return damage("copied", f"is a copy of {original}: its rows count twice", path, MOVE_OUT)
    if not _is_whole(path):
        return damage("half_file", "is not a complete Parquet file", path, MOVE_OUT)
    part = expected.kind.part_name.fullmatch(name)
    if part is None:
        return damage("foreign", "was not written by harvester", path, MOVE_OUT)
    if (
        part["state"] == expected.state_id[:8]
        and (number := max(int(part["publication"]), int(part["rewrite"] or 0)))
        > expected.newest_publication
    ):
        what = (
            f"is of publication {number}, but the state database's newest is "
            f"{expected.newest_publication}: state/ is older than the data"
        )
        return damage("older_state", what, path, OLDER_STATE)
    what = "is named like a file of this output, but the state database does not know it"
    return damage("unknown_part", what, path, f"{MOVE_OUT} If it is data of this output: {_OR}")


_OR = "state/ is not the one that goes with it; " + OLDER_STATE


def _original(path: Path, by_size: Mapping[int, Sequence[PartRecord]]) -> str | None:
    """The file that `path` is a copy of."""
    alike = by_size.get(path.stat().st_size, ())
    if not alike:
        return None
    sha256 = file_sha256(path)
    return next((part.path for part in alike if part.sha256 == sha256), None)


def _is_whole(path: Path) -> bool:
    """Whether it begins and ends as a Parquet file does."""
    if path.suffix != ".parquet":
        return path.stat().st_size > 0
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
        file.seek(max(0, path.stat().st_size - len(_MAGIC)))
        return head == file.read() == _MAGIC
