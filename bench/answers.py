"""Answers as the simulator gives them, with no network between."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from harvester.answers.answer import Answer
from harvester.simulator import make_ids
from harvester.simulator.calls import call_of
from harvester.simulator.drift import state
from harvester.simulator.render import record, success

_SEED = 1
_FETCHED_MS = 1_800_000_000_000
_END = date(2026, 11, 22)


def answers(count: int, *, days: int = 2, drift: bool = True) -> Iterator[Answer]:
    """`count` answers, with `drift` in all the simulator's moods of writing; in order of time."""
    for at, voice_id in enumerate(make_ids(count, _SEED, days=days, end=_END)):
        statement = state(call_of(_SEED, voice_id), _SEED, drift=drift)
        body = success(record(statement))
        yield Answer(voice_id, body, _FETCHED_MS + at, "20261122T010203-abcd", is_final=True)
