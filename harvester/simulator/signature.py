"""Who is asking, and when: the vendor's check of the three headers.

Written from the vendor's page alone, on purpose not shared with the client: a mistake that both
sides made in the same code would never show.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

REFUSED = "-1"
EXPIRED = "-16"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The three headers, each with every value it was sent with."""

    api_keys: Sequence[str]
    signs: Sequence[str]
    timestamps: Sequence[str]


def sign(key: str, secret: str, timestamp: str) -> str:
    """md5 over key, secret and timestamp, in lower-case hex."""
    return hashlib.md5(f"{key}{secret}{timestamp}".encode(), usedforsecurity=False).hexdigest()


def check(credentials: Credentials, keys: tuple[str, str], now_s: float, window_s: float) -> str:
    """The status that the headers earn: "0", "-1" or "-16".

    `keys` is (key, secret), `now_s` the vendor's clock; a time `window_s` away is still good.
    """
    sent = (credentials.api_keys, credentials.signs, credentials.timestamps)
    # A header sent twice is two opinions; which one counts would be anybody's guess.
    if any(len(values) != 1 for values in sent):
        return REFUSED
    api_key, signed, timestamp = (values[0] for values in sent)
    if api_key != keys[0] or signed.lower() != sign(*keys, timestamp):
        return REFUSED
    return "0" if _is_fresh(timestamp, now_s, window_s) else EXPIRED


def _is_fresh(timestamp: str, now_s: float, window_s: float) -> bool:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 15):
        return False
    # The client can only say whole seconds, so they are compared with whole seconds.
    return abs(int(timestamp) - int(now_s)) <= window_s
