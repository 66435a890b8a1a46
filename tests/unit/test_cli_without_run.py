"""What a command without a run says while it works, and when."""

from __future__ import annotations

import io

import pytest

from harvester.cli.ui.console import Terminal
from harvester.cli.without_run import Told


class Stream(io.StringIO):
    encoding = "utf-8"


def told(*, quiet: bool) -> tuple[Told, Stream]:
    stream = Stream()
    return Told(Terminal(stream, {}), quiet=quiet, doing=lambda _: None), stream


EVENTS: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("info", "publications_finished", {"count": 2}),
    ("warning", "ping_failed", {"reason": "HTTP 500"}),
    ("error", "odd_event", {}),
)


@pytest.mark.parametrize("quiet", [False, True])
def test_events_wait_until_the_output_is_free_and_quiet_leaves_out_only_what_is_well(
    *, quiet: bool
) -> None:
    events, stream = told(quiet=quiet)
    for level, event, fields in EVENTS:
        events.message(level, event, **fields)
    assert stream.getvalue() == ""
    events.tell()
    lines = stream.getvalue().splitlines()
    assert lines[-2:] == [
        "warning: the ping failed (HTTP 500); the run goes on",
        "error: odd_event",
    ]
    assert len(lines) == (2 if quiet else 3)


def test_what_the_screen_says_in_its_own_words_is_not_said_twice() -> None:
    events, stream = told(quiet=False)
    for event in ("listing_started", "windows_listed", "windows_unsettled", "calls_compared"):
        events.message("warning", event)
    events.message("info", "listing_ended")
    events.tell()
    assert stream.getvalue() == ""
