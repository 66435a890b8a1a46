"""The signature that every request carries.

Source: the vendor's page recordGroup (header table and samples): `Sign` is the MD5, in lower-case
hex, of key + secret + timestamp, and `Timestamp` is that same timestamp in whole Unix seconds.
MD5 is the vendor's choice, not ours: it authenticates, it protects no secret at rest.
"""

from __future__ import annotations

import hashlib

from harvester.config import Secrets

CONTENT_TYPE = "application/json;charset=UTF-8"


def sign(api_key: str, api_secret: str, timestamp: int) -> str:
    """The signature for one Unix second: 32 lower-case hex digits."""
    text = f"{api_key}{api_secret}{timestamp}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def signed_headers(secrets: Secrets, timestamp: int) -> dict[str, str]:
    """The four headers of one attempt, all from one `timestamp` (Unix seconds)."""
    return {
        "Content-Type": CONTENT_TYPE,
        "Sign": sign(secrets.api_key, secrets.api_secret, timestamp),
        "Timestamp": str(timestamp),
        "Api-Key": secrets.api_key,
    }
