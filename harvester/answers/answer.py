"""An answer that was delivered, as the journal keeps it and the data set takes it."""

from __future__ import annotations

import msgspec

SINGLE = "single"
"""How a record was fetched: by a request for its id alone."""
PAGES = "pages"
"""The same: with others, by a page of the vendor's list."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """One delivered answer."""

    voice_id: str
    body: bytes
    """The vendor's whole answer: a JSON envelope {"status", "reason", "data": {…}}."""
    fetched_at_ms: int
    """By the vendor's clock; Unix time in milliseconds."""
    run_id: str
    is_final: bool
    is_rated: bool = True
    """False: the call is over, but the vendor had not put a price on it (`answers.rating`)."""
    fetched_by: str = SINGLE
