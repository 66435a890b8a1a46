"""One id on its way through the run, and what became of it."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from harvester.answers.answer import SINGLE
from harvester.state.values import OpenCall

# One of each is made for every id: a Struct is made in a tenth of a frozen dataclass's time.  What
# comes back from workers is tagged, so that it may come from another process (`workers.py`).


class Task(msgspec.Struct, frozen=True, gc=False):
    """An id to ask for, and where it came from."""

    voice_id: str
    chunk: int | None = None
    row: int | None = None
    """Its place on the work list; None for an open call."""
    open_call: OpenCall | None = None
    is_last_try: bool = False
    """The second ask of an id that this run deferred already."""
    counts: bool = False
    """Others were delivered around the first ask of it."""
    again: bool = False
    """Its record is in the data set already: the answer is compared with that."""


class Answered(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The vendor gave the record; `over` is False while the call goes on."""

    answer: bytes
    over: bool
    at_ms: int
    is_rated: bool = True
    """False: the call is over, but the vendor has not put a price on it."""
    fetched_by: str = SINGLE
    """As in `Answer`."""


class Unknown(msgspec.Struct, frozen=True, tag=True):
    """The vendor knows no such record."""

    at_ms: int
    attempts: int


class Died(msgspec.Struct, frozen=True, tag=True):
    """The vendor said no for good."""

    reason: str
    detail: str
    attempts: int
    at_ms: int
    body: bytes | None = None


class PutOff(msgspec.Struct, frozen=True, tag=True):
    """The id's budget is spent; it stays pending."""

    cause: str
    attempts: int
    at_ms: int
    counts: bool
    """Other ids were delivered meanwhile, so this ask counts against the id."""


Conclusion: TypeAlias = Answered | Unknown | Died | PutOff
