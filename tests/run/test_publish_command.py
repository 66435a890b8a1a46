"""`harvester publish`: what a stopped run left in the journal, without the vendor."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harvester import __version__
from harvester.cli.signals import Signals
from harvester.errors import HarvesterError, Interrupted, Terminated
from harvester.operations.publish import publish_journal, stopped
from harvester.pipeline.engine.acknowledger import keep
from harvester.state import journal, publications, run_records
from harvester.state.lock import OutputLock
from harvester.state.values import Batch, Entry
from tests.run.test_cli_commands import KEYS, harvester
from tests.support.events import SignallingEvents
from tests.support.fakes import House, record
from tests.support.harvesting import Harvest
from tests.support.simulated import ALL_RECORDS, Simulator

IDS = 600
FETCHED_MS = 1_790_000_000_000  # after the calls of `record`


def published(folder: Path) -> dict[str, Any]:
    """`harvester publish --json`, with no secret anywhere."""
    done = harvester("publish", "--out", "out", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    (found,) = [json.loads(line) for line in done.stdout.splitlines()]
    return dict(found)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_stopped_run_left_is_published_and_all_totals_balance(
    tmp_path: Path, number: signal.Signals
) -> None:
    harvester("simulate", "--now", "2023-01-11", "--ids", IDS, "ids.txt", cwd=tmp_path)
    out = tmp_path / "out"
    with Simulator(rate_limit=0, drift=False, fates=ALL_RECORDS) as vendor:
        harvest = Harvest(out, vendor.base_url, pace__rate_per_s=200.0, vendor__account="default")
        process = harvest.start(tmp_path / "ids.txt")
        while vendor.stats()["requests"] < 250:
            time.sleep(0.02)
        process.send_signal(number)
        process.communicate(timeout=60)
        sent = vendor.stats()["requests"]
        status = json.loads(harvester("status", "--out", "out", "--json", cwd=tmp_path).stdout)
        assert status["in_journal"] > 0
        told = published(tmp_path)
        assert vendor.stats()["requests"] == sent, "nothing is sent"
        assert told["records"] == status["in_journal"] == len(harvest.ids())
        assert told["files"] == len(list(out.glob("cdr/*/*.parquet")))
        assert told["in_journal"] == 0
        for path in out.glob("runs/*/summary.json"):
            assert json.loads(path.read_text())["differences"] == []
        assert len(list(out.glob("runs/*/summary.json"))) == 1, "also of the run that was killed"
        audit = harvester("verify", "--deep", "--out", "out", cwd=tmp_path)
        assert audit.returncode == 0, audit.stdout
        again = harvester("publish", "--out", "out", cwd=tmp_path)
        assert again.returncode == 0
        assert "Nothing waits in the journal" in again.stdout
        done = harvest.run(tmp_path / "ids.txt")
        assert done.code == 0, done.err
    assert harvest.ids() == sorted((tmp_path / "ids.txt").read_text().split())


def left_behind(root: Path, *, blobs: int = 3) -> House:
    """An output whose run was killed with some blobs of ten records in the journal."""
    out = House(root, output__publish_bytes=1)
    run_records.begin_run(out.db, "run-1", 1)
    counters = Counter[str]()
    for blob in range(blobs):
        ids = [f"260902120000{blob}{n:05}" for n in range(10)]
        entries = [Entry(one, FETCHED_MS, True, record(one).body) for one in ids]
        counters.update(begun=10, delivered=10)
        _, usage = keep(
            out.db,
            "run-1",
            Batch(entries=entries),
            work_list=None,
            counters=counters,
            requests_of_day=("", 0),
        )
        counters.update(usage)
    return out


def test_every_range_of_the_journal_is_published(tmp_path: Path) -> None:
    with closing(left_behind(tmp_path / "out")) as out:
        out.close()
        events = SignallingEvents()
        done = publish_journal(out.config, events)
    assert events.said == ["killed_run_closed"]
    assert (done.records, done.files, done.in_journal) == (30, 3, 0)
    assert len(out.published()) == 30


class OncePublished:
    """Somebody wants it to stop as soon as so many files are in their place."""

    def __init__(self, out: House, files: int) -> None:
        self._cdr = out.output.cdr
        self._files = files

    @contextmanager
    def watched(self) -> Iterator[Callable[[], Interrupted | None]]:
        yield (
            lambda: (
                stopped(signal.SIGINT)
                if len(list(self._cdr.glob("*/*.parquet"))) >= self._files
                else None
            )
        )


def test_who_stops_it_when_all_is_published_came_too_late(tmp_path: Path) -> None:
    """There is nothing to run again."""
    with closing(left_behind(tmp_path / "out")) as out:
        out.close()
        done = publish_journal(out.config, SignallingEvents(), OncePublished(out, 3))
        assert (done.records, done.files, done.in_journal) == (30, 3, 0)


@pytest.mark.parametrize("files", [0, 1, 2])
def test_who_stops_it_before_has_the_rest_published_by_the_next_one(
    tmp_path: Path, files: int
) -> None:
    with closing(left_behind(tmp_path / "out")) as out:
        out.close()
        with pytest.raises(Interrupted, match="run `harvester publish` again"):
            publish_journal(out.config, SignallingEvents(), OncePublished(out, files))
        assert len(out.published()) == 10 * files
        assert publish_journal(out.config, SignallingEvents()).files == 3 - files


def test_the_summary_of_a_killed_run_says_what_it_had_acknowledged_and_no_more(
    tmp_path: Path,
) -> None:
    out = left_behind(tmp_path / "out")
    out.close()
    publish_journal(out.config, SignallingEvents())
    (path,) = out.output.runs.glob("*/summary.json")
    told = json.loads(path.read_text())
    now = datetime.now(UTC)
    assert datetime.fromisoformat(told.pop("ended_at")) - now < timedelta(minutes=10)
    assert "was killed" in told.pop("message")
    none = ("dead", "open", "deferred", "cut_off", "opens_published", "unrated")
    counts = dict.fromkeys(none, 0)
    # Of each record: a minute, charged as such, for 0.0125.
    data = {"rows": 30, "rows_in_journal": 30, "call_duration_s": 1800, "charged_duration_s": 1800}
    odd = ("unreadable", "changed_fields", "new_fields")
    assert told == {
        "version": 2,
        "harvester": __version__,
        "run_id": "run-1",
        "account": "acme",
        "started_at": "1970-01-01T00:00:00.001+00:00",
        "exit_code": None,
        "code": "stopped.killed",
        "input": None,
        "list": None,
        "run": {"attempted": 30, "delivered": 30, **counts},
        "data": {**data, "cost": {"USD": "0.37500000"}},
        "differences": [],
        "requests": 0,
        "retries": {},
        "throttled": 0,
        "outages": 0,
        "clock_skew_s": 0.0,
        "ages_held": False,
        "published_files": 0,
        "published_bytes": 0,
        "presumed_currency": 0,
        "unparsed": {},
        "extra": {},
        "odd": {"answered_without_cost": 0, "odd_hangups": 0, **{name: {} for name in odd}},
        "first_publication": 1,
        "output": str(out.output.root),
        "open_unrated": 0,
        "newly_dead": 0,
        "plan": None,
        "refetch": None,
        "by_pages": None,
    }


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, Interrupted), (signal.SIGTERM, Terminated)]
)
def test_a_signal_ends_it_before_the_next_commit_point(
    tmp_path: Path, number: int, kind: type[HarvesterError]
) -> None:
    before = signal.getsignal(number)
    out = left_behind(tmp_path / "out")
    out.close()
    signals = Signals(stopped)
    with signals.handled(), pytest.raises(kind, match="safe in the journal"):
        publish_journal(out.config, SignallingEvents(number), signals)
    assert signal.getsignal(number) is before
    assert out.published() == []
    done = publish_journal(out.config, SignallingEvents())
    assert (done.records, done.in_journal) == (30, 0)


def test_while_somebody_holds_the_output_it_exits_7(tmp_path: Path) -> None:
    out = left_behind(tmp_path / "out")
    out.close()
    with OutputLock(out.output.lock):
        done = harvester("publish", "--out", "out", "--account", "acme", cwd=tmp_path)
    assert done.returncode == 7, done.stderr
    assert out.published() == []


def test_data_without_a_state_is_told_before_anything_is_made(tmp_path: Path) -> None:
    part = tmp_path / "out" / "cdr" / "submit_date=2026-09-02" / "part-0-1-0.parquet"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x")
    done = harvester("publish", "--out", "out", cwd=tmp_path, env=KEYS)
    assert done.returncode == 6
    assert "harvester rebuild" in done.stderr
    assert not (tmp_path / "out" / "state").exists()


def test_screens_say_how_to_publish(tmp_path: Path) -> None:
    out = left_behind(tmp_path / "out")
    run_records.end_run(out.db, "run-1", 2, 143, {"delivered": 30})
    assert publications.journal_size(out.db)[0] == 30
    assert len(journal.answers_of(next(publications.journal_blobs(out.db)))) == 10
    out.close()
    told = harvester("status", "--out", "out", cwd=tmp_path).stdout
    assert "Next:  `harvester publish --out out`" in told
