"""What the doctor's findings mean."""

from __future__ import annotations

import pytest

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
from harvester.config import Pace, Workers
from harvester.errors import ConfigError, StoreError, VendorRefused, VendorUnavailable
from harvester.operations.doctor_checks import (
    Check,
    are_accepted,
    check_answer,
    check_clock,
    check_disk,
    check_exchange,
    check_limit,
    check_open_files,
    check_workers,
    exit_code,
    fail,
    failed,
    not_sent,
    nothing_to_fetch,
    ok,
    per_day_used_up,
    warn,
    were_tried,
)
from harvester.pipeline.limits.open_files import SPARE_FILES, connections_within
from harvester.pipeline.limits.sharing import Party, Sharing

GB = 10**9


@pytest.mark.parametrize(
    ("free", "state", "code"), [(10 * GB, "ok", 0), (4 * GB, "warn", 0), (2 * GB, "fail", 6)]
)
def test_disk_against_the_plan(free: int, state: str, code: int) -> None:
    found = check_disk(free, 2 * GB, 1 * GB, "/data")
    assert (found.state, found.exit_code) == (state, code)


def test_without_an_exchange_of_folders_a_run_works_all_the_same() -> None:
    assert check_exchange("").state == "ok"
    found = check_exchange("Invalid argument")
    assert (found.state, found.exit_code) == ("warn", 0)
    assert "Invalid argument" in found.said
    assert "harvester compact" in found.remedy


@pytest.mark.parametrize(
    ("limit", "state", "connections"),
    [
        (64 + SPARE_FILES, "ok", 64),
        (63 + SPARE_FILES, "warn", 63),
        (1 + SPARE_FILES, "warn", 1),
        (SPARE_FILES, "warn", 1),
        (1, "warn", 1),
        (-1, "ok", 64),
    ],
)
def test_open_files_against_concurrency(limit: int, state: str, connections: int) -> None:
    found = check_open_files(limit, 64)
    assert found.state == state
    assert found.exit_code == 0, "a run makes do with fewer connections"
    if limit > 0:
        assert connections_within(limit, 64) == connections
    assert (f"make do with {connections} connections" in found.said) is (state == "warn")


OTHER = Party(pid=7, output="/srv/b", priority="low", idle_s=None)


@pytest.mark.parametrize(
    ("parties", "closed_s", "state", "code", "told"),
    [
        ((), 0.0, "ok", 0, "50 requests/s for all that name a.limit: no other now; another"),
        ((OTHER,), 0.0, "ok", 0, "name a.limit: process 7 with /srv/b; another machine"),
        ((OTHER, OTHER), 0.0, "ok", 0, "process 7 with /srv/b, process 7 with /srv/b;"),
        ((), 1.0, "ok", 0, "no other now"),
        ((), 61.4, "fail", 5, "the vendor allows no request for 61 s more"),
    ],
)
def test_who_shares_the_limit(
    parties: tuple[Party, ...], closed_s: float, state: str, code: int, told: str
) -> None:
    shared = Sharing(file="a.limit", rate_per_s=50, closed_s=closed_s, parties=parties)
    found = check_limit(Pace(limit_file="a.limit"), shared)
    assert (found.state, found.exit_code) == (state, code)
    assert told in found.said


def test_workers_are_told_and_what_their_cluster_lacks() -> None:
    here = check_workers(Workers(count=2), None)
    assert (here.state, here.said) == ("ok", "2 process(es) fetch beside the run's own")
    enough = check_workers(Workers(count=2, engine="ray"), 2)
    assert (enough.state, "2 free CPU(s)" in enough.said) == ("ok", True)
    few = check_workers(Workers(count=3, engine="ray"), 2)
    assert (few.state, few.remedy[:20]) == ("warn", "Each worker needs on")


def test_with_workers_nobody_else_may_use_the_key() -> None:
    found = check_limit(Pace(), None, 2)
    assert "no other process may use the key meanwhile" in found.said
    assert "limit_file" not in found.said


def test_a_limit_that_nobody_shares_and_the_budget_of_a_day() -> None:
    alone = check_limit(Pace(), None)
    assert "50 requests/s for each process alone; pace.limit_file makes it one" in alone.said
    assert "per_day" not in alone.said
    budget = check_limit(Pace(limit_file="a.limit", per_day=1000), None)
    assert "no other now" in budget.said
    assert budget.said.endswith("pace.per_day = 1,000 is counted for this output alone")


@pytest.mark.parametrize(
    ("skew", "state", "told"),
    [
        (None, "skip", "no Date"),
        (-4.0, "ok", "within 4 s"),
        (0.0, "ok", "within 1 s"),
        (6.0, "warn", "6 s behind"),
        (-6.0, "warn", "6 s ahead of"),
        (2_000.0, "warn", "half hour"),
    ],
)
def test_clock(skew: float | None, state: str, told: str) -> None:
    found = check_clock(skew)
    assert found.state == state
    assert told in found.said


VERDICTS: list[tuple[Verdict, str, int]] = [
    (Record(over=True), "ok", 0),
    (Record(over=False), "ok", 0),
    (NoRecord(), "warn", 0),
    (Dead("parameter_exception"), "warn", 0),
    (Throttled(None), "fail", 5),
    (UnknownStatus("-99"), "fail", 5),
    (TimeRefused(), "fail", 4),
    (Refusal("-1"), "fail", 4),
    (Busy("-18"), "fail", 5),
    (Busy("http_503"), "fail", 5),
    *((NetworkFailure(cause), "fail", 5) for cause in ("dns", "tls", "timeout", "http_418")),
]


@pytest.mark.parametrize(("verdict", "state", "code"), VERDICTS, ids=str)
def test_answer(verdict: Verdict, state: str, code: int) -> None:
    found = check_answer(verdict, "refused: do this")
    assert (found.state, found.exit_code) == (state, code)
    assert state == "ok" or found.remedy or "do this" in found.said


@pytest.mark.parametrize(("verdict", "state", "code"), VERDICTS, ids=str)
def test_only_an_answer_about_key_and_secret_has_tried_them(
    verdict: Verdict, state: str, code: int
) -> None:
    found = [ok("output", ""), check_answer(verdict, "refused: do this")]
    assert are_accepted(found) is (code == 0)
    assert were_tried(found) is (code in (0, 4))
    is_told = "NOT tried" in found[1].said
    assert is_told is (code == 5 or verdict == TimeRefused())


@pytest.mark.parametrize(
    "request_", [not_sent("there is a reason"), nothing_to_fetch(), per_day_used_up(5)]
)
def test_a_request_that_was_not_sent_is_never_a_pass(request_: Check) -> None:
    assert "NOT tried" in request_.said
    assert not were_tried([request_])
    assert exit_code([ok("output", ""), request_]) in (2, 8)


def test_exit_code_is_that_of_what_has_to_be_put_right_first() -> None:
    config = fail("a", "", "", ConfigError)
    store, refused = fail("b", "", "", StoreError), fail("c", "", "", VendorRefused)
    late = fail("d", "", "", VendorUnavailable)
    assert exit_code([ok("request", ""), warn("y", "", "")]) == 0
    assert exit_code([warn("request", "", "")]) == 0
    assert exit_code([ok("x", ""), warn("y", "", "")]) == 2, "key and secret were not tried"
    assert exit_code([late, refused, store, config]) == 2
    assert exit_code([late, refused, store]) == 6
    assert exit_code([late, refused]) == 4


CODES: list[tuple[Check, str]] = [
    (check_answer(Throttled(None), ""), "vendor.throttling"),
    (check_answer(UnknownStatus("-99"), ""), "vendor.unknown_status"),
    (check_answer(NetworkFailure("exhausted"), ""), "vendor.no_connection"),
    (check_answer(NetworkFailure("dns"), ""), "vendor.unavailable"),
    (check_answer(Refusal("-1"), "", refused_code="vendor.denied.sign"), "vendor.denied.sign"),
    (check_answer(TimeRefused(), "", refused_code="vendor.denied.clock"), "vendor.denied.clock"),
    (check_disk(1, 2, 0, "out"), "output.full"),
    (nothing_to_fetch(), "input.no_ids"),
    (per_day_used_up(5), "limit.per_day"),
    (failed("output", StoreError("full", code="output.full")), "output.full"),
    (
        check_limit(
            Pace(limit_file="a.limit"),
            Sharing(file="a.limit", rate_per_s=50, closed_s=60, parties=()),
        ),
        "vendor.throttling",
    ),
]


@pytest.mark.parametrize(("check", "code"), CODES)
def test_a_failure_has_the_code_of_the_error_that_a_run_would_end_with(
    check: Check, code: str
) -> None:
    assert (check.state, check.code) == ("fail", code)
    assert check.exit_code


def test_what_is_in_order_has_no_code() -> None:
    assert ok("output", "").code == ""


def test_a_request_without_an_answer_says_what_the_transport_says_of_it() -> None:
    found = check_answer(NetworkFailure("dns"), "", "the name is not known")
    assert "resolved: the name is not known; " in found.said
    assert "resolved; " in check_answer(NetworkFailure("dns"), "").said


@pytest.mark.parametrize("over", [True, False])
def test_a_record_is_told_and_whether_its_call_goes_on(over: bool) -> None:
    said = check_answer(Record(over=over), "").said
    assert "the record came" in said
    assert ("not over yet" in said) is not over


@pytest.mark.parametrize(
    ("free", "state"), [(199, "fail"), (200, "warn"), (299, "warn"), (300, "ok")]
)
def test_room_for_just_what_is_needed_is_tight_and_half_as_much_again_is_enough(
    free: int, state: str
) -> None:
    assert check_disk(free, 120, 80, "out").state == state


def test_room_is_told_in_a_unit_that_fits_it() -> None:
    said = check_disk(2 * GB, 99_000_000, 900_000, "out").said
    assert said == "2.0 GB free at out; the plan needs about 99.9 MB"


def test_only_a_skew_of_over_half_an_hour_is_more_than_the_vendor_allows() -> None:
    assert "half hour" not in check_clock(-1_800.0).said
    assert "half hour" in check_clock(-1_801.0).said
