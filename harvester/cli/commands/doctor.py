"""`harvester doctor`: is everything in order for a run?"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from harvester.cli import options
from harvester.cli.ui.console import Line, Terminal, emit, stderr, stdout
from harvester.config import (
    ENV_PREFIX,
    SECRET_NAMES,
    Config,
    Secrets,
    Settings,
    load_secrets,
)
from harvester.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from harvester.operations.doctor_checks import Check

_LABEL = 10
_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red", "skip": "dim"}


def doctor(  # noqa: PLR0917 - typer makes a flag of each
    ids: options.Sources = None,
    config: options.ConfigFile = None,
    out: options.Out = None,
    base_url: options.BaseUrl = None,
    account: options.Account = None,
    rate: options.Rate = None,
    concurrency: options.Concurrency = None,
    column: options.Column = None,
    rebind: options.Rebind = False,
    json: options.Json = False,
) -> int:
    """Check everything that a run needs, before anything is sent in bulk.

    Configuration, key and secret, output, input, disk, open files; then it sends ONE signed
    request, for an id of the input or of the output, and says what the vendor answered and how far
    its clock is from this machine's. (A second one, if this clock is so far off that the vendor
    does not accept the time.) It changes nothing: no id changes its state; only pace.per_day, where
    it is set, counts the request, and a new output gets its state for that. Exits 0 if nothing
    failed and the vendor accepted key and secret (warnings don't count), else with the code that a
    run would have ended with: 2 configuration, key or input, 4 access denied, 5 out of reach or no
    clear answer, 6 output, 7 a run is in progress, 8 the limit of the day.

    \b
    Example:
      harvester doctor ids/*.txt -c configs/nightly.toml && echo ready
    """
    flags: dict[str, object] = {
        "output__dir": out,
        "vendor__base_url": base_url,
        "vendor__account": account,
        "pace__rate_per_s": rate,
        "pace__concurrency": concurrency,
        "input__column": column,
    }
    from harvester.operations.doctor_checks import exit_code, were_tried

    found: list[Check] = []
    terminal = None if json else stdout()
    for check in _one_by_one(
        _examine(config, flags, tuple(ids or ()), rebind=rebind), shows=not json
    ):
        found.append(check)
        _tell(check, terminal)
    code = exit_code(found)
    _close(found, code, terminal, were_tried=were_tried(found))
    return code


def _one_by_one(doctor_checks: Iterator[Check], *, shows: bool) -> Iterator[Check]:
    """The same checks; while one takes its time, a terminal shows that it does."""
    terminal = stderr()
    while True:
        with terminal.working("checking", shows=shows):
            check = next(doctor_checks, None)
        if check is None:
            return
        yield check


def _examine(
    config: Path | None, flags: dict[str, object], sources: tuple[str, ...], *, rebind: bool
) -> Iterator[Check]:
    from harvester.operations import doctor_checks
    from harvester.operations.doctor import examine

    try:
        settings = options.settings(config, **flags)
        options.refuse_aimless(settings.config, rebind=rebind)
    except ConfigError as exc:
        yield doctor_checks.failed("config", exc)
        yield doctor_checks.skip("the rest", "not checked: it follows from the configuration")
        return
    yield doctor_checks.ok("config", _told(settings, config))
    secrets = None
    try:
        secrets = load_secrets(os.environ)
    except ConfigError as exc:
        yield doctor_checks.failed("secrets", exc)
    else:
        yield _check_secrets()
    yield from _without(secrets, examine(settings.config, secrets, sources, rebind=rebind))


def _without(secrets: Secrets | None, found: Iterator[Check]) -> Iterator[Check]:
    """The same checks, key and secret masked, should a message ever quote them."""
    from harvester.redact import without_secrets

    hidden = (secrets.api_key, secrets.api_secret) if secrets else ()
    for check in found:
        yield msgspec.structs.replace(check, said=without_secrets(check.said, hidden))


def _told(settings: Settings, file: Path | None) -> str:
    config: Config = settings.config
    return (
        f"{file or 'no file'}: account {config.vendor.account} at {config.vendor.base_url}, at "
        f"most {config.pace.rate_per_s:g} requests/s"
    )


def _check_secrets() -> Check:
    from harvester.operations import doctor_checks

    files = [
        os.environ.get(f"{ENV_PREFIX}{name}") for name in SECRET_NAMES if name.endswith("_FILE")
    ]
    open_ = [file for file in files if file and Path(file).stat().st_mode & stat.S_IROTH]
    if open_:
        return doctor_checks.warn(
            "secrets", f"{open_[0]} can be read by everybody here", f"`chmod o= {open_[0]}`."
        )
    where = "files" if any(files) else "the environment"
    return doctor_checks.ok("secrets", f"key and secret are there, from {where}")


def _tell(check: Check, terminal: Terminal | None) -> None:
    if terminal is None:
        emit({"type": "check", **msgspec.to_builtins(check)})
        return
    terminal.show(lines_of(check))


def lines_of(check: Check) -> list[Line]:
    """A check on the screen; its remedy below it."""
    head = Line(f"{check.state:<6}{check.name:<{_LABEL}}{check.said}", _STYLES[check.state])
    if not check.remedy:
        return [head]
    return [head, Line(f"{'':<{6 + _LABEL}}{check.remedy}")]


def _code(found: list[Check], exit_code: int) -> str | None:
    """The code of the failure that has to be fixed first; None if all is well."""
    codes = [check.code for check in found if check.code and check.exit_code == exit_code]
    return None if not exit_code else (codes or [UsageError.code])[0]


def _close(found: list[Check], code: int, terminal: Terminal | None, *, were_tried: bool) -> None:
    numbers = {state: sum(check.state == state for check in found) for state in _STYLES}
    if terminal is None:
        emit(
            {
                "type": "doctor",
                "ok": code == 0,
                "exit_code": code,
                "code": _code(found, code),
                "key_was_tried": were_tried,
                **numbers,
            }
        )
        return
    if code:
        untried = "" if were_tried else " Key and secret were NOT tried."
        end = Line(f"Checks failed: {numbers['fail']} (exit {code}).{untried}", "bold red")
    elif numbers["warn"]:
        end = Line(f"Ready to run; warnings: {numbers['warn']}.", "bold yellow")
    else:
        end = Line("All checks passed.", "bold green")
    terminal.show([Line(), end])
