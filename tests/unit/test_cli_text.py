"""Words and figures on the screen."""

from __future__ import annotations

import io
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Group

from harvester.cli.duration import duration_s
from harvester.cli.logs.log_fields import redacted
from harvester.cli.ui.console import Line, Terminal, emit
from harvester.cli.ui.event_text import sentence
from harvester.cli.ui.exit_codes import INTERRUPTED, ending
from harvester.cli.ui.progress_bar import ProgressBar, drawn, is_slowed, outcomes, sent, slowed
from harvester.cli.ui.text import count, folded, one_line, printable, share, size, span, speed
from harvester.errors import UsageError
from harvester.pipeline.engine.progress import Progress


class Screen(io.StringIO):
    """A terminal that keeps what is written."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@given(st.text())
def test_nothing_that_a_terminal_could_act_on_gets_through(text: str) -> None:
    assert printable(text).replace("\n", "").isprintable()
    assert one_line(text).isprintable()


@pytest.mark.parametrize(
    ("char", "shown"),
    [
        ("\x00", "\\x00"),
        ("\x9b", "\\x9b"),
        ("\xad", "\\xad"),
        ("\u0378", "\\u0378"),
        ("\u200b", "\\u200b"),
        ("\uffff", "\\uffff"),
        ("\U000e0001", "\\U000e0001"),
        ("\U00010000", "\U00010000"),
    ],
)
def test_what_does_not_show_is_written_as_its_number(char: str, shown: str) -> None:
    assert printable(f"a{char}b\n") == f"a{shown}b\n"
    assert one_line(f"a{char}b\n") == f"a{shown}b\\n"


def test_escape_sequences_and_direction_marks_are_shown() -> None:
    assert printable("\x1b[31mred\u202e") == "\\x1b[31mred\\u202e"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("45m", 2700), ("5h", 18_000), ("2d", 172_800), ("1h30m", 5400), ("0.5h", 1800)],
)
def test_duration(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


def test_a_duration_may_be_written_in_capitals_and_with_blanks_around_it() -> None:
    assert duration_s(" 1H30M\n") == 5400
    assert duration_s("1s") == 1
    assert duration_s("0.5s") == 0.5


@pytest.mark.parametrize("text", ["", "5", "h", "5x", "-5h", "0s", "5 h 3", "1..5h", "5hh"])
def test_duration_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match="45m, 5h"):
        duration_s(text)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "under 1 s"),
        (0.2, "under 1 s"),
        (1, "1 s"),
        (59, "59 s"),
        (61, "1 min 1 s"),
        (3599, "59 min 59 s"),
        (3660, "1 h 1 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d"),
        (90_061, "1 d 1 h"),
        (86_460, "1 d"),
        (12.4, "12 s"),
        (60, "1 min"),
        (250, "4 min 10 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (97_200, "1 d 3 h"),
    ],
)
def test_span(seconds: float, told: str) -> None:
    assert span(seconds) == told


def test_figures() -> None:
    assert count(12_345) == "12,345"
    assert size(12_345_678) == "12.3 MB"
    assert size(12) == "12 B"
    assert share(9_999, 10_000) == "99 %"
    assert share(1, 10_000) == "<1 %"
    assert share(0, 0) == "0 %"
    assert (share(0, 7), share(1, 100), share(7, 7)) == ("0 %", "1 %", "100 %")
    assert (size(999), size(1000), size(999_949), size(10**6)) == (
        "999 B",
        "1.0 KB",
        "999.9 KB",
        "1.0 MB",
    )
    assert (size(10**9), size(10**12), size(5 * 10**15)) == ("1.0 GB", "1.0 TB", "5000.0 TB")
    assert [speed(one) for one in (0, 0.04, 0.72, 9.94, 10, 999.6, 1234.4)] == [
        "0",
        "0.0",
        "0.7",
        "9.9",
        "10",
        "1,000",
        "1,234",
    ]


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 6, 7, 8, 130, 143])
def test_every_exit_code_has_a_meaning_and_a_next_step(code: int) -> None:
    assert ending(code).meaning
    assert ending(code).next
    assert ending(code).good is (code == 0)
    assert (ending(code) is ending(1)) is (code == 1)


@pytest.mark.parametrize("code", [-9, 9, 127, 129, 131, 141, 142, 144])
def test_an_exit_code_that_is_none_of_ours_counts_as_unexpected(code: int) -> None:
    assert ending(code) is ending(1)


@pytest.mark.parametrize(
    ("code", "short"),
    [
        (0, "done"),
        (3, "done, some ids are dead"),
        (4, "access denied"),
        (6, "output or state"),
        (7, "already running"),
        (8, "run limit reached"),
        (130, "interrupted"),
        (143, "terminated"),
    ],
)
def test_what_an_exit_code_says(code: int, short: str) -> None:
    assert ending(code).short == short
    assert (code in INTERRUPTED) is (code in {130, 143})


@pytest.mark.parametrize(
    ("code", "found", "short"),
    [
        (3, "found.changed", "done, records have changed"),
        (3, "found.amount", "done, records have changed"),
        (3, "", "done, some ids are dead"),
        (3, "listing.taken", "done, some ids are dead"),
        (0, "found.changed", "done"),
    ],
)
def test_what_a_run_found_tells_its_exit_code_apart(code: int, found: str, short: str) -> None:
    assert ending(code, found).short == short
    assert ("changes/" in ending(code, found).next) == (short == "done, records have changed")


def test_what_came_by_pages_in_vain_is_fetched_again_without_pages() -> None:
    assert "without --via pages" in ending(5, "listing.taken").next
    assert "--via pages" not in ending(5).next


def test_known_event_is_a_sentence_and_unknown_one_is_listed() -> None:
    bad = {"event": "bad_ids", "level": "warning", "count": 3, "new": 2, "file": "b.jsonl"}
    assert sentence(bad) == (
        "warning: 3 bad line(s) without a voiceId, 2 of them not reported before; b.jsonl lists "
        "them with file and line"
    )
    assert sentence({"event": "odd", "level": "info", "a": 1}) == "odd a=1"
    assert sentence({"event": "bad_ids", "level": "info"}) == "bad_ids"


def test_event_cannot_repaint_the_screen() -> None:
    assert "\x1b" not in sentence({"event": "odd", "level": "info", "a": "\x1b[2J\n"})


def _progress(**changes: object) -> Progress:
    plain: dict[str, object] = {
        "to_fetch": 1000,
        "resolved": 500,
        "delivered": 490,
        "open": 6,
        "dead": 4,
        "deferred": 0,
        "requests": 520,
        "retries": {},
        "requests_per_s": 48.0,
        "resolved_per_s": 47.0,
        "rate_per_s": 50.0,
        "pace_per_s": 50.0,
        "paused_s": 0.0,
        "outage": False,
        "elapsed_s": 11.0,
        "eta_s": 10.6,
        "phase": "fetching",
        "received_bytes": 420_000,
    }
    return Progress(**{**plain, **changes})  # type: ignore[arg-type]


def test_pace_is_explained_when_it_is_lowered() -> None:
    assert slowed(_progress()) == ""
    assert slowed(_progress(paused_s=1.0, requests=0)) == ""
    assert slowed(_progress(paused_s=0.4)).startswith("paused for under 1 s")
    lowered = {"pace_per_s": 35.0}
    assert "slowed to 35/s as many answers were errors" in slowed(_progress(**lowered))
    pushed = _progress(**lowered, retries={"throttled": 1})
    assert "slowed to 35/s after throttling" in slowed(pushed)
    assert "slowed to 0.7/s" in slowed(_progress(pace_per_s=0.7, rate_per_s=1.0))
    assert "paused for 2 s" in slowed(_progress(paused_s=2.0))
    assert "out of reach" in slowed(_progress(outage=True))


def _drawn(progress: Progress, **environ: str) -> str:
    screen = Screen()
    terminal = Terminal(screen, {"TERM": "xterm", **environ})
    terminal.console.print(drawn(progress))
    return screen.getvalue()


def test_bar_tells_rate_limit_retries_and_what_is_left() -> None:
    told = _drawn(_progress(retries={"throttled": 2, "-18": 7}))
    assert "420.0 KB received" in told
    for piece in (
        "500 of 1,000",
        "50 %",
        "11 s left",
        "48/s of 50/s",
        "busy (-18) 7, throttling 2",
    ):
        assert piece in told


@pytest.mark.parametrize("columns", [100, 80, 50])
def test_bar_fits_the_window_and_loses_no_cause(columns: int) -> None:
    causes = ("-18", "http_503", "not_an_envelope", "throttled", "status_-99", "torn")
    progress = _progress(retries=dict.fromkeys(causes, 12_345), resolved=12_345, to_fetch=50_000)
    screen = Screen()
    console = Terminal(screen, {"TERM": "xterm"}).console
    console.width = columns
    console.print(drawn(progress))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()
    told = " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= columns
    assert "11 s left" in told
    causes = (
        "busy (-18)",
        "HTTP 503",
        "not an envelope",
        "throttling",
        "status -99",
        "incomplete answer",
    )
    for cause in causes:
        assert f"{cause} 12,345" in told


def test_long_line_goes_on_below_its_text_and_keeps_a_path_whole() -> None:
    line = "bad                     3  lines hold no voiceId: a/long/path/to/some/file.jsonl"
    assert folded(line, 60) == [
        "bad                     3  lines hold no voiceId:",
        "                           a/long/path/to/some/file.jsonl",
    ]
    assert folded("short", 60) == ["short"]
    assert folded("Why:   it is so now", 16) == ["Why:   it is so", "       now"]
    assert folded("  file             a/path/that/is/long.parquet", 44) == [
        "  file",
        "                 a/path/that/is/long.parquet",
    ]
    path = "/a/path/without/an/end"
    assert folded(f"Data:  {path}", 12)[-1] == path


@pytest.mark.parametrize("line", ["", " ", "word", "two  words ", "  indented"])
def test_a_line_that_fits_stays_as_it_is(line: str) -> None:
    assert folded(line, len(line)) == [line]


@pytest.mark.parametrize(
    ("line", "folds"),
    [
        # A gap in the first half is where the text begins; one further right is none.
        ("a label   words that go on", ["a label   words that", "          go on"]),
        ("a longer word  words that go on", ["a longer word  words", "that go on"]),
        ("no gap at all in this one", ["no gap at all in", "this one"]),
        ("a word with a state-of-it", ["a word with a", "state-of-it"]),
        (" " * 30, []),
    ],
)
def test_a_long_line_is_broken_between_its_words(line: str, folds: list[str]) -> None:
    assert folded(line, 20) == folds


@pytest.mark.parametrize(
    ("environ", "is_live"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "dumb"}, False),
        ({}, False),
        ({"TERM": "xterm", "CI": "true"}, False),
    ],
)
def test_bar_is_drawn_only_where_it_can_be_redrawn(
    environ: dict[str, str], *, is_live: bool
) -> None:
    assert Terminal(Screen(), environ).is_live is is_live
    assert not Terminal(io.StringIO(), environ).is_live


def test_work_is_told_on_a_terminal_only_and_leaves_nothing_elsewhere() -> None:
    screen, pipe, unwanted = Screen(), io.StringIO(), Screen()
    with Terminal(screen, {"TERM": "xterm"}).working("reading") as tell:
        tell("reading: files 1 of 2 [a]")
    assert "reading: files 1 of 2 [a]" in screen.getvalue()
    with Terminal(pipe, {"TERM": "xterm"}).working("reading") as tell:
        tell("reading on")
    with Terminal(unwanted, {"TERM": "xterm", "CI": "1"}).working("reading") as tell:
        tell("reading on")
    with Terminal(unwanted, {"TERM": "xterm"}).working("reading", shows=False) as tell:
        tell("reading on")
    assert pipe.getvalue() == unwanted.getvalue() == ""


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = Screen()
    Terminal(coloured).show([Line("red", "red")])
    assert "\x1b[31m" in coloured.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Screen()
    Terminal(plain).show([Line("red", "red")])
    assert plain.getvalue() == "red\n"


def test_a_slower_pace_is_told_in_plain_numbers() -> None:
    fields = {"event": "pace_lowered", "level": "warning", "pace": 700.0, "limit": 1000.0}
    assert sentence(fields).startswith("warning: slowed to 700/s of 1,000/s by vendor throttling")


def _told(**changes: object) -> str:
    return sentence(
        {
            "event": "progress",
            "level": "info",
            "resolved": 12_345,
            "to_fetch": 50_000,
            "limit": 50.0,
        }
        | changes
    )


def test_progress_is_told_where_no_bar_can_be_drawn() -> None:
    assert _told(requests_per_s=0.0) == (
        "fetching: 12,345 of 50,000 ids (24 %) · 0 requests/s of 50"
    )
    told = _told(
        phase="publishing",
        requests_per_s=48.6,
        open=12,
        dead=0,
        deferred=1,
        retries={"throttled": 2, "torn": 9, "-18": 7, "reset": 2},
        slowed="slowed to 35/s",
        eta_s=0.0,
    )
    assert told == (
        "publishing: 12,345 of 50,000 ids (24 %) · 49 requests/s of 50 · 12 open · 1 deferred · "
        "retries incomplete answer 9, busy (-18) 7, connection reset 2, throttling 2 · "
        "slowed to 35/s · about under 1 s left"
    )
    assert "left" not in _told(eta_s=None)
    assert "retries" not in _told(retries={})


def test_a_field_of_another_kind_than_expected_stops_no_log() -> None:
    assert "retries" not in _told(retries=3, resolved="many", eta_s=None)
    odd = {"event": "ages_held", "level": "warning", "clock_skew_s": None}
    assert "(now None apart)" in sentence(odd)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (9_999, "9999"),
        (10_000, "10,000"),
        (-5, "-5"),
        (True, "True"),
        (0.25, "0.25"),
        (12_345.5, "12,345.5"),
        ({"cost": 12_000, "rate": 1}, "cost 12,000, rate 1"),
        ("text", "text"),
        (None, "None"),
    ],
)
def test_a_field_is_told_by_its_type(value: object, told: str) -> None:
    assert sentence({"event": "odd", "a": value}) == f"odd a={told}"


@pytest.mark.parametrize(
    ("level", "prefix"),
    [
        ("debug", "debug: "),
        ("info", ""),
        ("warning", "warning: "),
        ("error", "error: "),
        ("critical", "error: "),
    ],
)
def test_a_sentence_begins_with_its_level_and_says_no_machines_fields(
    level: str, prefix: str
) -> None:
    fields = {"event": "odd", "level": level, "timestamp": "2026", "exception": "Traceback"}
    assert sentence(fields) == f"{prefix}odd"
    assert sentence({"event": "outage_over", "level": level}) == (
        f"{prefix}the vendor answers again"
    )


def test_what_was_sent_and_what_became_of_it() -> None:
    assert sent(_progress()) == "48/s of 50/s allowed · 47 ids/s · 520 sent · 420.0 KB received"
    many = _progress(rate_per_s=1234.5, requests_per_s=0.25, resolved_per_s=1000.4, requests=12_345)
    assert sent(many).startswith("0.2/s of 1,234.5/s allowed · 1,000 ids/s · 12,345 sent · ")
    assert outcomes(_progress(delivered=1_490, deferred=2)) == (
        "delivered 1,490 · open 6 · dead 4 · deferred 2"
    )


@pytest.mark.parametrize(
    ("pace", "slow"), [(199.0, False), (198.999, True), (200.0, False), (0.0, True)]
)
def test_a_pace_within_half_a_per_cent_of_its_limit_is_not_slow(pace: float, *, slow: bool) -> None:
    assert is_slowed(_progress(pace_per_s=pace, rate_per_s=200.0)) is slow


def test_a_bar_is_drawn_while_it_lasts_and_gone_after_it() -> None:
    screen = Screen()
    now = [100.0]
    bar = ProgressBar(Terminal(screen, {"TERM": "xterm"}).console, lambda: now[0])
    console = Terminal(told := Screen(), {"TERM": "xterm"}).console
    assert bar._live.refresh_per_second == 4
    streams = (sys.stdout, sys.stderr)
    with bar:
        assert (sys.stdout, sys.stderr) == streams, "what others write goes its own way"
        console.print(bar._render())
        now[0] = 165.0
        console.print(bar._render())
        bar.update(_progress())
        console.print(bar._render())
        assert screen.getvalue().startswith("\x1b[?25l"), "the cursor is hidden"
        bar._live.refresh()
        assert "500 of 1,000" in screen.getvalue()
        while_drawn = len(screen.getvalue())
    assert "making the work list … 1 s" in told.getvalue()
    assert "making the work list … 1 min 5 s" in told.getvalue()
    assert "500 of 1,000" in told.getvalue()
    end = screen.getvalue()[while_drawn:]
    assert end.endswith("\x1b[2K"), "the bar's lines are cleared"
    assert "\x1b[?25h" in end, "the cursor is back"


def _rows(progress: Progress, columns: int, *, plain: bool = True) -> list[str]:
    """What rich draws in a bar that is redrawn, where nothing wraps by itself."""
    screen = Screen()
    console = Terminal(screen, {"TERM": "xterm"}).console
    console.width = columns
    console.print(drawn(progress), soft_wrap=False)
    text = screen.getvalue()
    return (re.sub(r"\x1b\[[0-9;?]*[a-z]", "", text) if plain else text).splitlines()


def test_the_bar_in_a_wide_window_and_in_a_narrow_one() -> None:
    pushed = _progress(retries={"throttled": 2}, pace_per_s=35.0)
    assert [row.rstrip() for row in _rows(pushed, 120)] == [
        f"fetching  {'━' * 20}╺{'━' * 19} 500 of 1,000  50 %  11 s left",
        "requests  48/s of 50/s allowed · 47 ids/s · 520 sent · 420.0 KB received",
        "so far    delivered 490 · open 6 · dead 4 · deferred 0",
        "retries   throttling 2",
        "pace      slowed to 35/s after throttling, rising again",
    ]
    assert [row.rstrip() for row in _rows(_progress(), 50)] == [
        f"fetching  {'━' * 5}╺{'━' * 4} 500 of 1,000  50 %  11 s left",
        "requests  48/s of 50/s allowed · 47 ids/s · 520",
        "          sent · 420.0 KB received",
        "so far    delivered 490 · open 6 · dead 4 ·",
        "          deferred 0",
    ]
    assert _rows(_progress(), 20)[0].startswith("fetching  ╸"), "half of the one cell that is left"


@pytest.mark.parametrize(
    ("changes", "coloured"),
    [
        ({}, [("36", 20)]),
        ({"resolved": 250}, [("36", 10)]),
        ({"resolved": 1000}, [("32", 40)]),
        ({"resolved": 0}, []),
        ({"resolved": 0, "to_fetch": 0}, []),
        ({"resolved": 1, "to_fetch": 2}, [("36", 20)]),
    ],
)
def test_the_bar_is_as_long_as_what_is_done(
    changes: dict[str, object], coloured: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    row = _rows(_progress(**changes), 120, plain=False)[0]
    bars = re.findall(r"\x1b\[(3[26])m(━+)", row)
    assert [(colour, len(bar)) for colour, bar in bars] == coloured
    assert "\x1b[1mfetching" in row


def test_a_line_that_is_too_long_for_the_window_is_cut() -> None:
    screen = Screen()
    console = Terminal(screen, {"TERM": "xterm"}).console
    console.width = 30
    console.print(Group(ProgressBar(console, lambda: 0.0)._render()), soft_wrap=False)
    told = re.sub(r"\x1b\[[0-9;?]*[a-z]", "", screen.getvalue())
    assert told == "reading   the input and makin…\n"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "500 of 1,000  50 %  11 s left"),
        ({"eta_s": None}, "500 of 1,000  50 %"),
        ({"to_fetch": 500}, "500 of 500  100 %"),
        ({"to_fetch": 0, "resolved": 0}, "0 of 0  0 %"),
    ],
)
def test_the_time_left_is_told_while_there_is_something_left(
    changes: dict[str, object], told: str
) -> None:
    plain = re.sub(r"\x1b\[[0-9;?]*[a-z]", "", _drawn(_progress(**changes)))
    assert plain.splitlines()[0].rstrip().endswith(told)


def test_a_line_is_folded_on_a_terminal_and_whole_in_a_file() -> None:
    long = "word " * 60
    file, screen = io.StringIO(), Screen()
    Terminal(file, {}).show([Line(long.strip()), Line("next\x1b[2J")])
    assert file.getvalue() == f"{long.strip()}\nnext\\x1b[2J\n"
    assert Terminal(file, {}).width is None
    on_screen = Terminal(screen, {"TERM": "xterm"})
    on_screen.console.width = 40
    on_screen.say(long.strip() + "\nnext")
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= 40
    assert lines[-1] == "next"


def test_json_goes_to_stdout_unless_another_way_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    emit({"a": 1})
    assert capsys.readouterr() == ('{"a": 1}\n', "")
    emit({"a": 1}, io.StringIO())
    assert capsys.readouterr() == ("", "")


def test_json_is_a_line_of_ascii_and_is_out_at_once() -> None:
    class Stream(io.StringIO):
        flushed = ""

        def flush(self) -> None:
            self.flushed = self.getvalue()

    stream = Stream()
    emit({"a": "\xe9\u202e", "b": 1}, stream)
    assert stream.flushed == '{"a": "\\u00e9\\u202e", "b": 1}\n'


@pytest.mark.parametrize(
    ("encoding", "speaks"),
    [("utf-8", True), ("UTF8", True), ("latin-1", False), ("ascii", False), (None, False)],
)
def test_what_is_drawn_is_what_the_stream_can_show(encoding: str | None, *, speaks: bool) -> None:
    class Stream(Screen):
        pass

    stream = Stream()
    Stream.encoding = encoding  # type: ignore[assignment]
    terminal = Terminal(stream, {"TERM": "xterm"})
    assert terminal.speaks_unicode is speaks
    with terminal.working("reading") as tell:
        tell("on")
    assert any("\u2800" <= char <= "\u28ff" for char in stream.getvalue()) is speaks


def test_a_bar_names_in_colour_why_it_is_slow() -> None:
    assert re.search(r"\x1b\[33m[^\n]*out of reach", _drawn(_progress(outage=True)))
    assert "out of reach" not in _drawn(_progress())


@pytest.mark.parametrize(
    ("skew_s", "told"),
    [
        (-2_592_000.4, "now 30 d apart"),
        (34_559_999.8, "now 400 d apart"),
        (0.0, "now under 1 s apart"),
        (-7_199.9, "now 2 h apart"),
    ],
)
def test_a_clock_that_is_days_off_is_told_in_days(skew_s: float, told: str) -> None:
    """Not as seven digits, which nobody reads and the log masks."""
    fields = {"event": "ages_held", "level": "warning", "clock_skew_s": skew_s}
    assert f"({told}): ids are dated" in sentence(redacted(fields, ()))
