"""What `status` shows: where the ids stand, what a run does, who shares the limit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from harvester.cli.ui.status_screen import idle_screen, running_screen
from harvester.operations.status import OutputStatus, Running
from harvester.pipeline.engine.progress import Progress
from harvester.pipeline.limits.sharing import Party, Sharing
from harvester.state.id_counts import IdCounts
from harvester.state.values import RunRecord

NOBODY = IdCounts(0, 0, 0, 0, 0, 0, 0, {}, 0, 0, 0)
STANDING = OutputStatus(
    output="out",
    account="a",
    ids=NOBODY,
    bad_lines=0,
    bad_lines_file="",
    runs=(),
    unended=0,
)


def standing(**changes: Any) -> OutputStatus:
    """With the counts of ids among `changes`, and whatever else is among them."""
    ids = {name: n for name, n in changes.items() if name in NOBODY.__struct_fields__}
    more = {name: value for name, value in changes.items() if name not in ids}
    return replace(STANDING, ids=replace(NOBODY, **ids), **more)


RUNNING = Running(pid=7, host="h", since="", age_s=None, run_id="", progress=None)


def party(pid: int, idle_s: float | None, output: str = "/o") -> Party:
    return Party(pid=pid, output=output, priority="low", idle_s=idle_s)


def shown(limit: Sharing | None, *, is_running: bool = False) -> list[str]:
    lines = (
        running_screen(replace(RUNNING, limit=limit), "out")
        if is_running
        else idle_screen(standing(limit=limit), 0.0)
    )
    return [line.text for line in lines]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "nothing to do; give `harvester run` the next id files."),
        ({"unended": 1}, "`harvester run` goes on where it stopped."),
        ({"pending": 1_200}, "`harvester run` goes on where it stopped (1,200 pending)."),
        (
            {"pending": 2, "open": 9, "open_due": 3, "in_journal": 4, "dead": 5},
            "`harvester run` goes on where it stopped (2 pending, 3 open and due, 4 to publish).",
        ),
        (
            {"open": 9, "open_due": 3},
            "`harvester run` goes on where it stopped (3 open and due).",
        ),
        ({"in_journal": 4, "dead": 5}, "`harvester publish` writes the journal into the data."),
        (
            {"dead": 5, "open": 9},
            (
                "`harvester export dead` lists the dead ids; `harvester refetch dead` fetches "
                "them again."
            ),
        ),
    ],
)
def test_what_to_type_next(changes: dict[str, int], told: str) -> None:
    shown = [line.text for line in idle_screen(standing(**changes), 0.0)]
    assert shown[-1] == f"Next:  {told}"


@pytest.mark.parametrize("is_running", [False, True])
def test_who_shares_it_the_latest_to_take_a_turn_first(*, is_running: bool) -> None:
    parties = (party(1, None), party(2, 3.04), party(3, 0.0, "/b\x1b[2J"))
    found = shown(
        Sharing(file="f", rate_per_s=50, closed_s=0, parties=parties), is_running=is_running
    )
    begin = found.index("Limit 50 requests/s in f: shared by")
    assert found[begin - 1] == ""
    assert found[begin + 1].startswith("  process 3, low, latest turn 0.0 s ago: /b")
    assert "\x1b" not in found[begin + 1]
    assert found[begin + 2] == "  process 2, low, latest turn 3.0 s ago: /o"
    assert found[begin + 3] == "  process 1, low, no turn yet: /o"


def test_nobody_shares_it_and_the_vendor_wants_a_pause() -> None:
    found = shown(Sharing(file="f", rate_per_s=2.5, closed_s=1, parties=()))
    assert (
        "Limit 2.5 requests/s in f: not in use now; the vendor allows no request for 1 s" in found
    )


@pytest.mark.parametrize("is_running", [False, True])
def test_where_no_file_is_named_nothing_is_said(*, is_running: bool) -> None:
    assert not any("Limit" in line for line in shown(None, is_running=is_running))


@pytest.mark.parametrize("is_running", [False, True])
def test_a_file_that_no_run_could_use_is_told_and_hides_nothing_else(*, is_running: bool) -> None:
    found = shown(Sharing(file="f", trouble="the limit file f is damaged."), is_running=is_running)
    assert "Limit: the limit file f is damaged." in found
    assert found[0] == shown(None, is_running=is_running)[0]


# 2026-09-03 00:00 NZST, the time zone of the tests.
NOW = datetime(2026, 9, 2, 12, tzinfo=UTC).timestamp()


def run_line(**changes: int | None) -> RunRecord:
    counters = {"delivered": 1_234, "requests": 12_345}
    counters |= {name: n for name in counters if (n := changes.pop(name, None)) is not None}
    times = int((NOW - 3_600) * 1000), int((NOW - 3_500) * 1000)
    return replace(RunRecord("r", *times, 0, 1, counters), **changes)


def test_where_all_stands_is_a_table_and_a_list_of_the_last_runs() -> None:
    found = standing(
        in_data=1_000,
        in_journal=234,
        open=60,
        open_due=7,
        dead=5,
        dead_by_reason={"b": 1, "c": 3, "a": 1},
        pending=40,
        retrying=3,
        deferred=2,
        bad_lines=9,
        bad_lines_file="bad.jsonl",
        runs=(
            run_line(),
            run_line(exit_code=None, ended_ms=None, delivered=0, requests=1),
        ),
    )
    told = [line.text for line in idle_screen(found, NOW)]
    assert told[:-1] == [
        "out, account a: no run in progress.",
        (
            "delivered          1,234  records: 1,000 in the data, 234 safe in the journal until "
            "`harvester publish` or the next run writes them"
        ),
        "open                  60  calls not final; 7 are due",
        "dead                   5  c 3, a 1, b 1",
        (
            "pending               40  ids to fetch, 3 of them dead letters that "
            "are fetched again, 2 of them failed before"
        ),
        "bad lines              9  of the last input, without a voiceId; bad.jsonl lists them",
        "",
        "Last runs, the newest began 1 h ago",
        "  began (NZST)          lasted  delivered  requests  exit code",
        "  2026-09-02 23:00  1 min 40 s      1,234    12,345  0 — done",
        "  2026-09-02 23:00           ?          0         1  killed; nothing is lost",
        "",
    ]
    assert "0 - done" in "".join(line.text for line in idle_screen(found, NOW, unicode=False))


def test_an_output_where_nothing_has_happened_yet_is_all_zeros_with_words() -> None:
    told = [line.text for line in idle_screen(STANDING, NOW)]
    assert told[1:-2] == [
        "delivered              0  records in the data",
        "open                   0  calls not final; 0 are due",
        "dead                   0  permanent failures",
        "pending                0  nothing to fetch",
        "",
        "No run yet.",
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pending": 4}, "ids to fetch"),
        ({"pending": 4, "deferred": 4}, "ids to fetch, 4 of them failed before"),
        ({"bad_lines": 1}, "of the last input, without a voiceId"),
    ],
)
def test_what_is_not_there_is_not_told(changes: dict[str, int], told: str) -> None:
    lines = [line.text for line in idle_screen(standing(**changes), NOW)]
    assert any(line.endswith(f"  {told}") for line in lines)


@pytest.mark.parametrize(
    ("ended_ms", "exit_code", "style"),
    [(None, None, "yellow"), (int(NOW * 1000), 3, ""), (int(NOW * 1000), 0, "")],
)
def test_only_a_run_that_was_killed_is_marked(
    ended_ms: int | None, exit_code: int | None, style: str
) -> None:
    runs = (run_line(ended_ms=ended_ms, exit_code=exit_code),)
    [line] = [
        line for line in idle_screen(standing(runs=runs), NOW) if line.text.startswith("  2026")
    ]
    assert line.style == style


AT_WORK = Progress(
    to_fetch=1_000,
    resolved=500,
    delivered=490,
    open=6,
    dead=4,
    deferred=0,
    requests=520,
    retries={},
    requests_per_s=48.0,
    resolved_per_s=47.0,
    rate_per_s=50.0,
    pace_per_s=50.0,
    paused_s=0.0,
    outage=False,
    elapsed_s=11.0,
    eta_s=10.6,
    phase="fetching",
    received_bytes=420_000,
)


def at_work(age_s: float = 2.0, **changes: object) -> list[str]:
    progress = replace(AT_WORK, **changes)
    found = replace(RUNNING, run_id="r1", age_s=age_s, progress=progress)
    return [line.text for line in running_screen(found, "out")]


def test_a_run_at_work_is_told_in_a_line_for_each_thing_to_know() -> None:
    assert at_work() == [
        "out: running (process 7 on h).",
        "Run r1, as of 2 s ago:",
        "  fetching   500 of 1,000 ids, 50 %, about 11 s left",
        "  requests   48/s of 50/s allowed · 47 ids/s · 520 sent · 420.0 KB received",
        "  so far     delivered 490 · open 6 · dead 4 · deferred 0",
    ]
    slow = at_work(eta_s=None, retries={"torn": 1}, outage=True)
    assert slow[2] == "  fetching   500 of 1,000 ids, 50 %"
    assert slow[5] == "  retries    incomplete answer 1"
    assert slow[6].startswith("  pace       the vendor is out of reach")


@pytest.mark.parametrize(("age_s", "is_old"), [(0.0, False), (10.0, False), (10.1, True)])
def test_figures_that_are_old_say_that_the_run_may_hang(age_s: float, *, is_old: bool) -> None:
    assert any("may be stopped (Ctrl-Z)" in line for line in at_work(age_s)) is is_old


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "out: running (process 7 on h)."),
        ({"pid": None}, "out: running."),
        (
            {"since": "2026-09-02T12:00:00+00:00"},
            "out: running (process 7 on h), since 2026-09-03 00:00 NZST.",
        ),
        ({"since": "noon\n"}, "out: running (process 7 on h), since noon\\n."),
        ({"command": "sql"}, "out: `harvester sql` (process 7 on h) reads it."),
        (
            {"command": "sql", "pid": None, "since": "2026-09-02T12:00:00+00:00"},
            "out: `harvester sql` reads it, since 2026-09-03 00:00 NZST.",
        ),
    ],
)
def test_whoever_holds_the_output_is_named_as_far_as_it_is_known(
    changes: dict[str, object], told: str
) -> None:
    head, *rest = running_screen(replace(RUNNING, **changes), "out")
    assert head.text == told
    [more] = rest
    assert more.text.startswith("Nothing is changed" if "sql" in told else "No figures yet")
