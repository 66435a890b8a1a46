"""What `refetch` refuses before anything is read, and how a share is written."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from harvester.cli.main import run_command
from harvester.state import run_records, unresolved
from harvester.state.database import transaction
from harvester.state.values import DeadLetter
from tests.support.fakes import ACCOUNT, House


@pytest.mark.parametrize(
    "words",
    [
        ("dead", "--month", "2026-11"),
        ("dead", "--from", "2026-11-01"),
        ("dead", "--to", "2026-11-01"),
        ("dead", "--zone", "UTC"),
        ("dead", "--date-by", "hangup"),
        ("dead", "--ids", "ids.txt"),
        ("dead", "--sample", "1%"),
        ("dead", "--fail-on-change"),
        ("dead", "--fail-above", "USD=50"),
        ("delivered", "--reason", "gave_up"),
        ("unrated", "--reason", "gave_up"),
        ("not-final", "--reason", "gave_up"),
    ],
)
def test_options_that_mean_nothing_for_such_ids_are_refused_and_not_ignored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    for more in ((), ("--dry-run",)):
        out = ("--out", str(tmp_path / "out"), "--json")
        assert run_command(["refetch", *words, *more, *out]) == 2
        assert json.loads(capsys.readouterr().err)["code"] == "usage.conflict"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("share", ["0", "0%", "-1%", "101%", "1.01", "1%%", "1% of", "some", ""])
def test_a_share_is_above_nothing_and_up_to_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], share: str
) -> None:
    words = ["refetch", "delivered", "--sample", share, "--out", str(tmp_path / "out"), "--json"]
    assert run_command(words) == 2
    assert json.loads(capsys.readouterr().err)["code"] == "usage.sample"


@pytest.mark.parametrize("share", ["100%", "1", "0.5 %", "0.01"])
def test_a_share_is_written_in_hundredths_or_as_a_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], share: str
) -> None:
    words = ["refetch", "delivered", "--sample", share, "--out", str(tmp_path / "out"), "--json"]
    assert run_command(words) == 2
    assert json.loads(capsys.readouterr().err)["code"] == "output.no_data", (
        "it is another thing that is wrong"
    )


@pytest.mark.parametrize(("retrying", "is_any"), [(None, False), (False, True), (True, True)])
def test_dead_ids_of_an_earlier_refetch_that_was_not_finished_are_gone_on_with(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    retrying: bool | None,
    *,
    is_any: bool,
) -> None:
    """Where there are none at all nothing is to be fetched, so nobody asks for key and secret."""
    for name in ("API_KEY", "API_SECRET"):
        monkeypatch.delenv(f"HARVESTER_{name}", raising=False)
        monkeypatch.delenv(f"HARVESTER_{name}_FILE", raising=False)
    made = House(tmp_path / "out")
    with closing(made.db) as db:
        run_records.begin_run(db, "run-1", 1)
        if retrying is not None:
            letter = DeadLetter("1", "gave_up", "", 1, 1, 1, "run-1", retrying=retrying)
            with transaction(db):
                unresolved.put_dead_letters(db, [letter])
    words = ["refetch", "dead", "--out", str(tmp_path / "out"), "--account", ACCOUNT, "--json"]
    assert run_command(words) == (2 if is_any else 0)
    told = capsys.readouterr()
    if is_any:
        assert json.loads(told.err.splitlines()[-1])["code"] == "config.secret_missing"
    else:
        assert json.loads(told.out)["dead"] == {}
