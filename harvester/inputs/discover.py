"""Find the id files that a user's words name: files, globs, folders, `-` for stdin.

What can be read only once (stdin, a named pipe, `<(…)` of a shell) is copied to the spool first:
an input is read twice, once to know it again and once for its ids.
"""

from __future__ import annotations

import glob
import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from harvester.errors import SourceError, StoreError, disk_code

Form = Literal["txt", "csv", "tsv", "jsonl", "parquet"]
Compression = Literal["gzip", "zstd"]

_FORMS: dict[str, Form] = {
    ".txt": "txt",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}
_SUFFIXES = "*.txt, *.csv, *.tsv, *.jsonl, *.ndjson (each also .gz or .zst) or *.parquet"

_IF_EXPECTED = " If a run may come without new ids, set input.allow_empty = true."


class IdFile(msgspec.Struct, frozen=True):
    """A file of ids: where it is and how it is to be read."""

    path: str
    form: Form
    compression: Compression | None = None
    copy_of: str | None = None
    """What a copy in the spool was read from, as messages call it: the copy will be gone."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.copy_of or self.path


def find(sources: Sequence[str], *, spool: Path, allow_empty: bool | None = None) -> list[IdFile]:
    """The id files that `sources` name, in that order, each file once; an empty folder has none.

    `allow_empty`: as input.allow_empty has it; None where that says nothing of these sources.
    Raises SourceError for a source that isn't there or matches nothing (not if `allow_empty`),
    can't be opened, or is a folder that holds other files alone; StoreError if the spool can't be
    written.
    """
    found: list[IdFile] = []
    seen: set[tuple[int, int]] = set()
    hint = _IF_EXPECTED if allow_empty is False else ""
    for source in sources:
        if allow_empty and _names_nothing(source):
            continue
        for file in _named_by(source, spool, hint):
            identity = _identity(file.path)
            if identity not in seen:
                seen.add(identity)
                found.append(file)
    return found


def _named_by(source: str, spool: Path, hint: str) -> Iterator[IdFile]:
    if source == "-":
        yield _spooled(sys.stdin.buffer, spool, "stdin", "stdin")
        return
    path = Path(source)
    if _kind(path) is None and glob.has_magic(source):
        matches = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 - may be absolute
        if not matches:
            raise SourceError(
                f"{source}: no file matches. Check the pattern, and quote it if the shell changes "
                f"it.{hint}",
                code="input.missing",
            )
        for match in matches:
            yield from _under(Path(match), spool, hint)
        return
    yield from _under(path, spool, hint)


def _names_nothing(source: str) -> bool:
    """Whether there is neither a file or folder of that name nor one that matches."""
    if source == "-" or _kind(Path(source)) is not None:
        return False
    _refuse_unreadable_folder(source)
    return not any(_kind(Path(match)) is not None for match in glob.iglob(source, recursive=True))  # noqa: PTH207


def _refuse_unreadable_folder(pattern: str) -> None:
    """Raise SourceError where nothing matches only because nobody may look."""
    folder = Path(pattern)
    while glob.has_magic(str(folder)) or _kind(folder) is None:
        if folder == folder.parent:
            return
        folder = folder.parent
    if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        raise SourceError(
            _unreadable(folder, PermissionError(13, "Permission denied")), code="input.unreadable"
        )


def _under(path: Path, spool: Path, hint: str) -> Iterator[IdFile]:
    """The id files at `path`: itself, or those in the folder that it is."""
    mode = _kind(path)
    if mode is None:
        raise SourceError(
            f"{path}: there is no such file or folder. Check the path.{hint}",
            code="input.missing",
        )
    if stat.S_ISDIR(mode):
        yield from _folder(path)
    elif stat.S_ISREG(mode):
        yield _explicit(path)
    else:
        with _opened(path) as stream:
            yield _spooled(stream, spool, "pipe", str(path))


def _folder(folder: Path) -> list[IdFile]:
    """The id files in a folder and its folders, by name; hidden ones are somebody's leftovers."""
    names = [name for name in sorted(_walk(folder)) if not Path(name).name.startswith(".")]
    files = [file for name in names if (file := _by_suffix(name)) is not None]
    if names and not files:
        raise SourceError(
            f"{folder}: the folder holds files ({Path(names[0]).name}), but no id files. They are "
            f"named {_SUFFIXES}; a file of another name can be given by itself and is then read as "
            "lines of text.",
            code="input.no_id_files",
        )
    return files


def _walk(folder: Path) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise SourceError(
            _unreadable(Path(error.filename or folder), error), code="input.unreadable"
        ) from error

    for root, _, names in os.walk(folder, onerror=refuse):
        yield from (os.path.join(root, name) for name in names)  # noqa: PTH118 - keeps any name


def _by_suffix(name: str) -> IdFile | None:
    """The id file that its name promises, or None if the name promises none."""
    stem, last = os.path.splitext(name)  # noqa: PTH122 - Path drops what surrogates keep
    compression = _COMPRESSIONS.get(last.lower())
    if compression is not None:
        last = os.path.splitext(stem)[1]  # noqa: PTH122
    form = _FORMS.get(last.lower())
    if form is None or (form == "parquet" and compression is not None):
        return None
    return IdFile(name, form, compression)


def _explicit(path: Path) -> IdFile:
    """A file that was named itself: of an unknown suffix, it is lines of text."""
    if path.name.lower().endswith((".parquet.gz", ".parquet.zst")):
        raise SourceError(
            f"{path}: a Parquet file compressed once more. Unpack it first.", code="input.form"
        )
    known = _by_suffix(str(path))
    return known or IdFile(str(path), "txt", _COMPRESSIONS.get(path.suffix.lower()))


def _spooled(stream: BinaryIO, spool: Path, name: str, copy_of: str) -> IdFile:
    """A copy of `stream` in the spool: text unless its first bytes say otherwise."""
    try:
        spool.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, path = tempfile.mkstemp(prefix=f"{name}-", suffix=".txt", dir=spool)
        with os.fdopen(descriptor, "w+b") as copy:
            while portion := _read(stream, name):
                copy.write(portion)
            copy.seek(0)
            head = copy.read(8)
    except OSError as exc:
        raise StoreError(
            f"{spool}: the ids from {name} can't be kept here ({exc.strerror or exc}). "
            "Make room or permit writing, then run again.",
            code=disk_code(exc),
        ) from exc
    return msgspec.structs.replace(_guessed(path, head), copy_of=copy_of)


def _read(stream: BinaryIO, name: str) -> bytes:
    try:
        return stream.read(1 << 20)
    except OSError as exc:
        raise SourceError(_unreadable(Path(name), exc), code="input.unreadable") from exc


def _guessed(path: str, head: bytes) -> IdFile:
    if head.startswith(b"\x1f\x8b"):
        return IdFile(path, "txt", "gzip")
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        return IdFile(path, "txt", "zstd")
    if head.startswith(b"PAR1"):
        return IdFile(path, "parquet")
    return IdFile(path, "jsonl" if head.lstrip().startswith(b"{") else "txt")


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as exc:
        raise SourceError(_unreadable(path, exc), code="input.unreadable") from exc


def _identity(path: str) -> tuple[int, int]:
    """What is the same for two names of one file; fails now if the file can't be read later."""
    with _opened(Path(path)) as stream:
        status = os.fstat(stream.fileno())
    return status.st_dev, status.st_ino


def _kind(path: Path) -> int | None:
    """The file's mode, or None where nothing is."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as exc:
        raise SourceError(_unreadable(path, exc), code="input.unreadable") from exc


def _unreadable(path: Path, exc: Exception) -> str:
    reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc
    return f"{path}: can't be read ({reason}). Check its name and permissions."
