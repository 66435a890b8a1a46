"""What of an answer may be kept or told, when it is quoted rather than taken as a record.

A vendor, or a proxy in its place, may repeat our headers or a customer's number in an error.
"""

from __future__ import annotations

import re

from harvester.config import Secrets

_SIGNATURE = re.compile(rb"(?<![0-9A-Za-z])[0-9a-fA-F]{32}(?![0-9A-Za-z])")
_NUMBER = re.compile(rb"[0-9](?:[ ().-]{0,2}[0-9]){6,}")


def without_secrets(text: bytes, secrets: Secrets) -> bytes:
    """`text` with the key, the secret and whatever looks like a signature masked."""
    for secret in (secrets.api_key, secrets.api_secret):
        text = text.replace(secret.encode(), b"[secret]")
    return _SIGNATURE.sub(b"[signature]", text)


def without_numbers(text: bytes) -> bytes:
    """`text` with whatever could be a phone number masked, however it is grouped."""
    return _NUMBER.sub(b"***", text)
