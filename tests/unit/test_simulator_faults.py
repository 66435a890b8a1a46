"""Which answers go wrong, and how."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from email.utils import parsedate_to_datetime

import pytest

from harvester.errors import UsageError
from harvester.simulator import render
from harvester.simulator.dice import Dice
from harvester.simulator.faults import FAULTS, HARMLESS, Mix, Weather, parse_mix
from harvester.simulator.replies import Manner, Occasion, Reply, bomb, spoil

RIGHT = Reply("0", render.success('{"voiceId":"1"}'))


def occasion(turn: int = 0) -> Occasion:
    return Occasion(
        right=RIGHT,
        other=lambda: b'{"voiceId":"2"}',
        dice=Dice(1, str(turn), b"test"),
        now_s=1_630_468_800.5,
        slow_s=7.0,
        prefix="/voice",
    )


def test_a_mix_is_read_as_written() -> None:
    assert parse_mix("busy=0.02, torn=0.005") == Mix((("busy", 0.02), ("torn", 0.005)))
    assert parse_mix("none") == parse_mix("") == parse_mix("busy=0") == Mix()


def test_all_holds_every_fault_and_stays_rare() -> None:
    odds = dict(parse_mix("all").odds)
    assert set(odds) == set(FAULTS)
    assert sum(odds.values()) < 0.1
    assert dict(parse_mix("all,busy=0.5").odds)["busy"] == 0.5


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("buzy=0.1", "buzy"),
        ("busy", "busy=0.02"),
        ("busy=x", "busy=x"),
        ("busy=1.5", "busy=1.5"),
        ("busy=nan", "busy=nan"),
        ("busy=0.6,torn=0.6", "add up"),
    ],
)
def test_a_mix_that_makes_no_sense_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        parse_mix(text)


def test_faults_come_as_often_as_their_odds_say() -> None:
    weather = Weather(parse_mix("busy=0.2,torn=0.1"))
    drawn = Counter(weather.next_fault(1, f"id{number}") for number in range(5000))
    assert 0.17 < drawn["busy"] / 5000 < 0.23
    assert 0.08 < drawn["torn"] / 5000 < 0.12


def test_an_id_gets_its_right_answer_after_so_many_faults() -> None:
    weather = Weather(parse_mix("busy=1"), times=3)
    drawn = [weather.next_fault(1, "a") for _ in range(5)]
    assert drawn == ["busy", "busy", "busy", None, None]
    assert weather.next_fault(1, "b") == "busy"


def test_faults_end_when_their_total_is_used_up() -> None:
    weather = Weather(parse_mix("busy=1"), total=2)
    assert [weather.next_fault(1, name) for name in "abc"] == ["busy", "busy", None]


def test_faults_of_an_id_do_not_depend_on_other_ids() -> None:
    names = [f"id{number}" for number in range(300)]
    forth, back = Weather(parse_mix("all,torn=0.3")), Weather(parse_mix("all,torn=0.3"))
    assert {name: forth.next_fault(1, name) for name in names} == {
        name: back.next_fault(1, name) for name in reversed(names)
    }


def test_only_ids_that_met_a_fault_take_up_memory() -> None:
    weather = Weather(parse_mix("busy=0.01"), times=3)
    for number in range(5000):
        weather.next_fault(1, f"id{number}")
    assert len(weather.by_id) < 100


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_makes_a_reply_that_bears_its_name(fault: str) -> None:
    assert spoil(fault, occasion()).why == fault


@pytest.mark.parametrize("fault", sorted(HARMLESS))
def test_a_harmless_fault_carries_the_right_answer(fault: str) -> None:
    reply = spoil(fault, occasion())
    packed = reply.headers.get("Content-Encoding") == "gzip"
    assert (gzip.decompress(reply.body) if packed else reply.body) == RIGHT.body


def test_throttling_is_said_in_all_the_ways_there_are() -> None:
    replies = [spoil("throttle", occasion(turn)) for turn in range(40)]
    assert any(json.loads(reply.body)["status"] == "-15" for reply in replies if reply.http == 200)
    waits = {reply.headers["Retry-After"] for reply in replies if reply.http == 429}
    assert {"1", "2"} < waits
    dates = [parsedate_to_datetime(wait) for wait in waits if not wait.isdigit()]
    assert dates
    assert all(1 <= date.timestamp() - occasion().now_s <= 3 for date in dates)


def test_a_bomb_is_small_and_decodes_to_over_64_mib() -> None:
    assert len(bomb()) < 1 << 20
    unpacker, decoded = zlib.decompressobj(31), 0
    tail = bomb()
    while tail:
        decoded += len(unpacker.decompress(tail, 1 << 20))
        tail = unpacker.unconsumed_tail
    assert decoded > 64 << 20


def test_a_reply_of_another_call_names_that_call() -> None:
    assert json.loads(spoil("other_id", occasion()).body)["data"]["voiceId"] == "2"
    assert len(spoil("long", occasion()).body) > 1 << 20
    assert json.loads(spoil("long", occasion()).body)["status"] == "0"


def test_a_torn_answer_keeps_its_full_length_in_its_header() -> None:
    reply = spoil("torn", occasion())
    assert (reply.manner, reply.body) == (Manner.TORN, RIGHT.body)
