"""`harvester simulate`: a simulator of the vendor, to try things out."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harvester.cli import options
from harvester.cli.ui.console import emit, stderr
from harvester.cli.ui.text import count
from harvester.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from harvester.simulator import SimulatorOptions
    from harvester.simulator.rates import Sheet

# Two months, the longest two: what the vendor keeps records for.
_KEEP_DAYS = 62.0
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


class Drift(StrEnum):
    """How far the vendor's records may be from its page."""

    NONE = "none"
    PLAIN = "plain"
    WILD = "wild"


DriftKind = Annotated[
    Drift,
    typer.Option(
        "--drift",
        help="Records as on the vendor's page (none); unknown fields, numbers as text and other "
        "variants (plain); and absurd amounts too (wild).",
    ),
]
NoDrift = Annotated[bool, typer.Option("--no-drift", help="The same as --drift none.")]
Billing = Annotated[
    str,
    typer.Option(
        metavar="MIX",
        help="Shares of the answered calls that are billed late or wrong, such as "
        '"late=0.1:3600,rerated=0.05,double=0.02"; or none.',
    ),
]
Listed = Annotated[
    str,
    typer.Option(
        "--list",
        metavar="HABITS",
        help="Serve the vendor's list of calls as well, such as "
        '"calls=1000,days=2,extra=20,late=0.1:20,overflow"; or none.',
    ),
]
Rates = Annotated[
    Path | None,
    typer.Option(
        "--rates",
        metavar="FILE",
        help="Rate sheet (CSV: destination or prefix, from, rate, increment, currency).",
        show_default="one that the seed makes up",
    ),
]
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
    drift: DriftKind = Drift.PLAIN,
    no_drift: NoDrift = False,
    billing: Billing = "none",
    rates: Rates = None,
    listed: Listed = "none",
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
    from harvester.simulator import SimulatorOptions, instant, serve

    wishes = SimulatorOptions(
        port=port,
        rate_limit=rate_limit or None,
        enforce=enforce,
        faults=faults,
        max_faults=max_faults,
        now=None if now is None else instant(now),
        clock_skew_s=clock_skew,
        latency_ms=latency_ms,
        jitter_ms=jitter_ms,
        seed=seed,
        drift=drift is not Drift.NONE and not no_drift,
        wild=drift is Drift.WILD and not no_drift,
        billing=billing,
        listed=listed,
        sheet=None if rates is None else _sheet(rates),
        keep_days=_KEEP_DAYS,
        log=log,
    )
    if ids is not None:
        return _write_ids(ids[0], ids[1], wishes, days=days, json=json)
    import asyncio

    announce, sum_up = _announcer(wishes, json=json), _summer(json=json)
    asyncio.run(serve(wishes, ready=announce, ended=sum_up))
    return 0


def _sheet(file: Path) -> Sheet:
    from harvester.simulator import parse_sheet

    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return parse_sheet(lines, str(file))
    except (OSError, UnicodeDecodeError) as exc:
        said = exc.strerror if isinstance(exc, OSError) else "it is no UTF-8"
        raise UsageError(
            f"{file} can't be read: {said}. --rates takes a CSV file.", code="usage.rates"
        ) from exc


def _announcer(wishes: SimulatorOptions, *, json: bool) -> Callable[[str], None]:
    def announce(base_url: str) -> None:
        if json:
            emit({"type": "listening", "base_url": base_url, "rate_limit": wishes.rate_limit})
            return
        sys.stdout.write(f"listening on {base_url}\n")
        sys.stdout.flush()
        stderr().say(f"{_KEYS_TOLD}\nCtrl-C ends it.")

    return announce


def _summer(*, json: bool) -> Callable[[Mapping[str, object]], None]:
    """What is shown at the end: was the limit kept?"""

    def sum_up(stats: Mapping[str, object]) -> None:
        if json:
            names = ("requests", "rate_limit", "over_limit", "worst_window")
            emit({"type": "ended", **{name: stats[name] for name in names}})
            return
        limit = stats["rate_limit"]
        kept = "no limit" if limit is None else f"{stats['over_limit']} over the limit of {limit:g}"
        stderr().say(
            f"{stats['requests']} requests, {kept}; at most {stats['worst_window']} in any second."
        )

    return sum_up


def _write_ids(number: int, file: Path, wishes: SimulatorOptions, *, days: int, json: bool) -> int:
    from datetime import UTC, datetime, timedelta

    from harvester.simulator import last_whole_day, twin_of, write_ids

    # By its clock, skew and all: an id of its future would be none.
    clock = (wishes.now or datetime.now(UTC)) + timedelta(seconds=wishes.clock_skew_s)
    end = last_whole_day(clock)
    bill = wishes.bill

    def twin(voice_id: str) -> str | None:
        return twin_of(wishes.seed, voice_id, wishes.fates, bill)

    twins = twin if bill.billing.double else None
    try:
        written = write_ids(file, number, wishes.seed, end=end, days=days, twin_of=twins)
    except OSError as exc:
        raise UsageError(
            f"{file} can't be written: {exc.strerror or exc}.", code="usage.unwritable"
        ) from exc
    if json:
        emit({"type": "ids", "count": written, "file": str(file)})
    else:
        stderr().say(f"{count(written)} voiceIds of the {days} days up to {end} are in {file}.")
    return 0
