"""The simulator's options, checked when they are made."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path

from harvester.errors import UsageError
from harvester.simulator.billing import Bill, parse_billing
from harvester.simulator.calls import Fates
from harvester.simulator.faults import parse_mix
from harvester.simulator.habits import parse_habits
from harvester.simulator.rates import Sheet

_NOT_NEGATIVE = (
    "window_s",
    "max_faults",
    "open_asks",
    "final_after_s",
    "latency_ms",
    "jitter_ms",
    "slow_s",
    "drip_s",
    "keep_days",
)

# The check vector of the vendor's page: with it, the page's example signature comes out.
PAGE_KEYS = ("bDqJFiq9", "7bz1lzh9")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorOptions:
    """How the stand-in vendor behaves.  Raises UsageError where a value makes no sense."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 takes any free port."""
    prefix: str = "/voice"
    seed: int = 1
    keys: tuple[str, str] = field(default=PAGE_KEYS, repr=False)
    """(key, secret)."""
    window_s: float = 60.0
    """How far a Timestamp may be from the simulator's clock."""
    now: datetime | None = None
    """What its clock (aware) shows when it starts; None for the machine's own."""
    clock_skew_s: float = 0.0
    """How far its clock is ahead of that."""
    rate_limit: float | None = 50.0
    """Requests in any sliding second; None for no limit."""
    enforce: bool = False
    """Whether a request over the limit is refused, not only counted."""
    faults: str = "none"
    max_faults: int | None = 3
    """Faulty answers that one id gets at most, so that a harvest ends; None for no bound."""
    fates: Fates = field(default_factory=Fates)
    drift: bool = True
    wild: bool = False
    """Whether drift may make up absurd amounts as well."""
    billing: str = "none"
    """Shares of the answered calls that are billed late or wrong."""
    sheet: Sheet | None = None
    """Rates of a file, which come before the made-up ones."""
    listed: str = "none"
    """The list of calls and its habits; none: this vendor has no such list."""
    keep_days: float | None = None
    """How old an id with a date may be before its record is forgotten; None for any age."""
    open_asks: int = 1
    """How many asks an open call answers without an end, where `final_after_s` is None."""
    final_after_s: float | None = None
    """Seconds after its first ask at which an open call is over."""
    latency_ms: float = 0.0
    jitter_ms: float = 0.0
    slow_s: float = 5.0
    drip_s: float = 10.0
    log: Path | None = None
    """A file that gets a JSON line for every request."""
    log_size: int = 100_000
    """How many of the last requests `/_simulator/log` remembers."""
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        parse_mix(self.faults)
        parse_billing(self.billing)
        parse_habits(self.listed)
        _check_host(self.host)
        _check_prefix(self.prefix)
        _check_numbers(self)
        _check_fates(self.fates)

    @property
    def bill(self) -> Bill:
        """How calls are billed."""
        return Bill(parse_billing(self.billing), self.sheet)


def instant(text: str) -> datetime:
    """An instant of ISO 8601, in UTC where it names no offset.  Raises UsageError for others."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    # The vendor's ids have two digits for the year.
    if found is None or not 2000 <= found.year <= 2099:
        raise UsageError(
            f"{text!r} is no instant of the years 2000 to 2099: write it as 2026-11-25T22:00:00Z."
        )
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _check_host(host: str) -> None:
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise UsageError(
            f"the simulator doesn't listen on {host!r}: it hands out made-up records to anybody "
            "who asks. Use 127.0.0.1, ::1 or localhost."
        )


def _check_prefix(prefix: str) -> None:
    good = prefix == "" or (prefix.startswith("/") and not prefix.endswith("/"))
    if not good or "?" in prefix or "#" in prefix or " " in prefix:
        raise UsageError(f"prefix {prefix!r}: write it as /voice or /v3/voice.")


def _check_numbers(options: SimulatorOptions) -> None:
    if not 0 <= options.port <= 65_535:
        raise UsageError(f"port {options.port}: give one from 0 (any free one) to 65535.")
    if options.rate_limit is not None and options.rate_limit < 1:
        raise UsageError(f"rate_limit {options.rate_limit}: give 1 or more requests a second.")
    for name in _NOT_NEGATIVE:
        if (getattr(options, name) or 0) < 0:
            raise UsageError(f"{name} {getattr(options, name)}: give 0 or more.")
    if options.log_size < 1:
        raise UsageError(f"log_size {options.log_size}: give 1 or more.")
    if not all(options.keys):
        raise UsageError("keys: neither the key nor the secret may be empty.")


def _check_fates(fates: Fates) -> None:
    shares = {one.name: getattr(fates, one.name) for one in fields(fates)}
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise UsageError(f"fates: {name} is a share from 0 to 1, not {share}.")
    if sum(shares.values()) - fates.answered > 1 + 1e-9:
        raise UsageError("fates: the shares of all fates add up to over 1.")
