"""`harvester config`: the settings in force, and where each came from."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import typer

from harvester.cli import options
from harvester.cli.ui.console import Line, emit, stdout
from harvester.config import ENV_PREFIX, SECRETS, Settings, effective, load_secrets

app = typer.Typer(
    no_args_is_help=True, help="Show or check the settings in force.", rich_markup_mode=None
)

_NAME = 28
_VALUE = 38


@app.command("show")
def show(
    config: options.ConfigFile = None, out: options.Out = None, json: options.Json = False
) -> int:
    """Show every effective setting and its source.

    Secrets are only ever shown as set or not set.

    \b
    Example:
      harvester config show -c configs/nightly.toml
    """
    settings = options.settings(config, output__dir=out)
    if json:
        emit({"type": "config", "settings": _rows(settings), "secrets": _secrets()})
        return 0
    lines = [
        Line(f"{row['key']:<{_NAME}}{_literal(row['value']):<{_VALUE}}{row['origin']}")
        for row in _rows(settings)
    ]
    lines.append(Line())
    lines += [Line(f"{name:<{_NAME}}{told}") for name, told in _secrets().items()]
    stdout().show(lines)
    return 0


@app.command("check")
def check(
    config: options.ConfigFile = None, out: options.Out = None, json: options.Json = False
) -> int:
    """Check configuration, key and secret; exits 2 and says what is wrong.

    Sends nothing: whether the vendor takes the key shows in the first run.

    \b
    Example:
      harvester config check -c configs/nightly.toml && echo good
    """
    settings = options.settings(config, output__dir=out)
    load_secrets(os.environ)
    vendor, pace = settings.config.vendor, settings.config.pace
    folder = str(Path(settings.config.output.dir))
    if json:
        emit({"type": "check", "ok": True, "base_url": vendor.base_url, "out": folder})
    else:
        stdout().say(
            f"Good: account {vendor.account} at {vendor.base_url}, at most {pace.rate_per_s:g} "
            f"requests a second, into {folder}."
        )
    return 0


def _rows(settings: Settings) -> list[dict[str, object]]:
    return [
        {"key": key, "value": msgspec.to_builtins(value), "origin": settings.origins[key]}
        for key, value in effective(settings.config).items()
    ]


def _literal(value: object) -> str:
    """A value as TOML writes it, but for None."""
    return "none" if value is None else msgspec.json.encode(value).decode()


def _secrets() -> dict[str, str]:
    """Whether each secret is set, and by what; never what it is."""
    told = {}
    for name in SECRETS:
        if os.environ.get(f"{ENV_PREFIX}{name}"):
            told[f"{ENV_PREFIX}{name}"] = "set (environment)"
        elif file := os.environ.get(f"{ENV_PREFIX}{name}_FILE"):
            told[f"{ENV_PREFIX}{name}"] = f"set (file {file})"
        else:
            told[f"{ENV_PREFIX}{name}"] = "not set"
    return told
