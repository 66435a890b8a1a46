"""Know an input again: a key over what its files hold, whatever they are called."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
import xxhash

from harvester.errors import SourceError
from harvester.ids.files import IdFile

_READ_BYTES = 1 << 20


class Stamp(msgspec.Struct, frozen=True):
    """A file as it was when it was read; `path` is resolved, `xxh128` is of its bytes, in hex."""

    path: str
    inode: int
    size: int
    mtime_ns: int
    xxh128: str


class Fingerprint(msgspec.Struct, frozen=True):
    """The key of an input, and the stamps by which its files needn't be read next time."""

    key: str
    stamps: tuple[Stamp, ...]


def fingerprint(
    files: Sequence[IdFile], column: str, known: Mapping[str, Stamp] | None = None
) -> Fingerprint:
    """The key of `files` read by `column`: the same for renamed or reordered files.

    `known` maps resolved paths to stamps of earlier runs; a file that still looks like its stamp
    isn't read.  Raises SourceError if a file can't be read.
    """
    stamps = tuple(_stamp(Path(file.path), known or {}) for file in files)
    parts = sorted(
        f"{stamp.xxh128} {file.form} {file.compression or '-'}"
        for file, stamp in zip(files, stamps, strict=True)
    )
    text = "\n".join([column, *parts])
    return Fingerprint(xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogateescape")), stamps)


def _stamp(path: Path, known: Mapping[str, Stamp]) -> Stamp:
    try:
        resolved = str(path.resolve())
        with path.open("rb") as stream:
            # Looked at before it is read: a file that grows meanwhile won't match its own stamp.
            status = os.fstat(stream.fileno())
            seen = (resolved, status.st_ino, status.st_size, status.st_mtime_ns)
            old = known.get(resolved)
            if old is not None and seen == (old.path, old.inode, old.size, old.mtime_ns):
                return old
            return Stamp(*seen, _hash(stream))
    except OSError as exc:
        raise SourceError(
            f"{path}: can't be read ({exc.strerror or exc}). Check its name and permissions."
        ) from exc


def _hash(stream: BinaryIO) -> str:
    digest = xxhash.xxh3_128()
    while block := stream.read(_READ_BYTES):
        digest.update(block)
    return digest.hexdigest()
