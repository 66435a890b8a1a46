"""The dialer's file: the same ids and times whatever its form."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.config import load
from harvester.errors import SourceError
from harvester.pipeline.listing.days import of_days
from harvester.reconciling.dialer import Ours, Placed, read_dialer, time_ms, times_ms
from harvester.vendor_clock import CLOCK

DAYS = of_days(date(2026, 11, 1), date(2026, 11, 30))
NOON = datetime(2026, 11, 3, 12, tzinfo=CLOCK)
NOON_MS = int(NOON.timestamp() * 1000)
IDS = [f"2611031200000000{n:04}" for n in range(30)]


def read(path: Path, tmp_path: Path, *, time_column: str | None = "sent at") -> Placed:
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    named = Ours(file=str(path), column="call id", time_column=time_column)
    return read_dialer(load().config, named, DAYS, scratch)


def sent(found: Placed) -> list[tuple[str, int | None]]:
    assert found.sent is not None
    rows = pq.read_table(found.sent).to_pylist()
    return sorted(
        (row["voice_id"], row["sent_at"] and int(row["sent_at"].timestamp() * 1000)) for row in rows
    )


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-11-03 12:00:00", NOON_MS),
        ("2026-11-03T12:00:00", NOON_MS),
        ("2026-11-03 12:00", NOON_MS),
        ("2026/11/03 12:00:00", NOON_MS),
        (" 2026-11-03 12:00:00 ", NOON_MS),
        ("2026-11-03T04:00:00Z", NOON_MS),
        ("2026-11-03T05:00:00+01:00", NOON_MS),
        ("2026-11-03 12:00:00.250", NOON_MS + 250),
        ("2026-11-03", NOON_MS - 12 * 3_600_000),
        (str(NOON_MS // 1000), NOON_MS),
        (f"{NOON_MS // 1000}.5", NOON_MS + 500),
        (str(NOON_MS), NOON_MS),
        ("2026-02-30 12:00:00", None),
        ("11/03/2026 12:00", None),
        ("soon", None),
        ("", None),
    ],
)
def test_times_are_read_in_the_forms_that_exports_have(text: str, ms: int | None) -> None:
    assert time_ms(text) == ms
    assert times_ms(pa.array([text.encode()])).to_pylist() == [ms]


@given(
    st.lists(
        st.one_of(
            st.none(),
            st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)).map(  # noqa: DTZ001
                lambda at: f"{at:%Y-%m-%d %H:%M:%S}"
            ),
            st.sampled_from(["2026-02-30 12:00:00", "2026-11-03T04:00:00Z", "", "x"]),
        ),
        max_size=6,
    )
)
def test_a_column_of_times_is_read_as_each_of_them(texts: list[str | None]) -> None:
    column = pa.array([None if text is None else text.encode() for text in texts], pa.binary())
    told = [None if text is None else time_ms(text) for text in texts]
    assert times_ms(column).to_pylist() == told


def written(path: Path, rows: list[tuple[str, str]]) -> None:
    """These ids and times in the form of the ending."""
    header = ["nr", "call id", "to", "sent at"]
    cells = [[str(n), one, "44", at] for n, (one, at) in enumerate(rows)]
    match path.name.partition(".")[2]:
        case "csv":
            path.write_text("\n".join(",".join(row) for row in [header, *cells]))
        case "tsv":
            path.write_text("\n".join("\t".join(row) for row in [header, *cells]))
        case "quoted.csv":
            quoted = [[f'"{cell}"' for cell in row] for row in [header, *cells]]
            path.write_bytes(
                b"\xef\xbb\xbf" + "\r\n".join(";".join(row) for row in quoted).encode()
            )
        case "lines.csv":
            broad = [[*row[:2], '"44\n45, or 46"', row[3]] for row in cells]
            path.write_text("\n".join(",".join(row) for row in [header, *broad]) + "\n")
        case "csv.gz":
            text = "\n".join(",".join(row) for row in [header, *cells])
            path.write_bytes(gzip.compress(text.encode()))
        case "jsonl":
            path.write_text(
                "\n".join(json.dumps(dict(zip(header, row, strict=True))) for row in cells)
            )
        case "numbers.jsonl":
            path.write_text(
                "".join(f'{{"call id": {one}, "sent at": "{at}"}}\n' for one, at in rows)
            )
        case "parquet":
            columns = {name: [row[n] for row in cells] for n, name in enumerate(header)}
            pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize(
    "form",
    ["csv", "tsv", "quoted.csv", "lines.csv", "csv.gz", "jsonl", "numbers.jsonl", "parquet"],
)
def test_every_form_gives_the_same_ids_and_times(tmp_path: Path, form: str) -> None:
    rows = [(one, f"{NOON + timedelta(seconds=n):%Y-%m-%d %H:%M:%S}") for n, one in enumerate(IDS)]
    rows.append(rows[0])
    path = tmp_path / f"dialer.{form}"
    written(path, rows)
    found = read(path, tmp_path)
    assert (found.lines, found.bad, found.double, found.distinct) == (31, 0, 1, 30)
    assert sent(found) == sorted([*((one, NOON_MS + n * 1000) for n, one in enumerate(IDS)),
                                  (IDS[0], NOON_MS)])  # fmt: skip
    assert pq.read_table(found.ids)["voice_id"].to_pylist() == IDS


@pytest.mark.parametrize(
    "times",
    [
        pa.array([NOON] * 30, pa.timestamp("us", tz="UTC")),
        pa.array([NOON.astimezone(UTC)] * 30, pa.timestamp("ns", tz="Europe/Berlin")),
        pa.array([NOON.replace(tzinfo=None)] * 30, pa.timestamp("ms")),
        pa.array([NOON_MS] * 30, pa.int64()),
        pa.array([NOON_MS // 1000] * 30, pa.int32()),
        pa.array(["2026-11-03 12:00:00"] * 30).dictionary_encode(),
    ],
    ids=["instant", "elsewhere", "naive", "ms", "seconds", "dictionary"],
)
def test_a_column_of_parquet_may_hold_times_of_any_type(tmp_path: Path, times: pa.Array) -> None:
    path = tmp_path / "dialer.parquet"
    pq.write_table(pa.table({"call_id": IDS, "sent_at": times}), path)
    assert sent(read(path, tmp_path)) == [(one, NOON_MS) for one in IDS]


def test_days_of_parquet_are_days_of_the_vendors_clock(tmp_path: Path) -> None:
    path = tmp_path / "dialer.parquet"
    days = pa.array([date(2026, 11, 3)] * 30)
    pq.write_table(pa.table({"call_id": IDS, "sent_at": days}), path)
    assert sent(read(path, tmp_path))[0] == (IDS[0], NOON_MS - 12 * 3_600_000)


def test_a_column_that_is_no_time_at_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dialer.parquet"
    odd = pa.array([[1]] * 30)
    pq.write_table(pa.table({"call_id": IDS, "sent_at": odd}), path)
    with pytest.raises(SourceError) as refused:
        read(path, tmp_path)
    assert refused.value.code == "input.column_type"


def test_a_few_rows_without_a_time_count_and_are_told(tmp_path: Path) -> None:
    many = [f"26110312000000{n:06}" for n in range(200)]
    rows = [(one, "2026-11-03 12:00:00") for one in many]
    rows[7] = (many[7], "")
    written(tmp_path / "dialer.csv", rows)
    found = read(tmp_path / "dialer.csv", tmp_path)
    assert (found.undated, dict(sent(found))[many[7]]) == (1, None)
    rows[8:11] = [(one, "?") for one in many[8:11]]
    written(tmp_path / "dialer.csv", rows)
    with pytest.raises(SourceError) as refused:
        read(tmp_path / "dialer.csv", tmp_path)
    assert refused.value.code == "input.no_time"


@pytest.mark.parametrize(
    ("lines", "bad", "is_good"), [(200, 2, True), (200, 3, False), (10, 1, False)]
)
def test_one_bad_line_in_a_hundred_is_let_pass_and_no_more(
    tmp_path: Path, lines: int, bad: int, *, is_good: bool
) -> None:
    good = [f"26110312000000{n:06}" for n in range(lines - bad)]
    (tmp_path / "dialer.txt").write_text("\n".join([*good, *["no id"] * bad]))
    if is_good:
        found = read(tmp_path / "dialer.txt", tmp_path, time_column=None)
        assert (found.lines, found.bad, found.distinct, found.double) == (lines, bad, len(good), 0)
        return
    with pytest.raises(SourceError, match="1 % by which it can be reconciled") as refused:
        read(tmp_path / "dialer.txt", tmp_path, time_column=None)
    assert refused.value.code == "input.bad_share"


def test_what_the_inputs_may_have_of_bad_lines_is_nothing_to_it(tmp_path: Path) -> None:
    """An input may be told to have none, or however many: the dialer's file may have 1 %."""
    good = [f"26110312000000{n:06}" for n in range(1, 199)]
    (tmp_path / "good.txt").write_text("\n".join([*good, "no id", "no id"]))
    strict = load(None, flags={"input.max_bad_share": 0.0}).config
    found = read_dialer(strict, Ours(file=str(tmp_path / "good.txt")), DAYS, tmp_path)
    assert (found.lines, found.bad, found.distinct) == (200, 2, 198)
    # 15 digits and zeros, six in two hundred: a spreadsheet's.
    rounded = [f"2611031200{n:05}00000" for n in range(1, 7)]
    (tmp_path / "rounded.txt").write_text("\n".join([*good[:194], *rounded]))
    loose = load(None, flags={"input.max_bad_share": 1.0}).config
    with pytest.raises(SourceError) as refused:
        read_dialer(loose, Ours(file=str(tmp_path / "rounded.txt")), DAYS, tmp_path)
    assert refused.value.code == "input.rounded_ids"


@pytest.mark.parametrize(("undated", "is_good"), [(2, True), (3, False)])
def test_one_row_in_a_hundred_may_have_no_time(
    tmp_path: Path, undated: int, *, is_good: bool
) -> None:
    rows = [(f"26110312000000{n:06}", "2026-11-03 12:00:00") for n in range(200)]
    rows[:undated] = [(one, "soon") for one, _ in rows[:undated]]
    written(tmp_path / "dialer.csv", rows)
    if is_good:
        assert read(tmp_path / "dialer.csv", tmp_path).undated == undated
        return
    with pytest.raises(SourceError) as refused:
        read(tmp_path / "dialer.csv", tmp_path)
    assert refused.value.code == "input.no_time"


def test_times_of_other_days_alone_refuse_a_file_and_one_of_these_days_saves_it(
    tmp_path: Path,
) -> None:
    last, next_ = "2026-11-30 23:59:59", "2026-12-01 00:00:00"
    written(tmp_path / "dialer.csv", [(one, next_) for one in IDS])
    with pytest.raises(SourceError, match=r"covers 2026-12-01\.\.2026-12-01") as refused:
        read(tmp_path / "dialer.csv", tmp_path)
    assert refused.value.code == "input.other_days"
    written(tmp_path / "dialer.csv", [(one, next_) for one in IDS[1:]] + [(IDS[0], last)])
    assert read(tmp_path / "dialer.csv", tmp_path).distinct == len(IDS)


@pytest.mark.parametrize("greatest", ["9223372036854775807", "9007199254740992", "2147483647"])
def test_an_id_that_is_the_greatest_number_of_its_type_was_cut(
    tmp_path: Path, greatest: str
) -> None:
    (tmp_path / "dialer.txt").write_text("\n".join([*IDS, greatest]))
    with pytest.raises(SourceError) as refused:
        read(tmp_path / "dialer.txt", tmp_path, time_column=None)
    assert refused.value.code == "input.rounded_ids"


def test_an_id_counts_however_young_it_is(tmp_path: Path) -> None:
    """What the dialer placed a second ago is no less placed for `input.min_age_s`."""
    config = load(None, flags={"input.min_age_s": 86_400.0}).config
    now = datetime.now(UTC).astimezone(CLOCK)
    ids = [f"{now:%y%m%d%H%M%S}{n:07}" for n in range(30)]
    (tmp_path / "dialer.txt").write_text("\n".join(ids))
    days = of_days(now.date() - timedelta(days=1), now.date() + timedelta(days=1))
    found = read_dialer(config, Ours(file=str(tmp_path / "dialer.txt")), days, tmp_path)
    assert found.distinct == 30
    assert pq.read_table(found.ids).num_rows == 30


def test_a_quote_that_is_never_closed_costs_no_other_time(tmp_path: Path) -> None:
    rows = [f"{one},44,2026-11-03 12:00:00" for one in IDS * 5]
    rows[3] = f'{IDS[3]},"44,2026-11-03 12:00:00'
    (tmp_path / "dialer.csv").write_text("\n".join(["call id,to,sent at", *rows]))
    found = read(tmp_path / "dialer.csv", tmp_path)
    assert found.bad == 1
    assert len(sent(found)) == len(rows) - 1


@pytest.mark.parametrize("day", ["2026-10-31", "2026-12-01"])
def test_digits_of_other_days_refuse_a_file_without_times(tmp_path: Path, day: str) -> None:
    digits = day.replace("-", "")[2:]
    (tmp_path / "dialer.txt").write_text("\n".join(f"{digits}120000{n:08}" for n in range(30)))
    with pytest.raises(SourceError, match=f"{day}..{day}") as refused:
        read(tmp_path / "dialer.txt", tmp_path, time_column=None)
    assert refused.value.code == "input.other_days"
    mixed = [f"{digits}120000{n:08}" for n in range(30)] + [IDS[0]]
    (tmp_path / "dialer.txt").write_text("\n".join(mixed))
    assert read(tmp_path / "dialer.txt", tmp_path, time_column=None).distinct == 31
    (tmp_path / "dialer.txt").write_text("\n".join(mixed[:20]))
    with pytest.raises(SourceError, match=r"20(?:26-10-31|26-12-01)"):
        read(tmp_path / "dialer.txt", tmp_path, time_column=None)
    undated = [f"call-{n}" for n in range(30)] + mixed[:19]
    (tmp_path / "dialer.txt").write_text("\n".join(undated))
    assert read(tmp_path / "dialer.txt", tmp_path, time_column=None).distinct == 49
