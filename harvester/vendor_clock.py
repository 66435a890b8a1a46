"""The vendor's clock, +08:00 all year: its days of billing and of requests, times without offset.

The simulator has one of its own: it shares no code with what it tries.
"""

from __future__ import annotations

from datetime import timedelta, timezone

OFFSET = timedelta(hours=8)
OFFSET_S = OFFSET // timedelta(seconds=1)
OFFSET_MIN = OFFSET // timedelta(minutes=1)
OFFSET_TEXT = "+08:00"
"""As it is written behind a time."""
CLOCK = timezone(OFFSET)
