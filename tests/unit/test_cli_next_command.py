"""Commands in messages can be pasted: with the options that were given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harvester.cli.ui import next_command
from harvester.cli.ui.next_command import next_told, pasted, same_command


@pytest.fixture(autouse=True)
def nothing_given() -> Iterator[None]:
    next_command.begin([])
    yield
    next_command.begin([])


def given(
    *,
    config: str | None = None,
    out: str | None = None,
    account: str | None = None,
    base_url: str | None = None,
) -> None:
    next_command.note(config, out, account, base_url)


def test_a_command_gets_the_options_that_were_given_and_a_text_without_one_none() -> None:
    given(config="my nightly.toml", out="/srv/out")
    assert pasted("run `harvester export dead` now") == (
        "run `harvester export dead -c 'my nightly.toml' --out /srv/out` now"
    )
    assert pasted("`pace.rate_per_s` of the harvester") == "`pace.rate_per_s` of the harvester"


def test_an_option_that_stands_there_already_is_not_given_twice() -> None:
    given(config="a.toml", out="other")
    assert pasted("`harvester run --out here`") == "`harvester run --out here -c a.toml`"


@pytest.mark.parametrize(
    ("command", "takes"),
    [
        *((name, True) for name in ("run", "plan", "doctor", "refetch", "discover", "reconcile")),
        *((name, True) for name in ("publish", "compact", "drop", "erase", "rebuild")),
        *((name, False) for name in ("report", "audit", "sql", "export", "explain", "status")),
        ("verify", False),
    ],
)
def test_only_a_command_that_takes_an_account_is_told_with_one(
    command: str, *, takes: bool
) -> None:
    given(account="acme")
    told = f"`harvester {command}{' --account acme' * takes}`"
    assert pasted(f"`harvester {command}`") == told


@pytest.mark.parametrize(
    ("command", "takes"),
    [
        *((name, True) for name in ("run", "plan", "doctor", "refetch", "discover", "reconcile")),
        *((name, False) for name in ("publish", "compact", "status", "verify", "export")),
    ],
)
def test_only_a_command_that_may_ask_the_vendor_is_told_with_an_address(
    command: str, *, takes: bool
) -> None:
    """A new output does not have it yet."""
    url = "http://127.0.0.1:8080"
    given(base_url=url)
    told = f"`harvester {command}{f' --base-url {url}' * takes}`"
    assert pasted(f"`harvester {command}`") == told


@pytest.mark.parametrize("command", ["simulate", "config"])
def test_a_command_of_no_output_gets_no_option(command: str) -> None:
    given(config="a.toml", out="out", account="acme", base_url="http://here")
    assert pasted(f"`harvester {command}`") == f"`harvester {command}`"


def test_the_same_command_is_repeated_as_it_was_typed_but_without_looking_only() -> None:
    next_command.begin(["plan", "my ids.txt", "--dry-run", "--json", "--rate", "25"])
    assert same_command() == "`harvester plan 'my ids.txt' --rate 25`"
    assert same_command("run") == "`harvester run 'my ids.txt' --rate 25`"
    assert next_told("Run the same command again, later.") == (
        "Run the same command again (`harvester plan 'my ids.txt' --rate 25`), later."
    )


@pytest.mark.parametrize("words", [[], ["run", "x" * 300], ["run", "a`b"]])
def test_a_command_that_can_not_be_repeated_in_a_line_is_not(words: list[str]) -> None:
    next_command.begin(words)
    assert same_command() == ""
    assert next_told("Run the same command again.") == "Run the same command again."


def test_what_was_given_before_is_forgotten_when_a_command_begins() -> None:
    given(out="out")
    next_command.begin(["run"])
    assert pasted("`harvester status`") == "`harvester status`"
