"""What the footers of parts say in all: whose they are, and how many currencies were presumed.

Only footers are read.  A part of an older version says less, and is counted as one that does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from harvester.dataset.files import unreadable
from harvester.dataset.footer import FOOTER_PRESUMED, FOOTER_PRESUMED_OF
from harvester.dataset.origin import identity_in
from harvester.identity import Identity, merged


@dataclass(frozen=True, slots=True)
class Stated:
    """What some parts say of themselves."""

    identity: Identity
    """What they agree on."""
    rows: int
    """Of the parts that say how many currencies were presumed."""
    presumed: int
    """Rows among them of which the vendor named no currency."""
    silent: int
    """Parts that do not say it of all their rows: an older version wrote them."""


def presumed_in(footer: Mapping[bytes, bytes], rows: int) -> tuple[int, int]:
    """(presumed currencies, of how many rows), by the footer of a part of `rows` rows.

    Raises ValueError.
    """
    said = footer.get(FOOTER_PRESUMED.encode())
    if said is None:
        return 0, 0
    return int(said), int(footer.get(FOOTER_PRESUMED_OF.encode(), rows))


def read_stated(cdr: Path, names: Iterable[str]) -> Stated:
    """What the parts `names` (relative to `cdr`) say.  Raises StoreError if one can't be read."""
    identities: dict[str, Identity] = {}
    rows = presumed = silent = 0
    for name in names:
        try:
            metadata = pq.read_metadata(cdr / name)
            footer = metadata.metadata or {}
            identities[name] = identity_in(footer)
            found, of = presumed_in(footer, metadata.num_rows)
        except (OSError, ValueError, pa.ArrowException) as exc:
            raise unreadable(cdr / name, exc) from exc
        presumed += found
        rows += of
        silent += of < metadata.num_rows
    return Stated(merged(identities)[0], rows, presumed, silent)
