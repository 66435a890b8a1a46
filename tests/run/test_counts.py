"""One count of dead, open, pending and retrying ids, whichever command is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harvester.operations.status import read_output_status
from harvester.state import id_counts, run_records, work_lists
from harvester.state.acknowledge import acknowledge
from harvester.state.database import open_database
from harvester.state.values import Batch, DeadLetter, Deferred, OpenCall, WorkList
from harvester.storage.output import Output
from tests.run.test_cli_commands import KEYS, harvester
from tests.support.simulated import ALL_RECORDS, Simulator
from tests.unit.test_pipeline_prometheus import read

DEAD, FINE = 9, 3


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `out`: nine ids died, and were fetched again: halted before any outcome."""
    folder = tmp_path_factory.mktemp("unfinished")
    harvester("simulate", "--now", "2023-01-11", "--ids", DEAD + FINE, "all.txt", cwd=folder)
    ids = (folder / "all.txt").read_text().split()
    (folder / "fine.txt").write_text("\n".join(ids[:FINE]))
    (folder / "dead.txt").write_text("\n".join(ids[FINE:]))
    with Simulator(rate_limit=0, drift=False, fates=ALL_RECORDS) as vendor:
        shared = ("--out", "out", "--rate", 1000, "--base-url", vendor.base_url)
        assert harvester("run", "fine.txt", *shared, cwd=folder, env=KEYS).returncode == 0
        vendor.post_faults(refuse="-22")
        assert harvester("run", "dead.txt", *shared, cwd=folder, env=KEYS).returncode == 3
        vendor.post_faults(refuse="-1")
        words = ("refetch", "dead", *shared, "--metrics-file", "run.prom")
        halted = harvester(*words, cwd=folder, env=KEYS)
        assert halted.returncode in (4, 5), halted.stderr
    return folder


def asked(folder: Path, *words: object) -> list[dict[str, Any]]:
    """What a command says with --json."""
    done = harvester(*words, "--out", "out", "--json", cwd=folder, env=KEYS)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_dead_letters_that_are_fetched_again_are_pending_everywhere(unfinished: Path) -> None:
    (status,) = asked(unfinished, "status")
    stands = {name: status[name] for name in ("dead", "pending", "retrying", "open")}
    assert stands == {"dead": 0, "pending": DEAD, "retrying": DEAD, "open": 0}
    assert status["dead_by_reason"] == {}
    loose = asked(unfinished, "report")[-1]["unfinished"]
    assert {name: loose[name] for name in stands} == stands
    assert asked(unfinished, "export", "dead") == []
    assert asked(unfinished, "sql", "SELECT count(*) AS n FROM dead_letter") == [{"n": 0}]
    (plan,) = asked(unfinished, "plan")
    assert (plan["to_fetch"], plan["carried_over"]) == (DEAD, DEAD)
    (again,) = asked(unfinished, "refetch", "dead", "--dry-run")
    assert (again["dead"], again["retrying"]) == ({}, DEAD)
    voice_id = (unfinished / "dead.txt").read_text().split()[0]
    (explained,) = asked(unfinished, "explain", voice_id)
    assert (explained["state"], explained["dead"]["retrying"]) == ("pending", True)
    told = read((unfinished / "run.prom").read_text())
    found = {state: told["output_ids", (("state", state),)] for state in stands}
    assert found == stands
    assert told["output_ids", (("state", "delivered"),)] == FINE


def test_screens_show_the_same_numbers(unfinished: Path) -> None:
    told = harvester("status", "--out", "out", cwd=unfinished).stdout
    assert f"{DEAD} of them dead letters that are fetched again" in told
    report = harvester("report", "--out", "out", cwd=unfinished).stdout
    assert f"{DEAD} pending, {DEAD} of them dead letters that are fetched again" in report
    words = ("refetch", "dead", "--dry-run", "--out", "out")
    told = harvester(*words, cwd=unfinished, env=KEYS).stdout
    assert "No dead id" in told
    assert f"{DEAD} more of an earlier refetch are pending" in told


def test_an_unfinished_refetch_goes_on_although_no_id_is_dead(unfinished: Path) -> None:
    with Simulator(rate_limit=0, drift=False, fates=ALL_RECORDS) as vendor:
        # Of no reason: the same command as before.  Nothing is changed that other tests look at.
        vendor.post_faults(refuse="-1")
        shared = ("--out", "out", "--rate", 1000, "--base-url", vendor.base_url)
        done = harvester("refetch", "dead", *shared, cwd=unfinished, env=KEYS)
        assert done.returncode in (4, 5), done.stderr
        assert vendor.stats()["requests"] > 0


def test_an_open_call_that_failed_is_open_not_pending(tmp_path: Path) -> None:
    output = Output(tmp_path / "out")
    output.state.mkdir(parents=True)
    db = open_database(output.database, "a")
    work_lists.replace_list(db, WorkList(1, None, "l", None, 2, 0, 0))
    run_records.begin_run(db, "run-1", 1)
    batch = Batch(
        open_calls=[OpenCall("o", 5, 1, 1, "run-1"), OpenCall("u", 5, 1, 1, "run-1", unknown_ms=1)],
        dead_letters=[DeadLetter("d", "gave_up", "", 1, 1, 1, "run-1")],
        deferred=[Deferred(one, "timeout", "", 1, 1, "run-1") for one in ("o", "p")],
    )
    acknowledge(db, "run-1", batch, work_list=None, counters={}, requests_of_day=("", 0))
    found = id_counts.count_ids(db, 10)
    db.close()
    assert (found.open, found.open_due, found.open_unknown) == (2, 2, 1)
    assert (found.pending, found.deferred, found.retrying) == (2, 1, 0)
    assert read_output_status(output).ids.deferred == 1
