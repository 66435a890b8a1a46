"""What may stand in a log line.

By construction, not by care: a value gets into the log because its field or its type is known to
be safe, not because nobody thought of hiding it.

- The key and the secret are masked wherever they stand in any text, whatever its field; but for
  `OURS`, whose values are words of ours: a log stays one, whatever the secret is.
- Text is masked where it looks like a phone number or a signature, unless its field is known to
  hold something else (`VERBATIM`): ids, runs, paths, times.
- A number of seven digits or more is masked unless its field is one of `NUMBERS`, or it is a count
  in one of `COUNTS`.
- Of any other type only the name is logged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping, Sequence

from harvester.pipeline.engine.masking import MASK, masked
from harvester.run_name import STAMP, TAIL

OURS = frozenset({"event", "level", "timestamp"})
VERBATIM = frozenset({"run_id", "voice_id", "folder", "file", "path", "command"})
NUMBERS = frozenset(
    {
        "bad",
        "bytes",
        "clock_skew_s",
        "count",
        "dead",
        "deferred",
        "delivered",
        "distinct",
        "done",
        "duplicate",
        "elapsed_s",
        "eta_s",
        "exit_code",
        "files",
        "left",
        "lines",
        "listed",
        "new",
        "open",
        "pid",
        "received_bytes",
        "records",
        "requests",
        "rows",
        "settled",
        "settled_before",
        "to_ask",
    }
)
COUNTS = frozenset({"fields", "retries"})
"""What is counted by name: the names are masked like any text, the counts are nobody's number."""
SECRET = MASK
MASKED = "[digits]"

_DEPTH = 4
# A run's name begins with its date and time: eight digits that are nobody's number.
_RUN_ID = rf"(?<![0-9]){STAMP}(?:{TAIL})?"
_SIGNATURE = r"(?<![0-9A-Za-z])[0-9a-fA-F]{32}(?![0-9A-Za-z])"
_PLUS = r"\+[0-9](?:[ ().-]{0,2}[0-9]){6,}"
_DIGITS = r"[0-9]{7,}"
_PATTERN = re.compile(f"({_RUN_ID})|{_SIGNATURE}|{_PLUS}|{_DIGITS}")


def redacted(fields: Mapping[str, object], secrets: Sequence[str]) -> MutableMapping[str, object]:
    """The fields of one log line, fit to be kept; their names are ours and stay."""
    return {name: _field(str(name), value, secrets) for name, value in fields.items()}


def without_secrets(text: str, secrets: Sequence[str]) -> str:
    """`text` with the key and the secret masked; for what goes to the terminal."""
    return masked(text, secrets)


def _field(name: str, value: object, secrets: Sequence[str]) -> object:
    if name in OURS:
        return value
    if name in VERBATIM and isinstance(value, str):
        return without_secrets(value, secrets)
    if name in NUMBERS and isinstance(value, int | float):
        return value
    if name in COUNTS and isinstance(value, Mapping):
        return {
            _text(str(key), secrets): inner
            if isinstance(inner, int)
            else _value(inner, secrets, _DEPTH - 1)
            for key, inner in value.items()
        }
    return _value(value, secrets, _DEPTH)


def _value(value: object, secrets: Sequence[str], depth: int) -> object:
    match value:
        case None | bool():
            return value
        case str():
            return _text(value, secrets)
        case int() | float():
            return MASKED if abs(value) >= 1_000_000 else value
        case Mapping() if depth:
            return {
                _text(str(key), secrets): _value(inner, secrets, depth - 1)
                for key, inner in value.items()
            }
        case list() | tuple() if depth:
            return [_value(inner, secrets, depth - 1) for inner in value]
        case _:
            return f"[{type(value).__name__}]"


def _text(text: str, secrets: Sequence[str]) -> str:
    text = without_secrets(text, secrets)
    return _PATTERN.sub(lambda found: found[1] or MASKED, text)
