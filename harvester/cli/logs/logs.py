"""Logs: to stderr as text or JSON, and to runs/<run_id>/log.jsonl once there is a run.

The standard library's loggers (aiohttp's, asyncio's) take the same way as ours, so nothing passes
by the redaction, which is the last step before a line becomes text.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from harvester.cli.logs.lazy_imports import without
from harvester.cli.logs.log_fields import redacted
from harvester.cli.ui.event_text import sentence
from harvester.config import Log

# structlog imports rich for tracebacks in colour, which no log of ours has: half of its time.
with without("rich"):
    import structlog
    from structlog.stdlib import ProcessorFormatter
    from structlog.typing import EventDict, Processor, WrappedLogger

_NAME = "harvester"
_STAMP = structlog.processors.TimeStamper(fmt="iso", utc=True)


class Logs:
    """The process's logging for as long as the `with` lasts."""

    def __init__(
        self,
        config: Log,
        *,
        say: Callable[[str], None],
        secrets: Sequence[str] = (),
        unsaid: frozenset[str] = frozenset(),
    ) -> None:
        """`say` writes a line to stderr; `unsaid` are events that only the file gets."""
        self.file: Path | None = None
        self.run_id = ""
        """Of the run that every JSON line belongs to, once there is one."""
        self._say = say
        self._secrets = tuple(secrets)
        self._level = logging.getLevelNamesMapping()[config.level.upper()]
        formatter = self._json() if config.format == "json" else self._formatter(_as_text)
        screen = _Handler(say, formatter, self._level, on_failure=_ignore)
        screen.addFilter(lambda record: _event(record) not in unsaid)
        self._handlers: list[logging.Handler] = [screen]
        self._logger = structlog.wrap_logger(
            logging.getLogger(_NAME),
            processors=[
                structlog.stdlib.add_log_level,
                _STAMP,
                ProcessorFormatter.wrap_for_formatter,
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
        )

    def __enter__(self) -> Self:
        root = logging.getLogger()
        root.handlers[:] = self._handlers
        logging.getLogger(_NAME).setLevel(logging.DEBUG)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        root = logging.getLogger()
        for handler in self._handlers:
            root.removeHandler(handler)
            handler.close()

    def attach(self, path: Path) -> None:
        """Write to `path` as well, as JSON lines, for the owner alone.

        A log that can't be written is no reason not to harvest: it is said once.
        """
        try:
            handler = _FileHandler(
                path,
                self._json(),
                min(self._level, logging.INFO),
                on_failure=self._tell_failure,
            )
        except OSError as exc:
            self._tell_failure(exc)
            return
        self.file = path
        self._handlers.append(handler)
        logging.getLogger().addHandler(handler)

    def message(self, level: str, event: str, **fields: object) -> None:
        """Log an event; `level` is debug, info, warning or error."""
        self._logger.log(logging.getLevelNamesMapping()[level.upper()], event, **fields)

    def failure(self, event: str, exc: BaseException) -> None:
        """Log an error with its traceback."""
        self._logger.error(event, exc_info=exc)

    def _json(self) -> ProcessorFormatter:
        return self._formatter(self._name_run, structlog.processors.JSONRenderer())

    def _formatter(self, *renderers: Processor) -> ProcessorFormatter:
        return ProcessorFormatter(
            foreign_pre_chain=[_as_library_message, structlog.stdlib.add_log_level, _STAMP],
            processors=[
                ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                self._redact,
                *renderers,
            ],
        )

    def _name_run(self, logger: WrappedLogger, method: str, fields: EventDict) -> EventDict:
        del logger, method
        # An event that names another run, one that was killed, keeps that name.
        return {**fields, "run_id": fields.get("run_id") or self.run_id}

    def _redact(self, logger: WrappedLogger, method: str, fields: EventDict) -> EventDict:
        del logger, method
        return redacted(fields, self._secrets)

    def _tell_failure(self, exc: BaseException) -> None:
        self._say(f"warning: the log can't be written ({exc}); the run goes on without it")


class _Handler(logging.Handler):
    """Gives each line to a function; a failure is told to another, once."""

    def __init__(
        self,
        write: Callable[[str], None],
        formatter: logging.Formatter,
        level: int,
        *,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        super().__init__(level)
        self._write: Callable[[str], None] | None = write
        self._on_failure = on_failure
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        if self._write is None:
            return
        try:
            self._write(self.format(record))
        except (OSError, ValueError) as exc:
            self._write = None
            self._on_failure(exc)


class _FileHandler(_Handler):
    """Lines of a private file, each written at once."""

    def __init__(
        self,
        path: Path,
        formatter: logging.Formatter,
        level: int,
        *,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        """Raises OSError."""
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(fd, "w", encoding="utf-8", buffering=1)
        super().__init__(self._write_line, formatter, level, on_failure=on_failure)

    def close(self) -> None:
        try:
            self._file.close()
        except OSError:
            self._write = None
        super().close()

    def _write_line(self, line: str) -> None:
        self._file.write(line + "\n")


def _as_library_message(logger: WrappedLogger, method: str, fields: EventDict) -> EventDict:
    """A line of somebody else's logger: its text is a field, as every event's name is ours."""
    del logger, method
    text = fields.pop("event")
    return {
        **fields,
        "event": "library_message",
        "logger": fields["_record"].name,
        "message": text,
    }


def _as_text(logger: WrappedLogger, method: str, fields: EventDict) -> str:
    del logger, method
    exception = fields.get("exception")
    return sentence(fields) + (f"\n{exception}" if exception else "")


def _event(record: logging.LogRecord) -> str:
    message = record.msg
    return str(message.get("event", "")) if isinstance(message, dict) else ""


def _ignore(exc: BaseException) -> None:
    # stderr is gone; there is nobody left to tell.
    del exc
