"""`harvester verify` finds each kind of damage that a good output can take, and changes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester.analysis.verify.verify import Order, VerifyResult, verify
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.normalize import normalize
from harvester.dataset.packing import pieces_of
from harvester.dataset.parts import stage
from harvester.state import journal, publications
from harvester.state.acknowledge import acknowledge
from harvester.state.database import open_database
from harvester.state.lock import OutputLock
from harvester.state.values import Batch, DeadLetter, Deferred, OpenCall, PartRecord
from harvester.storage.output import Output
from tests.support import forked
from tests.support.outputs import Outputs, edit, fingerprint, look, make_outputs, parts
from tests.support.simulated import ROOT

Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    return make_outputs(tmp_path_factory)


@pytest.fixture
def whole(outputs: Outputs, tmp_path: Path) -> Path:
    return Path(shutil.copytree(outputs.whole, tmp_path / "out"))


@pytest.fixture
def stopped(outputs: Outputs, tmp_path: Path) -> Path:
    return Path(shutil.copytree(outputs.stopped, tmp_path / "out"))


def audited(out: Path, *, deep: bool = True) -> VerifyResult:
    return verify(Output(out), Order("UTC", "400MB", deep))


def kinds(audit: VerifyResult, severity: str = "damage") -> set[str]:
    return {finding.kind for finding in audit.findings if finding.severity == severity}


def test_it_tells_what_it_looks_at(whole: Path) -> None:
    told: list[tuple[str, int, int]] = []
    audit = verify(Output(whole), Order("UTC", "400MB", deep=True), lambda *step: told.append(step))
    assert told[0] == ("files", 0, audit.files)
    assert [done for what, done, _ in told if what == "files"] == list(range(audit.files))
    assert told[-1] == ("every id and every sum", 0, 0)


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return forked.run(
        [sys.executable, "-m", "harvester", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("name", ["whole", "stopped", "killed"])
def test_a_good_output_has_no_damage_and_stays_as_it_is(
    outputs: Outputs, tmp_path: Path, name: str, deep: bool
) -> None:
    out = Path(shutil.copytree(getattr(outputs, name), tmp_path / "out"))
    before = fingerprint(out)
    audit = audited(out, deep=deep)
    assert kinds(audit) == set(), audit.findings
    assert audit.is_clean
    assert fingerprint(out) == before
    # The kill may have met a publication as well.
    notes = kinds(audit, "note") - {"unfinished"}
    assert notes == ({"killed_run"} if name == "killed" else set())


def test_what_was_looked_at_is_told(outputs: Outputs, whole: Path) -> None:
    audit = audited(whole)
    rows = sum(pq.read_metadata(path).num_rows for path in parts(whole))
    assert (audit.files, audit.rows) == (len(parts(whole)), rows)
    assert audit.ids == len(outputs.ids)
    assert audit.runs == 3


def test_the_log_of_a_killed_run_is_read_but_not_taken_in(outputs: Outputs, tmp_path: Path) -> None:
    killed = Path(shutil.copytree(outputs.killed, tmp_path / "out"))
    log = killed / "state" / "state.db-wal"
    assert log.stat().st_size > 0, "the kill left no log: this test proves nothing"
    assert audited(killed).in_journal > 0


# --- the data set ------------------------------------------------------------------------------


def flip_a_byte(out: Path) -> None:
    path = parts(out)[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0x10
    path.write_bytes(content)


def remove_a_file(out: Path) -> None:
    parts(out)[0].unlink()


def cut_a_file(out: Path) -> None:
    os.truncate(parts(out)[0], 1_000)


def copy_beside(out: Path) -> None:
    path = parts(out)[0]
    shutil.copy(path, path.with_name("part-abcdef12-1-0.parquet"))


def copy_as_people_do(out: Path) -> None:
    path = parts(out)[0]
    shutil.copy(path, path.with_name(f"{path.stem} (copy).parquet"))


def copy_into_another_partition(out: Path) -> None:
    first, *others = parts(out)
    other = next(path for path in others if path.parent != first.parent)
    shutil.copy(first, other.parent / first.name.replace("part-", "part-9", 1))


def leave_a_half_file(out: Path) -> None:
    path = parts(out)[0]
    half = path.with_name("part-abcdef12-9-9.parquet")
    half.write_bytes(path.read_bytes()[:5_000])


def leave_a_temporary_file(out: Path) -> None:
    (out / "cdr" / ".part.parquet.tmp").write_bytes(b"PAR1")


def leave_a_foreign_table(out: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), parts(out)[0].parent / "other.parquet")


def leave_a_link(out: Path) -> None:
    path = parts(out)[0]
    path.with_name("part-abcdef12-9-9.parquet").symlink_to(path)


def write_anew(
    out: Path, change: Callable[[pa.Table], pa.Table], *, highest: str | None = None
) -> None:
    """A part with other rows, and the ledger made to agree with it, as no crash could do."""
    path = parts(out)[0]
    footer = {
        key: value
        for key, value in pq.read_metadata(path).metadata.items()
        if key != b"ARROW:schema"
    }
    rows = change(pq.ParquetFile(path).read())
    ids = rows["voice_id"].to_pylist()
    footer[b"cdr.rows"] = str(len(ids)).encode()
    footer[b"cdr.min_voice_id"], footer[b"cdr.max_voice_id"] = (
        ids[0].encode(),
        (highest or ids[-1]).encode(),
    )
    pq.write_table(rows.replace_schema_metadata(footer), path)
    content = path.read_bytes()
    edit(
        out,
        "UPDATE file SET rows = ?, bytes = ?, sha256 = ? WHERE path = ?",
        len(ids),
        len(content),
        hashlib.sha256(content).hexdigest(),
        path.relative_to(out / "cdr").as_posix(),
    )


def lie_in_the_footer(out: Path) -> None:
    write_anew(out, lambda rows: rows, highest="9" * 20)


def hold_a_row_twice(out: Path) -> None:
    write_anew(out, lambda rows: pa.concat_tables([rows.slice(0, 1), rows]))


def drop_a_row(out: Path) -> None:
    write_anew(out, lambda rows: rows.slice(1))


def change_the_order(out: Path) -> None:
    write_anew(out, lambda rows: rows.take(list(reversed(range(rows.num_rows)))))


def change_money(out: Path) -> None:
    def cheaper(rows: pa.Table) -> pa.Table:
        at = rows.schema.get_field_index("cost")
        return rows.set_column(
            at, rows.schema.field(at), pa.nulls(rows.num_rows, rows.schema.types[at])
        )

    write_anew(out, cheaper)


def change_the_account(out: Path) -> None:
    def stolen(rows: pa.Table) -> pa.Table:
        at = rows.schema.get_field_index("account")
        return rows.set_column(at, rows.schema.field(at), pa.array(["other"] * rows.num_rows))

    write_anew(out, stolen)


def move_to_another_date(out: Path) -> None:
    path = parts(out)[0]
    target = out / "cdr" / "submit_date=2001-01-01" / path.name
    target.parent.mkdir()
    path.rename(target)
    old, new = (p.relative_to(out / "cdr").as_posix() for p in (path, target))
    edit(out, "UPDATE file SET path = ? WHERE path = ?", new, old)


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (flip_a_byte, "sha256"),
        (remove_a_file, "missing_file"),
        (cut_a_file, "unreadable"),
        (copy_beside, "copied"),
        (copy_as_people_do, "copied"),
        (copy_into_another_partition, "copied"),
        (leave_a_half_file, "half_file"),
        (leave_a_temporary_file, "foreign"),
        (leave_a_foreign_table, "foreign"),
        (leave_a_link, "foreign"),
        (lie_in_the_footer, "footer"),
        (hold_a_row_twice, "twice"),
        (drop_a_row, "resolved_nowhere"),
        (drop_a_row, "control_totals"),
        (change_the_order, "unsorted"),
        (change_money, "control_totals"),
        (change_the_account, "account"),
        (move_to_another_date, "wrong_date"),
    ],
)
def test_damage_to_the_data_set_is_found(whole: Path, damage: Damage, kind: str) -> None:
    damage(whole)
    audit = audited(whole)
    assert kind in kinds(audit), audit.findings
    assert not audit.is_clean


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (remove_a_file, "missing_file"),
        (cut_a_file, "size"),
        (copy_beside, "copied"),
        (leave_a_half_file, "half_file"),
        (leave_a_foreign_table, "foreign"),
        (hold_a_row_twice, "twice"),
        (change_money, "control_totals"),
    ],
)
def test_all_but_silent_changes_are_found_without_reading_every_byte(
    whole: Path, damage: Damage, kind: str
) -> None:
    damage(whole)
    assert kind in kinds(audited(whole, deep=False))


def test_what_follows_from_a_missing_file_is_not_told_as_more_damage(whole: Path) -> None:
    remove_a_file(whole)
    audit = audited(whole)
    assert kinds(audit) == {"missing_file"}
    assert kinds(audit, "note") == {"not_checked"}


def test_what_follows_from_a_missing_list_is_not_told_as_more_damage(stopped: Path) -> None:
    lose_the_list(stopped)
    assert kinds(audited(stopped)) == {"list"}


def test_a_wrong_time_zone_says_to_name_the_configuration(whole: Path) -> None:
    audit = verify(Output(whole), Order("Asia/Shanghai", "400MB", deep=True))
    assert kinds(audit) == {"wrong_date"}
    assert "-c" in audit.findings[0].remedy


# --- the ledger --------------------------------------------------------------------------------


def test_a_ledger_older_than_the_data_is_found(outputs: Outputs, whole: Path) -> None:
    shutil.rmtree(whole / "state")
    shutil.copytree(outputs.stopped / "state", whole / "state")
    audit = audited(whole)
    older = [finding for finding in audit.findings if finding.kind == "older_state"]
    assert {Path(finding.where).suffix for finding in older} == {".parquet", ".json"}
    assert all("harvester rebuild" in finding.remedy for finding in older)


@pytest.mark.parametrize(
    ("newer_by", "is_of_this_state", "kind"),
    [
        (1, True, "older_state"),
        (0, True, "unknown_part"),  # the ledger knows that publication, and this is none of it
        (1, False, "unknown_part"),  # whatever another state counted says nothing of this one
    ],
)
def test_a_part_the_ledger_does_not_know_shows_an_older_state_only_if_it_is_newer(
    whole: Path, newer_by: int, is_of_this_state: bool, kind: str
) -> None:
    [(newest,)] = look(whole, "SELECT MAX(id) FROM publication")
    [(state_id,)] = look(whole, "SELECT value FROM meta WHERE key = 'state_id'")
    state = state_id[:8] if is_of_this_state else "ABCDEFGH"
    folder = parts(whole)[0].parent
    path = folder / f"part-{state}-{newest + newer_by}-99.parquet"
    pq.write_table(pa.table({"a": [1]}), path)
    path.chmod(0o600)
    audit = audited(whole)
    assert [(one.kind, Path(one.where).name) for one in audit.findings] == [(kind, path.name)]


def test_data_without_a_ledger_is_found(whole: Path) -> None:
    (whole / "state" / "state.db").unlink()
    audit = audited(whole)
    assert kinds(audit) == {"no_state"}
    assert "harvester rebuild" in audit.findings[0].remedy


def test_a_damaged_ledger_is_found(whole: Path) -> None:
    path = whole / "state" / "state.db"
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 3] = b"\xa5" * 8192
    path.write_bytes(content)
    assert kinds(audited(whole)) == {"state_database"}


def a_delivered_id(out: Path) -> str:
    return str(pq.read_table(parts(out)[0], columns=["voice_id"])["voice_id"][0])


def list_place(out: Path, voice_id: str) -> int:
    (path,) = look(out, "SELECT path FROM list")[0]
    ids = pq.read_table(out / "state" / "lists" / path)["voice_id"].to_pylist()
    return int(ids.index(voice_id))


def turn_bit(out: Path, place: int) -> None:
    """One row's bit, and the list's counter as if it were right."""
    ((bits,),) = look(out, "SELECT bits FROM chunk")
    changed = bytearray(bits)
    changed[place >> 3] ^= 1 << (place & 7)
    edit(out, "UPDATE chunk SET bits = ?", bytes(changed))
    more = 1 if changed[place >> 3] & 1 << (place & 7) else -1
    edit(out, "UPDATE list SET delivered = delivered + ?", more)


def on_list(out: Path, *, settled: bool) -> str:
    """The first id of the list that is settled, or that is pending."""
    ((bits,),) = look(out, "SELECT bits FROM chunk")
    (path,) = look(out, "SELECT path FROM list")[0]
    ids = pq.read_table(out / "state" / "lists" / path)["voice_id"].to_pylist()
    found = (v for at, v in enumerate(ids) if bool(bits[at >> 3] & 1 << (at & 7)) == settled)
    return str(next(found))


def clear_the_bit_of_a_delivered_id(out: Path) -> None:
    turn_bit(out, list_place(out, on_list(out, settled=True)))


def set_the_bit_of_a_pending_id(out: Path) -> None:
    turn_bit(out, list_place(out, on_list(out, settled=False)))


def clear_a_bit_and_nothing_else(out: Path) -> None:
    ((bits,),) = look(out, "SELECT bits FROM chunk")
    edit(out, "UPDATE chunk SET bits = ?", bytes([bits[0] & 0xFE]) + bits[1:])
    assert bits[0] & 1


def shorten_the_bits(out: Path) -> None:
    edit(out, "UPDATE chunk SET bits = substr(bits, 1, 10)")


def acknowledged(out: Path, batch: Batch) -> None:
    with closing(open_database(out / "state" / "state.db", "default")) as db:
        acknowledge(db, "", batch, work_list=None, counters={}, requests_of_day=("2026-01-01", 0))


def run_of(out: Path) -> str:
    return str(look(out, "SELECT id FROM run ORDER BY id")[0][0])


def open_a_delivered_call(out: Path) -> None:
    call = OpenCall(a_delivered_id(out), 2, 1, 1, run_of(out))
    acknowledged(out, Batch(open_calls=[call]))


def bury_a_delivered_call(out: Path) -> None:
    letter = DeadLetter(a_delivered_id(out), "-22", "", 1, 1, 1, run_of(out))
    acknowledged(out, Batch(dead_letters=[letter]))


def publish_a_dead_letter_without_a_row(out: Path) -> None:
    edit(out, "UPDATE dead_letter SET published = 1 WHERE reason != 'no_such'")


def defer_a_delivered_call(out: Path) -> None:
    item = Deferred(a_delivered_id(out), "busy", "", 1, 1, run_of(out))
    acknowledged(out, Batch(deferred=[item]))


def forget_a_deferred_id(out: Path) -> None:
    item = Deferred("42424242", "busy", "", 1, 1, run_of(out))
    acknowledged(out, Batch(deferred=[item]))


def lose_open_calls(out: Path) -> None:
    edit(out, "DELETE FROM open_call")


def lose_dead_letters(out: Path) -> None:
    edit(out, "DELETE FROM dead_letter")


def cut_a_journal_blob(out: Path) -> None:
    edit(
        out,
        "UPDATE journal SET body = substr(body, 1, length(body) / 2) WHERE seq = ("
        "SELECT MAX(seq) FROM journal)",
    )


def miscount_a_journal_blob(out: Path) -> None:
    edit(out, "UPDATE journal SET n = n + 1")


def resize_a_journal_blob(out: Path) -> None:
    edit(out, "UPDATE journal SET bytes = bytes + 1")


def lose_a_journal_blob(out: Path) -> None:
    edit(out, "DELETE FROM journal WHERE seq = (SELECT MAX(seq) FROM journal)")


def journal_a_published_range(out: Path) -> None:
    edit(
        out,
        "UPDATE publication SET lo = (SELECT MIN(seq) FROM journal), "
        "hi = (SELECT MAX(seq) FROM journal) WHERE id = 1",
    )


def half_a_publication(out: Path) -> None:
    edit(out, "UPDATE publication SET state = 'committed' WHERE id = 1")


def forget_a_publication(out: Path) -> None:
    edit(out, "DELETE FROM publication WHERE id = 1")


def miscount_a_run(out: Path) -> None:
    edit(out, "UPDATE run SET counters = json_set(counters, '$.delivered', 1)")


def overcharge_a_run(out: Path) -> None:
    edit(out, "UPDATE run SET counters = json_set(counters, '$.\"usage.cost.USD\"', 1)")


def miscount_an_input(out: Path) -> None:
    edit(out, "UPDATE input SET bad = bad + 1")


def lose_the_list(out: Path) -> None:
    next((out / "state" / "lists").glob("list-*.parquet")).unlink()


def shorten_the_list(out: Path) -> None:
    path = next((out / "state" / "lists").glob("list-*.parquet"))
    pq.write_table(pq.read_table(path).slice(1), path)


def forget_a_run(out: Path) -> None:
    edit(out, "DELETE FROM run")


def change_a_summary(out: Path) -> None:
    path = next(out.glob("runs/*/summary.json"))
    summary = json.loads(path.read_text())
    summary["run"]["delivered"] += 1
    path.write_text(json.dumps(summary))


def open_state_to_others(out: Path) -> None:
    (out / "state").chmod(0o755)


def open_the_ledger_to_others(out: Path) -> None:
    (out / "state" / "state.db").chmod(0o640)


def open_a_snapshot_to_others(out: Path) -> None:
    next(out.glob("runs/*/state.parquet")).chmod(0o644)


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (clear_the_bit_of_a_delivered_id, "fetched_again"),
        (set_the_bit_of_a_pending_id, "resolved_nowhere"),
        (clear_a_bit_and_nothing_else, "bits"),
        (shorten_the_bits, "bits"),
        (open_a_delivered_call, "two_states"),
        (bury_a_delivered_call, "two_states"),
        (defer_a_delivered_call, "two_states"),
        (publish_a_dead_letter_without_a_row, "not_in_data"),
        (forget_a_deferred_id, "forgotten"),
        (lose_open_calls, "resolved_nowhere"),
        (lose_dead_letters, "resolved_nowhere"),
        (cut_a_journal_blob, "journal"),
        (miscount_a_journal_blob, "journal"),
        (resize_a_journal_blob, "journal"),
        (lose_a_journal_blob, "resolved_nowhere"),
        (lose_a_journal_blob, "control_totals"),
        (journal_a_published_range, "publication"),
        (half_a_publication, "publication"),
        (forget_a_publication, "publication"),
        (miscount_a_run, "control_totals"),
        (overcharge_a_run, "control_totals"),
        (miscount_an_input, "control_totals"),
        (lose_the_list, "list"),
        (shorten_the_list, "list"),
        (forget_a_run, "unknown_run"),
        (change_a_summary, "summary"),
        (open_state_to_others, "permissions"),
        (open_the_ledger_to_others, "permissions"),
        (open_a_snapshot_to_others, "permissions"),
    ],
)
def test_damage_to_the_ledger_is_found(stopped: Path, damage: Damage, kind: str) -> None:
    damage(stopped)
    audit = audited(stopped)
    assert kind in kinds(audit), audit.findings


@pytest.mark.parametrize(
    "damage", [cut_a_journal_blob, miscount_a_journal_blob, resize_a_journal_blob]
)
def test_what_follows_from_a_journal_that_is_damaged_is_not_told_as_more_damage(
    stopped: Path, damage: Damage
) -> None:
    damage(stopped)
    audit = audited(stopped)
    assert kinds(audit) == {"journal"}
    assert "not_checked" in kinds(audit, "note")


@pytest.mark.parametrize("committed", [False, True])
def test_a_publication_that_is_half_done_is_no_damage(stopped: Path, committed: bool) -> None:
    with closing(open_database(stopped / "state" / "state.db", "default")) as db:
        publication = publications.prepare(db, 1 << 40)
        assert publication is not None
        if committed:
            staged = stage(
                pieces_of(_tables(db, publication.lo - 1, publication.hi), "UTC", GROUP_RECORD),
                GROUP_RECORD,
                staging=stopped / "state" / "staging",
                state_id="0" * 32,
                publication=publication.id,
                mode=0o640,
            )
            records = [
                PartRecord(p.path, publication.id, p.rows, p.bytes, p.sha256) for p in staged
            ]
            publications.commit(db, publication.id, records)
            first = stopped / "cdr" / staged[0].path
            first.parent.mkdir(exist_ok=True)
            staged[0].staged.rename(first)
    audit = audited(stopped)
    assert kinds(audit) == set(), audit.findings
    (note,) = audit.findings
    assert note.kind == "unfinished"
    assert note.remedy == "The next run finishes it."


def _tables(db: sqlite3.Connection, after: int, hi: int) -> Iterator[pa.Table]:
    while (blob := publications.next_blob(db, after, hi)) is not None:
        after, run, body = blob
        yield normalize(journal.decode(body, run), "default", GROUP_RECORD).table


# --- the command -------------------------------------------------------------------------------


def test_command_exits_0_for_a_good_output(whole: Path) -> None:
    done = command("verify", "--deep", "--out", str(whole))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All is well" in done.stdout


def test_command_exits_6_and_tells_what_where_and_what_to_do(whole: Path) -> None:
    remove_a_file(whole)
    done = command("verify", "--out", str(whole))
    assert done.returncode == 6
    assert "DAMAGE  missing_file" in done.stdout
    assert "Restore this file from a backup" in done.stdout
    told = command("verify", "--out", str(whole), "--json")
    assert told.returncode == 6
    first, *_, last = [json.loads(line) for line in told.stdout.splitlines()]
    assert (first["type"], first["kind"]) == ("finding", "missing_file")
    assert (last["type"], last["clean"], last["damage"]) == ("verify", False, 1)


def test_command_exits_7_while_a_run_holds_the_output(whole: Path) -> None:
    with OutputLock(whole / "state" / "lock"):
        done = command("verify", "--out", str(whole))
    assert done.returncode == 7
    assert str(os.getpid()) in done.stderr


def test_command_exits_2_where_nothing_was_harvested(tmp_path: Path) -> None:
    done = command("verify", "--out", str(tmp_path / "none"))
    assert done.returncode == 2
    assert not (tmp_path / "none").exists()
