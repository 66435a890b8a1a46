"""From a conclusion to what the ledger keeps: the states of docs/internals/states.md."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec import structs
from msgspec.structs import replace

from harvester.config import OpenCalls, Retry
from harvester.pipeline.engine.settle import Outcome, Policy, Settled, settle
from harvester.pipeline.engine.task import Answered, Conclusion, Died, PutOff, Task, Unknown
from harvester.state.values import Batch, Deferred, Entry, OpenCall

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = int(datetime(2026, 9, 2, 12, tzinfo=UTC).timestamp() * 1000)
ANSWER = b'{"status":0,"data":{"voiceId":"7"}}'
LATER = b'{"status":0,"data":{"voiceId":"7","later":1}}'

LISTED = Task("7", chunk=2, row=17)


def policy(
    *,
    delays_s: tuple[float, ...] = (600, 3600),
    max_age_s: float = 10 * 86_400,
    max_runs: int = 7,
    dated: datetime | None = None,
) -> Policy:
    return Policy(
        "run-1",
        OpenCalls(delays_s=delays_s, max_age_s=max_age_s),
        Retry(max_runs=max_runs),
        lambda voice_id: dated,
    )


def known(answer: bytes | None = ANSWER, **changes: int | None) -> Task:
    """An open call that is asked again; `changes` to its row."""
    call = OpenCall(
        "7", NOW, NOW - HOUR, 1, "run-0", answer, None if answer is None else NOW - HOUR
    )
    return Task("7", open_call=replace(call, **changes))


def settled(
    task: Task,
    conclusion: Conclusion,
    rules: Policy | None = None,
    earlier: Deferred | None = None,
) -> tuple[Settled, Batch]:
    batch = Batch()
    return settle(batch, task, conclusion, rules or policy(), earlier), batch


def test_a_record_of_a_call_that_is_over_is_delivered() -> None:
    result, batch = settled(LISTED, Answered(ANSWER, over=True, at_ms=NOW))
    assert result == Settled(Outcome.DELIVERED)
    assert batch.entries == [Entry("7", NOW, True, ANSWER)]
    assert batch.resolved_rows == {2: [17]}
    assert (batch.list_delivered, batch.list_open, batch.list_dead) == (1, 0, 0)
    assert batch.recovered == ["7"]
    assert (batch.outcomes, batch.bytes) == (1, len(ANSWER))


def test_an_open_call_that_is_over_now_leaves_the_open_calls_and_no_bit() -> None:
    result, batch = settled(known(), Answered(LATER, over=True, at_ms=NOW))
    assert result.outcome is Outcome.DELIVERED
    assert batch.closed_calls == ["7"]
    assert batch.entries == [Entry("7", NOW, True, LATER)]
    assert batch.resolved_rows == {}


def test_a_call_that_goes_on_is_kept_with_its_answer_until_it_is_due() -> None:
    result, batch = settled(LISTED, Answered(ANSWER, over=False, at_ms=NOW))
    assert result == Settled(Outcome.OPEN)
    assert batch.open_calls == [OpenCall("7", NOW + 600_000, NOW, 1, "run-1", ANSWER, NOW)]
    assert batch.resolved_rows == {2: [17]}
    assert batch.list_open == 1
    assert batch.entries == []
    assert batch.bytes == len(ANSWER), "answers of open calls fill a batch, too"


@pytest.mark.parametrize(("fetches", "delay_s"), [(0, 600), (1, 3600), (2, 3600), (50, 3600)])
def test_each_ask_waits_for_its_own_delay_and_the_last_one_repeats(
    fetches: int, delay_s: int
) -> None:
    _, batch = settled(known(fetches=fetches), Answered(LATER, over=False, at_ms=NOW))
    (call,) = batch.open_calls
    assert (call.due_ms - NOW, call.fetches) == (delay_s * 1000, fetches + 1)
    assert call.first_ms == NOW - HOUR
    assert (call.answer, call.answer_ms) == (LATER, NOW)


def test_an_open_call_is_asked_a_last_time_when_it_reaches_its_age() -> None:
    rules = policy(delays_s=(86_400,), max_age_s=7200)
    _, batch = settled(known(), Answered(LATER, over=False, at_ms=NOW), rules)
    assert batch.open_calls[0].due_ms == NOW + HOUR


def test_an_open_call_that_is_still_not_over_at_its_age_is_published_as_not_final() -> None:
    result, batch = settled(known(), Answered(LATER, over=False, at_ms=NOW), policy(max_age_s=3600))
    assert result == Settled(Outcome.DELIVERED)
    assert batch.entries == [Entry("7", NOW, False, LATER)]
    assert batch.closed_calls == ["7"]
    assert batch.open_calls == []


def test_a_call_the_vendor_did_not_know_ages_from_its_first_answer() -> None:
    task = known(answer=None, first_ms=NOW - 9 * DAY, unknown_ms=NOW - 9 * DAY)
    _, batch = settled(task, Answered(ANSWER, over=False, at_ms=NOW), policy(max_age_s=86_400))
    (call,) = batch.open_calls
    assert call.first_ms == NOW
    assert call.unknown_ms is None


def test_no_record_is_open_the_first_time() -> None:
    result, batch = settled(LISTED, Unknown(NOW, 1))
    assert result == Settled(Outcome.OPEN)
    assert batch.open_calls == [
        OpenCall("7", NOW + 600_000, NOW, 1, "run-1", None, None, unknown_ms=NOW)
    ]
    assert batch.resolved_rows == {2: [17]}


@pytest.mark.parametrize(("said_ago", "dead"), [(DAY - 1, False), (DAY, True)])
def test_no_record_is_dead_when_it_is_said_again_a_day_later(said_ago: int, dead: bool) -> None:
    first = NOW - said_ago
    result, batch = settled(known(None, first_ms=first, unknown_ms=first), Unknown(NOW, 3))
    assert (result.outcome is Outcome.DEAD) == dead
    if dead:
        (letter,) = batch.dead_letters
        assert (letter.reason, letter.attempts, letter.first_ms) == ("no_record", 3, first)
        assert letter.published is False
        assert batch.closed_calls == ["7"]
    else:
        assert batch.open_calls[0].unknown_ms == first


@pytest.mark.parametrize(("age", "dead"), [(3 * DAY, False), (3 * DAY + 1, True)])
def test_no_record_is_dead_at_once_if_the_id_dates_itself_over_3_days_back(
    age: int, dead: bool
) -> None:
    dated = datetime.fromtimestamp((NOW - age) / 1000, UTC)
    result, batch = settled(LISTED, Unknown(NOW, 1), policy(dated=dated))
    assert (result.outcome is Outcome.DEAD) == dead
    assert batch.resolved_rows == {2: [17]}


def test_no_record_said_once_of_a_call_that_was_open_for_days_keeps_it_open() -> None:
    task = known(first_ms=NOW - 5 * DAY, answer_ms=NOW - 2 * DAY)
    result, batch = settled(task, Unknown(NOW, 1))
    assert result.outcome is Outcome.OPEN
    (call,) = batch.open_calls
    assert (call.answer, call.answer_ms, call.unknown_ms) == (ANSWER, NOW - 2 * DAY, NOW)


def test_an_old_id_whose_record_we_have_seen_does_not_die_of_one_no_record() -> None:
    dated = datetime.fromtimestamp((NOW - 9 * DAY) / 1000, UTC)
    task = known(first_ms=NOW - 5 * DAY, answer_ms=NOW - 2 * DAY)
    result, _ = settled(task, Unknown(NOW, 1), policy(dated=dated))
    assert result.outcome is Outcome.OPEN


def test_a_rebuilt_row_without_an_answer_dates_from_its_first_ask() -> None:
    result, _ = settled(known(None, first_ms=NOW - DAY, unknown_ms=None), Unknown(NOW, 1))
    assert result.outcome is Outcome.DEAD


NOS = [
    Unknown(NOW, 1),
    *(Died(reason, "", 1, NOW) for reason in ("parameter_exception", "bad_query_id")),
    Died("out_of_time_range", "", 1, NOW, b"no"),
    Died("unknown_status", "status 77", 3, NOW),
]


@pytest.mark.parametrize("no", NOS, ids=lambda no: getattr(no, "reason", "no_record"))
@pytest.mark.parametrize("dated_ago", [None, HOUR, 9 * DAY, 90 * DAY])
def test_a_no_that_contradicts_a_record_already_seen_keeps_the_call_open(
    no: Unknown | Died, dated_ago: int | None
) -> None:
    dated = None if dated_ago is None else datetime.fromtimestamp((NOW - dated_ago) / 1000, UTC)
    result, batch = settled(known(fetches=0), no, policy(dated=dated))
    assert result == Settled(Outcome.OPEN)
    (call,) = batch.open_calls
    assert (call.answer, call.answer_ms, call.first_ms) == (ANSWER, NOW - HOUR, NOW - HOUR)
    assert (call.unknown_ms, call.due_ms) == (NOW, NOW + 600_000)
    assert (batch.dead_letters, batch.entries, batch.closed_calls) == ([], [], [])


@pytest.mark.parametrize("no", NOS, ids=lambda no: getattr(no, "reason", "no_record"))
@pytest.mark.parametrize(("said_ago", "ends"), [(DAY - 1, False), (DAY, True)])
def test_a_no_said_again_a_day_later_ends_it_and_its_last_record_is_published_as_not_final(
    no: Unknown | Died, said_ago: int, ends: bool
) -> None:
    task = known(first_ms=NOW - 5 * DAY, unknown_ms=NOW - said_ago)
    result, batch = settled(task, no)
    if not ends:
        assert result == Settled(Outcome.OPEN)
        assert batch.open_calls[0].unknown_ms == NOW - said_ago, "the first no counts"
        return
    kept = Entry("7", NOW - HOUR, False, ANSWER)
    assert result == Settled(Outcome.DEAD, kept)
    assert batch.entries == [kept]
    assert batch.dead_letters[0].published


def test_a_record_between_two_nos_takes_the_first_one_back() -> None:
    task = known(unknown_ms=NOW - 2 * DAY)
    _, batch = settled(task, Answered(LATER, over=False, at_ms=NOW))
    (call,) = batch.open_calls
    assert call.unknown_ms is None
    result, _ = settled(Task("7", open_call=call), Died("bad_query_id", "", 1, NOW + DAY))
    assert result.outcome is Outcome.OPEN


def test_an_open_call_that_dies_has_its_last_answer_published_and_its_letter_says_so() -> None:
    died = Died("bad_query_id", "", 2, NOW, b"no")
    result, batch = settled(known(unknown_ms=NOW - DAY), died)
    kept = Entry("7", NOW - HOUR, False, ANSWER)
    assert result == Settled(Outcome.DEAD, kept)
    assert batch.entries == [kept]
    (letter,) = batch.dead_letters
    assert letter.published is True
    assert (letter.reason, letter.body, letter.first_ms) == ("bad_query_id", b"no", NOW - HOUR)
    assert batch.closed_calls == ["7"]
    assert batch.bytes == len(ANSWER) + len(b"no")


def test_an_open_call_without_an_answer_dies_unpublished() -> None:
    result, batch = settled(known(None), Died("bad_query_id", "", 1, NOW))
    assert result == Settled(Outcome.DEAD, None)
    assert batch.entries == []
    assert batch.dead_letters[0].published is False


def test_a_dead_id_of_the_list_is_counted_and_keeps_its_retried_letter_for_replacing() -> None:
    result, batch = settled(LISTED, Died("parameter_exception", "", 1, NOW))
    assert result.outcome is Outcome.DEAD
    assert (batch.list_dead, batch.resolved_rows) == (1, {2: [17]})
    assert batch.revived == []


def deferred(**changes: object) -> Deferred:
    base = Deferred("7", "timeout", "", NOW - DAY, NOW - DAY, "run-0", 0, (), 2, 17)
    return replace(base, **changes)


def put_off(counts: bool = True) -> PutOff:
    return PutOff("timeout", 5, NOW, counts)


LAST_TRY = structs.replace(LISTED, is_last_try=True)


def test_a_deferred_id_keeps_its_place_and_stays_pending() -> None:
    result, batch = settled(LISTED, put_off())
    assert result == Settled(Outcome.DEFERRED)
    assert batch.resolved_rows == {}
    assert batch.recovered == []
    (item,) = batch.deferred
    assert (item.chunk, item.row, item.runs, item.days) == (2, 17, 0, ())
    assert item.counts


def test_an_id_that_is_deferred_again_was_first_deferred_when_it_was() -> None:
    earlier = Deferred("7", "timeout", "d", NOW - DAY, NOW - HOUR, "run-0", 1, ())
    _, batch = settled(LISTED, PutOff("timeout", 4, NOW, counts=False), earlier=earlier)
    (deferred,) = batch.deferred
    assert (deferred.first_ms, deferred.last_ms) == (NOW - DAY, NOW)


def test_whoever_lives_is_dead_no_more() -> None:
    """A retried letter goes with the outcome that takes its place."""
    for conclusion in (Answered(ANSWER, over=True, at_ms=NOW), Unknown(NOW, 1)):
        _, batch = settled(LISTED, conclusion)
        assert batch.revived == ["7"]
    _, batch = settled(LISTED, Died("bad_query_id", "", 1, NOW))
    assert batch.revived == []


def test_a_run_counts_once_and_only_at_its_last_try() -> None:
    _, first = settled(LISTED, put_off(), earlier=deferred(runs=2, days=("2026-08-30",)))
    assert first.deferred[0].runs == 2
    _, last = settled(LAST_TRY, put_off(), earlier=first.deferred[0])
    assert (last.deferred[0].runs, last.deferred[0].days) == (3, ("2026-08-30", "2026-09-02"))


def test_a_run_in_which_nothing_was_delivered_does_not_count() -> None:
    _, first = settled(LISTED, put_off(counts=False))
    _, last = settled(LAST_TRY, put_off(counts=False), earlier=first.deferred[0])
    assert last.deferred[0].runs == 0


@pytest.mark.parametrize(
    ("runs", "days", "dead"),
    [
        (5, ("2026-08-30", "2026-08-31"), False),
        (6, ("2026-08-30", "2026-08-31"), True),
        (6, ("2026-09-01",), False),
        (60, ("2026-09-01", "2026-09-02"), False),
        (6, ("2026-09-01", "2026-09-02", "2026-08-31"), True),
    ],
    ids=["6 runs", "7 runs on 3 days", "7 runs on 2 days", "61 runs on 2 days", "a day twice"],
)
def test_an_id_gives_up_after_max_runs_runs_on_three_days(
    runs: int, days: tuple[str, ...], dead: bool
) -> None:
    result, batch = settled(LAST_TRY, put_off(), earlier=deferred(runs=runs, days=days))
    assert (result.outcome is Outcome.DEAD) == dead
    if dead:
        assert batch.dead_letters[0].reason == "gave_up"
        assert batch.resolved_rows == {2: [17]}
        assert batch.recovered == ["7"], "it is not deferred any more"


def test_an_open_call_that_gives_up_publishes_its_last_answer() -> None:
    task = structs.replace(known(), is_last_try=True)
    days = ("2026-08-30", "2026-08-31")
    result, batch = settled(task, put_off(), earlier=deferred(runs=6, days=days))
    assert result == Settled(Outcome.DEAD, Entry("7", NOW - HOUR, False, ANSWER))
    assert batch.dead_letters[0].published
    assert batch.closed_calls == ["7"]


def test_a_deferred_open_call_stays_an_open_call() -> None:
    result, batch = settled(known(), put_off())
    assert result.outcome is Outcome.DEFERRED
    assert batch.closed_calls == []
    assert (batch.deferred[0].chunk, batch.deferred[0].row) == (None, None)


def unsure() -> Policy:
    """In a run whose clock was set since the run before."""
    return replace(policy(max_age_s=3600, max_runs=1), are_ages_sure=lambda: False)


def test_while_ages_are_unsure_no_open_call_is_published_and_the_next_run_fetches_it() -> None:
    task = known(first_ms=NOW - 40 * DAY)
    result, batch = settled(task, Answered(LATER, over=False, at_ms=NOW), unsure())
    assert result == Settled(Outcome.OPEN)
    assert batch.entries == []
    (call,) = batch.open_calls
    assert call.first_ms == NOW - 40 * DAY
    assert call.due_ms <= NOW
    task = Task("7", open_call=call)
    rules = policy(max_age_s=3600)
    result, batch = settled(task, Answered(LATER, over=False, at_ms=NOW), rules)
    assert result == Settled(Outcome.DELIVERED)


def test_while_ages_are_unsure_a_record_of_a_call_that_is_over_is_delivered() -> None:
    result, _ = settled(known(), Answered(LATER, over=True, at_ms=NOW), unsure())
    assert result.outcome is Outcome.DELIVERED


@pytest.mark.parametrize("years", [1, 5])
def test_while_ages_are_unsure_no_record_of_an_old_id_buries_nothing(years: int) -> None:
    rules = replace(unsure(), dated=lambda _: datetime(2026 - years, 1, 1, tzinfo=UTC))
    result, batch = settled(LISTED, Unknown(NOW, 1), rules)
    assert result.outcome is Outcome.OPEN
    assert batch.dead_letters == []
    (call,) = batch.open_calls
    rules = replace(rules, are_ages_sure=lambda: True)
    result, _ = settled(Task("7", open_call=call), Unknown(NOW + HOUR, 1), rules)
    assert result.outcome is Outcome.DEAD


@pytest.mark.parametrize("answer", [None, ANSWER])
def test_while_ages_are_unsure_no_record_said_again_buries_nothing(answer: bytes | None) -> None:
    task = known(answer, unknown_ms=NOW - 30 * DAY)
    result, batch = settled(task, Unknown(NOW, 1), unsure())
    assert result == Settled(Outcome.OPEN)
    assert batch.open_calls[0].unknown_ms == NOW - 30 * DAY


def test_while_ages_are_unsure_a_run_does_not_count_towards_giving_up() -> None:
    days = ("2026-08-30", "2026-08-31", "2026-09-01")
    earlier = Deferred("7", "timeout", "d", 1, 2, "run-0", 9, days)
    task = replace(LISTED, is_last_try=True)
    result, batch = settled(task, PutOff("timeout", 1, NOW, counts=True), unsure(), earlier)
    assert result.outcome is Outcome.DEFERRED
    assert (batch.deferred[0].runs, batch.deferred[0].days) == (9, days)


def test_while_ages_are_unsure_a_time_to_come_is_not_put_back() -> None:
    """Which of the two clocks was wrong is not known."""
    ahead = NOW + 30 * DAY
    _, batch = settled(known(None, unknown_ms=ahead), Unknown(NOW, 1), unsure())
    assert batch.open_calls[0].unknown_ms == ahead
    _, batch = settled(known(first_ms=ahead), Answered(LATER, over=False, at_ms=NOW), unsure())
    assert batch.open_calls[0].first_ms == ahead


def test_a_no_to_an_open_call_is_counted_and_is_of_this_run() -> None:
    _, batch = settled(known(None, fetches=1, unknown_ms=NOW - HOUR), Unknown(NOW, 1))
    (call,) = batch.open_calls
    assert (call.fetches, call.run_id, call.due_ms) == (2, "run-1", NOW + HOUR)


def test_a_call_that_was_first_seen_by_a_clock_ahead_begins_its_age_now() -> None:
    task = known(first_ms=NOW + 30 * DAY)
    _, batch = settled(task, Answered(LATER, over=False, at_ms=NOW))
    assert batch.open_calls[0].first_ms == NOW
    task = known(None, unknown_ms=NOW + 30 * DAY)
    _, batch = settled(task, Unknown(NOW, 1))
    assert batch.open_calls[0].unknown_ms == NOW


WAIT = 3 * DAY


def unrated(**changes: int | None) -> Task:
    """A call that is over and was unrated an hour ago."""
    return known(ANSWER, unrated_ms=NOW - HOUR, **changes)


def priceless(at_ms: int = NOW) -> Answered:
    return Answered(LATER, over=True, at_ms=at_ms, is_rated=False)


def test_an_unrated_call_is_kept_until_it_is_due() -> None:
    result, batch = settled(LISTED, priceless())
    assert result == Settled(Outcome.OPEN)
    (call,) = batch.open_calls
    assert call == OpenCall("7", NOW + 600_000, NOW, 1, "run-1", LATER, NOW, None, NOW)
    assert call.is_unrated
    assert call.last_entry == Entry("7", NOW, True, LATER, is_rated=False)
    assert (batch.entries, batch.list_open, batch.bytes) == ([], 1, len(LATER))


def test_an_unrated_call_that_is_rated_now_is_delivered() -> None:
    result, batch = settled(unrated(), Answered(LATER, over=True, at_ms=NOW))
    assert result == Settled(Outcome.DELIVERED)
    assert batch.entries == [Entry("7", NOW, True, LATER)]
    assert batch.closed_calls == ["7"]


@pytest.mark.parametrize(("waited", "ends"), [(WAIT - 1, False), (WAIT, True)])
def test_nobody_waits_for_a_price_longer_than_its_time(waited: int, ends: bool) -> None:
    """However old the call is: it may have been open, or unknown, for long before."""
    task = known(first_ms=NOW - 10 * DAY, unrated_ms=NOW - waited)
    result, batch = settled(task, priceless())
    if ends:
        assert result == Settled(Outcome.DELIVERED, is_rated=False)
        assert batch.entries == [Entry("7", NOW, True, LATER, is_rated=False)]
        assert (batch.closed_calls, batch.open_calls) == (["7"], [])
    else:
        (call,) = batch.open_calls
        assert (result.outcome, call.unrated_ms) == (Outcome.OPEN, NOW - waited)
        assert call.due_ms == NOW + 1, "a last time when it is so old"


def test_the_age_of_a_call_that_went_on_is_not_that_of_its_waiting() -> None:
    _, batch = settled(known(first_ms=NOW - 9 * DAY), priceless())
    (call,) = batch.open_calls
    assert (call.first_ms, call.unrated_ms) == (NOW - 9 * DAY, NOW)


def test_a_call_that_goes_on_again_waits_for_no_price() -> None:
    _, batch = settled(unrated(), Answered(LATER, over=False, at_ms=NOW))
    (call,) = batch.open_calls
    assert call.unrated_ms is None
    assert call.last_entry == Entry("7", NOW, False, LATER)


@pytest.mark.parametrize("free", [("*",), ("France",)])
def test_a_call_to_a_free_destination_has_its_price(free: tuple[str, ...]) -> None:
    rules = structs.replace(policy(), open_calls=OpenCalls(free_destinations=free))
    body = b'{"status":0,"data":{"voiceId":"7","code":"France(Paris)"}}'
    result, batch = settled(LISTED, Answered(body, True, NOW, is_rated=False), rules)
    assert result == Settled(Outcome.DELIVERED)
    assert batch.entries == [Entry("7", NOW, True, body)]


def test_no_other_call_is_free() -> None:
    rules = structs.replace(policy(), open_calls=OpenCalls(free_destinations=("Spain",)))
    assert settled(LISTED, priceless(), rules)[0] == Settled(Outcome.OPEN)


@pytest.mark.parametrize("no", NOS, ids=lambda no: getattr(no, "reason", "no_record"))
@pytest.mark.parametrize(
    ("said_ago", "waited", "ends"),
    [(DAY - 1, 2 * DAY, False), (DAY, 2 * DAY, True), (HOUR, WAIT, True)],
    ids=["said before", "said a day before", "waited for long enough"],
)
def test_an_unrated_call_that_the_vendor_forgot_is_delivered_as_it_was_last(
    no: Unknown | Died, said_ago: int, waited: int, ends: bool
) -> None:
    task = known(unknown_ms=NOW - said_ago, unrated_ms=NOW - waited)
    result, batch = settled(task, no)
    if ends:
        assert result == Settled(Outcome.DELIVERED, is_rated=False)
        assert batch.entries == [Entry("7", NOW - HOUR, True, ANSWER, is_rated=False)]
        assert (batch.dead_letters, batch.closed_calls) == ([], ["7"])
    else:
        (call,) = batch.open_calls
        assert (result.outcome, call.unrated_ms) == (Outcome.OPEN, NOW - waited)
        assert call.unknown_ms == NOW - said_ago


def test_a_no_does_not_put_off_the_end_of_the_waiting() -> None:
    task = known(fetches=1, unrated_ms=NOW - WAIT + 60_000)
    _, batch = settled(task, Unknown(NOW, 1))
    assert batch.open_calls[0].due_ms == NOW + 60_000


def test_an_unrated_call_that_gives_up_is_delivered_as_it_was_last() -> None:
    task = structs.replace(unrated(), is_last_try=True)
    days = ("2026-08-30", "2026-08-31")
    result, batch = settled(task, put_off(), earlier=deferred(runs=6, days=days))
    assert result == Settled(Outcome.DELIVERED, is_rated=False)
    assert batch.dead_letters == []
    assert batch.recovered == ["7"], "it is not deferred any more"


def test_with_a_new_skew_of_the_clock_nobody_stops_waiting() -> None:
    rules = structs.replace(policy(), are_ages_sure=lambda: False)
    for conclusion in (priceless(), Unknown(NOW, 1)):
        result, _ = settled(known(unrated_ms=NOW - 9 * DAY), conclusion, rules)
        assert result == Settled(Outcome.OPEN)


AGAIN = Task("7", chunk=2, row=17, again=True)


@pytest.mark.parametrize("over", [True, False])
def test_another_answer_about_a_delivered_call_is_kept_apart_and_never_opens_it(over: bool) -> None:
    result, batch = settled(AGAIN, Answered(LATER, over=over, at_ms=NOW))
    assert result == Settled(Outcome.REFETCHED)
    assert batch.again == [Entry("7", NOW, over, LATER)]
    assert (batch.entries, batch.open_calls, batch.revived) == ([], [], [])
    assert batch.corrected == (["7"] if over else [])
    assert (batch.resolved_rows, batch.list_refetched) == ({2: [17]}, 1)
    assert (batch.list_delivered, batch.list_open, batch.list_dead) == (0, 0, 0)
    assert batch.recovered == ["7"]


def test_a_delivered_call_that_is_unrated_still_says_so_and_waits_for_nothing() -> None:
    result, batch = settled(AGAIN, Answered(LATER, over=True, at_ms=NOW, is_rated=False))
    assert result.outcome is Outcome.REFETCHED
    assert batch.again == [Entry("7", NOW, True, LATER, is_rated=False)]
    assert batch.open_calls == []


@pytest.mark.parametrize("no", [Unknown(NOW, 2), Died("parameter", "-22", 1, NOW)])
def test_a_no_to_a_delivered_call_makes_it_neither_open_nor_dead(no: Unknown | Died) -> None:
    result, batch = settled(AGAIN, no)
    assert result == Settled(Outcome.FORGOTTEN)
    assert (batch.again, batch.open_calls, batch.dead_letters) == ([], [], [])
    assert (batch.resolved_rows, batch.list_refetched) == ({2: [17]}, 1)


def test_a_delivered_call_that_fails_stays_on_the_list_until_others_would_die() -> None:
    put_off = PutOff("timeout", 5, NOW, counts=True)
    last = replace(AGAIN, is_last_try=True)
    result, batch = settled(last, put_off)
    assert result.outcome is Outcome.DEFERRED
    (item,) = batch.deferred
    assert (item.again, item.runs, item.chunk, item.row) == (True, 1, 2, 17)
    assert (batch.resolved_rows, batch.list_refetched) == ({}, 0)
    often = replace(item, runs=6, days=("2026-08-30", "2026-08-31"))
    result, batch = settled(last, put_off, earlier=often)
    assert result == Settled(Outcome.FAILED)
    assert (batch.dead_letters, batch.deferred, batch.recovered) == ([], [], ["7"])
    assert batch.list_refetched == 1


def test_a_delivered_call_waits_for_no_price_while_it_goes_on_or_where_calls_are_free() -> None:
    goes_on = Answered(LATER, over=False, at_ms=NOW, is_rated=False)
    _, batch = settled(AGAIN, goes_on)
    assert batch.again == [Entry("7", NOW, False, LATER)]
    body = b'{"status":0,"data":{"voiceId":"7","code":"France(Paris)"}}'
    for free, is_rated in ((("France",), True), (("*",), True), (("Spain",), False), ((), False)):
        rules = structs.replace(policy(), open_calls=OpenCalls(free_destinations=free))
        _, batch = settled(AGAIN, Answered(body, True, NOW, is_rated=False), rules)
        assert batch.again == [Entry("7", NOW, True, body, is_rated=is_rated)]


@pytest.mark.parametrize("over", [True, False])
def test_only_a_final_answer_takes_the_dead_letter_of_a_published_call_away(over: bool) -> None:
    _, batch = settled(AGAIN, Answered(LATER, over=over, at_ms=NOW))
    assert batch.corrected == (["7"] if over else [])
