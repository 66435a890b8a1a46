"""state.db and the lock on real, broken and foreign disks."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

import pytest

from harvester.errors import AlreadyRunning, ConfigError, StoreError
from harvester.state import publications, run_records, work_lists
from harvester.state.acknowledge import acknowledge
from harvester.state.database import get_meta, open_database, set_meta, store_errors
from harvester.state.lock import OutputLock, read_holder
from harvester.state.read_only import view_ledger
from harvester.state.values import Batch, Entry, FileStamp, PartRecord
from harvester.state.writer import LedgerWriter
from tests.support import outputs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "out" / "state").mkdir(parents=True)
    return tmp_path / "out" / "state" / "state.db"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB; only root can make one."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no right to mount a small file system")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def batch(no: int, size: int = 4_000) -> Batch:
    answer = b'{"status":0,"data":{"x":"%s"}}' % Random(no).randbytes(size // 2).hex().encode()
    return Batch(entries=[Entry(f"{no}-{n}", 1, True, answer) for n in range(10)])


def keep(db: sqlite3.Connection, what: Batch) -> int:
    return acknowledge(
        db, "run-1", what, work_list=None, counters={}, requests_of_day=("2026-09-02", 1)
    )


def test_a_new_ledger_is_private_durable_and_exclusive(path: Path) -> None:
    with closing(open_database(path, "acme")) as db:
        run_records.begin_run(db, "run-1", 1)
        keep(db, batch(1))
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert db.execute("PRAGMA locking_mode").fetchone() == ("exclusive",)
        modes = {p.name: p.stat().st_mode & 0o777 for p in path.parent.iterdir()}
        assert set(modes.values()) == {0o600}, modes
        assert len(str(get_meta(db, "state_id"))) == 32


def test_what_was_committed_is_there_when_it_is_opened_again(path: Path) -> None:
    with closing(open_database(path, "acme")) as db:
        state_id = get_meta(db, "state_id")
        keep(db, batch(1))
    with closing(open_database(path, "acme")) as db:
        assert get_meta(db, "state_id") == state_id
        assert publications.journal_size(db)[0] == 10


def test_a_ledger_made_before_a_column_was_there_gets_it_and_keeps_its_rows(path: Path) -> None:
    with closing(open_database(path, "acme")) as db:
        db.execute("ALTER TABLE input_file DROP COLUMN ctime_ns")
        db.execute("INSERT INTO input_file VALUES ('/ids.txt', 1, 2, 3, 'hash')")
    for _ in range(2):
        with closing(open_database(path, "acme")) as db:
            # A ctime that no file has: such a stamp is not trusted.
            assert work_lists.known_stamps(db) == {
                "/ids.txt": FileStamp("/ids.txt", 1, 2, 3, 0, "hash")
            }
    with closing(open_database(path, "acme")) as db:
        new = FileStamp("/ids.txt", 1, 2, 3, 4, "other")
        work_lists.remember_stamps(db, [new])
        assert work_lists.known_stamps(db) == {"/ids.txt": new}


def columns(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as db:
        return {row[1] for row in db.execute("PRAGMA table_info(input_file)")}


def test_before_a_migration_the_ledger_is_copied_as_it_was(path: Path) -> None:
    with closing(open_database(path, "acme")) as db:
        db.execute("ALTER TABLE input_file DROP COLUMN ctime_ns")
        db.execute("INSERT INTO input_file VALUES ('/ids.txt', 1, 2, 3, 'hash')")
        set_meta(db, "mark", "as it was")
    copy = path.with_name("state.db.before-2.15")
    open_database(path, "acme").close()
    assert "ctime_ns" in columns(path)
    assert "ctime_ns" not in columns(copy)
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as db:
        assert get_meta(db, "mark") == "as it was"
        assert db.execute("SELECT path FROM input_file").fetchall() == [("/ids.txt",)]
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert {one.name for one in path.parent.iterdir()} == {path.name, copy.name}


def number_of_version_1(path: Path) -> int:
    """A ledger of version 1 with two live files; returns the highest number it ever gave out."""
    with closing(open_database(path, "acme")) as db:
        for _ in range(2):
            keep(db, batch(1))
            publication = publications.prepare(db, 1)
            assert publication is not None
            part = PartRecord(f"d/{publication.id}", publication.id, 10, 99, "hash")
            publications.commit(db, publication.id, [part])
            publications.make_live(db, publication)
        keep(db, batch(1))
        publications.prepare(db, 1)
        publications.drop_prepared(db)
    outputs.make_version_1(path)
    return 3


def test_a_ledger_of_version_1_is_made_anew_with_all_that_it_had(path: Path) -> None:
    newest = number_of_version_1(path)
    with closing(open_database(path, "acme")) as db:
        assert get_meta(db, "schema") == "2"
        parts = publications.current_parts(db, Path("cdr").joinpath)
        assert parts == [PartRecord(f"d/{n}", n, 10, 99, "hash") for n in (1, 2)]
        assert [one.kind for one in publications.all_publications(db)] == ["append"] * 2
        again = publications.prepare(db, 1)
        assert again is not None
        assert again.id == newest + 1, "a number that was dropped is never used again"
    with closing(open_database(path.with_name("fresh.db"), "acme")) as fresh:
        forms = fresh.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    with closing(sqlite3.connect(path)) as db:
        found = db.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
    assert [(n, " ".join(s.split())) for n, s in found if s] == [
        (n, " ".join(s.split())) for n, s in forms if s
    ]


def test_a_ledger_of_version_1_is_viewed_without_a_change(path: Path, tmp_path: Path) -> None:
    number_of_version_1(path)
    before = path.read_bytes()
    with view_ledger(path, tmp_path) as db:
        assert [part.rewrite for part in publications.current_parts(db, Path("cdr").joinpath)] == [
            None
        ] * 2
    assert path.read_bytes() == before
    assert not list(tmp_path.glob("tmp*"))


@pytest.mark.parametrize("statement", ["CREATE TABLE other (x)", "CREATE TABLE meta (key, value)"])
def test_another_programs_database_is_not_viewed(tmp_path: Path, statement: str) -> None:
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as db:
        db.execute(statement)
    with pytest.raises(StoreError, match="no state database") as refused, view_ledger(other, None):
        pass
    assert refused.value.code == "state.foreign"


def test_a_migration_that_fails_leaves_version_1_whole(path: Path) -> None:
    number_of_version_1(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE older (x)")  # its second step has no place to work
    with pytest.raises(StoreError, match="older"):
        open_database(path, "acme")
    with closing(sqlite3.connect(path)) as db:
        assert get_meta(db, "schema") == "1"
        assert db.execute("SELECT count(*) FROM file").fetchone() == (2,)
        db.execute("DROP TABLE older")
    with closing(open_database(path, "acme")) as db:
        assert len(publications.current_parts(db, Path("cdr").joinpath)) == 2


def test_only_a_migration_makes_a_copy(path: Path) -> None:
    open_database(path, "acme").close()
    open_database(path, "acme").close()
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_copy_that_cannot_be_made_leaves_the_ledger_as_it_was(path: Path) -> None:
    with closing(open_database(path, "acme")) as db:
        db.execute("ALTER TABLE input_file DROP COLUMN ctime_ns")
    path.with_name("state.db.before-2.15").mkdir()
    with pytest.raises(StoreError, match=r"state\.db failed: Is a directory"):
        open_database(path, "acme")
    assert "ctime_ns" not in columns(path)


def test_another_accounts_output_is_refused_and_left_alone(path: Path) -> None:
    open_database(path, "acme").close()
    with pytest.raises(ConfigError, match=r"belongs to account 'acme', not 'other'.*--out"):
        open_database(path, "other")
    open_database(path, "acme").close()


def test_a_ledger_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    with closing(open_database(path, "acme")) as db:
        set_meta(db, "schema", "99")
    with pytest.raises(StoreError, match=r"newer cdr-harvester.*version 99.*install the newer"):
        open_database(path, "acme")
    with closing(sqlite3.connect(path)) as db:
        assert get_meta(db, "schema") == "99"


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_text("not a database, but long enough to have a header of a hundred bytes " * 9)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"not a database.*Restore state/ from a backup"):
        open_database(path, "acme")
    assert path.read_bytes() == before


def test_another_programs_database_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE songs (title TEXT)")
    with pytest.raises(StoreError, match="not a state database of cdr-harvester: move it away"):
        open_database(path, "acme")


def test_a_damaged_ledger_is_looked_at_after_an_unclean_end(path: Path) -> None:
    with closing(open_database(path, "acme")) as db:
        run_records.begin_run(db, "run-1", 1)
        for no in range(20):
            keep(db, batch(no))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = Random(7).randbytes(len(content) - len(content) // 2)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"(damaged|malformed).*[Rr]estore state/ from a backup"):
        open_database(path, "acme")


def test_a_ledger_that_another_program_has_open_says_so(path: Path) -> None:
    open_database(path, "acme").close()
    with closing(sqlite3.connect(path, isolation_level=None)) as browser:
        browser.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match=r"locked.*Another program has it open: close that"):
            open_database(path, "acme")


def test_a_folder_that_is_not_there_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file"):
        open_database(tmp_path / "nowhere" / "state.db", "acme")


def test_a_ledger_on_a_read_only_mount_says_what_to_do(small_disk: Path) -> None:
    path = small_disk / "state.db"
    open_database(path, "acme").close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(StoreError, match=r"Look at the disk .*mounted read-only"):
        open_database(path, "acme")


def test_a_full_disk_keeps_what_was_acknowledged_and_goes_on_when_there_is_room(
    small_disk: Path,
) -> None:
    path = small_disk / "state.db"
    filler = small_disk / "filler"
    filler.write_bytes(bytes(300_000))
    with closing(open_database(path, "acme")) as db:
        kept = fill(db, path)
        assert kept > 0
        assert not db.in_transaction
        assert publications.journal_size(db)[0] == kept
        filler.unlink()
        keep(db, batch(0))
    with closing(open_database(path, "acme")) as db:
        assert publications.journal_size(db)[0] == kept + 10


def fill(db: sqlite3.Connection, path: Path) -> int:
    """Acknowledge until the disk is full; how many answers were kept."""
    for no in range(1_000):
        try:
            with store_errors(path):
                keep(db, batch(no))
        except StoreError as exc:
            if re.search(r"full.*Free some space.*acknowledged is safe", str(exc)):
                return no * 10
            raise
    raise AssertionError("a disk without end")


LIMITED = """
import resource, sys
from pathlib import Path
from harvester.state.database import open_database, store_errors
from harvester.errors import StoreError
from tests.run.test_state_store import batch, keep
path = Path(sys.argv[1])
db = open_database(path, "acme")
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
kept = 0
try:
    with store_errors(path):
        while True:
            keep(db, batch(kept))
            kept += 10
except StoreError as exc:
    print(kept)
    print(exc)
"""


def test_a_write_that_the_system_refuses_keeps_what_was_acknowledged(path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    kept, message = ended.stdout.splitlines()
    assert "disk I/O error" in message
    assert "Look at the disk (its free space, its quota" in message
    with closing(open_database(path, "acme")) as db:
        assert publications.journal_size(db)[0] == int(kept)


def test_the_second_who_wants_the_lock_is_told_who_holds_it(tmp_path: Path) -> None:
    with OutputLock(tmp_path / "lock"):
        with pytest.raises(AlreadyRunning, match=rf"process {os.getpid()} on ") as told:
            OutputLock(tmp_path / "lock")
        assert told.value.exit_code == 7
        holder = read_holder(tmp_path / "lock")
        assert holder is not None
        assert holder.pid == os.getpid()
    assert read_holder(tmp_path / "lock") is None, "whoever gave it back is not named any more"
    with OutputLock(tmp_path / "lock"):
        pass


def test_a_holder_with_a_shorter_name_than_the_last_one_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b'{"pid":1,"host":"' + b"h" * 500 + b'","since":"then"}')
    with OutputLock(tmp_path / "lock"):
        holder = read_holder(tmp_path / "lock")
        assert holder is not None
        assert holder.pid == os.getpid()


def test_the_lock_file_is_private(tmp_path: Path) -> None:
    with OutputLock(tmp_path / "lock"):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from harvester.state.lock import OutputLock\n"
        "lock = OutputLock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning, match=f"process {other.pid} "):
            OutputLock(path)
        other.send_signal(signal.SIGKILL)
        other.wait()
        with OutputLock(path):
            holder = read_holder(path)
            assert holder is not None
            assert holder.pid == os.getpid()


HOLDING = (
    "import sys, time; from pathlib import Path; from harvester.state.lock import OutputLock\n"
    "with OutputLock(Path(sys.argv[1]), sys.argv[2]):\n"
    "    print('held', flush=True); sys.stdin.readline()\n"
    "print('released', flush=True); sys.stdin.readline()"
)


@contextmanager
def held_by(command: str, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock for `command` until it is given a line."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(path), command],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        try:
            yield other
        finally:
            other.kill()


def end_soon(holder: subprocess.Popen[bytes]) -> None:
    """Have it give the lock back in a moment."""
    stdin = holder.stdin
    assert stdin is not None

    def end() -> None:
        time.sleep(0.3)  # a threading.Timer never goes off under libfaketime
        stdin.write(b"\n")
        stdin.flush()

    threading.Thread(target=end, daemon=True).start()


@pytest.mark.parametrize("reader", ["export", "verify", "refetch --dry-run", "status"])
@pytest.mark.parametrize("waiter", ["run", "publish", "status"])
def test_a_reader_is_waited_for(tmp_path: Path, reader: str, waiter: str) -> None:
    path = tmp_path / "lock"
    with held_by(reader, path) as other:
        end_soon(other)
        with OutputLock(path, waiter, wait_s=30):
            holder = read_holder(path)
            assert holder is not None
            assert (holder.pid, holder.command) == (os.getpid(), waiter)


def test_a_reader_that_takes_longer_is_named(tmp_path: Path) -> None:
    with held_by("verify", tmp_path / "lock") as other:
        with pytest.raises(AlreadyRunning, match="`harvester verify` reads this output") as told:
            OutputLock(tmp_path / "lock", wait_s=0.2)
        assert f"process {other.pid} on " in str(told.value)
        assert "end it, then run the same command again" in str(told.value)


@pytest.mark.parametrize("writer", ["run", "refetch", "publish", "rebuild"])
def test_a_run_is_not_waited_for(tmp_path: Path, writer: str) -> None:
    with held_by(writer, tmp_path / "lock"):
        began = time.monotonic()
        with pytest.raises(AlreadyRunning, match=f"another run .* for `harvester {writer}`"):
            OutputLock(tmp_path / "lock", wait_s=3600)
        assert time.monotonic() - began < 60


def test_a_lock_that_was_given_back_names_nobody(tmp_path: Path) -> None:
    with OutputLock(tmp_path / "lock"):
        pass
    assert (tmp_path / "lock").read_bytes() == b""
    assert read_holder(tmp_path / "lock") is None


def test_what_a_killed_run_left_in_the_lock_does_not_pass_for_a_run_that_holds_it(
    tmp_path: Path,
) -> None:
    """Between taking the lock and writing its name, a reader stands behind a dead run's."""
    path = tmp_path / "lock"
    with held_by("run", path) as dead:
        pass
    dead.wait()
    text = path.read_bytes()
    assert str(dead.pid).encode() in text
    with held_by("export", path) as other:
        path.write_bytes(text)
        end_soon(other)
        with OutputLock(path, wait_s=30):
            pass


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b'{"pid":"x"}', b"[]"])
def test_a_lock_file_that_nobody_can_read_names_nobody(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "lock").write_bytes(text)
    assert read_holder(tmp_path / "lock") is None
    with OutputLock(tmp_path / "lock"):
        (tmp_path / "lock").write_bytes(text)
        with pytest.raises(AlreadyRunning, match="another process holds"):
            OutputLock(tmp_path / "lock", wait_s=0.1)


def test_a_lock_that_can_not_be_made_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"can't be made.*Check that the output folder"):
        OutputLock(tmp_path / "nowhere" / "lock")


async def test_the_writers_thread_tells_sqlites_errors_as_store_errors(path: Path) -> None:
    with closing(open_database(path, "acme")) as db:
        writer = LedgerWriter(db, path)
        try:
            with pytest.raises(
                StoreError, match=r"the state database .*state.db failed: no such table"
            ):
                await writer.call(lambda db: db.execute("SELECT * FROM songs"))
            assert await writer.call(publications.journal_size) == (0, 0)
        finally:
            writer.close()
