"""The vendor's list of calls, with its habits: POST recordGroupQuery.

The list needs calls to list: those of `make_ids`, as `simulate --ids` writes them for the same seed
and days, and others that stand in no file of ours.  What is listed, and what a page looks like, is
drawn by seed and id; only late rows and rows that change go by how often was asked.  A record is
what an answer about its id alone would be now, unless a habit says otherwise.

Within a second rows come in no order: which one it is depends on size and page, as in a database
that sorts by time alone.  So paging through a second loses some and doubles others.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from zlib import crc32

import msgspec

from harvester.simulator import render
from harvester.simulator.calls import Call, Fate, as_open, call_of, twin_of
from harvester.simulator.dice import Dice
from harvester.simulator.drift import Sent
from harvester.simulator.habits import LARGEST, Habits, parse_habits
from harvester.simulator.ids import VENDOR_ZONE, ids_of_second, make_ids
from harvester.simulator.options import SimulatorOptions
from harvester.simulator.records import Records
from harvester.simulator.replies import Reply, refuse

_LISTED = (Fate.RECORD, Fate.OPEN_THEN_FINAL, Fate.OPEN_FOREVER)
_A_CENT = Decimal("0.01")
_PUT_THROUGH = "200"
_MOST_DAYS = timedelta(days=31)


def listed_ids(options: SimulatorOptions, habits: Habits, end: date) -> Iterator[str]:
    """The ids of the calls that exist, in no order: of files, of nobody's, of the burst."""
    bill, seed = options.bill, options.seed
    told: set[str] = set()
    for voice_id in make_ids(habits.calls, seed, end=end, days=habits.days):
        twin = twin_of(seed, voice_id, options.fates, bill) if bill.billing.double else None
        told.update(one for one in (voice_id, twin) if one)
    # Of another seed, so that no file has them; those that it has by chance are left out.
    others = (
        one
        for one in make_ids(habits.extra * 2 + 10, seed + 7, end=end, days=habits.days)
        if one not in told
    )
    yield from told
    yield from islice(others, habits.extra)
    noon = datetime(end.year, end.month, end.day, 12, tzinfo=VENDOR_ZONE)
    yield from ids_of_second(noon, habits.burst)


@dataclass(slots=True)
class _Row:
    second: int
    call: Call
    since: int
    """The request from which on it shows."""
    held: int = 0
    """How often a page had it."""


class _Params(msgspec.Struct):
    strTime: str  # noqa: N815 - the vendor's name
    endTime: str  # noqa: N815


class _Question(msgspec.Struct):
    current: int
    size: int
    params: _Params


class RecordList:
    """Lists what there is."""

    def __init__(
        self, options: SimulatorOptions, end: date, records: Records | None = None
    ) -> None:
        """`end`: the last day that has calls.  `records`: what answers about single ids."""
        self._options = options
        self._records = records or Records(options)
        self._end = end
        self._habits = parse_habits(options.listed)
        self._requests = 0
        self._rows: list[_Row] | None = None

    @property
    def is_there(self) -> bool:
        """Whether this vendor has a list at all."""
        return self._habits is not None

    def truth(self) -> dict[str, object]:
        """Every id that is listed sooner or later, and how many of them do not show yet."""
        rows = self._all()
        late = sum(row.since > self._requests for row in rows)
        return {"ids": sorted(row.call.voice_id for row in rows), "late_left": late}

    def answer(self, body: bytes, now_s: float, at: float = 0.0) -> Reply:
        """The right answer to a question; `at` as of `Records.answer`."""
        assert self._habits is not None
        self._requests += 1
        try:
            asked = msgspec.json.decode(body, type=_Question)
            start = datetime.strptime(asked.params.strTime, "%Y-%m-%dT%H:%M:%S%z")
            end = datetime.strptime(asked.params.endTime, "%Y-%m-%dT%H:%M:%S%z")
        except (ValueError, msgspec.DecodeError):
            return refuse("-22", "bad_query")
        if not 1 <= asked.size <= LARGEST or asked.current < 1 or end < start:
            return refuse("-22", "bad_query")
        keep_days = self._options.keep_days
        is_old = keep_days is not None and now_s - start.timestamp() > keep_days * 86_400
        if is_old or end - start > _MOST_DAYS:
            return refuse("-25", "out_of_range")
        found = self._found(int(start.timestamp()), int(end.timestamp()), asked)
        moment = at, now_s
        return Reply("0", render.success(self._page(found, asked, moment)), "list")

    def _found(self, start_s: int, end_s: int, asked: _Question) -> list[_Row]:
        """The rows of a window that show by now, newest first, those of a second in no order."""
        habits = self._habits
        assert habits is not None
        rows = self._all()
        cut_first = bisect_left if habits.ends in ("both", "start") else bisect_right
        cut_last = bisect_right if habits.ends in ("both", "end") else bisect_left
        first = cut_first(rows, start_s, key=_second)
        last = cut_last(rows, end_s, key=_second)
        page = f"{asked.size}/{asked.current}/{self._options.seed}".encode()

        def order(row: _Row) -> tuple[int, int]:
            return -row.second, crc32(row.call.voice_id.encode() + page)

        return sorted((r for r in rows[first:last] if r.since <= self._requests), key=order)

    def _page(self, found: list[_Row], asked: _Question, moment: tuple[float, float]) -> str:
        habits = self._habits
        assert habits is not None
        size = min(asked.size, habits.cap)
        pages = -(-len(found) // size)
        current = asked.current
        if habits.repeat or (habits.overflow and current > pages):
            current = 1
        shown = found[(current - 1) * size : current * size]
        records = [self._record(row, moment) for row in shown]
        total = len(found) + habits.total
        quote = '"' if habits.text else ""
        numbers = {"total": total, "size": asked.size, "current": current, "pages": pages}
        told = ",".join(f'"{name}":{quote}{value}{quote}' for name, value in numbers.items())
        extra = '"orders":[],"optimizeCountSql":true,"hitCount":false,"searchCount":true'
        return f'{{"records":[{",".join(records)}],{told},{extra}}}'

    def _record(self, row: _Row, moment: tuple[float, float]) -> str:
        habits, options = self._habits, self._options
        assert habits is not None
        row.held += 1
        call = row.call
        dice = Dice(options.seed, call.voice_id, b"listed")
        has_no_id = dice.chance(habits.noid)
        if dice.chance(habits.changed) and call.answer_time and row.held > 1:
            call = replace(call, cost=call.cost * 3 / 2)
        if habits.lies and not Dice(options.seed, call.voice_id, b"lies").roll(habits.lies):
            call = replace(call, cost=call.cost + _A_CENT)
        at, now_s = moment
        said, _ = self._records.said(call, at, counts=False, now_s=now_s)
        if habits.zero and call.termination_code == _PUT_THROUGH:
            said.fields["terminationCode"] = Sent('"0"')
        if has_no_id:
            said.fields.pop("voiceId")
        return render.record(said)

    def _all(self) -> list[_Row]:
        if self._rows is None:
            habits, options = self._habits, self._options
            assert habits is not None
            found = [self._row(one) for one in listed_ids(options, habits, self._end)]
            self._rows = sorted((row for row in found if row is not None), key=_second)
        return self._rows

    def _row(self, voice_id: str) -> _Row | None:
        habits, options = self._habits, self._options
        assert habits is not None
        call = call_of(options.seed, voice_id, options.fates, options.bill)
        if call.fate not in _LISTED:
            return None
        at = _TIME_OF[habits.by](call if call.fate is Fate.RECORD else as_open(call))
        if at is None:
            return None
        dice = Dice(options.seed, voice_id, b"late")
        is_late = dice.chance(habits.late)
        since = 1 + dice.roll(max(1, habits.late_requests)) if is_late else 0
        return _Row(int(at.timestamp()), call, since)


def _second(row: _Row) -> int:
    return row.second


_TIME_OF: Mapping[str, Callable[[Call], datetime | None]] = {
    "submit": lambda call: call.submit_time,
    "call": lambda call: call.call_time,
    "hangup": lambda call: call.hangup_time,
}
