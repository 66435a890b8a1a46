"""What each exit code means, and what to type next."""

from __future__ import annotations

import msgspec

INTERRUPTED = (130, 143)


class Ending(msgspec.Struct, frozen=True):
    """An exit code in words."""

    short: str
    meaning: str
    next: str
    good: bool = False
    """Whether nobody needs to do anything."""


_AGAIN = (
    "Run the same command again; or `harvester publish`, to write what came into the data set now."
)
_ENDINGS = {
    0: Ending(
        "done",
        "the list is processed, and no id has died that was not reported before",
        "Nothing to do. The same command again fetches only open calls that are due.",
        good=True,
    ),
    1: Ending(
        "a bug", "something unexpected happened; this is a bug", "Report it with the log file."
    ),
    2: Ending(
        "nothing was fetched",
        "the command, the configuration or an input file is wrong; nothing was fetched",
        "Fix it, then run the same command again.",
    ),
    3: Ending(
        "done, some ids are dead",
        "the list is processed, but some ids have died that no run had reported before",
        "`harvester export dead` lists them with reasons; `harvester refetch dead` fetches them "
        "again.",
    ),
    4: Ending(
        "access denied",
        "the vendor denies access; what is not done stays pending",
        "Fix what the message names, then run the same command again.",
    ),
    5: Ending(
        "temporary, ids are pending",
        "temporary: some ids are still pending",
        "Run the same command again later; it goes on where this run stopped.",
    ),
    6: Ending(
        "output or state",
        "output or state can't be written, or they disagree",
        "Do what the message says first; change nothing in the output folder by hand.",
    ),
    7: Ending(
        "already running",
        "another run is in progress on this output",
        "Wait for it, or see how it is doing with `harvester status`.",
    ),
    8: Ending(
        "run limit reached",
        "the limit of the run is reached (time or requests); what is not done stays pending",
        "Run the same command again to go on.",
    ),
    130: Ending("interrupted", "interrupted; what is not done stays pending", _AGAIN),
    143: Ending("terminated", "terminated; what is not done stays pending", _AGAIN),
}


_FOUND = Ending(
    "done, records have changed",
    "the list is processed, and more has changed than the --fail options allow",
    "Look at the changes in changes/: old and new stand side by side.",
)


_TAKEN = Ending(
    "temporary, ids are pending",
    "temporary: what came by pages is to be fetched again",
    "`harvester run --carried-over-only`; without --via pages from then on.",
)


def ending(code: int, found: str = "") -> Ending:
    """The ending of `code`; an unknown one counts as unexpected.

    `found`: the `code` of the run's summary, where it is at hand.
    """
    if code == 3 and found in _CHANGED:
        return _FOUND
    if code == 5 and found == "listing.taken":
        return _TAKEN
    return _ENDINGS.get(code, _ENDINGS[1])


_CHANGED = frozenset({"found.changed", "found.amount"})
