"""What the heads of answers teach of the vendor's clock, and how often they are looked at."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from harvester.client.clock import VendorClock
from harvester.client.transport import Reply
from harvester.client.verdicts import (
    Busy,
    Dead,
    NetworkFailure,
    NoRecord,
    Record,
    Refusal,
    Throttled,
    TimeRefused,
    UnknownStatus,
    Verdict,
)
from harvester.pipeline.engine.heads import Heads

NOW = 1_800_000_000.0
RECORD = Record(True)
SAID = [RECORD, NoRecord(), Dead("bad_query_id")]
NOT_SAID = [
    Busy("http_503"),
    NetworkFailure("not_an_envelope"),
    Refusal("http_403"),
    Throttled(None),
    UnknownStatus("77"),
]


class Learning:
    """Heads, their clock, and ours, which is moved by hand."""

    def __init__(self) -> None:
        self.at = 0.0
        self.clock = VendorClock(lambda: NOW + self.at, lambda: self.at)
        self.heads = Heads(self.clock)

    def hear(self, verdict: Verdict, ahead_s: float, generation: int | None = 0) -> None:
        """An answer dated by a clock that is so much ahead of ours."""
        date = datetime.fromtimestamp(int(NOW + self.at + ahead_s), UTC)
        reply = Reply(200, b"", format_datetime(date, usegmt=True))
        self.heads.learn(self.at, verdict, generation, reply)


@pytest.mark.parametrize("verdict", SAID)
def test_a_date_is_learnt_from_whatever_the_vendor_said_of_an_id(verdict: Verdict) -> None:
    one = Learning()
    one.hear(verdict, 100)
    assert one.clock.is_learnt
    assert one.clock.now() == pytest.approx(NOW + 100, abs=1)


@pytest.mark.parametrize("verdict", NOT_SAID)
def test_a_page_that_anyone_on_the_way_may_have_dated_teaches_nothing(verdict: Verdict) -> None:
    one = Learning()
    for _ in range(3):
        one.hear(verdict, 100)
        one.hear(verdict, 5000)
    assert not one.clock.is_learnt
    assert not one.clock.is_doubtful
    assert not one.clock.is_verified
    assert one.clock.worst_skew_s == 0


def test_once_it_is_learnt_and_a_signature_accepted_one_date_a_second_is_looked_at() -> None:
    one = Learning()
    one.hear(RECORD, 100)
    assert one.clock.is_verified
    one.at = 0.9
    one.hear(RECORD, 200)
    assert one.clock.now() == pytest.approx(NOW + 100.9, abs=1)
    one.at = 1.0
    one.hear(RECORD, 200)
    assert one.clock.now() == pytest.approx(NOW + 201, abs=1)


def test_before_that_every_date_is_looked_at() -> None:
    doubtful = Learning()
    for _ in range(3):
        assert not doubtful.clock.is_learnt
        doubtful.hear(RECORD, 5000)
    assert doubtful.clock.is_learnt
    unsigned = Learning()
    unsigned.hear(RECORD, 100, generation=None)
    assert not unsigned.clock.is_verified, "nobody knows what it was signed with"
    unsigned.hear(RECORD, 200, generation=None)
    assert unsigned.clock.now() == pytest.approx(NOW + 200, abs=1)


def test_a_refused_time_is_looked_at_whenever_it_comes_and_changes_the_signature() -> None:
    one = Learning()
    one.hear(RECORD, 0)
    one.at = 0.1
    one.hear(TimeRefused(), 100)
    assert one.clock.generation == 1
    assert not one.clock.is_verified
    assert one.clock.timestamp() == pytest.approx(NOW + 100, abs=2)
    one.hear(TimeRefused(), 300, generation=0)
    assert one.clock.generation == 1, "it was signed before that was put right"
    one.hear(RECORD, 100, generation=1)
    assert one.clock.is_verified


def test_who_does_not_know_by_which_clock_it_was_signed_changes_no_signature() -> None:
    one = Learning()
    one.hear(TimeRefused(), 100, generation=None)
    assert one.clock.generation == 0
    assert one.clock.timestamp() == NOW


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_without_a_date_nothing_is_learnt_and_the_signature_is_accepted_all_the_same(
    date: str | None,
) -> None:
    one = Learning()
    one.heads.learn(0.0, RECORD, 0, Reply(200, b"", date))
    assert not one.clock.is_learnt
    assert one.clock.is_verified
