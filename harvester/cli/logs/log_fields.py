"""What may stand in a log line, by its field; what is masked in a text says `redact`.

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

from collections.abc import Mapping, MutableMapping, Sequence

from harvester.redact import DIGITS, LEAST_NUMBER, line_to_keep, without_secrets

OURS = frozenset({"event", "level", "timestamp"})
VERBATIM = frozenset({"run_id", "voice_id", "voice_ids", "folder", "file", "path", "command"})
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
        "code",
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
        "resolved",
        "resolved_before",
        "to_fetch",
    }
)
COUNTS = frozenset({"fields", "retries"})
"""What is counted by name: the names are masked like any text, the counts are nobody's number."""

_DEPTH = 4


def redacted(fields: Mapping[str, object], secrets: Sequence[str]) -> MutableMapping[str, object]:
    """The fields of one log line, fit to be kept; their names are ours and stay."""
    return {name: _field(str(name), value, secrets) for name, value in fields.items()}


def _field(name: str, value: object, secrets: Sequence[str]) -> object:
    if name in OURS:
        return value
    if name in VERBATIM and isinstance(value, str):
        return without_secrets(value, secrets)
    if name in VERBATIM and isinstance(value, list | tuple):
        return [_field(name, inner, secrets) for inner in value]
    if name in NUMBERS and isinstance(value, int | float):
        return value
    if name in COUNTS and isinstance(value, Mapping):
        return {
            line_to_keep(str(key), secrets): inner
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
            return line_to_keep(value, secrets)
        case int() | float():
            return DIGITS if abs(value) >= LEAST_NUMBER else value
        case Mapping() if depth:
            return {
                line_to_keep(str(key), secrets): _value(inner, secrets, depth - 1)
                for key, inner in value.items()
            }
        case list() | tuple() if depth:
            return [_value(inner, secrets, depth - 1) for inner in value]
        case _:
            return f"[{type(value).__name__}]"
