"""By which time the vendor cuts a window, and whether it counts its start: found out with a call.

The vendor's pages say neither.  A call whose times lie apart tells: its record is fetched, and the
list is asked for two seconds around each time.  It shows in one of them alone.  Then the window
that begins with that very second tells whether the start counts.

Whether the end counts is of no use: a window that is asked for up to its last whole second could
still miss the calls of a fraction of it, which may be there though times are shown without one.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Protocol

import msgspec

from harvester.answers.literals import instant_of
from harvester.answers.opening import data_of, value_of
from harvester.client.record_group import Page, Query
from harvester.client.verdicts import Record
from harvester.errors import UsageError

_TIMES = ("submitTime", "callTime", "hangupTime")
_APART_S = 3
_REMEDY = "Choose another call: over, answered after some seconds, of a quiet hour."


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """How the vendor cuts windows, as a call has shown."""

    by: str
    is_start_counted: bool
    voice_id: str
    found_ms: int


class Asks(Protocol):
    """See `Lister`."""

    async def page(self, query: Query) -> Page | str | None: ...

    async def record(self, voice_id: str) -> Record | str | None: ...


async def find_filter(asks: Asks, voice_id: str, now_ms: int) -> Filter | None:
    """What `voice_id` shows; None where the command stops.

    Raises UsageError for a call that can't show it.
    """
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
    at, has_fraction = divmod(times[shows[0]], 1000)
    begins = await _shows(asks, voice_id, at, at + 1)
    if begins is None:
        return None
    return Filter(
        by=shows[0],
        # A call of half a second later is no proof.
        is_start_counted=begins and not has_fraction,
        voice_id=voice_id,
        found_ms=now_ms,
    )


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
    fields = data_of(raw)
    found: dict[str, int] = {}
    for name in _TIMES:
        try:
            found[name] = instant_of(value_of(fields.get(name, "null")) or "")[0]
        except ValueError:
            continue
    return found


def _useless(voice_id: str, why: str) -> UsageError:
    return UsageError(
        f"{voice_id} does not show how the vendor cuts its list: {why}. {_REMEDY}",
        code="listing.probe",
    )
