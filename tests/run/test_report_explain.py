"""`harvester explain` tells all that is known of an id, whatever became of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from harvester.analysis.query.explain import Explanation, explain
from harvester.analysis.query.lookup import find_rows
from harvester.errors import StoreError
from harvester.state.acknowledge import acknowledge
from harvester.state.database import open_database
from harvester.state.lock import OutputLock
from harvester.state.values import Batch, DeadLetter, Deferred
from harvester.storage.output import Output
from tests.support import changes, forked
from tests.support.nights import nights
from tests.support.outputs import Outputs, edit, fingerprint, look, make_outputs, parts
from tests.support.simulated import ROOT

ESCAPE = "\x1b[31m\u202eevil"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    return make_outputs(tmp_path_factory)


@pytest.fixture
def stopped(outputs: Outputs, tmp_path: Path) -> Path:
    return Path(shutil.copytree(outputs.stopped, tmp_path / "out"))


def explained(out: Path, voice_id: str) -> Explanation:
    return explain(Output(out), voice_id)


def acknowledged(out: Path, batch: Batch) -> None:
    with closing(open_database(out / "state" / "state.db", "default")) as db:
        acknowledge(db, "", batch, work_list=None, counters={}, requests_of_day=("2026-01-01", 0))


def pending_ids(out: Path) -> list[str]:
    ((bits,),) = look(out, "SELECT bits FROM chunk")
    (path,) = look(out, "SELECT path FROM list")[0]
    ids = pq.read_table(out / "state" / "lists" / path)["voice_id"].to_pylist()
    return [v for at, v in enumerate(ids) if not bits[at >> 3] & 1 << (at & 7)]


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return forked.run(
        [sys.executable, "-m", "harvester", "explain", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_every_delivered_id_is_found_with_file_row_group_and_row(
    outputs: Outputs, tmp_path: Path
) -> None:
    whole = Path(shutil.copytree(outputs.whole, tmp_path / "out"))
    path = parts(whole)[0]
    rows = pq.ParquetFile(path).read().to_pylist()
    for row in (rows[0], rows[len(rows) // 2], rows[-1]):
        found = explained(whole, row["voice_id"])
        assert found.state == "delivered"
        (part,) = found.data
        assert (part.file, part.row_group, part.run_id) == (str(path), 0, row["run_id"])
        assert part.row["callee"] == row["callee"]
        assert part.row["cost"] == (None if row["cost"] is None else f"{row['cost']:f}")
        assert part.row.keys() == row.keys()


def test_only_row_groups_that_may_hold_the_id_are_read(outputs: Outputs, tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    pq.write_table(pq.read_table(parts(outputs.whole)[0]), path, row_group_size=5)
    file = pq.ParquetFile(path)
    wanted = file.read_row_group(1)["voice_id"][4].as_py()
    # All row groups but that one are made unreadable; their statistics stay.
    content = bytearray(path.read_bytes())
    for group in range(file.num_row_groups):
        if group != 1:
            column = file.metadata.row_group(group).column(0)
            start = column.dictionary_page_offset or column.data_page_offset
            content[start : start + column.total_compressed_size] = b"\xff" * (
                column.total_compressed_size
            )
    path.write_bytes(content)
    (found,) = find_rows([path], wanted)
    assert (found.row_group, found.row["voice_id"]) == (1, wanted)


def test_an_id_is_found_in_a_file_without_statistics(outputs: Outputs, tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    rows = pq.read_table(parts(outputs.whole)[0])
    pq.write_table(rows, path, row_group_size=5, write_statistics=False)
    wanted = rows["voice_id"][7].as_py()
    (found,) = find_rows([path], wanted)
    assert (found.row_group, found.row["voice_id"]) == (1, wanted)
    assert list(find_rows([path], "2203031113381000002")) == []


def test_a_file_that_cannot_be_read_is_named(outputs: Outputs, tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    content = parts(outputs.whole)[0].read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match=r"part\.parquet can't be read") as refused:
        list(find_rows([path], "2203031113381000002"))
    assert refused.value.code == "data.unreadable"


def test_an_acknowledged_id_that_is_not_published_is_shown_from_the_journal(
    outputs: Outputs,
) -> None:
    published = {
        v for path in parts(outputs.stopped) for v in pq.read_table(path)["voice_id"].to_pylist()
    }
    settled = set(outputs.ids) - published - set(pending_ids(outputs.stopped))
    others = {
        row[0]
        for row in look(
            outputs.stopped, "SELECT id FROM open_call UNION SELECT id FROM dead_letter"
        )
    }
    voice_id = min(settled - others)
    found = explained(outputs.stopped, voice_id)
    assert found.state == "delivered"
    assert found.data == ()
    assert found.journal is not None
    assert found.journal.row["voice_id"] == voice_id
    assert found.on_list is not None
    assert found.on_list.resolved


def test_an_open_call_is_shown_with_asks_due_time_and_last_answer(outputs: Outputs) -> None:
    voice_id, asks = look(
        outputs.whole, "SELECT id, asks FROM open_call WHERE answer IS NOT NULL LIMIT 1"
    )[0]
    found = explained(outputs.whole, voice_id)
    assert found.state == "open"
    assert found.open is not None
    assert found.open.fetches == asks
    assert found.open.due_at > found.open.first_at
    assert found.open.last_answer is not None
    assert found.open.last_answer["voice_id"] == voice_id
    assert found.open.last_answer["is_final"] is False


def test_an_open_call_that_was_never_answered_has_no_last_answer(
    outputs: Outputs, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(outputs.whole, tmp_path / "out"))
    edit(out, "UPDATE open_call SET answer = NULL, answer_ms = NULL")
    found = explained(out, look(out, "SELECT id FROM open_call LIMIT 1")[0][0])
    assert found.open is not None
    assert (found.open.last_answer, found.open.answered_at) == (None, None)


def test_a_dead_letter_is_shown_with_reason_attempts_and_run(outputs: Outputs) -> None:
    voice_id, reason, run = look(outputs.whole, "SELECT id, reason, run FROM dead_letter LIMIT 1")[
        0
    ]
    found = explained(outputs.whole, voice_id)
    assert found.state == "dead"
    assert found.dead is not None
    assert (found.dead.reason, found.dead.run_id) == (reason, run)
    assert found.dead.attempts >= 1
    assert "harvester refetch dead" in found.next


def test_a_dead_letter_that_is_published_is_shown_with_its_row(
    outputs: Outputs, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(outputs.whole, tmp_path / "out"))
    voice_id = pq.read_table(parts(out)[0])["voice_id"][0].as_py()
    letter = DeadLetter(voice_id, "no_record", "", 3, 1, 2, "run", published=True)
    acknowledged(out, Batch(dead_letters=[letter]))
    found = explained(out, voice_id)
    assert found.state == "dead"
    assert len(found.data) == 1
    assert "is_final = false" in found.next


def test_a_pending_id_is_shown_with_its_place_on_the_list(stopped: Path) -> None:
    voice_id = pending_ids(stopped)[-1]
    found = explained(stopped, voice_id)
    assert found.state == "pending"
    assert found.on_list is not None
    assert (found.on_list.why, found.on_list.resolved) == ("new", False)


def test_a_deferred_id_is_shown_with_cause_runs_and_days(stopped: Path) -> None:
    voice_id = pending_ids(stopped)[0]
    days = ("2026-11-20", "2026-11-21")
    item = Deferred(voice_id, "busy", "after 8 attempts", 1, 2, "run", runs=2, days=days)
    acknowledged(stopped, Batch(deferred=[item]))
    found = explained(stopped, voice_id)
    assert found.state == "pending"
    assert found.deferred is not None
    assert (found.deferred.cause, found.deferred.runs, found.deferred.days) == ("busy", 2, days)


def test_a_dead_letter_that_is_retried_is_pending(stopped: Path) -> None:
    voice_id = pending_ids(stopped)[0]
    acknowledged(stopped, Batch(dead_letters=[DeadLetter(voice_id, "-22", "", 1, 1, 1, "run")]))
    edit(stopped, "UPDATE dead_letter SET retrying = 1 WHERE id = ?", voice_id)
    found = explained(stopped, voice_id)
    assert found.state == "pending"
    assert found.dead is not None
    assert found.dead.retrying


def test_changes_are_told_the_oldest_first_though_our_clock_was_set_back_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(nights(tmp_path / "out", count=1)) as house:
        voice_id, before = min(changes.rows_of(house).items())
        first = changes.change(house, {voice_id: "1.5"}, "run-b")
        monkeypatch.setattr(changes, "CHANGED_AT", changes.CHANGED_AT - timedelta(days=40))
        second = changes.change(house, {voice_id: "2.5"}, "run-c", callee="44")
        other = min(set(changes.rows_of(house)) - {voice_id})
        changes.change(house, {other: "9"}, "run-d")
    found = explained(tmp_path / "out", voice_id)
    assert found.state == "delivered"
    told = [(one.publication, one.run_id, one.changed) for one in found.changes]
    assert told == [(first, "run-b", ("cost",)), (second, "run-c", ("callee", "cost"))]
    costs = [(one.old["cost"], one.new["cost"]) for one in found.changes]
    assert costs == [(f"{before['cost']:f}", "1.50000000"), ("1.50000000", "2.50000000")]
    (row,) = found.data
    assert row.row["cost"] == costs[0][0], "the data set has it as it was delivered"


def test_an_id_that_is_settled_but_nowhere_is_called_lost(stopped: Path) -> None:
    voice_id = look(
        stopped, "SELECT id FROM open_call WHERE run = (SELECT MAX(id) FROM run) LIMIT 1"
    )[0][0]
    edit(stopped, "DELETE FROM open_call WHERE id = ?", voice_id)
    found = explained(stopped, voice_id)
    assert found.state == "lost"
    assert "harvester verify --deep" in found.next


def test_an_id_that_was_never_seen_is_said_to_be_so_and_what_to_do(outputs: Outputs) -> None:
    found = explained(outputs.whole, "never-seen")
    assert found.state == "unknown"
    assert "Put it in an input" in found.next


@pytest.mark.parametrize("name", ["whole", "killed"])
def test_explaining_changes_nothing(outputs: Outputs, name: str) -> None:
    out = getattr(outputs, name)
    before = fingerprint(out)
    explained(out, outputs.ids[0])
    assert fingerprint(out) == before


@pytest.mark.parametrize("text", ["", "a b", "../../etc/passwd", "x" * 65, "é", ESCAPE, "a/b"])
def test_command_refuses_what_is_no_voice_id_as_a_usage_error(outputs: Outputs, text: str) -> None:
    done = command("--out", str(outputs.whole), "--", text)
    assert done.returncode == 2
    assert "is not a valid voiceId" in done.stderr
    assert "\x1b" not in done.stderr
    assert "\u202e" not in done.stderr


def test_what_others_wrote_cannot_act_on_the_terminal(stopped: Path) -> None:
    voice_id = pending_ids(stopped)[0]
    letter = DeadLetter(voice_id, ESCAPE, ESCAPE, 1, 1, 1, "run", body=ESCAPE.encode())
    acknowledged(stopped, Batch(dead_letters=[letter]))
    for words in ([], ["--json"]):
        done = command(voice_id, "--out", str(stopped), *words)
        assert done.returncode == 0
        assert "evil" in done.stdout
        assert "\x1b" not in done.stdout
        assert "\u202e" not in done.stdout


def test_command_shows_the_row_for_people_and_for_machines(outputs: Outputs) -> None:
    row = pq.ParquetFile(parts(outputs.whole)[0]).read().to_pylist()[0]
    done = command(row["voice_id"], "--out", str(outputs.whole))
    assert done.returncode == 0
    assert done.stdout.startswith(f"{row['voice_id']}: delivered\n")
    assert row["callee"] in done.stdout
    told = json.loads(command(row["voice_id"], "--out", str(outputs.whole), "--json").stdout)
    assert (told["type"], told["state"]) == ("explain", "delivered")
    assert told["data"][0]["row"]["callee"] == row["callee"]


def test_command_exits_7_while_a_run_holds_the_output(stopped: Path) -> None:
    with OutputLock(stopped / "state" / "lock"):
        assert command("1", "--out", str(stopped)).returncode == 7


def test_command_exits_2_where_nothing_was_harvested(tmp_path: Path) -> None:
    assert command("1", "--out", str(tmp_path / "none")).returncode == 2
    assert not (tmp_path / "none").exists()
