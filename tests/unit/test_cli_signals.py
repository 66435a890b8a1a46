"""A signal ends a command in good order, and the second one at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest

from harvester.cli.signals import Signals
from harvester.errors import Interrupted, Terminated


def stopped(number: int) -> Interrupted:
    return Terminated("stopped") if number == signal.SIGTERM else Interrupted("stopped")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[Mapping[signal.Signals, object]]:
    """What stood before a test, put back after it."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 130)]
)
def test_a_signal_before_anything_is_watched_ends_the_command_at_once(
    number: signal.Signals, code: int
) -> None:
    with pytest.raises(Interrupted) as ended, Signals(stopped).handled():
        signal.raise_signal(number)
    assert ended.value.exit_code == code


def test_a_signal_while_it_is_watched_is_only_noted(
    handlers: Mapping[signal.Signals, object],
) -> None:
    signals = Signals(stopped)
    with signals.handled():
        with signals.watched() as asked:
            assert asked() is None
            signal.raise_signal(signal.SIGTERM)
            noted = asked()
            assert isinstance(noted, Terminated)
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)
    assert {number: signal.getsignal(number) for number in handlers} == handlers


def test_under_nohup_the_terminal_may_go_and_the_command_goes_on() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Signals(stopped).handled():
        signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


SENDS = """
import signal, sys
from harvester.cli.signals import Signals
from harvester.errors import Interrupted

signals = Signals(lambda number: Interrupted("stopped"))
with signals.handled(), signals.watched():
    for number in sys.argv[1:]:
        signal.raise_signal(int(number))
sys.exit(99)
"""


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ((signal.SIGINT, signal.SIGINT), 130),
        ((signal.SIGTERM, signal.SIGTERM), 143),
        ((signal.SIGTERM, signal.SIGINT), 130),
        ((signal.SIGINT,), 99),
    ],
)
def test_the_second_signal_ends_the_process_at_once_with_its_number(
    numbers: tuple[signal.Signals, ...], code: int
) -> None:
    words = [sys.executable, "-c", SENDS, *(str(int(number)) for number in numbers)]
    assert subprocess.run(words, check=False).returncode == code
