"""Options that make no sense are refused when they are made."""

from __future__ import annotations

import contextlib
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harvester.errors import UsageError
from harvester.simulator import Fates, SimulatorOptions
from harvester.simulator.__main__ import _announce, _parser, main, options_of
from harvester.simulator.options import instant


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_this_machine_itself_may_listen(host: str) -> None:
    assert SimulatorOptions(host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.com", ""])
def test_no_other_address_may_listen(host: str) -> None:
    with pytest.raises(UsageError, match="Use 127"):
        SimulatorOptions(host=host)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"faults": "buzy=1"}, "buzy"),
        ({"prefix": "voice"}, "prefix"),
        ({"prefix": "/voice/"}, "prefix"),
        ({"port": 70_000}, "port"),
        ({"rate_limit": 0.5}, "rate_limit"),
        ({"window_s": -1.0}, "window_s"),
        ({"final_after_s": -1.0}, "final_after_s"),
        ({"max_faults": -1}, "max_faults"),
        ({"log_size": 0}, "log_size"),
        ({"keys": ("a", "")}, "keys"),
        ({"fates": Fates(dead_param=2)}, "dead_param"),
        ({"fates": Fates(dead_param=0.6, no_record=0.6)}, "over 1"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_by_name(
    options: dict[str, Any], named: str
) -> None:
    with pytest.raises(UsageError, match=named):
        SimulatorOptions(**options)


def test_secrets_do_not_show_in_a_traceback() -> None:
    assert "hush" not in repr(SimulatorOptions(keys=("key", "hush")))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["--host", "0.0.0.0"], "0.0.0.0"), (["--fates", "ded=1"], "ded"), (["--key", "a"], "secret")],
)
def test_the_command_says_what_is_wrong_and_exits_with_2(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert named in capsys.readouterr().err


def told(*words: str) -> SimulatorOptions:
    return options_of(_parser().parse_args(words))


def test_without_words_all_options_have_their_defaults() -> None:
    assert told() == SimulatorOptions()


@pytest.mark.parametrize(
    ("words", "option", "value"),
    [
        ("--host ::1", "host", "::1"),
        ("--port 8080", "port", 8080),
        ("--prefix /v3", "prefix", "/v3"),
        ("--seed 7", "seed", 7),
        ("--key a --secret b", "keys", ("a", "b")),
        ("--faults busy=0.5", "faults", "busy=0.5"),
        ("--max-faults 9", "max_faults", 9),
        ("--fates dead_param=0.25,answered=1", "fates", Fates(dead_param=0.25, answered=1)),
        ("--now 2026-11-25T22:00:00", "now", datetime(2026, 11, 25, 22, tzinfo=UTC)),
        ("--open-asks 4", "open_asks", 4),
        ("--log-size 5", "log_size", 5),
        ("--window-s 1.5", "window_s", 1.5),
        ("--clock-skew-s -2.5", "clock_skew_s", -2.5),
        ("--final-after-s 3.5", "final_after_s", 3.5),
        ("--latency-ms 4.5", "latency_ms", 4.5),
        ("--jitter-ms 5.5", "jitter_ms", 5.5),
        ("--slow-s 6.5", "slow_s", 6.5),
        ("--drip-s 7.5", "drip_s", 7.5),
        ("--rate-limit 8.5", "rate_limit", 8.5),
        ("--rate-limit 0", "rate_limit", None),
        ("--enforce", "enforce", True),
        ("--no-drift", "drift", False),
        ("--drift", "drift", True),
        ("--log a/b", "log", Path("a/b")),
    ],
)
def test_an_option_of_the_command_line_is_that_option_and_no_other(
    words: str, option: str, value: object
) -> None:
    expected: Any = {option: value}
    assert told(*words.split()) == SimulatorOptions(**expected)


@pytest.mark.parametrize("fates", ["dead_param", "dead_param=", "dead_param=x", "=1", "dead=1"])
def test_fates_that_are_none_are_refused(fates: str) -> None:
    with pytest.raises(UsageError, match="fates: "):
        told("--fates", fates)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2000-01-01", datetime(2000, 1, 1, tzinfo=UTC)),
        ("2099-12-31T23:59:59Z", datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("2026-11-25T22:00:00+08:00", datetime(2026, 11, 25, 14, tzinfo=UTC)),
    ],
)
def test_an_instant_is_in_utc_where_it_names_no_offset(text: str, found: datetime) -> None:
    assert instant(text) == found


@pytest.mark.parametrize("text", ["1999-12-31T23:59:59", "2100-01-01", "now", ""])
def test_an_instant_whose_year_has_not_two_digits_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no instant"):
        instant(text)


@pytest.mark.parametrize(
    "options",
    [
        {"port": 0},
        {"port": 65_535},
        {"rate_limit": 1.0},
        {"rate_limit": None},
        {"log_size": 1},
        {"max_faults": 0},
        {"max_faults": None},
        {"window_s": 0.0},
        {"final_after_s": 0.0},
        {"prefix": ""},
        {"prefix": "/v3/voice"},
        {"fates": Fates(0.5, 0.5, 0, 0, 0, 0, answered=1)},
        {"fates": Fates(0, 0, 0, 0, 0, 1, answered=0)},
    ],
)
def test_the_last_value_that_makes_sense_is_taken(options: dict[str, Any]) -> None:
    SimulatorOptions(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"port": -1},
        {"port": 65_536},
        {"rate_limit": 0.99},
        {"keys": ("", "b")},
        {"prefix": "/a?b"},
        {"prefix": "/a#b"},
        {"prefix": "/a b"},
        {"prefix": "/"},
        {"fates": Fates(answered=1.01)},
        {"fates": Fates(answered=-0.01)},
        {"fates": Fates(0.5, 0.501, 0, 0, 0, 0)},
        *({name: -0.5} for name in ("latency_ms", "jitter_ms", "slow_s", "drip_s", "open_asks")),
    ],
)
def test_the_first_value_that_makes_none_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        SimulatorOptions(**options)


def test_whoever_waits_for_the_address_gets_it_at_once() -> None:
    class Pipe(io.StringIO):
        arrived = ""

        def flush(self) -> None:
            self.arrived = self.getvalue()

    with contextlib.redirect_stdout(Pipe()) as pipe:
        _announce("http://127.0.0.1:8080/voice")
    assert pipe.arrived == "listening on http://127.0.0.1:8080/voice\n"


def test_a_certificate_that_can_not_be_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.pem").write_text("no PEM")
    for name, why in (("x.pem", "PEM"), ("none.pem", "No such file")):
        assert main(["--tls-cert", str(tmp_path / name)]) == 2
        said = capsys.readouterr().err
        assert name in said
        assert why in said.partition(name)[2].removesuffix("Give a PEM file.\n")
