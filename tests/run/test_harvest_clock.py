"""Runs of one output whose clock is wrong for a night: our clock is set, the vendor's goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path

import pytest
from msgspec.structs import replace

from harvester.client.transport import NoReply, Reply
from harvester.errors import BudgetReached
from harvester.pipeline.engine.engine import Engine, Job
from harvester.pipeline.limits.daily_quota import day_of
from harvester.state import between_runs, run_records, work_lists
from harvester.state.acknowledge import acknowledge
from harvester.state.values import Batch, InputRecord, OpenCall
from tests.support.fakes import TIMEOUT, Answer, FakeVendor, House, record, status
from tests.support.virtual_time import run_virtually

DAY = 86_400.0
NIGHT = datetime(2026, 9, 2, 20, tzinfo=UTC).timestamp()
"""When the first run is, on the vendor's clock; its day is 2026-09-03."""
OPENS = [f"open-{n:02}" for n in range(30)]
ANSWER = b'{"status":0,"data":{"voiceId":"open"}}'


@dataclass
class Nights:
    """One output, and runs into it at a vendor's time, our clock being so far ahead."""

    root: Path
    ids: list[str] = field(default_factory=list)
    settings: dict[str, object] = field(default_factory=dict)
    listed: tuple[str, int] | None = None
    """As in `Job`."""

    def __post_init__(self) -> None:
        self._house: House | None = None

    @contextmanager
    def house(self, vendor_s: float, ahead_s: float) -> Iterator[House]:
        """The output, open, as it is at that time."""
        outer = self

        class Then(House):
            def job(self, *args: object, **options: object) -> Job:
                job = super().job(*args, **options)  # type: ignore[arg-type]
                began = time.monotonic()
                ours = lambda: vendor_s + ahead_s + time.monotonic() - began  # noqa: E731
                return replace(job, run_id=job.run_id, now=ours, listed=outer.listed)

        if self._house is None:
            self._house = Then(self.root, self.ids, **self.settings)
        else:
            db, runs = self._house.db, self._house.runs
            self._house = Then(self.root, (), db, **outer.settings)
            self._house.runs = runs
        yield self._house

    def run(
        self,
        vendor_s: float,
        ahead_s: float = 0.0,
        script: Callable[[str, int], Answer] | None = None,
        **vendor: object,
    ) -> tuple[Engine, FakeVendor]:
        """One run; the vendor dates its answers by its own clock."""
        began = time.monotonic()
        tell = script or (lambda voice_id, before: record(voice_id, over=False))

        def dated(voice_id: str, before: int) -> Answer:
            answer = tell(voice_id, before)
            if isinstance(answer, NoReply) or answer.date is not None:
                return answer
            now = vendor_s + time.monotonic() - began
            return replace(answer, date=formatdate(int(now), usegmt=True))

        told = FakeVendor(dated, **vendor)  # type: ignore[arg-type]
        with self.house(vendor_s, ahead_s) as house:
            return run_virtually(lambda: house.run(told)), told

    def put_open(self, first_s: float, due_s: float) -> None:
        """Open calls whose record was seen at `first_s`."""
        with self.house(NIGHT, 0) as house:
            calls = [
                OpenCall(one, int(due_s * 1000), int(first_s * 1000), 1, "run-0", ANSWER, 1)
                for one in OPENS
            ]
            batch = Batch(open_calls=calls)
            acknowledge(house.db, "", batch, work_list=None, counters={}, requests_of_day=("", 0))

    @property
    def now(self) -> House:
        assert self._house is not None
        return self._house


@pytest.fixture
def nights(tmp_path: Path) -> Iterator[Callable[..., Nights]]:
    made: list[Nights] = []

    def make(ids: list[str] | None = None, **settings: object) -> Nights:
        made.append(Nights(tmp_path / f"out-{len(made)}", ids or [], settings))
        return made[-1]

    yield make
    for one in made:
        one.now.close()


def test_30_days_ahead_for_one_night_publishes_no_open_call_and_fetches_few_too_early(
    nights: Callable[..., Nights],
) -> None:
    out = nights()
    out.put_open(NIGHT - DAY, NIGHT + 3600)
    engine, vendor = out.run(NIGHT, 30 * DAY)
    assert len(vendor.log) == 3, "those that went alone, until the vendor's time was known"
    assert not engine.clock.are_ages_sure
    assert out.now.open() == OPENS
    # The clock is right again.
    engine, vendor = out.run(NIGHT + DAY)
    assert not engine.clock.are_ages_sure
    assert {voice_id for _, voice_id in vendor.log} == set(OPENS)
    assert out.now.open() == OPENS
    engine, _ = out.run(NIGHT + 9 * DAY)
    assert engine.clock.are_ages_sure
    assert out.now.open() == OPENS
    # Eleven days from their first answer, by the vendor's clock, they are published after all.
    out.run(NIGHT + 10.5 * DAY)
    assert out.now.open() == []
    assert sorted(out.now.delivered()) == OPENS


@pytest.mark.parametrize("ahead_s", [30 * DAY, -30 * DAY, 4 * 3600.0])
def test_a_clock_that_is_always_wrong_ends_ids_like_a_right_one(
    nights: Callable[..., Nights], ahead_s: float
) -> None:
    out = nights()
    out.put_open(NIGHT - 2 * DAY, NIGHT)
    for n in range(9):
        engine, _ = out.run(NIGHT + n * (DAY + 60), ahead_s)
        assert engine.clock.are_ages_sure == (n > 0)
        assert out.now.open() == OPENS
    out.run(NIGHT + 9.5 * DAY, ahead_s)
    assert out.now.open() == []


def test_open_calls_are_due_by_the_vendors_clock(nights: Callable[..., Nights]) -> None:
    out = nights(["new"], open_calls__delays_s=[3600.0])
    for n in range(2):
        out.run(NIGHT + n * 10, -2 * 3600)
    _, vendor = out.run(NIGHT + 3599, -2 * 3600)
    assert vendor.log == []
    _, vendor = out.run(NIGHT + 3700, -2 * 3600)
    assert [one for _, one in vendor.log] == ["new"]


@pytest.mark.parametrize("ahead_s", [DAY, -DAY, 30 * DAY, -30 * DAY])
def test_per_day_is_not_given_again_when_our_clock_changes_the_day(
    nights: Callable[..., Nights], ahead_s: float
) -> None:
    ids = [f"{n:04}" for n in range(100)]
    out = nights(ids, pace__per_day=40)
    sent = 0
    for ahead in (0.0, ahead_s, 0.0, ahead_s, -ahead_s, 0.0):
        before = sent
        engine, vendor = out.run(NIGHT + sent, ahead)
        sent += len(vendor.log)
        assert isinstance(engine.stop.reason, BudgetReached)
        if before == 0:
            assert sent == 40
        else:
            # It has to send one to learn which day it is, if it is not the day by our clock.
            assert sent - before <= 1
    assert between_runs.requests_by_day(out.now.db)[day_of(NIGHT)] >= sent
    _, vendor = out.run(NIGHT + DAY)
    assert len(vendor.log) == 40, "the next day, by the vendor's clock"


def test_a_days_count_begins_with_one_request_alone(nights: Callable[..., Nights]) -> None:
    ids = [f"{n:04}" for n in range(60)]
    out = nights(ids, pace__per_day=50, pace__concurrency=32, pace__rate_per_s=1000.0)
    _, vendor = out.run(NIGHT, 30 * DAY, latency_s=lambda i, n: 5.0)
    times = [at for at, _ in vendor.log]
    assert len(times) == 50
    # Its Date alone proves nothing against our clock: two more answers agree with it.
    alone = times[:3]
    assert all(later - at >= 5 for at, later in zip(alone, times[1:4], strict=True))
    assert times[4] - times[3] < 1
    assert between_runs.requests_of_day(out.now.db) == (day_of(NIGHT), 50)


def test_one_request_alone_is_enough_where_the_clocks_agree(
    nights: Callable[..., Nights],
) -> None:
    ids = [f"{n:04}" for n in range(60)]
    out = nights(ids, pace__per_day=50, pace__concurrency=32, pace__rate_per_s=1000.0)
    _, vendor = out.run(NIGHT, latency_s=lambda i, n: 5.0)
    times = [at for at, _ in vendor.log]
    assert times[1] - times[0] >= 5
    assert times[2] - times[1] < 1


def test_a_vendor_that_is_ill_at_first_does_not_hold_the_run_up(
    nights: Callable[..., Nights],
) -> None:
    ids = [f"{n:04}" for n in range(60)]
    out = nights(ids, pace__per_day=500, pace__concurrency=32)
    ill: Iterator[Answer] = iter([TIMEOUT, status(-18), Reply(502, b"<html>")])

    def script(voice_id: str, before: int) -> Answer:
        return next(ill, record(voice_id))

    engine, _ = out.run(NIGHT, script=script)
    assert sorted(out.now.delivered()) == ids
    assert engine.stop.reason is None


def test_a_run_that_is_stopped_while_one_request_goes_alone_ends(
    nights: Callable[..., Nights],
) -> None:
    out = nights([f"{n:04}" for n in range(60)], pace__per_day=1, pace__concurrency=8)
    engine, vendor = out.run(NIGHT, script=lambda i, n: status(-18))
    assert isinstance(engine.stop.reason, BudgetReached)
    assert len(vendor.log) == 1


def test_no_record_of_an_old_id_waits_for_a_run_whose_clock_is_known(
    nights: Callable[..., Nights],
) -> None:
    # Of yesterday by the vendor's clock; a month old by ours.
    ids = ["2609012000000000001"]
    no_record: Callable[[str, int], Answer] = lambda i, n: status(-24)  # noqa: E731
    out = nights(ids)
    out.run(NIGHT, 30 * DAY, no_record)
    assert out.now.open() == ids
    out.run(NIGHT + 3600, script=no_record)
    assert out.now.open() == ids
    out.run(NIGHT + 3 * DAY, script=no_record)
    assert out.now.dead() == {ids[0]: "no_record"}


def test_a_page_of_a_proxy_that_goes_by_our_clock_teaches_nothing(
    nights: Callable[..., Nights],
) -> None:
    out = nights()
    out.put_open(NIGHT - DAY, NIGHT + 3600)
    ours = formatdate(NIGHT + 30 * DAY, usegmt=True)

    def script(voice_id: str, before: int) -> Answer:
        page = Reply(502, b"<html>", date=ours)
        return page if before == 0 else record(voice_id, over=False)

    engine, _ = out.run(NIGHT, 30 * DAY, script)
    assert not engine.clock.are_ages_sure
    assert out.now.open() == OPENS


def test_the_skew_of_a_run_is_in_the_ledger_with_its_counters(
    nights: Callable[..., Nights],
) -> None:
    out = nights(["1", "2", "3", "4"], pace__per_day=100)
    out.run(NIGHT, 7200)
    (run,) = [r for r in run_records.last_runs(out.now.db, 9) if r.id == "run-1"]
    assert run.counters["clock_skew_s"] == pytest.approx(-7200, abs=2)
    assert between_runs.last_skew_s(out.now.db) == pytest.approx(-7200, abs=2)


def test_what_was_dated_before_the_first_answer_is_put_right_by_all_that_the_run_learns(
    nights: Callable[..., Nights],
) -> None:
    """The first answer shows 100 s, later ones 300: start, listing and new ids move by these."""
    listed_ms = 1_000_000
    out = nights([f"{n:02}" for n in range(60)], pace__rate_per_s=20)
    with out.house(NIGHT, 0) as house:
        new = replace(house.work_list, id=house.work_list.id + 1)
        books = InputRecord("key", 60, 0, 0, 60, 0, 60, listed_ms)
        work_lists.replace_list(house.db, new, input_record=books, new_ids_ms=listed_ms)
    out.listed = ("key", listed_ms)

    def script(voice_id: str, before: int) -> Answer:
        ahead_s = 100 if voice_id == "00" else 300
        return replace(record(voice_id), date=formatdate(NIGHT + ahead_s, usegmt=True))

    engine, _ = out.run(NIGHT, script=script)
    assert len(out.now.delivered()) == 60
    shift_ms = round(engine.clock.offset_s * 1000)
    assert shift_ms == pytest.approx(300_000, abs=5_000)
    (run,) = [r for r in run_records.last_runs(out.now.db, 9) if r.id == "run-1"]
    books_then = work_lists.find_input(out.now.db, "key")
    assert books_then is not None
    assert run.started_ms == pytest.approx(1 + shift_ms, abs=2)
    assert books_then.first_listed_ms == pytest.approx(listed_ms + shift_ms, abs=2)
    assert work_lists.last_new_ids_ms(out.now.db) == books_then.first_listed_ms
