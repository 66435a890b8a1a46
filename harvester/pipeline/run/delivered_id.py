"""An id that the vendor has given a record for, to ask again where it is doubted."""

from __future__ import annotations

import re
import sqlite3

from harvester.dataset.files import newest_id
from harvester.inputs.voice_id import GRAMMAR
from harvester.state import publications, unresolved
from harvester.storage.output import Output


def newest_delivered(db: sqlite3.Connection, output: Output) -> str | None:
    """The last id of the newest part of the data set; None if there is none.

    Of a dead letter the last answer may be there, but the vendor denies it: the next part's counts.
    Raises StoreError if a part can't be read.
    """
    parts = publications.current_parts(db, output.place_of)
    for part in sorted(parts, key=lambda part: -part.publication):
        found = newest_id([output.cdr / part.path]) or ""
        # It becomes a part of the address, and comes from a file.
        is_id = re.fullmatch(GRAMMAR, found) is not None
        if is_id and unresolved.dead_letter(db, found) is None:
            return found
    return None
