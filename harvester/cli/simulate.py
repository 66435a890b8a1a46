"""`harvester simulate`: the stand-in vendor, to rehearse a night."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harvester.cli import options
from harvester.cli.console import emit, stderr
from harvester.cli.text import count
from harvester.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date

    from harvester.simulator import SimulatorOptions

_KEYS_TOLD = "Key and secret: HARVESTER_API_KEY=bDqJFiq9 HARVESTER_API_SECRET=7bz1lzh9"

Port = Annotated[int, typer.Option(help="Where to listen on 127.0.0.1; 0 takes a free port.")]
RateLimit = Annotated[
    float, typer.Option(metavar="N", help="Requests a second that it allows; 0 for no limit.")
]
Enforce = Annotated[bool, typer.Option(help="Refuse what is over the limit, not only count it.")]
Faults = Annotated[
    str,
    typer.Option(
        metavar="MIX",
        help='Odds of each fault, such as "busy=0.02,torn=0.005"; or none, or all.',
    ),
]
MaxFaults = Annotated[
    int, typer.Option(metavar="N", help="Faulty answers that one id gets at most.")
]
Now = Annotated[
    str | None,
    typer.Option(
        metavar="INSTANT",
        help="What its clock shows when it starts, such as 2026-11-25T22:00:00Z; made-up ids "
        "end with the vendor's day before it.",
        show_default="the machine's clock",
    ),
]
ClockSkew = Annotated[
    float, typer.Option(metavar="SECONDS", help="How far its clock is ahead of that.")
]
Latency = Annotated[float, typer.Option("--latency-ms", metavar="MS", help="Wait before answers.")]
Jitter = Annotated[float, typer.Option("--jitter-ms", metavar="MS", help="And up to this more.")]
Seed = Annotated[int, typer.Option(metavar="N", help="The same seed makes the same calls.")]
Drift = Annotated[bool, typer.Option(help="Unknown fields, numbers as text and other moods.")]
LogFile = Annotated[
    Path | None, typer.Option("--log", metavar="FILE", help="Write every request to FILE.")
]
Ids = Annotated[
    tuple[int, Path] | None,
    typer.Option(
        "--ids", metavar="N FILE", help="Only write N voiceIds to FILE (one a line), and exit."
    ),
]
Days = Annotated[int, typer.Option(metavar="N", help="Spread those ids over so many days.")]


def simulate(  # noqa: PLR0917 - typer makes a flag of each
    port: Port = 8080,
    rate_limit: RateLimit = 50.0,
    enforce: Enforce = False,
    faults: Faults = "none",
    max_faults: MaxFaults = 3,
    now: Now = None,
    clock_skew: ClockSkew = 0.0,
    latency_ms: Latency = 0.0,
    jitter_ms: Jitter = 0.0,
    seed: Seed = 1,
    drift: Drift = True,
    log: LogFile = None,
    ids: Ids = None,
    days: Days = 45,
    config: options.ConfigFile = None,
    out: options.Out = None,
    json: options.Json = False,
) -> int:
    """Stand in for the vendor on this machine: signatures, limits, faults and made-up calls.

    It checks signature, time window and rate as the vendor does, and gives the same call for the
    same id every time. Ends with Ctrl-C. -c and --out are taken, and mean nothing here.

    \b
    Example:
      harvester simulate --ids 1000 ids.txt
      harvester simulate --port 8080 --faults busy=0.02,torn=0.005
      harvester run ids.txt --base-url http://127.0.0.1:8080/voice --out rehearsal
    """
    del config, out
    from harvester.simulator import SimulatorOptions, instant, last_whole_day, serve

    moment = None if now is None else instant(now)
    if ids is not None:
        end = last_whole_day(moment)
        return _write_ids(ids[0], ids[1], seed=seed, days=days, end=end, json=json)
    import asyncio

    wishes = SimulatorOptions(
        port=port,
        rate_limit=rate_limit or None,
        enforce=enforce,
        faults=faults,
        max_faults=max_faults,
        now=moment,
        clock_skew_s=clock_skew,
        latency_ms=latency_ms,
        jitter_ms=jitter_ms,
        seed=seed,
        drift=drift,
        log=log,
    )
    asyncio.run(serve(wishes, ready=_announcer(wishes, json=json)))
    return 0


def _announcer(wishes: SimulatorOptions, *, json: bool) -> Callable[[str], None]:
    def announce(base_url: str) -> None:
        if json:
            emit({"type": "listening", "base_url": base_url, "rate_limit": wishes.rate_limit})
            return
        sys.stdout.write(f"listening on {base_url}\n")
        sys.stdout.flush()
        stderr().say(f"{_KEYS_TOLD}\nCtrl-C ends it.")

    return announce


def _write_ids(number: int, file: Path, *, seed: int, days: int, end: date, json: bool) -> int:
    from harvester.simulator import write_ids

    try:
        written = write_ids(file, number, seed, end=end, days=days)
    except OSError as exc:
        raise UsageError(f"{file} can't be written: {exc.strerror or exc}.") from exc
    if json:
        emit({"type": "ids", "count": written, "file": str(file)})
    else:
        stderr().say(f"{count(written)} voiceIds of the {days} days up to {end} are in {file}.")
    return 0
