"""Parts on a real disk, a recording one and a broken one: complete, durable, never replaced."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.answers.answer import Answer
from harvester.dataset import files as dataset
from harvester.dataset import packing, parts
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.normalize import normalize
from harvester.dataset.packing import pieces_of
from harvester.dataset.parts import StagedPart
from harvester.dataset.usage import UsageTotals
from harvester.errors import StoreError
from harvester.storage import disk

STATE = "0a1b2c3d4e5f"
MODE = 0o640


class RecordingDisk(disk.RealDisk):
    """A real disk that writes down what is asked of it, and fails where it is told to."""

    def __init__(self, fail_at: str = "", error: int = errno.EIO) -> None:
        self.calls: list[str] = []
        self._fail_at = fail_at
        self._error = error

    def note(self, call: str) -> None:
        self.calls.append(call)
        if self._fail_at and call.startswith(self._fail_at):
            raise OSError(self._error, os.strerror(self._error))

    def create(self, path: Path, mode: int) -> BinaryIO:
        self.note(f"create {path.name}")
        return super().create(path, mode)

    def sync_file(self, file: BinaryIO) -> None:
        self.note(f"sync_file {Path(file.name).name}")
        super().sync_file(file)

    def sync_folder(self, path: Path) -> None:
        self.note(f"sync_folder {path.name}")
        super().sync_folder(path)

    def make_folder(self, path: Path, mode: int) -> None:
        self.note(f"make_folder {path.name}")
        super().make_folder(path, mode)

    def move(self, source: Path, target: Path) -> None:
        self.note(f"move {target.name}")
        super().move(source, target)


class FullDisk(disk.RealDisk):
    """Room for `room` bytes a file."""

    def __init__(self, room: int) -> None:
        self._room = room

    def create(self, path: Path, mode: int) -> BinaryIO:
        file: Any = super().create(path, mode)
        write, room = file.write, self._room

        class Full:
            name = file.name

            def __enter__(self) -> Any:
                return self

            def __exit__(self, *exc: object) -> None:
                file.close()

            def write(self, content: bytes) -> int:
                if file.tell() + len(content) > room:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return int(write(content))

        return Full()  # type: ignore[return-value]


def table(records: Sequence[tuple[str, str, str]], run_id: str = "run-1") -> pa.Table:
    """Rows of (voice_id, submit time, cost)."""
    answers = []
    for voice_id, submitted, cost in records:
        fields = {"voiceId": voice_id, "submitTime": submitted, "cost": cost, "callDuration": 2}
        body = json.dumps({"status": "0", "data": fields}).encode()
        answers.append(Answer(voice_id, body, 1_790_000_000_000, run_id, is_final=True))
    return normalize(answers, "acme", GROUP_RECORD).table


TWO_DAYS = [
    ("30", "2026-09-02T07:59:59+08:00", "0.30"),  # 1 September in UTC
    ("20", "2026-09-02T08:00:00+08:00", "0.20"),
    ("10", "2026-09-02T23:00:00+08:00", "0.10"),
    ("05", "", "0.05"),
]


def stage(
    folder: Path, *tables: pa.Table, publication: int = 7, on: disk.Disk | None = None
) -> list[StagedPart]:
    folder.mkdir(exist_ok=True)
    return parts.stage(
        pieces_of(tables, "UTC", GROUP_RECORD),
        GROUP_RECORD,
        staging=folder,
        state_id=STATE,
        publication=publication,
        mode=MODE,
        tool="cdr-harvester test",
        disk=on,
    )


def publish(staged: Sequence[StagedPart], cdr: Path, on: disk.Disk | None = None) -> None:
    for part in staged:
        parts.place(part.staged, cdr / part.path, sha256=part.sha256, mode=MODE, disk=on)
    parts.sync_folders([cdr / part.path for part in staged], cdr, disk=on)


# --- staging ----------------------------------------------------------------------------------


def test_each_date_becomes_one_file_sorted_by_voice_id(tmp_path: Path) -> None:
    staged = stage(tmp_path / "staging", table(TWO_DAYS[:2]), table(TWO_DAYS[2:]))
    assert [(part.path, part.rows) for part in staged] == [
        ("submit_date=2026-09-01/part-0a1b2c3d-7-0.parquet", 1),
        ("submit_date=2026-09-02/part-0a1b2c3d-7-1.parquet", 2),
        ("submit_date=__HIVE_DEFAULT_PARTITION__/part-0a1b2c3d-7-2.parquet", 1),
    ]
    assert pq.read_table(staged[1].staged)["voice_id"].to_pylist() == ["10", "20"]


def test_rows_from_many_tables_are_sorted_whole(tmp_path: Path) -> None:
    count = 3 * packing.PIECE_ROWS + 100
    ids = [f"{n * 7_919 % count:06}" for n in range(count)]
    rows = [(voice_id, "2026-09-02T12:00:00Z", f"0.{voice_id}") for voice_id in ids]
    tables = [table(rows[start : start + 5_000]) for start in range(0, count, 5_000)]
    (part,) = stage(tmp_path / "staging", *tables)
    found = pq.read_table(part.staged, columns=["voice_id", "cost"])
    assert found["voice_id"].to_pylist() == sorted(ids)
    assert found["cost"].to_pylist() == [Decimal(f"0.{voice_id}") for voice_id in sorted(ids)]


def test_a_staged_part_knows_its_size_hash_and_mode(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        staged = stage(tmp_path / "staging", table(TWO_DAYS))
    finally:
        os.umask(old)
    for part in staged:
        content = part.staged.read_bytes()
        assert part.bytes == len(content)
        assert part.sha256 == hashlib.sha256(content).hexdigest()
        assert part.sha256 == dataset.file_sha256(part.staged)
        assert stat.S_IMODE(part.staged.stat().st_mode) == MODE
        assert dataset.verify_part(part.staged, GROUP_RECORD) == part.rows


def test_every_file_is_synced_and_then_the_staging_folder(tmp_path: Path) -> None:
    recorder = RecordingDisk()
    stage(tmp_path / "staging", table(TWO_DAYS), on=recorder)
    names = [f"part-0a1b2c3d-7-{k}.parquet" for k in range(3)]
    assert recorder.calls == [
        *(f"{call} {name}" for name in names for call in ("create", "sync_file")),
        "sync_folder staging",
    ]


def test_the_same_rows_are_staged_again_as_the_same_files(tmp_path: Path) -> None:
    first = stage(tmp_path / "a", table(TWO_DAYS))
    again = stage(tmp_path / "a", table(TWO_DAYS))
    assert first == again


def test_nothing_to_stage_is_no_file(tmp_path: Path) -> None:
    assert stage(tmp_path / "staging") == []
    assert stage(tmp_path / "staging", table([])) == []


def test_the_file_is_encoded_as_designed(tmp_path: Path) -> None:
    rows = [(f"{n:09}", "2026-09-02T12:00:00+08:00", "0.1") for n in range(1000)]
    big = pa.concat_tables([table(rows)] * 132)
    (part,) = stage(tmp_path / "staging", big)
    with pq.ParquetFile(part.staged) as file:
        meta = file.metadata
        sizes = [meta.row_group(n).num_rows for n in range(meta.num_row_groups)]
        assert sizes == [65_536, 65_536, 928]
        columns = {
            (column := meta.row_group(0).column(n)).path_in_schema: column
            for n in range(meta.num_columns)
        }
        assert "submit_date" not in columns
        assert list(columns) == GROUP_RECORD.schema.names
        assert {column.compression for column in columns.values()} == {"ZSTD"}
        assert all(column.has_offset_index for column in columns.values())
        for name in ("submit_time", "hangup_time", "fetched_at"):
            assert "DELTA_BINARY_PACKED" in columns[name].encodings
        for name in ("code", "termination_code", "currency", "rate"):
            assert "RLE_DICTIONARY" in columns[name].encodings
        for name in ("voice_id", "callee", "voice_file_id", "extra"):
            assert "RLE_DICTIONARY" not in columns[name].encodings
        assert file.schema_arrow.equals(GROUP_RECORD.schema)
        footer = {k.decode(): v.decode() for k, v in meta.metadata.items() if k[:4] == b"cdr."}
    assert footer == {
        "cdr.schema_version": "2",
        "cdr.tool": "cdr-harvester test",
        "cdr.publication": "7",
        "cdr.rows": "132000",
        "cdr.presumed_currency": "0",
        "cdr.min_voice_id": "000000000",
        "cdr.max_voice_id": "000000999",
    }


@pytest.mark.parametrize("room", [0, 3, 4_000])
def test_a_full_disk_names_the_file_and_the_remedy(tmp_path: Path, room: int) -> None:
    with pytest.raises(StoreError, match=r"part-0a1b2c3d-7-0\.parquet.*free some space") as caught:
        stage(tmp_path / "staging", table(TWO_DAYS), on=FullDisk(room))
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("call", ["create", "sync_file", "sync_folder staging"])
def test_staging_on_a_broken_disk_is_a_store_error(tmp_path: Path, call: str) -> None:
    with pytest.raises(StoreError, match="kernel log"):
        stage(tmp_path / "staging", table(TWO_DAYS), on=RecordingDisk(fail_at=call))


# --- partition dates --------------------------------------------------------------------------


def test_the_partition_is_the_date_in_the_configured_time_zone() -> None:
    rows = table(TWO_DAYS)
    assert packing.submit_dates(rows, "UTC", GROUP_RECORD.partition).to_pylist() == [
        "2026-09-01",
        "2026-09-02",
        "2026-09-02",
        "__HIVE_DEFAULT_PARTITION__",
    ]
    assert (
        packing.submit_dates(rows, "America/New_York", GROUP_RECORD.partition).to_pylist()[:2]
        == ["2026-09-01"] * 2
    )
    assert (
        packing.submit_dates(rows, "Asia/Shanghai", GROUP_RECORD.partition).to_pylist()[:3]
        == ["2026-09-02"] * 3
    )


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001
        min_size=1,
    ),
    # St. John's changed its clocks at one minute past midnight, Monrovia was 44:30 behind.
    st.sampled_from(["UTC", "America/St_Johns", "Africa/Monrovia", "Asia/Kathmandu", "Asia/Tokyo"]),
)
def test_the_date_is_that_of_the_zones_own_clock(instants: list[datetime], zone: str) -> None:
    whole = [at.replace(microsecond=at.microsecond // 1000 * 1000) for at in instants]
    column = pa.table({"submit_time": pa.array(whole, pa.timestamp("ms", "UTC"))})
    expected = [at.astimezone(ZoneInfo(zone)).date().isoformat() for at in whole]
    assert packing.submit_dates(column, zone, GROUP_RECORD.partition).to_pylist() == expected


@pytest.mark.parametrize(
    ("zone", "start"),
    [
        # The clocks went back at 00:01, so that night had two midnights.
        ("America/St_Johns", datetime(2009, 11, 1, 2, 0, tzinfo=UTC)),
        # Until 1972 midnight was at 00:44:30 UTC.
        ("Africa/Monrovia", datetime(1971, 6, 1, 0, 0, tzinfo=UTC)),
    ],
)
def test_midnight_is_exact_to_the_second(zone: str, start: datetime) -> None:
    instants = [start + timedelta(seconds=s) for s in range(0, 7200, 7)]
    column = pa.table({"submit_time": pa.array(instants, pa.timestamp("ms", "UTC"))})
    assert packing.submit_dates(column, zone, GROUP_RECORD.partition).to_pylist() == [
        at.astimezone(ZoneInfo(zone)).date().isoformat() for at in instants
    ]


# --- placing ----------------------------------------------------------------------------------


def test_parts_are_placed_before_any_folder_is_synced(tmp_path: Path) -> None:
    staged = stage(tmp_path / "staging", table(TWO_DAYS[:3]))
    recorder = RecordingDisk()
    publish(staged, tmp_path / "out" / "cdr", on=recorder)
    assert [call for call in recorder.calls if not call.startswith("make_folder")] == [
        "move part-0a1b2c3d-7-0.parquet",
        "move part-0a1b2c3d-7-1.parquet",
        "sync_folder submit_date=2026-09-01",
        "sync_folder submit_date=2026-09-02",
        "sync_folder cdr",
        "sync_folder out",
    ]
    assert list((tmp_path / "staging").iterdir()) == []


def test_folders_may_be_listed_by_whoever_may_read_the_files(tmp_path: Path) -> None:
    cdr = tmp_path / "out" / "cdr"
    publish(stage(tmp_path / "staging", table(TWO_DAYS[:1])), cdr)
    assert stat.S_IMODE(cdr.stat().st_mode) == 0o750
    assert stat.S_IMODE((cdr / "submit_date=2026-09-01").stat().st_mode) == 0o750
    assert [parts.folder_mode(mode) for mode in (0o600, 0o644, 0o660)] == [0o700, 0o755, 0o770]


def test_a_file_that_is_there_is_never_replaced(tmp_path: Path) -> None:
    (part,) = stage(tmp_path / "staging", table(TWO_DAYS[:1]))
    final = tmp_path / "cdr" / part.path
    final.parent.mkdir(parents=True)
    final.write_bytes(b"somebody's")
    with pytest.raises(StoreError, match="never replaced"):
        parts.place(part.staged, final, sha256=part.sha256, mode=MODE)
    assert final.read_bytes() == b"somebody's"
    assert part.staged.exists()


def test_a_file_is_not_replaced_where_there_are_no_hard_links(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        disk._move_unlinked(source, target)
    target.unlink()
    disk._move_unlinked(source, target)
    assert (target.read_bytes(), source.exists()) == (b"new", False)


@pytest.mark.parametrize("crash", ["after the move", "between link and unlink"])
def test_placing_again_after_a_crash_is_content(tmp_path: Path, crash: str) -> None:
    (part,) = stage(tmp_path / "staging", table(TWO_DAYS[:1]))
    final = tmp_path / "cdr" / part.path
    final.parent.mkdir(parents=True)
    final.hardlink_to(part.staged)
    if crash == "after the move":
        part.staged.unlink()
    parts.place(part.staged, final, sha256=part.sha256, mode=MODE)
    assert dataset.holds(final, part.sha256)
    assert not part.staged.exists()


def test_a_part_that_is_nowhere_is_said_to_be_nowhere(tmp_path: Path) -> None:
    (part,) = stage(tmp_path / "staging", table(TWO_DAYS[:1]))
    part.staged.unlink()
    with pytest.raises(StoreError, match="made again from the journal"):
        parts.place(part.staged, tmp_path / "cdr" / part.path, sha256=part.sha256, mode=MODE)


@pytest.mark.parametrize("call", ["make_folder", "move", "sync_folder submit", "sync_folder cdr"])
def test_placing_on_a_broken_disk_is_a_store_error(tmp_path: Path, call: str) -> None:
    staged = stage(tmp_path / "staging", table(TWO_DAYS[:1]))
    broken = RecordingDisk(fail_at=call, error=errno.ENOSPC)
    with pytest.raises(StoreError, match="free some space"):
        publish(staged, tmp_path / "cdr", on=broken)


# --- readers ----------------------------------------------------------------------------------


def test_all_readers_see_the_same_rows(tmp_path: Path) -> None:
    cdr = tmp_path / "cdr"
    publish(stage(tmp_path / "staging", table(TWO_DAYS)), cdr)
    more = [("40", "2026-09-02T20:00:00+08:00", "0.40")]
    publish(stage(tmp_path / "staging", table(more), publication=8), cdr)
    expected = [
        ("05", None, Decimal("0.05")),
        ("10", "2026-09-02", Decimal("0.10")),
        ("20", "2026-09-02", Decimal("0.20")),
        ("30", "2026-09-01", Decimal("0.30")),
        ("40", "2026-09-02", Decimal("0.40")),
    ]
    for found in readings(cdr):
        rows = sorted((row["voice_id"], row["submit_date"], row["cost"]) for row in found)
        assert [(i, str(d) if d else None, c) for i, d, c in rows] == expected


def readings(cdr: Path) -> list[list[dict[str, Any]]]:
    found = [pads.dataset(cdr, partitioning="hive").to_table().to_pylist()]
    for glob in ("**/*.parquet", "*/*.parquet"):
        query = f"SELECT * FROM read_parquet('{cdr}/{glob}', hive_partitioning=true)"
        relation = duckdb.sql(query)
        assert relation is not None
        found.append(relation.to_arrow_table().to_pylist())
        scan = pl.scan_parquet(f"{cdr}/{glob}", hive_partitioning=True)
        found.append(scan.collect().to_arrow().to_pylist())
    return found


def test_every_column_reads_back_as_it_was_written(tmp_path: Path) -> None:
    golden = sorted((Path(__file__).parents[1] / "golden").glob("*.toml"))
    bodies = [tomllib.loads(path.read_text())["body"].encode() for path in golden]
    answers = [
        Answer(f"{n:03}", body, 1_836_000_000_000 + n, "run-1", is_final=True)
        for n, body in enumerate(bodies)
    ]
    rows = normalize(answers, "acme", GROUP_RECORD).table
    cdr = tmp_path / "cdr"
    publish(stage(tmp_path / "staging", rows), cdr)
    for found in readings(cdr):
        found.sort(key=lambda row: str(row["voice_id"]))
        assert [
            {name: row[name] for name in GROUP_RECORD.schema.names} for row in found
        ] == rows.to_pylist()


# --- what lies under cdr/ ---------------------------------------------------------------------


def test_the_listing_tells_parts_from_strangers(tmp_path: Path) -> None:
    cdr = tmp_path / "cdr"
    assert dataset.list_parts(cdr, GROUP_RECORD) == dataset.Listing({}, [])
    staged = stage(tmp_path / "staging", table(TWO_DAYS))
    publish(staged, cdr)
    for stranger in ("x.parquet", "submit_date=2026-09-01/part-x.parquet.tmp", "_delta_log/0.json"):
        (cdr / stranger).parent.mkdir(exist_ok=True)
        (cdr / stranger).write_bytes(b"x")
    (cdr / "submit_date=2026-09-01/part-0a1b2c3d-9-0.parquet").symlink_to(cdr / staged[0].path)
    # Not what systems leave wherever they like, unless a reader would take it for data.
    for left in (".DS_Store", "submit_date=2026-09-01/.nfs00000000017a2b", "._x.parquet"):
        (cdr / left).write_bytes(b"x")
    listing = dataset.list_parts(cdr, GROUP_RECORD)
    assert listing.parts == {part.path: part.bytes for part in staged}
    assert listing.foreign == [
        "._x.parquet",
        "_delta_log/0.json",
        "submit_date=2026-09-01/part-0a1b2c3d-9-0.parquet",
        "submit_date=2026-09-01/part-x.parquet.tmp",
        "x.parquet",
    ]


def test_a_damaged_part_is_a_store_error(tmp_path: Path) -> None:
    (part,) = stage(tmp_path / "staging", table(TWO_DAYS[:1]))
    whole = part.staged.read_bytes()
    part.staged.write_bytes(whole[:-20])
    for look in (
        lambda path: dataset.verify_part(path, GROUP_RECORD),
        lambda path: dataset.totals([path], "run-1", GROUP_RECORD),
    ):
        with pytest.raises(StoreError, match="can't be read as Parquet"):
            look(part.staged)
    assert not dataset.holds(part.staged, part.sha256)
    with pytest.raises(StoreError, match="No such file"):
        dataset.file_sha256(tmp_path / "gone")


def test_a_parquet_file_of_another_tool_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"voice_id": ["1"]}), tmp_path / "x.parquet")
    with pytest.raises(StoreError, match="another tool"):
        dataset.verify_part(tmp_path / "x.parquet", GROUP_RECORD)


# --- totals -----------------------------------------------------------------------------------


def test_totals_add_up_one_run_to_the_last_digit(tmp_path: Path) -> None:
    one = table([(f"{n:04}", "2026-09-02T12:00:00Z", "0.00000001") for n in range(1000)])
    other = table([("x", "2026-09-02T13:00:00Z", "9999999999.99999999")], run_id="run-2")
    none = table([("y", "2026-09-03T12:00:00Z", "")], run_id="run-2")
    staged = stage(tmp_path / "staging", one, other, none)
    files = [part.staged for part in staged]
    assert dataset.totals(files, "run-1", GROUP_RECORD) == UsageTotals(1000, 2000, 0, {"USD": 1000})
    assert dataset.totals(files, "run-2", GROUP_RECORD) == UsageTotals(2, 4, 0, {"USD": 10**18 - 1})
    assert dataset.totals(files, "run-3", GROUP_RECORD) == UsageTotals()
    assert dataset.totals_of(one, "run-1", GROUP_RECORD) + dataset.totals_of(
        pa.concat_tables([other, none]), "run-2", GROUP_RECORD
    ) == dataset.totals(files, "run-1", GROUP_RECORD) + dataset.totals(files, "run-2", GROUP_RECORD)


def test_totals_keep_currencies_apart(tmp_path: Path) -> None:
    bodies = [
        b'{"data":{"cost":"1"}}',
        b'{"data":{"costEur":2}}',
        b'{"data":{"cost":3,"currency":"EUR"}}',
        b'{"data":{"cost":4,"currency":false}}',
        b'{"data":{"cost":"?","currency":"GBP"}}',
    ]
    answers = [Answer(str(n), body, 0, "run-1", is_final=True) for n, body in enumerate(bodies)]
    staged = stage(tmp_path / "staging", normalize(answers, "acme", GROUP_RECORD).table)
    expected = {"USD": 1 * 10**8, "EUR": 5 * 10**8, "-": 4 * 10**8}
    assert dataset.totals([part.staged for part in staged], "run-1", GROUP_RECORD).cost == expected


@pytest.mark.parametrize("count", [1, 63, 64, 65])
def test_of_many_currencies_each_has_its_sum(tmp_path: Path, count: int) -> None:
    """Nobody pays in so many; a record that is anybody's must not cost more than its row."""
    names = [f"C{chr(65 + n // 26)}{chr(65 + n % 26)}" for n in range(count)]
    bodies = [
        json.dumps({"data": {"cost": str(n + 1), "currency": name}}).encode()
        for name in names
        for n in range(3)
    ]
    answers = [Answer(str(n), body, 0, "run-1", is_final=True) for n, body in enumerate(bodies)]
    found = dataset.totals_of(normalize(answers, "acme", GROUP_RECORD).table, "run-1", GROUP_RECORD)
    assert found.cost == dict.fromkeys(names, 6 * 10**8)
    assert found.rows == 3 * count


def three_runs(path: Path, *, write_statistics: bool) -> Path:
    """A part with the rows of three runs, each in a row group of its own."""
    rows = [table([(f"{n}", "2026-09-02T12:00:00Z", "1")], run_id=f"run-{n}") for n in (1, 2, 3)]
    with pq.ParquetWriter(path, rows[0].schema, write_statistics=write_statistics) as writer:
        for group in rows:
            writer.write_table(group)
    return path


@pytest.mark.parametrize("write_statistics", [True, False])
def test_totals_are_those_of_the_run_wherever_its_rows_are(
    tmp_path: Path, write_statistics: bool
) -> None:
    path = three_runs(tmp_path / "a.parquet", write_statistics=write_statistics)
    for n in (1, 2, 3):
        assert dataset.totals([path], f"run-{n}", GROUP_RECORD) == UsageTotals(
            1, 2, 0, {"USD": 10**8}
        )
    assert (
        dataset.totals([path], "run-0", GROUP_RECORD)
        == dataset.totals([path], "run-4", GROUP_RECORD)
        == UsageTotals()
    )


def test_rows_that_cannot_be_read_are_told_by_the_run_that_needs_them(tmp_path: Path) -> None:
    """Of the other runs nothing is read: a night's books do not cost the whole data set."""
    path = three_runs(tmp_path / "a.parquet", write_statistics=True)
    group = pq.read_metadata(path).row_group(1)
    content = bytearray(path.read_bytes())
    for column in range(group.num_columns):
        start = group.column(column).data_page_offset
        content[start : start + 8] = b"\xff" * 8
    path.write_bytes(content)
    for run_id in ("run-1", "run-3"):
        assert dataset.totals([path], run_id, GROUP_RECORD).rows == 1
    with pytest.raises(StoreError, match=r"a\.parquet can't be read as Parquet"):
        dataset.totals([path], "run-2", GROUP_RECORD)


def test_the_newest_id_is_the_last_of_the_first_file_that_names_one(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.parquet" for name in ("without", "a", "b")]
    for path, footer in zip(files, ({}, {"1": "1"}, {"2": "2"}), strict=True):
        with pq.ParquetWriter(path, pa.schema([("x", pa.int8())]), store_schema=False) as writer:
            for voice_id in footer:
                writer.add_key_value_metadata({"cdr.max_voice_id": voice_id})
    assert dataset.newest_id(files) == "1"
    assert dataset.newest_id(reversed(files)) == "2"
    assert dataset.newest_id(files[:1]) is None
    with pytest.raises(StoreError, match=r"none\.parquet can't be read as Parquet"):
        dataset.newest_id([tmp_path / "none.parquet"])


class Linkless(type(Path())):  # type: ignore[misc]
    """A path on a file system whose hard links fail with this error."""

    error: int

    def hardlink_to(self, target: Path) -> None:
        raise OSError(self.error, os.strerror(self.error), str(self))


@pytest.mark.parametrize("error", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def test_a_file_is_renamed_where_there_are_no_hard_links(tmp_path: Path, error: int) -> None:
    source, target = tmp_path / "source", Linkless(tmp_path / "target")
    target.error = error
    source.write_bytes(b"x")
    disk.RealDisk().move(source, target)
    assert (target.read_bytes(), source.exists()) == (b"x", False)


def test_any_other_error_of_a_move_is_told(tmp_path: Path) -> None:
    source, target = tmp_path / "source", Linkless(tmp_path / "target")
    target.error = errno.EIO
    source.write_bytes(b"x")
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        disk.RealDisk().move(source, target)
    assert (source.read_bytes(), target.exists()) == (b"x", False)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "quota is used up"),
        (errno.EACCES, "correct the owner or the mode"),
        (errno.EPERM, "correct the owner or the mode"),
        (errno.EROFS, "remount it"),
        (errno.EIO, "kernel log"),
        (errno.EBUSY, "Look at the disk"),
    ],
)
def test_an_error_of_the_disk_is_told_with_its_remedy(error: int, told: str) -> None:
    found = str(disk.store_error("writing", Path("/x/y"), OSError(error, os.strerror(error))))
    assert found.startswith(f"writing /x/y: {os.strerror(error)}. ")
    assert told in found
    assert "odd. Look at the disk" in str(disk.store_error("writing", Path("/x"), OSError("odd")))
