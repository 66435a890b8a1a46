"""How the end of a command that failed is told: a sentence on stderr, or an object with --json."""

from __future__ import annotations

import shutil
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harvester.cli.logs.log_fields import redacted
from harvester.cli.ui.console import emit
from harvester.cli.ui.next_command import pasted
from harvester.cli.ui.text import folded, printable
from harvester.errors import EXIT_UNEXPECTED, HarvesterError
from harvester.redact import without_secrets

if TYPE_CHECKING:
    from harvester.cli.logs.logs import Logs


def report(exc: HarvesterError, *, as_json: bool, secrets: Sequence[str] = ()) -> int:
    """Tell an error that was raised on purpose; its exit code."""
    return complain(
        str(exc),
        exc.exit_code,
        error_code=exc.code,
        as_json=as_json,
        resumable=exc.resumable,
        secrets=secrets,
    )


def complain(
    message: str,
    code: int,
    *,
    error_code: str,
    as_json: bool,
    resumable: bool = False,
    secrets: Sequence[str] = (),
) -> int:
    """Write one error to stderr; returns `code`, the exit code."""
    message = without_secrets(pasted(message), secrets)
    if as_json:
        error = {
            "type": "error",
            "code": error_code,
            "exit_code": code,
            "resumable": resumable,
            "message": message,
        }
        emit(error, sys.stderr)
    else:
        sys.stderr.write(_fitted(f"error: {printable(message)}") + "\n")
    return code


def _fitted(text: str) -> str:
    """Broken between words where a terminal shows it."""
    if not sys.stderr.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return "\n".join(piece for line in text.split("\n") for piece in folded(line, width))


def report_unexpected(
    exc: BaseException,
    secrets: Sequence[str],
    *,
    logs: Logs | None = None,
    as_json: bool = False,
) -> int:
    """Tell an error that nobody foresaw: short on the screen, whole in the log."""
    if logs is not None and logs.file is not None:
        logs.failure("unexpected_error", exc)
        where = f"{logs.file} has the details"
    else:
        # No run, no log: then the screen is the only place where it can be told.
        _write_traceback(exc, secrets)
        where = "its traceback stands above"
    return complain(
        f"this is a bug: {type(exc).__name__} where nothing of the kind was expected. Please "
        f"report it: {where}. What was acknowledged is safe; the same command may be run again.",
        EXIT_UNEXPECTED,
        error_code=HarvesterError.code,
        as_json=as_json,
        secrets=secrets,
    )


def _write_traceback(exc: BaseException, secrets: Sequence[str]) -> None:
    text = "".join(traceback.format_exception(exc))
    masked = redacted({"traceback": text}, secrets)["traceback"]
    sys.stderr.write(printable(str(masked)))
