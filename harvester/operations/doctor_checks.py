"""What each finding of `harvester doctor` means: ok, warn or fail, and what to do about it.

Only decides; `doctor` looks.  A failure carries the exit code that a run would have ended with
(harvester/errors.py), so that a script need not tell the two apart.
"""

from __future__ import annotations

from typing import Literal, assert_never

import msgspec

from harvester.client.clock import NOTABLE_SKEW_S
from harvester.client.verdicts import (
    Busy,
    Dead,
    NetworkFailure,
    NoRecord,
    Record,
    Refusal,
    Throttled,
    TimeRefused,
    UnknownStatus,
    Verdict,
)
from harvester.config import Pace, Workers
from harvester.errors import (
    BudgetReached,
    HarvesterError,
    StoreError,
    UsageError,
    VendorRefused,
    VendorUnavailable,
    worst,
)
from harvester.pipeline.limits.open_files import SPARE_FILES, connections_within
from harvester.pipeline.limits.sharing import Sharing
from harvester.vendor_clock import OFFSET_TEXT

SILENT_S = 1.0
"""For so long a limit file is closed that is new."""
_WINDOW_S = 1800.0
_ROOM = 1.5


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the doctor's."""

    name: str
    state: Literal["ok", "warn", "fail", "skip"]
    said: str
    remedy: str = ""
    exit_code: int = 0
    """Of a failure; 0 for the others."""
    code: str = ""
    """Of a failure: the code of the error that a run would end with; empty for the others."""


def ok(name: str, said: str) -> Check:
    """Nothing to do."""
    return Check(name=name, state="ok", said=said)


def warn(name: str, said: str, remedy: str) -> Check:
    """A run would work, but somebody should know."""
    return Check(name=name, state="warn", said=said, remedy=remedy)


def fail(name: str, said: str, remedy: str, kind: type[HarvesterError], *, code: str = "") -> Check:
    """A run would end with `kind`, or worse; `code`: where that class alone does not say enough."""
    return Check(
        name=name,
        state="fail",
        said=said,
        remedy=remedy,
        exit_code=kind.exit_code,
        code=code or kind.code,
    )


def failed(name: str, exc: HarvesterError) -> Check:
    """What a run would have raised; its message holds its remedy."""
    return Check(name=name, state="fail", said=str(exc), exit_code=exc.exit_code, code=exc.code)


def skip(name: str, why: str, remedy: str = "") -> Check:
    """It could not be looked at; what kept it from that has a line of its own, or a remedy."""
    return Check(name=name, state="skip", said=why, remedy=remedy)


def exit_code(checks: list[Check]) -> int:
    """0 if nothing failed and key and secret were accepted; else that of the failure that has to
    be put right first.
    """
    failed = worst(check.exit_code for check in checks if check.exit_code)
    return failed or (0 if are_accepted(checks) else UsageError.exit_code)


def are_accepted(checks: list[Check]) -> bool:
    """Whether an answer has shown that the vendor takes key and secret."""
    return any(check.name == "request" and check.state in ("ok", "warn") for check in checks)


def were_tried(checks: list[Check]) -> bool:
    """Whether an answer has shown whether the vendor takes key and secret, or us at all."""
    refused = any(check.exit_code == VendorRefused.exit_code for check in checks)
    return refused or are_accepted(checks)


def check_disk(free_bytes: int, data_bytes: int, working_bytes: int, place: str) -> Check:
    """Whether what a plan needs has room."""
    needed = data_bytes + working_bytes
    said = f"{_size(free_bytes)} free at {place}; the plan needs about {_size(needed)}"
    if free_bytes < needed:
        remedy = "Free some space, or put the output on a larger disk with --out."
        return fail("disk", said, remedy, StoreError, code="output.full")
    if free_bytes < _ROOM * needed:
        return warn("disk", said, "It is an estimate: free some space before it gets tight.")
    return ok("disk", said)


def check_exchange(why_not: str) -> Check:
    """Whether `harvester compact` would work.  `why_not`: what hinders it; "" if nothing does."""
    if why_not:
        return warn(
            "exchange",
            f"this file system can't exchange two folders in one step ({why_not})",
            "A run works all the same, but `harvester compact` needs it: many small files stay.",
        )
    return ok("exchange", "folders can be exchanged: `harvester compact` would work")


def check_open_files(limit: int, concurrency: int) -> Check:
    """Whether every worker can have its connection.  `limit`: RLIMIT_NOFILE; -1 for none."""
    needed = concurrency + SPARE_FILES
    if limit < 0:
        return ok("files", f"no limit of open files; a run needs about {needed}")
    said = f"{limit:,} open files allowed; pace.concurrency = {concurrency} needs about {needed}"
    if limit < needed:
        said += f": a run would make do with {connections_within(limit, concurrency)} connections"
        remedy = f"Raise it (`ulimit -n {needed}`, LimitNOFILE=), or lower pace.concurrency."
        return warn("files", said, remedy)
    return ok("files", said)


def check_workers(workers: Workers, cpus: int | None) -> Check:
    """Who fetches beside the run's own process.  `cpus`: those that are free on a Ray cluster."""
    said = f"{workers.count} process(es) fetch beside the run's own"
    if cpus is None:
        return ok("workers", said)
    said += f", on a Ray cluster with {cpus} free CPU(s)"
    if cpus < workers.count:
        return warn("workers", said, "Each worker needs one: the run goes on with fewer.")
    return ok("workers", said)


def check_limit(pace: Pace, shared: Sharing | None, workers: int = 0) -> Check:
    """Whom the limit is for.  `shared`: who is at it before the doctor is."""
    if shared and shared.closed_s > SILENT_S:
        said = f"the vendor allows no request for {shared.closed_s:,.0f} s more"
        return fail(
            "limit",
            said,
            "Another process got this answer: wait.",
            VendorUnavailable,
            code=_THROTTLING,
        )
    said = f"{pace.rate_per_s:g} requests/s"
    if workers:
        said += " for the run and its workers together; no other process may use the key meanwhile"
    elif pace.limit_file is None:
        said += " for each process alone; pace.limit_file makes it one for all of this machine"
    else:
        others = (
            [f"process {one.pid} with {one.output}" for one in shared.parties] if shared else []
        )
        said += f" for all that name {pace.limit_file}: {', '.join(others) or 'no other now'}"
        said += "; another machine with this key needs a part of the rate"
    if pace.per_day is not None:
        said += f"; pace.per_day = {pace.per_day:,} is counted for this output alone"
    return ok("limit", said)


def check_clock(skew_s: float | None) -> Check:
    """This machine's clock against the vendor's `Date`; None if the answer had none."""
    if skew_s is None:
        return skip("clock", "the answer carried no Date to compare with")
    if abs(skew_s) <= NOTABLE_SKEW_S:
        return ok("clock", f"within {max(1, round(abs(skew_s)))} s of the vendor's")
    behind = "behind" if skew_s > 0 else "ahead of"
    said = f"{abs(skew_s):,.0f} s {behind} the vendor's"
    remedy = "Set it by NTP. A run signs with the vendor's time once this machine's is refused."
    if abs(skew_s) > _WINDOW_S:
        said += ", more than the half hour that the vendor's documentation allows"
    return warn("clock", said, remedy)


def check_answer(
    verdict: Verdict, refused: str, detail: str = "", *, refused_code: str = ""
) -> Check:
    """What the one answer says of a night.  `refused` is the message a refusal would end it with,
    `refused_code` its code.

    `detail`: of a request without an answer, what the transport says of it.

    Only an answer that the vendor gives to those it knows is a pass; one that says nothing of key
    and secret is a failure, though a run would fetch again.
    """
    name = "request"
    match verdict:
        case Record(over):
            told = "the record came" if over else "the record came; its call is not over yet"
            return ok(name, f"key and signature are accepted: {told}")
        case NoRecord():
            return warn(
                name,
                "key and signature are accepted, but the vendor knows no record of this id",
                "Fine for a call of today or of months ago; else see that ids and key belong to "
                "one account.",
            )
        case Dead(reason):
            return warn(
                name,
                f"key and signature are accepted, but not this id ({reason})",
                "Look at the id files: are these voiceIds, and of this account?",
            )
        case TimeRefused():
            return fail(name, f"{refused} {_UNTRIED}", "", VendorRefused, code=refused_code)
        case Refusal():
            return fail(name, refused, "", VendorRefused, code=refused_code)
        case Throttled():
            return fail(
                name,
                f"the vendor throttles, though this was one request; {_UNTRIED}",
                "Does something else use this key? Wait a minute and try again.",
                VendorUnavailable,
                code=_THROTTLING,
            )
        case UnknownStatus():
            return fail(
                name,
                f"the vendor answers with a status that is unknown here ({verdict.name}); "
                f"{_UNTRIED}",
                "Ask the vendor what it means; 20 of them in a row stop a run.",
                VendorUnavailable,
                code="vendor.unknown_status",
            )
        case Busy(cause) | NetworkFailure(cause):
            return _check_no_answer(cause, detail)
        case never:
            assert_never(never)


_UNTRIED = "key and secret were NOT tried"
_THROTTLING = "vendor.throttling"


def not_sent(why: str) -> Check:
    """The request could not be sent; what kept it from that has a line of its own."""
    return skip("request", f"not sent, so {_UNTRIED}: {why}")


def nothing_to_fetch() -> Check:
    """A new output and an input without ids: there is nothing to try key and secret with."""
    return fail(
        "request",
        f"not sent, so {_UNTRIED}: there is no id, neither in the input nor in the output",
        "Name a file of ids: one id is enough to try them.",
        UsageError,
        code="input.no_ids",
    )


def per_day_used_up(per_day: int) -> Check:
    """No request is left of today's budget, not even this one."""
    return fail(
        "request",
        f"not sent, so {_UNTRIED}: pace.per_day = {per_day:,} requests are used today "
        f"({OFFSET_TEXT})",
        "Run tomorrow, or raise pace.per_day.",
        BudgetReached,
        code="limit.per_day",
    )


def _check_no_answer(cause: str, detail: str) -> Check:
    told, remedy = _CAUSES.get(cause, (f"the vendor's program failed ({cause})", _WAIT))
    if detail:
        told = f"{told}: {detail}"
    code = "vendor.no_connection" if cause == "exhausted" else ""
    return fail("request", f"{told}; {_UNTRIED}", remedy, VendorUnavailable, code=code)


_WAIT = "Try again in a few minutes; if it stays so, ask the vendor."
_NET = "Check the network, any firewall, and vendor.base_url."
_CAUSES = {
    "dns": ("the vendor's host name can't be resolved", "Check vendor.base_url and the DNS."),
    "refused": ("no connection to the vendor", _NET),
    "tls": ("no trusted TLS connection to the vendor", "Check its certificate and any TLS proxy."),
    "timeout": ("no complete answer within vendor.timeout_s", _NET),
    "reset": ("the connection ended before an answer", _WAIT),
    "torn": ("the answer was cut off", _WAIT),
    "protocol": ("the server did not reply with HTTP", "Check vendor.base_url."),
    "coding": (
        "the answer has an encoding that was not requested",
        "Check for a proxy in between.",
    ),
    "proxy": ("no way through the proxy", "Check vendor.proxy."),
    "exhausted": ("no connection could be made", "Free what is missing here; see also `files`."),
    "too_long": ("the reply is not from the vendor's API", "Check vendor.base_url."),
    "not_an_envelope": ("the reply is not from the vendor's API", "Check vendor.base_url."),
    "other_record": ("the answer is another id's record", "Is there a cache in between?"),
}


def _size(number: int) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 1e8 else f"{number / 1e6:,.1f} MB"
