"""A worker's own half: it sends by the latest order alone, and tells all that has happened."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from harvester.client.transport import NoReply, Reply
from harvester.config import Vendor
from harvester.pipeline.engine.alarm import TIMEOUTS
from harvester.pipeline.engine.task import Answered
from harvester.pipeline.workers.asking import Asking
from harvester.pipeline.workers.messages import Given, Order, Report, Start, Unsent
from harvester.version import __version__
from tests.support.fakes import SECRETS, TIMEOUT, Answer, FakeVendor, record, status
from tests.support.virtual_time import run_virtually, virtual_loop

NOW = 1_800_000_000.0
TIMEOUT_S = 15.0
SHARE = 1000.0
LEASE_S = 2.0


class Worker:
    """A worker, its vendor, and an owner that writes an order for each report."""

    def __init__(
        self,
        *answers: tuple[str, Answer],
        concurrency: int = 4,
        skew_s: float = 0.0,
        is_traced: bool = False,
        latency_s: float = 0.05,
    ) -> None:
        """`answers`: by id; all others are records."""
        script = dict(answers)
        self.vendor = FakeVendor(
            lambda voice_id, _: script.get(voice_id) or record(voice_id),
            latency_s=lambda _, __: latency_s,
        )
        start = Start(
            version=__version__,
            vendor=Vendor(timeout_s=TIMEOUT_S),
            concurrency=concurrency,
            secrets=None,
            skew_s=skew_s,
            is_traced=is_traced,
        )
        began = virtual_loop().time()
        self.asking = Asking(
            start, SECRETS, self.vendor.connect, lambda: NOW + virtual_loop().time() - began
        )
        self.heard_ns = self.asking.now_ns
        self.done: dict[str, object] = {}
        self.reports: list[Report] = []

    async def order(
        self,
        ids: Sequence[str] = (),
        *,
        share_per_s: float = SHARE,
        closed_s: float = 0.0,
        slower: bool = False,
        grant: int | None = None,
        stop: bool = False,
    ) -> Report:
        order = Order(
            ids=list(ids),
            share_per_s=share_per_s,
            heard_ns=self.heard_ns,
            lease_s=LEASE_S,
            closed_s=closed_s,
            slower=slower,
            grant=grant,
            stop=stop,
        )
        report = await self.asking.exchange(order)
        self.heard_ns = report.at_ns
        self.reports.append(report)
        for voice_id, done in report.done:
            assert voice_id not in self.done, "told once"
            self.done[voice_id] = done
        return report

    async def orders(self, count: int) -> None:
        """So many more that want nothing new."""
        for _ in range(count):
            await self.order()

    @property
    def unsent(self) -> list[str]:
        return [one for one, done in self.done.items() if isinstance(done, Unsent)]

    @property
    def requests(self) -> int:
        return sum(report.requests for report in self.reports)


def test_a_record_is_a_conclusion_and_anything_else_is_told_as_it_came() -> None:
    async def main() -> None:
        busy = status(-18)
        worker = Worker(("busy", busy), ("lost", TIMEOUT), skew_s=300.0)
        await worker.order(["a", "busy", "lost"])
        await worker.orders(3)
        answered = worker.done["a"]
        assert isinstance(answered, Answered)
        assert answered.answer == record("a").body
        assert answered.at_ms == pytest.approx((NOW + 300) * 1000, abs=1000), "the vendor's time"
        assert worker.done["busy"] == Given(reply=busy)
        assert worker.done["lost"] == Given(no_reply=TIMEOUT)
        assert worker.requests == len(worker.vendor.log) == 3
        received = sum(report.received_bytes for report in worker.reports)
        assert received == len(record("a").body) + len(busy.body)
        await worker.asking.close()
        assert worker.vendor.closed

    run_virtually(main)


def test_nothing_is_sent_before_a_share_was_given_nor_after_its_lease() -> None:
    async def main() -> None:
        worker = Worker(concurrency=1)
        await worker.order(["a"], share_per_s=0.0)
        await asyncio.sleep(10)
        assert worker.vendor.log == []
        await worker.order()
        assert worker.vendor.log == [], "that order is as old as the report that it answers"
        await worker.order()
        assert len(worker.vendor.log) == 1
        began = worker.heard_ns / 1e9
        await worker.order([f"{n}" for n in range(1000)])
        await asyncio.sleep(10)
        assert all(at < began + LEASE_S for at in worker.vendor.times)
        assert len(worker.vendor.log) > 20
        sent = len(worker.vendor.log)
        # A report that was long on its way makes the lease shorter, never longer.
        worker.heard_ns -= int(LEASE_S * 1e9)
        await worker.order()
        assert len(worker.vendor.log) == sent
        await worker.orders(2)
        assert len(worker.vendor.log) > sent
        await worker.asking.close()

    run_virtually(main)


def test_no_more_is_sent_than_was_granted_and_what_is_not_needed_is_given_back_once() -> None:
    async def main() -> None:
        worker = Worker(concurrency=2)
        first = await worker.order(["a", "b", "c"], grant=2)
        await worker.order(grant=0)
        assert len(worker.vendor.log) == 2
        assert worker.unsent == ["c"]
        assert first.unused == 0
        assert worker.requests == 2
        await worker.order(["d"], grant=5)
        await worker.order(grant=0)
        await worker.order(grant=0)
        assert len(worker.vendor.log) == 3
        assert sum(report.unused for report in worker.reports) == 4
        await worker.asking.close()

    run_virtually(main)


def test_what_is_granted_is_kept_while_an_id_is_in_hand() -> None:
    async def main() -> None:
        worker = Worker(latency_s=1.0)
        reports = [await worker.order(["a"], grant=3)]
        reports += [await worker.order(grant=0) for _ in range(15)]
        unused = [report.unused for report in reports]
        at = next(n for n, report in enumerate(reports) if report.done)
        assert at > 5
        assert sum(unused) == 2
        assert unused[at] == 2, "not before the id was concluded"
        await worker.asking.close()

    run_virtually(main)


def test_an_order_that_closes_is_obeyed_and_one_to_be_slower_lowers_the_pace_as_well() -> None:
    async def main() -> None:
        closed = Worker()
        began = virtual_loop().time()
        report = await closed.order(["a"], closed_s=1.5)
        assert not report.is_slowed
        await closed.orders(17)
        assert closed.vendor.times[0] >= began + 1.5
        await closed.asking.close()
        slower = Worker()
        began = virtual_loop().time()
        report = await slower.order(["a"], closed_s=1.5, slower=True)
        assert report.is_slowed
        assert report.rate_per_s == pytest.approx(0.7 * SHARE)
        assert report.push_back_s is None, "it met none itself"
        await slower.orders(17)
        assert slower.vendor.times[0] >= began + 1.5
        await slower.asking.close()

    run_virtually(main)


@pytest.mark.parametrize(
    "answer",
    [
        Reply(429, b"", retry_after="7"),
        replace(record("a"), retry_after="7"),
        replace(status(-22), retry_after="7"),
    ],
    ids=["throttled", "a record", "a no"],
)
def test_a_pause_that_the_vendor_asks_for_is_kept_and_told_once(answer: Answer) -> None:
    async def main() -> None:
        worker = Worker(("a", answer))
        reports = [await worker.order(["a"])]
        reports += [await worker.order() for _ in range(5)]
        told = [report.push_back_s for report in reports if report.push_back_s is not None]
        assert told == [pytest.approx(7, abs=0.2)]
        await worker.order(["b"])
        await worker.orders(80)
        (_, _), (at, _) = worker.vendor.log
        assert at - worker.vendor.times[0] >= 7
        await worker.asking.close()

    run_virtually(main)


def test_once_it_is_to_stop_it_finishes_what_is_on_its_way_and_gives_the_rest_back() -> None:
    async def main() -> None:
        worker = Worker(concurrency=2, latency_s=0.5)
        await worker.order(["a", "b", "c", "d"])
        await worker.order(["e"], stop=True)
        for _ in range(8):
            await worker.order(stop=True)
        await worker.order(["f"], stop=True)
        assert [voice_id for _, voice_id in worker.vendor.log] == ["a", "b"]
        assert isinstance(worker.done["a"], Answered)
        assert isinstance(worker.done["b"], Answered)
        assert sorted(worker.unsent) == ["c", "d", "e", "f"]
        await worker.asking.close()

    run_virtually(main)


def test_one_that_waits_for_its_turn_when_it_is_to_stop_is_given_back() -> None:
    async def main() -> None:
        worker = Worker(concurrency=2)
        await worker.order(["a"], closed_s=60.0)
        await worker.order(stop=True)
        await worker.order(stop=True)
        assert worker.unsent == ["a"]
        assert worker.requests == 0
        await worker.asking.close()

    run_virtually(main)


def test_only_who_is_to_tell_it_tells_when_its_requests_were_written() -> None:
    async def main() -> None:
        for is_traced in (True, False):
            worker = Worker(is_traced=is_traced)
            await worker.order(["a", "b"])
            await worker.order(["c"])
            await worker.orders(2)
            written = [at for report in worker.reports for at in report.written]
            assert len(written) == (3 if is_traced else 0)
            await worker.asking.close()

    run_virtually(main)


def test_a_hang_up_in_a_form_that_nobody_knows_is_told_once() -> None:
    async def main() -> None:
        odd = json.loads(record("a").body)
        odd["data"]["hangupTime"] = "2nd of September, in the morning"
        worker = Worker(("a", Reply(200, json.dumps(odd).encode())))
        await worker.order(["a", "b"])
        await worker.orders(3)
        assert sum(report.odd_hangups for report in worker.reports) == 1
        await worker.asking.close()

    run_virtually(main)


def test_a_worker_that_is_full_of_answers_asks_nothing_new_until_they_are_told() -> None:
    async def main() -> None:
        long = json.loads(record("a").body)
        long["data"]["more"] = "x" * 900_000
        answers = {}
        for n in range(40):
            long["data"]["voiceId"] = f"{n:03}"
            answers[f"{n:03}"] = Reply(200, json.dumps(long).encode())
        worker = Worker(*answers.items(), concurrency=2)
        report = await worker.order(list(answers))
        most = 8 * 2**20
        for _ in range(30):
            await asyncio.sleep(1.0)  # its owner is slow
            assert report.received_bytes < most + 3 * 900_100
            report = await worker.order()
        assert len(worker.done) == 40
        # And with few again it waits for the tenth of a second.
        began = virtual_loop().time()
        await worker.order(["a", "b", "c", "d"])
        assert virtual_loop().time() - began == pytest.approx(0.1, abs=0.01)
        await worker.asking.close()

    run_virtually(main)


def test_what_an_attempt_died_of_is_raised_to_the_owner() -> None:
    async def main() -> None:
        worker = Worker()

        def broken(voice_id: str, before: int) -> Answer:
            raise ZeroDivisionError("a bug")

        worker.vendor.script = broken
        await worker.order(share_per_s=SHARE)
        with pytest.raises(ZeroDivisionError, match="a bug"):
            await worker.order(["a"])
        await worker.asking.close()

    run_virtually(main)


def test_an_attempt_that_gets_no_answer_at_all_ends_after_three_times_the_timeout() -> None:
    async def main() -> None:
        worker = Worker(concurrency=1, latency_s=1e6)
        await worker.order(["a", "b"])
        while not worker.done:
            await worker.order()
        (given,) = worker.done.values()
        assert isinstance(given, Given)
        assert isinstance(given.answer, NoReply)
        assert given.answer.cause == "timeout"
        first = worker.vendor.times[0]
        assert virtual_loop().time() - first == pytest.approx(TIMEOUTS * TIMEOUT_S, rel=0.15)
        await worker.orders(2)
        assert [voice_id for _, voice_id in worker.vendor.log] == ["a", "b"]
        await worker.asking.close()

    run_virtually(main)


def test_a_report_comes_after_a_tenth_of_a_second_or_500_conclusions() -> None:
    async def main() -> None:
        worker = Worker(concurrency=64, latency_s=0.001)
        ids = [f"{n:04}" for n in range(700)]
        took: list[float] = []
        for order in ([], ids, []):
            began = virtual_loop().time()
            await worker.order(order, share_per_s=1e6)
            took.append(virtual_loop().time() - began)
        assert took[0] == pytest.approx(0.1, abs=0.01)
        assert took[1] < 0.09
        assert len(worker.reports[1].done) >= 500
        assert took[2] == pytest.approx(0.1, abs=0.01)
        assert len(worker.done) == 700
        await worker.asking.close()

    run_virtually(main)


def test_who_fetched_before_and_waits_when_it_is_to_stop_gives_its_id_back_as_well() -> None:
    async def main() -> None:
        worker = Worker(concurrency=1)
        await worker.order(["a"])
        await worker.orders(2)
        assert isinstance(worker.done["a"], Answered)
        await worker.order(["b"], closed_s=60.0)
        await worker.order(stop=True)
        await worker.order(stop=True)
        assert worker.unsent == ["b"]
        await worker.asking.close()

    run_virtually(main)
