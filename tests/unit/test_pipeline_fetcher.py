"""Fetching an id: what one answer after another makes of it, here or first in another process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from datetime import datetime

import pytest
from msgspec.structs import replace

from harvester.client.clock import VendorClock
from harvester.client.transport import NoReply, Reply
from harvester.client.verdicts import Verdict
from harvester.config import OpenCalls, Retry, Vendor
from harvester.errors import HarvesterError, Interrupted, VendorRefused
from harvester.pipeline.engine.fetcher import Fetcher
from harvester.pipeline.engine.sealer import Sealer
from harvester.pipeline.engine.settle import Policy
from harvester.pipeline.engine.shutdown import CutOff, Stop
from harvester.pipeline.engine.task import Answered, Conclusion, Died, PutOff, Task, Unknown
from harvester.pipeline.limits.health import OUTAGE_ANSWERS, RefusalWatch
from harvester.pipeline.limits.outage_gate import OutageGate
from harvester.pipeline.limits.pace import Pace
from harvester.state.values import Counters
from tests.support.fakes import SECRETS, TIMEOUT, Answer, FakeVendor, record, status
from tests.support.virtual_time import run_virtually, virtual_loop

ID = "00007"
KNOWN = "00001"
NOW = 1_800_000_000.0
LIMITS = Retry(busy_attempts=3, network_attempts=2)
BUSY = status(-18)
PUSHED_BACK = status(-15)
GONE = status(-22)
NO_RECORD = status(-24)


class Alone:
    """No other ids: none are left, and none can be probes."""

    def __init__(self) -> None:
        self.policy = Policy("run-1", OpenCalls(), LIMITS, lambda _: None)
        self.refusals = RefusalWatch(is_proven=True)
        self.probes: list[int] = []
        """How many were asked for, each time."""
        self.last: set[str] | None = None
        """The ids that are left; None: some wait behind them."""
        self.waits = 0
        """How often somebody waited for probes to be over."""

    async def left(self, at_most: int | None = None) -> set[str] | None:
        """See `Others`."""
        return self.last

    async def was_refused(self, voice_id: str) -> bool:
        """See `Others`."""
        return False

    async def free(self) -> None:
        """See `Others`."""
        self.waits += 1

    async def probe(
        self,
        count: int,
        is_enough: Callable[[Verdict], bool],
        *,
        known: Task | None = None,
        before: datetime | None = None,
        of_outage: bool = False,
    ) -> Sequence[Verdict] | None:
        """See `Others`."""
        self.probes.append(count)
        return ()


class Fetching:
    """A fetcher, its vendor, and all that it learns with."""

    def __init__(
        self, *answers: Answer, known: Sequence[Answer] = (), is_counted: bool = False
    ) -> None:
        """`answers`: to the first request for `ID`, the second one, …; `known`: to those for
        `KNOWN`; all else are records.
        """
        script = {(ID, n): answer for n, answer in enumerate(answers)}
        script |= {(KNOWN, n): answer for n, answer in enumerate(known)}
        self.vendor = FakeVendor(lambda voice_id, n: script.get((voice_id, n)) or record(voice_id))
        self.reasons: list[HarvesterError] = []
        loop = virtual_loop()
        self.stop, self.counters = Stop(), Counters()
        clock = VendorClock(lambda: NOW + loop.time(), loop.time)
        self.clock = clock
        self.pace = Pace(1000.0, opens_at=0)
        self.gate = OutageGate(600.0, self.reasons.append)
        self.others = Alone()
        sealer = Sealer(SECRETS, self.pace, clock, self.stop, lambda: None, concurrency=4)
        self.fetcher = Fetcher(
            transport=self.vendor.connect(Vendor(), 4, sealer.seal),
            sealer=sealer,
            pace=self.pace,
            clock=clock,
            gate=self.gate,
            stop=self.stop,
            limits=LIMITS,
            counters=self.counters,
            dice=lambda: 0.5,
            others=self.others,
            is_counted=is_counted,
        )

    async def on(self, answer: Answer, *, is_outage: bool | None = False) -> Conclusion:
        """The first attempt was another process's."""
        return await self.fetcher.fetch_on(Task(ID), answer, is_outage=is_outage)


def test_an_id_ends_with_its_record_and_the_run_knows_that_it_is_let_in() -> None:
    async def main() -> None:
        one = Fetching()
        found = await one.fetcher.fetch(Task(ID))
        assert isinstance(found, Answered)
        answer = record(ID)
        assert found.answer == answer.body
        fetcher = one.fetcher
        assert (fetcher.delivered, fetcher.received_bytes) == (1, len(answer.body))
        assert fetcher.known == Task(ID)
        assert fetcher.heard.is_set()
        assert fetcher.let_in.is_set()

    run_virtually(main)


@pytest.mark.parametrize(
    ("answers", "ends", "attempts"),
    [
        ([GONE], Died, 1),
        ([NO_RECORD], Unknown, 1),
        ([BUSY, GONE], Died, 2),
        ([BUSY, TIMEOUT, NO_RECORD], Unknown, 3),
        ([BUSY] * 3, PutOff, 3),
        ([TIMEOUT] * 2, PutOff, 2),
    ],
)
def test_what_an_id_ends_with_says_how_many_attempts_it_took(
    answers: list[Answer], ends: type[Died | Unknown | PutOff], attempts: int
) -> None:
    async def main() -> None:
        for is_elsewhere in (False, True):
            one = Fetching(*answers[is_elsewhere:])
            found = await (one.on(answers[0]) if is_elsewhere else one.fetcher.fetch(Task(ID)))
            assert isinstance(found, ends)
            assert found.attempts == attempts
            assert len(one.vendor.log) == attempts - is_elsewhere
            assert sum(one.counters.retries.values()) == attempts - 1

    run_virtually(main)


def test_a_last_try_is_one_attempt_but_for_what_is_nobodys_fault() -> None:
    async def main() -> None:
        last = Task(ID, is_last_try=True)
        for answer in (BUSY, TIMEOUT):
            found = await Fetching(answer).fetcher.fetch(last)
            assert isinstance(found, PutOff)
            assert found.attempts == 1
        exhausted = Fetching(NoReply("exhausted", "no more"), NoReply("exhausted", "no more"))
        assert isinstance(await exhausted.fetcher.fetch(last), Answered)

    run_virtually(main)


def test_a_record_that_came_to_another_process_counts_as_any_other() -> None:
    async def main() -> None:
        one, answer = Fetching(), record(ID)
        found = await one.on(answer)
        assert isinstance(found, Answered)
        assert found.answer == answer.body
        assert (one.fetcher.delivered, one.fetcher.received_bytes) == (1, len(answer.body))
        assert one.fetcher.known == Task(ID)
        assert one.fetcher.let_in.is_set()
        assert one.vendor.log == []

    run_virtually(main)


@pytest.mark.parametrize(("is_outage", "costs"), [(True, 0), (False, 1)])
def test_what_fails_while_another_process_gets_no_answers_costs_the_id_nothing(
    is_outage: bool, costs: int
) -> None:
    async def main() -> Conclusion:
        one = Fetching(*[TIMEOUT] * (LIMITS.network_attempts - 1))
        return await one.on(TIMEOUT, is_outage=is_outage)

    assert isinstance(run_virtually(main), PutOff if costs else Answered)


@pytest.mark.parametrize(("is_outage", "is_shut"), [(None, True), (True, False), (False, False)])
def test_only_where_no_process_gets_answers_it_is_an_outage_of_the_vendors(
    is_outage: bool | None, is_shut: bool
) -> None:
    async def main() -> None:
        one = Fetching()
        seen = []
        for _ in range(OUTAGE_ANSWERS + 1):
            one.fetcher._learn_elsewhere(
                Task(ID), one.fetcher._judged(ID, TIMEOUT)[0], is_outage=is_outage
            )
            seen.append(one.gate.is_shut)
        assert seen[OUTAGE_ANSWERS - 2 :] == [False, is_shut, is_shut]
        assert (one.gate.latest != "") is is_shut
        await one.on(record(ID))
        assert not one.gate.is_shut, "a record shows that the vendor is well"

    run_virtually(main)


def test_a_refusal_that_came_to_another_process_is_suspected_as_one_here() -> None:
    async def main() -> None:
        one = Fetching()
        assert isinstance(await one.on(status(-1)), Answered)
        assert one.others.probes == [5]
        other = Fetching(status(-1))
        assert isinstance(await other.fetcher.fetch(Task(ID)), Answered)
        assert other.others.probes == [5]

    run_virtually(main)


def test_an_unknown_status_ends_an_id_once_a_record_came_again_and_says_which_it_was() -> None:
    async def main() -> None:
        one = Fetching(*[status(77)] * 3)
        assert isinstance(await one.fetcher.fetch(Task("00001")), Answered)
        found = await one.fetcher.fetch(Task(ID))
        assert isinstance(found, Died)
        assert (found.reason, found.detail, found.attempts) == ("unknown_status", "status 77", 3)
        assert one.vendor.asked == {"00001": 2, ID: 3}

    run_virtually(main)


def test_a_push_back_elsewhere_is_counted_and_slows_down_nobody_here() -> None:
    async def main() -> None:
        one = Fetching()
        assert isinstance(await one.on(PUSHED_BACK), Answered)
        assert (one.pace.throttled, one.pace.rate_per_s) == (1, 1000)

    run_virtually(main)


def test_a_push_back_here_slows_down_and_closes_the_pace() -> None:
    async def main() -> None:
        began = asyncio.get_running_loop().time()
        one = Fetching(Reply(200, PUSHED_BACK.body, retry_after="7"))
        assert isinstance(await one.fetcher.fetch(Task(ID)), Answered)
        assert one.pace.throttled == 1
        assert one.pace.rate_per_s == pytest.approx(700, abs=0.1)
        assert asyncio.get_running_loop().time() - began >= 7

    run_virtually(main)


def test_a_probe_is_one_request_on_a_connection_of_its_own() -> None:
    async def main() -> None:
        for answer, ends in ((BUSY, type(None)), (GONE, Died), (record(ID), Answered)):
            one = Fetching(answer)
            _, conclusion = await one.fetcher.probe(Task(ID))
            assert isinstance(conclusion, ends)
            assert one.vendor.asked_fresh == [ID]
            assert len(one.vendor.log) == 1
            if isinstance(conclusion, Died):
                assert (conclusion.reason, conclusion.attempts) == ("parameter_exception", 1)
                assert one.fetcher.last_no == GONE.body

    run_virtually(main)


# What an id costs, and whose trouble it is


def test_an_id_that_failed_costs_a_look_at_others_only_where_it_could_be_its_last_chance() -> None:
    async def main() -> None:
        one = Fetching(*[TIMEOUT] * 3)
        await one.fetcher.fetch(Task(KNOWN))
        first = await one.fetcher.fetch(Task(ID))
        assert isinstance(first, PutOff)
        assert not first.counts, "nobody was delivered meanwhile"
        assert one.vendor.asked[KNOWN] == 1
        last = await one.fetcher.fetch(Task(ID, is_last_try=True))
        assert isinstance(last, PutOff)
        assert last.counts, "the vendor still gives what it gave before: it is this id"
        assert one.vendor.asked[KNOWN] == 2
        assert one.vendor.asked_fresh == [KNOWN]

    run_virtually(main)


@pytest.mark.parametrize("failure", [BUSY, TIMEOUT, PUSHED_BACK, NO_RECORD])
def test_where_nobody_gets_a_record_any_more_a_last_try_does_not_count(failure: Answer) -> None:
    async def main() -> None:
        one = Fetching(TIMEOUT, known=[record(KNOWN), failure])
        await one.fetcher.fetch(Task(KNOWN))
        last = await one.fetcher.fetch(Task(ID, is_last_try=True))
        assert isinstance(last, PutOff)
        assert not last.counts

    run_virtually(main)


def test_a_failure_counts_where_others_were_delivered_beside_it_in_either_round() -> None:
    async def main() -> None:
        one = Fetching(*[TIMEOUT] * 3)
        first, _ = await asyncio.gather(
            one.fetcher.fetch(Task(ID)), one.fetcher.fetch(Task("00002"))
        )
        assert isinstance(first, PutOff)
        assert first.counts
        asked = one.vendor.asked.total()
        last = await one.fetcher.fetch(Task(ID, is_last_try=True, counts=True))
        assert isinstance(last, PutOff)
        assert last.counts, "it is known from the first round"
        assert one.vendor.asked.total() == asked + 1

    run_virtually(main)


def test_before_each_further_try_probes_are_waited_for_and_a_stop_is_heeded() -> None:
    async def main() -> None:
        one = Fetching(BUSY, TIMEOUT)
        await one.fetcher.fetch(Task(ID))
        assert one.others.waits == 2, "the first attempt waits for nobody"
        stopped = Fetching(BUSY)
        stopped.stop.stop(Interrupted("enough"))
        with pytest.raises(CutOff):
            await stopped.on(BUSY)
        assert stopped.vendor.log == []

    run_virtually(main)


@pytest.mark.parametrize(
    ("left", "ends", "asked"),
    [
        ({ID}, PutOff, 3),
        ({ID, "other"}, Answered, 6),
        (None, Answered, 6),
    ],
)
def test_push_back_costs_an_id_only_where_all_that_are_left_get_nothing_else(
    left: set[str] | None, ends: type[PutOff | Answered], asked: int
) -> None:
    async def main() -> None:
        one = Fetching(*[PUSHED_BACK] * 5)
        one.others.last = left
        found = await one.fetcher.fetch(Task(ID))
        assert isinstance(found, ends)
        assert one.vendor.asked[ID] == asked
        if isinstance(found, PutOff):
            assert found.cause == "throttled"

    run_virtually(main)


def test_after_three_push_backs_on_end_another_id_is_fetched() -> None:
    async def main() -> None:
        one = Fetching(*[PUSHED_BACK] * 3)
        await one.fetcher.fetch(Task(KNOWN))
        await one.fetcher.fetch(Task(ID))
        assert one.vendor.asked[KNOWN] == 2
        unknown = Fetching(*[PUSHED_BACK] * 3)
        await unknown.fetcher.fetch(Task(ID))
        assert unknown.others.probes == [5]
        for between in (BUSY, NO_RECORD, record("00002")):
            few = Fetching(*[PUSHED_BACK] * 3)
            await few.on(PUSHED_BACK)
            few.others.probes.clear()
            other = Fetching(PUSHED_BACK, PUSHED_BACK)
            await other.on(between)
            assert other.others.probes == [], "two are too few"

    run_virtually(main)


def test_where_nothing_can_be_sent_from_here_that_says_nothing_of_the_vendor() -> None:
    async def main() -> None:
        exhausted = NoReply("exhausted", "no more file descriptors")
        one = Fetching(*[exhausted] * (OUTAGE_ANSWERS + 20))
        assert isinstance(await one.fetcher.fetch(Task(ID)), Answered)
        assert one.gate.outages == 0
        assert one.gate.latest == ""
        assert one.pace.rate_per_s == 1000
        assert one.fetcher.failures == {"exhausted": "no more file descriptors"}

    run_virtually(main)


# What one answer says beside its verdict


@pytest.mark.parametrize("answer", [record(ID), GONE], ids=["a record", "a no"])
def test_any_answer_may_ask_for_a_pause_also_one_that_settles_its_id(answer: Reply) -> None:
    async def main() -> None:
        one = Fetching(replace(answer, retry_after="7"))
        assert not isinstance(await one.fetcher.fetch(Task(ID)), PutOff)
        assert one.pace.closed_for_s == pytest.approx(7, abs=0.1)
        # Between two looks at a Date as well.
        again = Fetching(answer)
        clock = again.clock
        clock.observe(clock.now(), 0.0)
        await again.fetcher.fetch(Task("00002"))
        again.vendor.script = lambda voice_id, n: replace(record(voice_id), retry_after="9")
        await again.fetcher.fetch(Task("00003"))
        assert again.pace.closed_for_s == pytest.approx(9, abs=0.1)

    run_virtually(main)


def test_a_hang_up_in_a_form_that_nobody_knows_is_counted() -> None:
    async def main() -> None:
        odd = json.loads(record(ID).body)
        odd["data"]["hangupTime"] = "2nd of September, in the morning"
        one = Fetching(Reply(200, json.dumps(odd).encode()))
        found = await one.fetcher.fetch(Task(ID))
        assert isinstance(found, Answered)
        assert found.over, "for it had a cost"
        assert one.counters.odd_hangups == 1

    run_virtually(main)


def test_what_failed_last_is_told_in_the_transports_words_or_by_its_name() -> None:
    async def main() -> None:
        for answer, told in (
            (NoReply("dns", "the host name can't be resolved"), "the host name can't be resolved"),
            (Reply(503, b""), "http 503"),
            (Reply(200, b"<html>"), "not an envelope"),
        ):
            for is_elsewhere in (False, True):
                one = Fetching(answer)
                if is_elsewhere:
                    await one.on(answer, is_outage=None)
                else:
                    await one.fetcher.probe(Task(ID))
                assert one.gate.latest == told

    run_virtually(main)


MANY = [BUSY, TIMEOUT, TIMEOUT]
FAR = "Thu, 01 Jan 2026 00:00:00 GMT"


@pytest.mark.parametrize(
    ("answers", "is_counted", "alone"),
    [
        ([record(ID)], True, 1),
        ([GONE], True, 1),
        ([NO_RECORD], True, 1),
        (MANY, False, 1),
        (MANY, True, 3),
        ([TIMEOUT, record(ID)], True, 2),
        ([PUSHED_BACK], False, 1),
        ([PUSHED_BACK] * 3, True, 3),
        ([status(-1)] * 3, False, 3),
        ([status(-16)] * 3, False, 3),
        ([status(-1), record(ID)], False, 2),
        ([replace(record(ID), date=FAR)] * 3, False, 3),
        ([replace(record(ID), date=FAR), record(ID), record(ID)], False, 3),
    ],
)
def test_others_begin_once_an_answer_has_shown_the_time_or_three_have_not(
    answers: list[Answer], is_counted: bool, alone: int
) -> None:
    """A failure tells no day: where requests are counted by the day it is waited out, too.

    A refusal always is, for a key that is tried again and again may be locked.
    """

    async def main() -> None:
        one = Fetching(*answers, is_counted=is_counted)
        heard = []
        for _ in answers:
            await one.fetcher.probe(Task(ID))
            heard.append(one.fetcher.heard.is_set())
        assert heard == [n >= alone for n in range(1, len(answers) + 1)]

    run_virtually(main)


@pytest.mark.parametrize(
    ("answer", "is_let_in"),
    [
        (record(ID), True),
        (GONE, True),
        (NO_RECORD, True),
        (BUSY, False),
        (TIMEOUT, False),
        (PUSHED_BACK, False),
        (status(-1), False),
        (status(-16), False),
        (status(77), False),
    ],
)
@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_what_the_vendor_says_of_an_id_shows_that_it_lets_us_in(
    answer: Answer, is_let_in: bool, is_elsewhere: bool
) -> None:
    async def main() -> None:
        one = Fetching(answer)
        if is_elsewhere:
            one.fetcher._learn_elsewhere(
                Task(ID), one.fetcher._judged(ID, answer)[0], is_outage=False
            )
        else:
            await one.fetcher.probe(Task(ID))
        assert one.fetcher.let_in.is_set() is is_let_in

    run_virtually(main)


def test_what_is_shown_of_an_answer_is_masked_before_it_is_cut() -> None:
    async def main() -> None:
        fetcher = Fetching().fetcher
        secret = SECRETS.api_secret.encode()
        for length in range(280, 301):
            shown = fetcher.shown(b"." * length + secret)
            assert shown == (b"." * length + b"[secret]")[:300]
            shown = fetcher.shown(b"." * length + b"8613800138000")
            assert shown == (b"." * length + b"***")[:300]

    run_virtually(main)


def test_an_answer_that_is_kept_with_a_dead_letter_shows_no_secret() -> None:
    async def main() -> None:
        said = b'{"status":-22,"reason":"no %s","data":null}' % SECRETS.api_secret.encode()
        found = await Fetching(Reply(200, said)).fetcher.fetch(Task(ID))
        assert isinstance(found, Died)
        assert found.body == b'{"status":-22,"reason":"no [secret]","data":null}'

    run_virtually(main)


NAMED = Reply(200, b'{"status":-22,"reason":"so it is","data":{"voiceId":"%s"}}' % ID.encode())


@pytest.mark.parametrize(
    ("answer", "is_confirmed"),
    [
        (replace(GONE, is_reused=True), True),
        (GONE, False),
        (replace(NAMED, is_reused=True), False),
        (replace(NO_RECORD, is_reused=True), False),  # it may be too young, and ends nothing
        (replace(record(ID), is_reused=True), False),
    ],
    ids=["a no", "its connection's first", "one that names its id", "unknown yet", "a record"],
)
def test_only_a_no_that_may_be_the_answer_to_another_is_confirmed_on_another_connection(
    answer: Reply, is_confirmed: bool
) -> None:
    async def main() -> None:
        one = Fetching(answer, replace(answer, is_reused=False))
        found = await one.fetcher.fetch(Task(ID))
        assert isinstance(found, Answered) == (answer.body == record(ID).body)
        assert one.vendor.asked[ID] == 1 + is_confirmed
        assert one.vendor.asked_fresh == [ID] * is_confirmed
        if isinstance(found, Died | Unknown):
            assert found.attempts == 1 + is_confirmed

    run_virtually(main)


@pytest.mark.parametrize(
    ("second", "ends"),
    [
        (replace(record(ID), is_reused=False), Answered),
        (NO_RECORD, Unknown),
        (replace(GONE, is_reused=True), Died),
    ],
)
def test_what_the_second_connection_says_counts(second: Reply, ends: type[Conclusion]) -> None:
    """Also where even that one had carried a request before: it is asked for until it is fresh."""

    async def main() -> None:
        one = Fetching(replace(GONE, is_reused=True), second, GONE)
        assert isinstance(await one.fetcher.fetch(Task(ID)), ends)
        assert all(one == ID for one in one.vendor.asked_fresh)
        assert len(one.vendor.asked_fresh) == one.vendor.asked[ID] - 1

    run_virtually(main)


@pytest.mark.parametrize(
    ("answer", "count", "code"),
    [
        (status(-1), 4, "vendor.denied.sign"),
        (Reply(404, b""), 4, "vendor.denied.address"),
        (status(77), 20, "vendor.unknown_status"),
    ],
)
@pytest.mark.parametrize("is_known", [False, True])
def test_what_all_that_are_left_are_answered_halts_a_run_only_where_no_record_came(
    answer: Answer, count: int, code: str, is_known: bool
) -> None:
    """The last ids of a list may be such that always are; an id that was not can tell."""

    async def main() -> None:
        one = Fetching()
        bad = [f"bad{n}" for n in range(count)]
        one.vendor.script = lambda voice_id, n: answer if voice_id in bad else record(voice_id)
        one.others.last = set(bad)
        if is_known:
            await one.fetcher.fetch(Task(KNOWN))
        for voice_id in bad:
            assert one.stop.reason is None
            await one.fetcher.probe(Task(voice_id))
        if is_known:
            assert one.stop.reason is None
            assert one.others.probes, "probes are fetched instead"
        else:
            assert isinstance(one.stop.reason, VendorRefused)
            assert one.stop.reason.code == code

    run_virtually(main)
