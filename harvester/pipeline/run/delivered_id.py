"""An id that the vendor has given a record for, to ask again where it is doubted."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from harvester.dataset.files import newest_id
from harvester.inputs.voice_id import GRAMMAR
from harvester.state import publications, unresolved


def newest_delivered(db: sqlite3.Connection, cdr: Path) -> str | None:
    """The last id of the newest part of the data set in `cdr`; None if there is none.

    Of a dead letter the last answer may be there, but the vendor denies it: the next part's counts.
    Raises StoreError if a part can't be read.
    """
    for part in sorted(publications.current_parts(db, cdr), key=lambda part: -part.publication):
        found = newest_id([cdr / part.path]) or ""
        # It becomes a part of the address, and comes from a file.
        is_id = re.fullmatch(GRAMMAR, found) is not None
        if is_id and unresolved.dead_letter(db, found) is None:
            return found
    return None
