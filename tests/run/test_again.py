"""What a message says to type next can be pasted."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from harvester.cli.ui import next_command
from harvester.cli.ui.summary_screen import closing
from harvester.simulator import make_ids
from tests.run.test_cli_commands import KEYS, harvester
from tests.security.commands import QUICK
from tests.support.simulated import END, Simulator

IDS = list(make_ids(40, 4, end=END))


@pytest.fixture
def typed() -> Iterator[None]:
    next_command.begin(["run", "my ids.txt", "-c", "a b.toml", "--out", "it's", "--rate", "5"])
    next_command.note(Path("a b.toml"), "it's", None, None)
    yield
    next_command.begin([])


OPTIONS = ["-c", "a b.toml", "--out", "it's"]


@pytest.mark.usefixtures("typed")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("`harvester status`", ["status"]),
        ("`harvester export dead`", ["export", "dead"]),
        ("`harvester verify --deep`", ["verify", "--deep"]),
        ("`harvester run IDS`", ["run", "IDS"]),
    ],
)
def test_commands_get_the_options_that_were_given(text: str, words: list[str]) -> None:
    told = next_command.pasted(f"Look: {text}, then {text}.")
    for command in re.findall("`([^`]*)`", told):
        assert shlex.split(command) == ["harvester", *words, *OPTIONS]


@pytest.mark.usefixtures("typed")
def test_what_is_no_command_or_has_its_options_stays() -> None:
    for text in (
        "`harvester simulate`",
        "`harvester config show`",
        "harvester status",
        "`chmod o= key`",
        "`harvester run IDS -c x --out y`",
    ):
        assert next_command.pasted(text) == text


def test_an_account_is_repeated_where_a_command_takes_it() -> None:
    next_command.note(None, None, "a;b", None)
    assert next_command.pasted("`harvester refetch`") == "`harvester refetch --account 'a;b'`"
    assert next_command.pasted("`harvester status`") == "`harvester status`"
    next_command.begin([])
    assert next_command.pasted("`harvester refetch`") == "`harvester refetch`"


@pytest.mark.usefixtures("typed")
@pytest.mark.parametrize("code", [5, 8, 130, 143])
def test_the_same_command_is_told_as_it_was_typed(code: int) -> None:
    told = closing(code, "")[-1].text
    assert told.startswith("Next:  ")
    first = next(iter(re.findall("`([^`]*)`", told)))
    assert shlex.split(first) == ["harvester", *next_command.given.arguments]


def test_a_command_line_of_thousands_of_names_is_not_repeated() -> None:
    next_command.begin(["run", *(f"ids-{n}.txt" for n in range(1000))])
    assert next_command.same_command() == ""
    next_command.begin([])


def test_what_the_screens_say_can_be_typed(tmp_path: Path) -> None:
    (tmp_path / "my ids.txt").write_text("\n".join(IDS))
    (tmp_path / "my settings.toml").write_text("[output]\npublish_records = 1000\n")
    given = ["-c", "my settings.toml", "--out", "it's out"]
    env = {**KEYS, **QUICK}
    with Simulator(rate_limit=0, fates="dead_param=0.3", key="bDqJFiq9", secret="7bz1lzh9") as up:
        url = ["--base-url", up.base_url]
        planned = harvester("plan", "my ids.txt", *given, *url, cwd=tmp_path, env=env)
        command = _commands(planned.stdout)[0]
        assert command == ["harvester", "run", "my ids.txt", *given, *url]
        done = harvester(*command[1:], cwd=tmp_path, env=env)
    assert done.returncode == 3, done.stderr
    told = harvester("status", *given, cwd=tmp_path, env=env)
    for screen, address in ((done.stderr, url), (told.stdout, [])):
        commands = _commands(screen.rpartition("Next:")[2])
        assert [words[1:3] for words in commands] == [["export", "dead"], ["refetch", "dead"]]
        for words in commands:
            options = [*given, *(address if "refetch" in words else [])]
            assert words[-len(options) :] == options
            dry = ["--dry-run"] if "refetch" in words else []
            assert harvester(*words[1:], *dry, cwd=tmp_path, env=env).returncode == 0
    wrong = harvester("status", "-c", "my settings.toml", cwd=tmp_path, env=env)
    assert _commands(wrong.stderr)[0] == ["harvester", "run", "IDS", *given[:2]]


def _commands(text: str) -> list[list[str]]:
    return [shlex.split(one) for one in re.findall("`(harvester [^`]*)`", text)]
