"""What `status` shows of a limit that is shared."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from harvester.cli.standing import idle_screen, running_screen
from harvester.harvest.sharing import Party, Sharing
from harvester.harvest.standing import Running, Standing

STANDING = Standing(
    output="out",
    account="a",
    in_data=0,
    in_journal=0,
    open=0,
    open_due=0,
    dead=0,
    dead_by_reason={},
    pending=0,
    retrying=0,
    deferred=0,
    bad_lines=0,
    bad_lines_file="",
    runs=(),
    unended=0,
)
RUNNING = Running(pid=7, host="h", since="", age_s=None, run_id="", progress=None)


def party(pid: int, idle_s: float | None, output: str = "/o") -> Party:
    return Party(pid=pid, output=output, priority="low", idle_s=idle_s)


def shown(limit: Sharing | None, *, is_running: bool = False) -> list[str]:
    lines = (
        running_screen(replace(RUNNING, limit=limit), "out")
        if is_running
        else idle_screen(replace(STANDING, limit=limit), 0.0)
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
        ({"in_journal": 4, "dead": 5}, "`harvester publish` writes the journal into the data."),
        (
            {"dead": 5, "open": 9},
            "`harvester export dead` lists the dead ids; `harvester retry` fetches them again.",
        ),
    ],
)
def test_what_to_type_next(changes: dict[str, int], told: str) -> None:
    shown = [line.text for line in idle_screen(replace(STANDING, **changes), 0.0)]
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
    found = shown(Sharing(file="f", rate_per_s=2.5, closed_s=7, parties=()))
    assert (
        "Limit 2.5 requests/s in f: nobody uses it now; the vendor wants nobody to ask for 7 s"
        in found
    )


@pytest.mark.parametrize("is_running", [False, True])
def test_where_no_file_is_named_nothing_is_said(*, is_running: bool) -> None:
    assert not any("Limit" in line for line in shown(None, is_running=is_running))


@pytest.mark.parametrize("is_running", [False, True])
def test_a_file_that_no_run_could_use_is_told_and_hides_nothing_else(*, is_running: bool) -> None:
    found = shown(Sharing(file="f", trouble="the limit file f is damaged."), is_running=is_running)
    assert "Limit: the limit file f is damaged." in found
    assert found[0] == shown(None, is_running=is_running)[0]
