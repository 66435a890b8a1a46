"""By which time the vendor cuts a window, and whether it counts its start: found out with a call.

The vendor's pages say neither.  A call whose times lie apart tells: its record is fetched, and the
list is asked for two seconds around each time.  It shows in one of them alone.  Then the window
that begins with that very second tells whether the start counts.

Where nobody names a call, the list itself is looked at for some, here and there in the days that
are to be listed.  Three that agree are enough to tell pages of other windows from the right ones.
They come from the very list that may be wrong, so nothing is saved on their word: the start of a
window is not taken for counted, nor are the days on either side left out.

Whether the end counts is of no use: a window that is asked for up to its last whole second could
still miss the calls of a fraction of it, which may be there though times are shown without one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Protocol

import msgspec

from harvester.client.record_group import Page, Query
from harvester.client.verdicts import Record
from harvester.errors import UsageError
from harvester.pipeline.listing.both_ways import times_of
from harvester.pipeline.listing.windows import DAY_S, Window

_TIMES = ("submitTime", "callTime", "hangupTime")
_APART_S = 3
_AGREEING = 3
"""Calls of the list that show the same, where nobody has named one."""
_LOOKS = 6
_MOST_PROBED = 12
_REMEDY = "Choose another call: over, answered after some seconds, of a quiet hour."


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """How the vendor cuts windows, as a call has shown."""

    by: str
    is_start_counted: bool
    voice_id: str
    """The call that somebody has named; empty: some of the list have shown it."""
    found_ms: int

    @property
    def is_named(self) -> bool:
        """Whether somebody has named the call."""
        return bool(self.voice_id)


class Asks(Protocol):
    """See `Lister`."""

    async def page(self, query: Query) -> Page | str | None: ...

    async def record(self, voice_id: str) -> Record | str | None: ...


async def find_filter(asks: Asks, voice_id: str, now_ms: int) -> Filter | None:
    """What `voice_id` shows; None where the command stops.

    Raises UsageError for a call that can't show it.
    """
    shown = await _listed_by(asks, voice_id)
    if shown is None:
        return None
    by, at_ms = shown
    at, has_fraction = divmod(at_ms, 1000)
    begins = await _shows(asks, voice_id, at, at + 1)
    if begins is None:
        return None
    return Filter(
        by=by,
        # A call of half a second later is no proof.
        is_start_counted=begins and not has_fraction,
        voice_id=voice_id,
        found_ms=now_ms,
    )


async def find_unnamed(
    asks: Asks, span: Window, now_ms: int, is_id: Callable[[str], bool]
) -> Filter | None:
    """What some calls of `span` show; None where they don't agree, or the command stops.

    `is_id`: whether a text can be a voiceId at all.
    """
    candidates: list[list[str]] = []
    for window in _here_and_there(span):
        page = await asks.page(Query(window.start_s, window.until_s))
        if not isinstance(page, Page):
            return None
        candidates.append([one for one in _clear(page) if is_id(one)])
    agreeing, shown_by = 0, ""
    for voice_id in list(_in_turn(candidates))[:_MOST_PROBED]:
        try:
            shown = await _listed_by(asks, voice_id)
        except UsageError:
            continue
        if shown is None or shown[0] != (shown_by or shown[0]):
            return None
        agreeing, shown_by = agreeing + 1, shown[0]
        if agreeing == _AGREEING:
            return Filter(by=shown_by, is_start_counted=False, voice_id="", found_ms=now_ms)
    return None


async def _listed_by(asks: Asks, voice_id: str) -> tuple[str, int] | None:
    """The time that a call is listed by, and what it is, in ms; None where the command stops."""
    found = await asks.record(voice_id)
    if found is None:
        return None
    if isinstance(found, str):
        raise _useless(voice_id, f"its record can't be had ({found})")
    times = _times(found.records[0].raw)
    ordered = sorted(times.values())
    if len(ordered) < len(_TIMES):
        raise _useless(voice_id, "it is not over, or a time of it can't be read")
    if any(later - at < _APART_S * 1000 for at, later in pairwise(ordered)):
        raise _useless(voice_id, f"its times are less than {_APART_S} s apart")
    shows = []
    for name, ms in times.items():
        is_there = await _shows(asks, voice_id, ms // 1000 - 1, ms // 1000 + 1)
        if is_there is None:
            return None
        shows += [name] if is_there else []
    if len(shows) != 1:
        where = "around several of its times" if shows else "around none of its times"
        raise _useless(voice_id, f"the list has it {where}")
    return shows[0], times[shows[0]]


def _here_and_there(span: Window) -> list[Window]:
    """Some parts of `span`, a day long at most."""
    cuts = [span.start_s + span.seconds * part // _LOOKS for part in range(_LOOKS + 1)]
    parts = [Window(at, min(until, at + DAY_S)) for at, until in pairwise(cuts)]
    return [part for part in parts if part.seconds]


def _clear(page: Page) -> list[str]:
    """Calls whose times lie apart, the clearest first."""
    apart: dict[str, int] = {}
    for call in page.calls:
        times = sorted(_times(call.record.raw).values())
        if len(times) == len(_TIMES):
            apart[call.record.voice_id] = min(later - at for at, later in pairwise(times))
    clear = [voice_id for voice_id, ms in apart.items() if ms >= _APART_S * 1000]
    return sorted(clear, key=lambda voice_id: -apart[voice_id])[:_MOST_PROBED]


def _in_turn(candidates: Sequence[Sequence[str]]) -> Iterator[str]:
    """The first of each, then the second of each, and so on; each id once."""
    told: set[str] = set()
    for place in range(_MOST_PROBED):
        for some in candidates:
            if place < len(some) and some[place] not in told:
                told.add(some[place])
                yield some[place]


async def _shows(asks: Asks, voice_id: str, start_s: int, end_s: int) -> bool | None:
    page = await asks.page(Query(start_s, end_s))
    if page is None:
        return None
    if isinstance(page, str):
        raise _useless(voice_id, f"the list does not answer ({page})")
    if any(call.record.voice_id == voice_id for call in page.calls):
        return True
    if page.total > page.records:
        raise _useless(voice_id, "its second has more calls than a page holds")
    return False


def _times(raw: bytes) -> dict[str, int]:
    """Those that can be read, in ms."""
    told = times_of(raw)
    return {name: told[name] for name in _TIMES if name in told}


def _useless(voice_id: str, why: str) -> UsageError:
    return UsageError(
        f"{voice_id} does not show how the vendor cuts its list: {why}. {_REMEDY}",
        code="listing.probe",
    )
