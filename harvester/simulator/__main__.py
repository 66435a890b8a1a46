"""`python -m harvester.simulator`: the stand-in vendor on its own, for tests and benchmarks."""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from harvester.errors import UsageError
from harvester.simulator import Fates, SimulatorOptions, instant, serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal; the exit code."""
    try:
        options = options_of(_parser().parse_args(arguments))
        asyncio.run(serve(options, ready=_announce))
    except UsageError as exc:
        sys.stderr.write(f"{exc}\n")
        return exc.exit_code
    return 0


def options_of(parsed: argparse.Namespace) -> SimulatorOptions:
    """The options that the command line names; the others keep their defaults."""
    given = {name: value for name, value in vars(parsed).items() if value is not None}
    key, secret = given.pop("key", None), given.pop("secret", None)
    if key is not None or secret is not None:
        given["keys"] = (key or "", secret or "")
    if given.get("rate_limit") == 0:
        given["rate_limit"] = None
    if "now" in given:
        given["now"] = instant(given["now"])
    if "tls_cert" in given:
        given["ssl_context"] = _tls(given.pop("tls_cert"))
    drift = given.pop("drift", None)
    if drift is not None:
        given["drift"], given["wild"] = drift != "none", drift == "wild"
    given["fates"] = _fates(given.pop("fates", ""))
    return SimulatorOptions(**given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harvester.simulator", description=__doc__)
    for name in ("host", "prefix", "key", "secret", "faults", "fates", "now", "billing", "listed"):
        parser.add_argument(f"--{name}")
    for name in ("port", "seed", "max-faults", "open-asks", "log-size"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("window-s", "clock-skew-s", "final-after-s", "latency-ms", "jitter-ms"):
        parser.add_argument(f"--{name}", type=float)
    for name in ("slow-s", "drip-s", "keep-days"):
        parser.add_argument(f"--{name}", type=float)
    parser.add_argument("--rate-limit", type=float, help="requests a second; 0 for none")
    parser.add_argument("--enforce", action=argparse.BooleanOptionalAction)
    kinds = ("none", "plain", "wild")
    parser.add_argument("--drift", choices=kinds, nargs="?", const="plain")
    parser.add_argument("--no-drift", dest="drift", action="store_const", const="none")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--tls-cert", type=Path, help="key and certificate in one PEM file: https")
    return parser


def _tls(path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(path)
    except OSError as exc:  # ssl.SSLError is one
        raise UsageError(f"tls_cert {path}: {exc.strerror or exc}. Give a PEM file.") from exc
    return context


def _fates(text: str) -> Fates:
    """Shares such as "dead_param=0.1,answered=1"."""
    known = {one.name for one in fields(Fates)}
    shares: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.partition("=")
        try:
            shares[name] = float(number)
        except ValueError as exc:
            raise UsageError(f"fates: {part!r} needs a share, for example {name}=0.1.") from exc
        if name not in known:
            raise UsageError(f"fates: {name!r} is none. Known are: {', '.join(sorted(known))}.")
    return Fates(**shares)


def _announce(base_url: str) -> None:
    sys.stdout.write(f"listening on {base_url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
