"""What stops a run. An id that fails is a value; a run that fails is one of these.

    HarvesterError             1   unexpected
    ├── UsageError             2   an argument that makes no sense
    │   └── ConfigError        2   a bad key or value, a missing secret (message carries its path)
    ├── SourceError            2   an id file that can't be read (message carries the file)
    ├── VendorRefused          4   access denied: key, signature, IP address, clock, address
    ├── VendorUnavailable      5   an outage outlasted `retry.max_outage_s`; run again later
    ├── ListIncomplete         5   calls may be missing in what the vendor's list gave; run again
    ├── ListDiffers            3   the vendor's list has calls otherwise than they are singly
    ├── StoreError             6   output or state can't be written, or they disagree
    ├── AlreadyRunning         7   another run holds the output's lock
    ├── BudgetReached          8   `--max-duration` or `pace.per_day` is used up; run again
    └── Interrupted          130   SIGINT; run again
        └── Terminated       143   SIGTERM; run again

Three endings are results of a run that worked, not exceptions: 0 (the list is processed), 3 (as 0,
but some ids have died that no run had reported before) and 5 without a message (some ids failed in
every attempt).  If several apply, `worst` picks the one that the user has to act on first.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import ClassVar

EXIT_DONE = 0
EXIT_UNEXPECTED = 1
EXIT_SOME_DEAD = 3
EXIT_PENDING = 5
"""Some ids failed in every attempt; an outage has the same."""
GOOD_ENDS = (EXIT_DONE, EXIT_SOME_DEAD, 8)
"""Exit codes of a run that did what it was meant to; 8: as far as its own budget went."""

# The first that applies is the exit code: what somebody must act on comes first.
_PRECEDENCE = (6, 4, 130, 143, 8, 5, 3, 0)


class HarvesterError(Exception):
    """The root: whatever the harvester raises on purpose.  `str()` is what the user reads.

    `code` names the trouble for programs: it stays where a sentence is written better
    (docs/when-it-stops.md has them all).
    """

    code: str = "internal"

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        """`code`: what it is, where the class alone does not say enough."""
        super().__init__(message)
        if code is not None:
            self.code = code

    exit_code: ClassVar[int] = EXIT_UNEXPECTED
    resumable: ClassVar[bool] = False
    """Whether the same command, typed again, goes on where this run stopped."""


class UsageError(HarvesterError):
    """An argument makes no sense."""

    code = "usage.invalid"
    exit_code = 2


class ConfigError(UsageError):
    """A configuration key or value, or a secret, is wrong or missing."""

    code = "config.invalid"


class SourceError(HarvesterError):
    """An id file can't be read; nothing was fetched."""

    code = "input.invalid"
    exit_code = 2


class VendorRefused(HarvesterError):
    """Access denied as a whole: key, signature, IP address, clock, or a wrong base_url."""

    code = "vendor.denied"
    exit_code = 4
    resumable = True


class VendorUnavailable(HarvesterError):
    """The vendor was out of reach for longer than `retry.max_outage_s`."""

    code = "vendor.unavailable"
    exit_code = 5
    resumable = True


class ListIncomplete(HarvesterError):
    """What the vendor's list gave is not all of it, or may not be."""

    code = "listing.unsettled"
    exit_code = 5
    resumable = True


class ListDiffers(HarvesterError):
    """The vendor's list has records otherwise than answers about their ids alone have them."""

    code = "listing.differs"
    exit_code = 3


class StoreError(HarvesterError):
    """Output or state can't be read or written, or they contradict each other."""

    code = "store.failed"
    exit_code = 6


class AlreadyRunning(HarvesterError):
    """Another process holds the lock of this output."""

    code = "state.locked"
    exit_code = 7


class BudgetReached(HarvesterError):
    """The run's own budget of time or requests is used up."""

    code = "limit.reached"
    exit_code = 8
    resumable = True


class Interrupted(HarvesterError):
    """SIGINT: the run drained and stopped.  Left as an exit number, not by raising the signal."""

    code = "stopped.sigint"
    exit_code = 130
    resumable = True


class Terminated(Interrupted):
    """SIGTERM: the run drained and stopped."""

    code = "stopped.sigterm"
    exit_code = 143


_DISK_CODES = {
    errno.ENOSPC: "output.full",
    errno.EDQUOT: "output.full",
    errno.EACCES: "output.permission",
    errno.EPERM: "output.permission",
    errno.EROFS: "output.permission",
}


def disk_code(exc: OSError) -> str:
    """The code of what a file system refuses: a full disk, a missing right, or something else."""
    return _DISK_CODES.get(exc.errno or 0, "output.failed")


def first_line(exc: BaseException) -> str:
    """What an error of a library says first, fit to be quoted; its kind if it says nothing."""
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]


def worst(codes: Iterable[int]) -> int:
    """The exit code of a run to which all of `codes` apply; 0 for none.  Unknown codes win."""
    found = set(codes)
    unknown = found.difference(_PRECEDENCE)
    if unknown:
        return min(unknown)
    return next((code for code in _PRECEDENCE if code in found), EXIT_DONE)
