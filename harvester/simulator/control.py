"""What a test may change while the simulator runs: the body of POST /_simulator/faults."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from msgspec import UNSET, UnsetType

from harvester.errors import UsageError
from harvester.simulator.faults import Weather, parse_mix

_REFUSAL = re.compile(r"-?[0-9]{1,4}|http[1-5][0-9]{2}")


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The wishes of one POST; what isn't named stays as it is."""

    faults: str | UnsetType = UNSET
    """A mix as for --faults."""
    only: tuple[str, ...] | None = None
    """The ids that `faults` is for; the others keep theirs."""
    times: int | None = None
    """Faulty answers an id gets at most; null for no bound."""
    total: int | None = None
    """Faulty answers in all; null for no bound."""
    down: bool | UnsetType = UNSET
    """Every connection is reset."""
    refuse: str | UnsetType | None = UNSET
    """Every answer is this status ("-1"), or a bare HTTP code ("http403"); null ends it."""
    retry_after: float | UnsetType = UNSET
    """For so many seconds every answer is HTTP 429 with the rest of them as Retry-After."""
    clock_skew_s: float | UnsetType = UNSET
    latency_ms: float | UnsetType = UNSET
    jitter_ms: float | UnsetType = UNSET
    rate_limit: float | UnsetType | None = UNSET
    enforce: bool | UnsetType = UNSET
    forget: bool = False
    """Start all counts and the log anew."""

    def weather(self) -> Weather | None:
        """The mix that the change asks for, or None."""
        if self.faults is UNSET:
            return None
        return Weather(parse_mix(self.faults), self.times, self.total)

    def settings(self) -> Mapping[str, object]:
        """The named options of the simulator, by name."""
        names = ("clock_skew_s", "latency_ms", "jitter_ms", "rate_limit", "enforce")
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not UNSET}


def parse_change(body: bytes) -> Change:
    """Read the body of a POST.  Raises UsageError saying what is wrong with it."""
    try:
        change = msgspec.json.decode(body, type=Change)
    except msgspec.DecodeError as exc:
        raise UsageError(f"/_simulator/faults: {exc}") from exc
    if change.only is not None and change.faults is UNSET:
        raise UsageError("/_simulator/faults: `only` needs `faults`.")
    if isinstance(change.refuse, str) and not _REFUSAL.fullmatch(change.refuse):
        raise UsageError(f'/_simulator/faults: refuse {change.refuse!r}: "-1" or "http403".')
    change.weather()
    return change
