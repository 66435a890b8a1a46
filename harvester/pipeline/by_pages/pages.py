"""What a run is told of fetching by pages; light, for whoever only asks for it."""

from __future__ import annotations

from datetime import date

import msgspec


class Pages(msgspec.Struct, frozen=True, kw_only=True):
    """Fetch by pages of the vendor's list what can be."""

    first: date | None = None
    last: date | None = None
    """Days of the vendor's clock, both included; None: those that the ids tell by their digits."""
    seed: int | None = None
    """Of the samples; None: one is drawn."""
