"""Know an input again: a key over what its files hold, whatever they are called.

Theory of operation.  A file that still looks like its stamp isn't read: so a stamp must never fit
a file that holds anything else.  Tools that keep mtime (cp -p, rsync, touch -r) and write into the
same inode can't keep ctime, which the kernel sets.  And a file may be written twice within one
tick of its file system's clock (2 s on the coarsest), so a stamp is trusted only if the file had
rested for longer when it was looked at.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
import xxhash

from harvester.errors import SourceError
from harvester.inputs.discover import IdFile

_READ_BYTES = 1 << 20
_REST_NS = 2_000_000_000


class Stamp(msgspec.Struct, frozen=True):
    """A file as it was when it was read; `path` is resolved, `xxh128` is of its bytes, in hex."""

    path: str
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    xxh128: str


class Fingerprint(msgspec.Struct, frozen=True):
    """The key of an input, and how its files looked."""

    key: str
    stamps: tuple[Stamp, ...]
    trusted: tuple[Stamp, ...]
    """Those by which a file needn't be read next time."""


def fingerprint(
    files: Sequence[IdFile],
    column: str,
    known: Mapping[str, Stamp] | None = None,
    *,
    now_ns: Callable[[], int] = time.time_ns,
) -> Fingerprint:
    """The key of `files` read by `column`: the same for renamed or reordered files.

    `known` maps resolved paths to stamps of earlier runs; a file that still looks like its stamp
    isn't read.  Raises SourceError if a file can't be read.
    """
    looks = [_stamp(Path(file.path), known or {}, now_ns) for file in files]
    stamps = tuple(stamp for stamp, _ in looks)
    parts = sorted(
        f"{stamp.xxh128} {file.form} {file.compression or '-'}"
        for file, stamp in zip(files, stamps, strict=True)
    )
    text = "\n".join([column, *parts])
    key = xxhash.xxh3_128_hexdigest(text.encode("utf-8", "surrogateescape"))
    return Fingerprint(key, stamps, tuple(stamp for stamp, rested in looks if rested))


def _stamp(path: Path, known: Mapping[str, Stamp], now_ns: Callable[[], int]) -> tuple[Stamp, bool]:
    """How a file looks, and whether it had rested long enough to be known by that."""
    try:
        resolved = str(path.resolve())
        with path.open("rb") as stream:
            # Looked at before it is read: a file that grows meanwhile won't match its own stamp.
            status = os.fstat(stream.fileno())
            times = status.st_mtime_ns, status.st_ctime_ns
            rested = now_ns() - max(times) >= _REST_NS
            seen = (resolved, status.st_ino, status.st_size, *times)
            old = known.get(resolved)
            if old is not None and Stamp(*seen, old.xxh128) == old:
                return old, rested
            return Stamp(*seen, _hash(stream)), rested
    except OSError as exc:
        raise SourceError(
            f"{path}: can't be read ({exc.strerror or exc}). Check its name and permissions.",
            code="input.unreadable",
        ) from exc


def _hash(stream: BinaryIO) -> str:
    digest = xxhash.xxh3_128()
    while block := stream.read(_READ_BYTES):
        digest.update(block)
    return digest.hexdigest()
