"""The screens of commands: each figure stands beside its own words."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal

import pytest
from msgspec.structs import replace

from harvester.cli.commands import compact, discover, drop, erase, plan, publish, rebuild, reconcile
from harvester.cli.ui import next_command
from harvester.cli.ui.console import Line
from harvester.operations.compact import Compacted
from harvester.operations.discover import Discovered, Unsettled
from harvester.operations.drop import Left
from harvester.operations.erase import Erased
from harvester.operations.number_places import Place
from harvester.operations.plan import InputPlan, OldId, Plan
from harvester.operations.publish import PublishedAll
from harvester.operations.rebuild import Rebuilt
from harvester.pipeline.listing.both_ways import BothWays, Difference
from harvester.pipeline.publish.oddities import Oddities
from harvester.reconciling.figures import Days, Dialer, Reconciled, Region, fold, meanings
from harvester.storage.dropped import LeftOfMonth
from harvester.vendor_clock import CLOCK


@pytest.fixture(autouse=True)
def nothing_given() -> Iterator[None]:
    next_command.begin([])
    yield
    next_command.begin([])


def text(lines: Sequence[Line]) -> list[str]:
    return [line.text for line in lines]


COMPACTED = Compacted(
    output="out",
    dates=2,
    rows=3_456,
    files_before=17,
    files_after=5,
    bytes_before=9_000_000,
    bytes_after=4_000_000,
    too_young=6,
    few_files=7,
    grace_s=3_600,
    folded=8,
    finished_publications=0,
)


def test_compact_says_what_became_of_files_and_changes() -> None:
    assert text(compact.screen(COMPACTED)) == [
        "Compacted 2 dates: 17 files became 5, 9.0 MB became 4.0 MB.",
        "Data:     out/cdr/*/*.parquet, 3,456 records",
        "Folded:   8 changes, from out/changes",
        "Kept:     the old files, for 1 h (compact.grace_s)",
    ]
    plain = text(compact.screen(replace(COMPACTED, folded=0)))
    assert plain[1:3] == [
        "Data:     out/cdr/*/*.parquet, 3,456 records as before",
        "Kept:     the old files, for 1 h (compact.grace_s)",
    ]
    nothing = replace(COMPACTED, dates=0, lifted_from=1)
    assert text(compact.screen(nothing)) == [
        "All records have the columns of this version now.",
        "Nothing to compact in out/cdr.",
        "Left out: 7 dates of too few files (--min-files), 6 too young (--older-than).",
    ]


LEFT = Left(
    output="out",
    dates=("2024-12-30", "2024-12-31"),
    kept={},
    rows=1_234,
    files=5,
    bytes=6_000,
    months={"2024-12": LeftOfMonth(1_230, "", "", {}), "": LeftOfMonth(4, "", "", {})},
    archive=None,
    grace_s=7_200,
    is_done=True,
    finished_publications=0,
)


def test_drop_says_what_left_or_would_and_what_stays() -> None:
    assert text(drop.screen(LEFT, "2025-01-01")) == [
        "Dropped 2 dates: 1,234 calls, 5 files, 6.0 KB.",
        "Dates:    2024-12-30 to 2024-12-31",
        "Month:    2024-12, 1,230 calls",
        "Month:    none, 4 calls",
        "Deleted:  in 2 h (compact.grace_s)",
    ]
    would = replace(LEFT, dates=("2024-12-30",), is_done=False, months={})
    assert text(drop.screen(would, "2025-01-01")) == [
        "Would drop 1 dates: 1,234 calls, 5 files, 6.0 KB.",
        "Dates:    2024-12-30",
    ], "nothing is deleted"
    archived = replace(LEFT, archive="/archive", months={})
    assert text(drop.screen(archived, "2025-01-01"))[2:] == ["Archive:  /archive"]


@pytest.mark.parametrize(("stay", "named", "more"), [(12, 12, 0), (13, 12, 1)])
def test_drop_names_twelve_dates_that_stay_and_counts_the_others(
    stay: int, named: int, more: int
) -> None:
    kept = {f"2024-12-{day:02}": "why" for day in range(1, stay + 1)}
    lines = text(drop.screen(replace(LEFT, dates=(), kept=kept), "2025-01-01"))
    assert lines == [
        "Nothing to drop before 2025-01-01 in out.",
        *(f"Stays:    2024-12-{day:02}: why" for day in range(1, named + 1)),
        *(["Stay:     1 more (--json names them)"] if more else []),
    ]


def test_erase_says_what_held_the_numbers_and_what_it_did_not_reach() -> None:
    place = Place(place="rows", files=("a", "b"), rows=1_001, ids=("x",))
    done = Erased(
        output="out",
        because="T-17",
        at="",
        numbers=3,
        places=(place,),
        written=(),
        not_reached=("backups",),
        receipt="out/runs/erase/erasure.json",
        finished_publications=0,
    )
    lines = text(erase.screen(done))
    assert lines[0] == "Erased 3 numbers in out, because of T-17."
    assert lines[1].split() == ["rows:", "1,001", "rows", "in", "2", "files"]
    assert lines[2:] == ["Not reached:", "  backups", "Receipt:  out/runs/erase/erasure.json"]
    nothing = erase.screen(replace(done, places=()))
    assert text(nothing)[0] == "Nothing held the numbers in out, because of T-17."
    assert text(erase.shown((place,), "out"))[0] == "Would erase the numbers in out."
    assert text(erase.shown((), "out")) == ["Nothing in out holds the numbers."]


def test_rebuild_says_what_the_new_state_holds() -> None:
    done = Rebuilt(
        output="out",
        account="acme",
        reason="it was gone",
        files=2,
        rows=3_003,
        bytes=4_000,
        snapshot=None,
        open=5,
        dead=6,
        deferred=7,
        left_out=8,
        put_back=9,
        old_state=None,
        old_list=None,
        unknown=("one thing",),
        next="run again",
    )
    assert text(rebuild.screen(done)) == [
        "Rebuilt the state of out, account acme",
        "  because      it was gone",
        "  data         2 files, 3,003 rows, 4.0 KB",
        "  restored     5 open calls, 6 dead letters, 7 deferred ids",
        "  from         no snapshot was found",
        "  put back     9 rows of lost files, out of changes/",
        "  left out     8 of its rows: resolved since, or row lost",
        "  old state    there was none",
        "",
        "What could not be known:",
        "  - one thing",
        "",
        "Next:  run again",
    ]


def test_publish_says_what_was_written() -> None:
    done = PublishedAll(
        output="out",
        records=1_002,
        files=3,
        bytes=4_000,
        in_journal=0,
        finished_publications=0,
        odd=Oddities(),
    )
    assert text(publish.screen(done)) == [
        "Published 1,002 records in 3 files, 4.0 KB.",
        "Data:     out/cdr/*/*.parquet",
    ]
    (nothing,) = text(publish.screen(replace(done, records=0)))
    assert nothing == "Nothing waits in the journal; out/cdr has every record."


ENDS = datetime(2026, 11, 29, 5, 30).timestamp()  # noqa: DTZ001 - this machine's clock
PLAN = Plan(
    output="out",
    account="acme",
    has_state=True,
    input=InputPlan(
        lines=10_000,
        bad=3,
        duplicate=97,
        distinct=9_900,
        resolved=900,
        to_fetch=8_950,
        too_young=50,
        bad_examples=("a.txt:1: empty: ",),
        bad_by_reason={"empty": 1, "too_long": 2},
    ),
    carried_over=40,
    only=False,
    open=30,
    open_due=20,
    to_fetch=9_010,
    requests=9_911,
    retry_share=1.1,
    rate_per_s=50.0,
    per_day=5_000,
    max_duration_s=3_600,
    first_run_requests=4_900,
    left_after=4_110,
    seconds=198,
    runs=2,
    ends_at=ENDS,
    too_old=4,
    too_old_before="2026-10-01",
    oldest=tuple(OldId(f"id-{n}", f"2026-09-0{n}T10:00:00+08:00") for n in range(1, 6)),
    data_bytes=1_500_000,
    working_bytes=2_500_000,
)


def figures(lines: Sequence[Line]) -> dict[str, str]:
    """Lines by their label: the figure, and what is said of it."""
    return {line.text[:13].strip(): " ".join(line.text[13:].split()) for line in lines if line.text}


def test_a_plan_has_each_figure_beside_its_words() -> None:
    lines = plan.screen(PLAN)
    told = figures(lines)
    assert told["input"] == "10,000 lines"
    assert told["bad"] == "3 lines without a voiceId: too long 2, empty 1"
    assert told["duplicate"] == "97 seen before in this input"
    assert told["distinct"] == "9,900 ids"
    assert told["resolved"] == "900 of them: delivered, open or dead"
    assert told["too young"].startswith("50 of them: younger than input.min_age_s")
    assert told["new"] == "8,950 of them: to fetch"
    assert told["carried over"] == "40 of earlier inputs (included)"
    assert told["open"] == "30 calls not final; 20 are due"
    assert told["to fetch"] == "9,010 ids"
    assert told["too old"].startswith("4 dated before 2026-10-01")
    assert told["requests"] == "9,911 1.10 an id, as in the last runs"
    assert told["time"] == "3 min 18 s at 50 requests/s"
    assert told["limits"] == (
        "4,900 requests in the next run by --max-duration 1 h and 5,000 requests a day; "
        "4,110 ids still pending"
    )
    hour = time.strftime("%H:%M %Z", time.localtime(ENDS))
    assert told["ends"] == f"{hour} on 2026-11-29, after 2 runs, one a day from now on"
    assert told["disk"] == "1.5 MB of data (estimate), and 2.5 MB while the run works"
    oldest = [line.text.strip() for line in lines if "id-" in line.text]
    assert oldest == [f"2026-09-0{n} 10:00  id-{n}" for n in (1, 2, 3)]
    assert lines[-1].text == (
        "Next:  `harvester run` with the same arguments. Nothing was sent or changed."
    )


def test_a_plan_says_where_nothing_is_known_or_nothing_is_left() -> None:
    first = replace(PLAN, has_state=False, runs=1, left_after=0, per_day=None, only=True)
    told = figures(plan.screen(first))
    assert plan.screen(first)[0].text == "Plan for out (no output yet), account acme"
    assert told["requests"] == "9,911 plus retries: no run yet to estimate them from"
    assert told["carried over"] == "40 of earlier inputs, left out by --input-only"
    assert told["limits"].endswith("by --max-duration 1 h; nothing still pending")
    assert told["ends"].endswith("on 2026-11-29 at the earliest, if it began now")
    none = text(plan.screen(replace(PLAN, to_fetch=0)))
    assert none[-1] == "A run would send nothing."
    assert "requests" not in figures(plan.screen(replace(PLAN, to_fetch=0)))


LISTED = Discovered(
    output="out",
    days=(("2026-11-01", "2026-11-03"), ("2026-11-05", "2026-11-05")),
    listed=1_010,
    known=1_001,
    unknown=7,
    too_young=2,
    taken=0,
    undated=3,
    outside=4,
    windows=20,
    unsettled=(),
    unsettled_windows=1,
    not_over=False,
    requests=55,
    retries={"throttled": 6},
    filter=None,
    comparison=None,
    is_believed=False,
    is_whole=True,
    exit_code=0,
    code="",
    message="",
)


def test_discover_has_each_figure_beside_its_words() -> None:
    odd = "3 of them without a time that can be read"
    assert text(discover.screen(LISTED, None, verbose=True)) == [
        "The vendor's list of 2026-11-01 to 2026-11-03, 2026-11-05 (+08:00)",
        f"Listed:        1,010 calls; {odd}, 4 of other days left out",
        "Known:         1,001 resolved or pending",
        "Unknown:           7",
        "Too young:         2 unknown, younger than input.min_age_s",
        "Windows:          20: 19 settled, 1 not",
        "Requests:         55, sent again: throttled 6",
        "Next: the same command with --take puts the unknown ids on the work list.",
    ]


@pytest.mark.parametrize(
    ("changes", "next_"),
    [
        ({"unknown": 0}, "nothing to do."),
        (
            {"taken": 7},
            "`harvester run --carried-over-only` fetches what was put on the work list.",
        ),
        (
            {"taken": 7, "exit_code": 5, "code": "listing.not_over"},
            (
                "`harvester run --carried-over-only` fetches what was put on the work list. Then, "
                "or later, run the same command again; it goes on where this one stopped."
            ),
        ),
        ({"exit_code": 4}, "fix what the message names, then run the same command again."),
        (
            {"exit_code": 5},
            "run the same command again; it goes on where this one stopped.",
        ),
        (
            {"exit_code": 3, "code": "listing.differs"},
            "show these calls to the vendor; ids are fetched one by one, as ever.",
        ),
        ({"exit_code": 5, "code": "listing.unproven"}, "compare calls of more days, or later."),
    ],
)
def test_discover_says_what_to_type_next(changes: dict[str, object], next_: str) -> None:
    assert text(discover.screen(replace(LISTED, **changes), None))[-1] == f"Next: {next_}"


def test_discover_tells_what_was_compared_and_how_much_is_missing_to_believe_it() -> None:
    both = BothWays(
        seed=7,
        wanted=100,
        drawn=104,
        equal=99,
        differing=0,
        differences=(),
        apart={"not_listed": 5},
        codes={},
    )

    def shown(found: BothWays, *, verbose: bool = False) -> list[str]:
        return text(discover.screen(replace(LISTED, comparison=found), None, verbose=verbose))

    told = "Compared:        104 drawn with seed 7: {} equal, {} not, not_listed 5"
    assert f"{told.format(99, 0)}; it takes 100 to fetch by pages" in shown(both)
    assert told.format(100, 0) in shown(replace(both, equal=100))
    odd = tuple(Difference(f"id-{n}", ("cost", "rate")) for n in range(5))
    lies = replace(both, differing=5, differences=odd, codes={"0": "200"})
    assert told.format(99, 5) in shown(lies)
    assert "Codes:     0 in the list is 200" in shown(lies)
    differs = [f"Differs:   id-{n}: cost, rate" for n in range(5)]
    assert [one for one in shown(lies) if one.startswith("Differs")] == differs[:3]
    assert [one for one in shown(lies, verbose=True) if one.startswith("Differs")] == differs


def test_discover_names_what_is_not_settled_on_the_vendors_clock() -> None:
    at = int(datetime(2026, 11, 1, 10, tzinfo=CLOCK).timestamp())
    windows = tuple(Unsettled(at + n, at + n + 1, 300, 299, "total") for n in range(4))
    found = replace(LISTED, unsettled=windows, is_whole=False, message="why")
    lines = text(discover.screen(found, None))
    assert not any(line.startswith(("Listed:", "Known:", "Unknown:")) for line in lines)
    unsettled = [line for line in lines if line.startswith("Unsettled")]
    assert unsettled[0] == (
        "Unsettled: 2026-11-01T10:00:00+08:00 to 2026-11-01T10:00:01+08:00: "
        "total 300, 299 distinct ids (total)"
    )
    assert len(unsettled) == 3
    assert lines[-2] == "why"
    everything = text(discover.screen(found, None, verbose=True))
    assert len([line for line in everything if line.startswith("Unsettled")]) == 4


NOON_MS = int(datetime(2026, 11, 2, 12, tzinfo=CLOCK).timestamp() * 1000)
DIALER = Dialer(file="dialer.csv", lines=1_100, bad=6, double=4, calls=1_080, outside=10, undated=3)


def reconciled(**changes: object) -> Reconciled:
    plain = Reconciled(
        output="out",
        days=Days(
            first="2026-11-01",
            last="2026-11-30",
            listed=29,
            oldest_listing_ms=NOON_MS,
            least_age_days=1,
            not_listed=("2026-11-30",),
        ),
        regions=fold([], meanings(has_dialer="dialer" in changes), {}),
        vendor=1_001,
        ours=1_002,
        dialer=None,
        together=1_003,
        differing=4,
        allow=0,
        requests=0,
        by_day=(),
        exit_code=3,
        code="",
        message="",
    )
    return replace(plain, **changes)


def test_reconcile_says_how_large_each_list_is_and_how_far_it_can_be_relied_on() -> None:
    lines = text(reconcile.screen(reconciled()))
    sure = "29 of 30 days for sure, each 1 day after it or later"
    assert lines[:4] == [
        "Reconciled: 2026-11-01 to 2026-11-30 (+08:00, by submitTime)",
        f"V, the vendor's list:        1,001   listed: {sure}, the first on 2026-11-02 12:00",
        "   calls may come late into it for 12 days: reconcile again then",
        "B, known here:               1,002",
    ]
    assert "1,003 ids together, each in one region; 4 are not in all of the lists." in lines
    late = reconciled(days=replace(reconciled().days, least_age_days=12))
    assert not any("may come late" in line for line in text(reconcile.screen(late)))
    by_time = replace(DIALER, by_time=True, elsewhere=2)
    by_all = "all count, as no --time-column says when they were sent, but 10 that are of other"
    on_others = "10 of other days left out, 2 on another day than the vendor has them"
    for dialer, told in (
        (DIALER, f"{by_all} days by a record"),
        (by_time, f"{on_others}, 3 without a time counted"),
    ):
        shown = text(reconcile.screen(reconciled(dialer=dialer)))
        file = "1,100 lines, 4 double, 6 bad (as many calls of V may be among yours)"
        assert f"D, your dialer:              1,080   {file}, {told}" in shown


def test_reconcile_shows_the_most_urgent_region_first_and_what_to_do_about_it() -> None:
    names = meanings(has_dialer=True)
    found = {name: Region(calls=0, meaning=names[name]) for name in names}
    for name, calls in (("VBD", 900), ("V", 2), ("D", 3)):
        found[name] = Region(
            calls=calls,
            charged_duration_s=90,
            cost={"USD": Decimal("1.5")},
            without_cost=1,
            states={"delivered": 7} if name == "VBD" else {},
            oldest_ms=NOON_MS,
            newest_ms=NOON_MS + 1_000,
            meaning=names[name],
            next=f"do {name}",
        )
    done = reconciled(regions=found, dialer=DIALER)
    lines = text(reconcile.screen(done))
    when = "2026-11-02 12:00:00 to 2026-11-02 12:00:01"
    begin = lines.index("V            2 billed, never placed by us; unknown here")
    assert [line.strip() for line in lines[begin : begin + 10]] == [
        "V            2 billed, never placed by us; unknown here",
        "1.5000 charged min, 1.50 USD, 1 without a cost",
        when,
        "do V",
        "D            3 placed, unknown to the vendor and here",
        when,
        "do D",
        "VBD        900 placed, billed and known here",
        "1.5000 charged min, 1.50 USD, 1 without a cost",
        f"{when}; delivered 7",
    ]
    assert lines[-1] == "Next: (V) do V"
    incomplete = reconcile.screen(replace(done, exit_code=5))
    assert (
        text(incomplete)[-1] == "Next: the same command again; it goes on where this one stopped."
    )
    assert (
        sum("known here alone" in line for line in text(reconcile.screen(done, verbose=True))) == 1
    )


def test_what_is_dead_here_alone_is_told_beside_the_differences() -> None:
    regions = reconciled().regions
    found = {**regions, "B": replace(regions["B"], calls=5, states={"dead": 5})}
    lines = text(reconcile.screen(reconciled(regions=found)))
    assert any(
        line.endswith("not in all of the lists, and 5 dead here alone, which nobody bills.")
        for line in lines
    )
