"""Options that make no sense are refused when they are made."""

from __future__ import annotations

from typing import Any

import pytest

from harvester.errors import UsageError
from harvester.simulator import Fates, SimulatorOptions
from harvester.simulator.__main__ import main


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
