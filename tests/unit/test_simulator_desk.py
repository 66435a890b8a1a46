"""The vendor's desk, without sockets and with a clock that a test moves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harvester.errors import UsageError
from harvester.simulator.calls import Fates
from harvester.simulator.control import parse_change
from harvester.simulator.desk import Desk
from harvester.simulator.options import PAGE_KEYS, SimulatorOptions
from harvester.simulator.replies import Manner, Reply
from harvester.simulator.signature import Credentials, sign

ALL_RECORDS = Fates(0, 0, 0, 0, 0, 0, 1)
ENDS_LATER = Fates(0, 0, 0, 1, 0, 0, 1)
VOICE_ID = "2609021133180000041"


class Counter:
    """A desk with a hand-moved clock in front of it."""

    def __init__(self, **options: Any) -> None:
        self.now = 1_789_000_000.0  # a week after the call of VOICE_ID
        options = {"fates": ALL_RECORDS, "rate_limit": None} | options
        self.desk = Desk(
            SimulatorOptions(**options), clock=lambda: self.now, ticks=lambda: self.now
        )

    def ask(self, voice_id: str = VOICE_ID, skew_s: float = 0.0) -> Reply:
        timestamp = str(int(self.now + skew_s))
        signed = sign(*PAGE_KEYS, timestamp)
        return self.desk.answer(voice_id, Credentials([PAGE_KEYS[0]], [signed], [timestamp]))

    def wish(self, **wishes: Any) -> None:
        self.desk.change(parse_change(json.dumps(wishes).encode()))


def test_a_signed_question_gets_the_record_of_its_id() -> None:
    reply = Counter().ask()
    assert (reply.status, reply.why) == ("0", "record")
    assert json.loads(reply.body)["data"]["voiceId"] == VOICE_ID


def test_an_unsigned_question_gets_no_record() -> None:
    counter = Counter()
    assert counter.desk.answer(VOICE_ID, Credentials([], [], [])).status == "-1"
    assert counter.ask(skew_s=3600).status == "-16"


def test_a_skewed_clock_wants_skewed_timestamps() -> None:
    counter = Counter(clock_skew_s=7200.0)
    assert counter.ask().status == "-16"
    assert counter.ask(skew_s=7200).status == "0"


def test_an_open_call_is_over_after_so_many_asks() -> None:
    counter = Counter(fates=ENDS_LATER, open_asks=2)
    assert [counter.ask().why for _ in range(4)] == ["open", "open", "record", "record"]


def test_an_open_call_is_over_some_time_after_its_first_ask() -> None:
    counter = Counter(fates=ENDS_LATER, final_after_s=10.0)
    assert [counter.ask().why, counter.ask().why] == ["open", "open"]
    counter.now += 10
    assert counter.ask().why == "record"


def test_a_fault_is_no_ask_of_an_open_call_unless_it_carries_the_answer() -> None:
    counter = Counter(fates=ENDS_LATER, faults="torn=1", max_faults=2)
    assert [counter.ask().why for _ in range(4)] == ["torn", "torn", "open", "record"]
    counter = Counter(fates=ENDS_LATER, faults="gzip=1", max_faults=1)
    assert [counter.ask().why for _ in range(2)] == ["gzip", "record"]


def test_dead_ids_are_refused_with_the_status_of_their_fate() -> None:
    assert Counter(fates=Fates(1, 0, 0, 0, 0, 0)).ask().status == "-22"
    assert Counter(fates=Fates(0, 1, 0, 0, 0, 0)).ask().status == "-14"
    assert Counter(fates=Fates(0, 0, 1, 0, 0, 0)).ask().status == "-25"
    assert Counter().ask("not/an/id").status == "-22"


@pytest.mark.parametrize(("drift", "kinds"), [(True, {str, int}), (False, {str})])
def test_a_refusal_is_a_number_now_and_then_only_where_the_vendor_drifts(
    drift: bool, kinds: set[type]
) -> None:
    dead = Counter(fates=Fates(1, 0, 0, 0, 0, 0), drift=drift)
    busy = Counter(faults="busy=1", drift=drift)
    for counter in (dead, busy):
        bodies = [json.loads(counter.ask(f"id{number}").body) for number in range(40)]
        assert {type(body["status"]) for body in bodies} == kinds


def test_an_unknown_call_is_told_in_three_ways() -> None:
    counter = Counter(fates=Fates(0, 0, 0, 0, 0, 1))
    bodies = [json.loads(counter.ask(f"id{number}").body) for number in range(30)]
    told = {(str(body["status"]), str(body["data"])) for body in bodies}
    assert told == {("-24", "None"), ("0", "None"), ("0", "{}")}


def test_a_limit_that_is_not_enforced_only_counts() -> None:
    counter = Counter(rate_limit=2)
    assert [counter.ask().status for _ in range(3)] == ["0"] * 3
    assert counter.desk.stats()["over_limit"] == 1
    assert counter.desk.stats()["worst_window"] == 3


def test_an_enforced_limit_pushes_back_both_ways() -> None:
    counter = Counter(rate_limit=2, enforce=True)
    replies = [counter.ask() for _ in range(4)]
    assert [reply.status for reply in replies] == ["0", "0", "-15", "http429"]
    assert replies[-1].headers["Retry-After"] == "1"
    counter.now += 1
    assert counter.ask().status == "0"


def test_a_vendor_that_is_down_resets_every_connection_until_it_is_up_again() -> None:
    counter = Counter()
    counter.wish(down=True)
    assert counter.ask().manner is Manner.RESET
    counter.wish(down=False)
    assert counter.ask().status == "0"


@pytest.mark.parametrize(("wish", "status"), [("-1", "-1"), ("-2", "-2"), ("http403", "http403")])
def test_a_vendor_that_refuses_answers_everybody_alike(wish: str, status: str) -> None:
    counter = Counter()
    counter.wish(refuse=wish)
    assert counter.ask().status == status
    counter.wish(refuse=None)
    assert counter.ask().status == "0"


def test_retry_after_holds_for_its_time_and_then_ends() -> None:
    counter = Counter()
    counter.wish(retry_after=3)
    assert counter.ask().headers["Retry-After"] == "3"
    counter.now += 2.5
    assert counter.ask().headers["Retry-After"] == "1"
    counter.now += 0.5
    assert counter.ask().status == "0"


def test_faults_for_some_ids_leave_the_others_alone() -> None:
    counter = Counter()
    counter.wish(faults="busy=1", only=["a"], times=1)
    assert [counter.ask("a").status, counter.ask("b").status] == ["-18", "0"]
    assert counter.ask("a").status == "0"


def test_faults_without_a_bound_stay() -> None:
    counter = Counter()
    counter.wish(faults="busy=1")
    assert {counter.ask("a").status for _ in range(20)} == {"-18"}


def test_settings_change_while_it_runs_and_counts_start_anew() -> None:
    counter = Counter()
    counter.ask()
    counter.wish(clock_skew_s=7200, rate_limit=5, forget=True)
    assert counter.desk.stats()["requests"] == 0
    assert counter.desk.stats()["rate_limit"] == 5
    assert counter.ask().status == "-16"


@pytest.mark.parametrize(
    "body",
    ['{"fautls":"none"}', '{"faults":"buzy=1"}', '{"only":["a"]}', '{"refuse":"no"}', "[]", "{"],
)
def test_a_wish_that_makes_no_sense_is_refused(body: str) -> None:
    with pytest.raises(UsageError):
        parse_change(body.encode())


def test_a_bad_setting_changes_nothing() -> None:
    counter = Counter()
    with pytest.raises(UsageError, match="latency_ms"):
        counter.wish(latency_ms=-1, down=True)
    assert counter.ask().status == "0"


def test_latency_is_added_to_every_answer() -> None:
    counter = Counter(latency_ms=50.0, jitter_ms=20.0)
    delays = [counter.ask().delay_s for _ in range(50)]
    assert all(0.05 <= delay < 0.07 for delay in delays)
    assert len(set(delays)) > 1


def test_the_log_remembers_the_last_requests_only() -> None:
    counter = Counter(log_size=2)
    for name in "aab":
        counter.ask(name)
    assert counter.desk.book.asks() == {"a": 1, "b": 1}
    assert counter.desk.stats()["requests"] == 3
    assert [json.loads(line)["voice_id"] for line in counter.desk.book.lines()] == ["a", "b"]
