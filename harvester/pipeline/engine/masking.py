"""Secrets and numbers masked where something is quoted: an answer that is no record, a message.

A vendor, or a proxy in its place, may repeat our headers or a customer's number in an error.

All secrets are masked in one pass, the longest first, so a mask is never masked itself.  One of
under `SHORT` characters hides nothing from anybody who guesses, and stands in every other word: it
is masked only where it stands alone, between characters that are no letters and no digits, and the
text can still be read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harvester.config import Secrets

MASK = "[secret]"
SHORT = 4
_SIGNATURE = re.compile(rb"(?<![0-9A-Za-z])[0-9a-fA-F]{32}(?![0-9A-Za-z])")
_NUMBER = re.compile(rb"[0-9](?:[ ().-]{0,2}[0-9]){6,}")


def masked(text: str, secrets: Sequence[str]) -> str:
    """`text` with every one of `secrets` masked, also as repr() and JSON write it."""
    pattern = _pattern(tuple(secrets))
    return text if pattern is None else pattern.sub(MASK, text)


def without_secrets(text: bytes, secrets: Secrets) -> bytes:
    """`text` with the key, the secret and whatever looks like a signature masked."""
    # One character for each byte, whatever they mean: a key and a secret are ASCII.
    readable = masked(text.decode("latin-1"), (secrets.api_key, secrets.api_secret))
    return _SIGNATURE.sub(b"[signature]", readable.encode("latin-1"))


def without_numbers(text: bytes) -> bytes:
    """`text` with whatever could be a phone number masked, however it is grouped."""
    return _NUMBER.sub(b"***", text)


@lru_cache(8)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    written = {
        form
        for secret in filter(None, secrets)
        for form in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1])
    }
    ranked = sorted(written, key=lambda form: (-len(form), form))
    return re.compile("|".join(map(_one, ranked))) if ranked else None


def _one(form: str) -> str:
    found = re.escape(form)
    return found if len(form) >= SHORT else f"(?<![0-9A-Za-z]){found}(?![0-9A-Za-z])"
