"""Made-up calls as a data set, by the million and in a minute: what the reports are measured on.

Not the simulator's calls: these have tariffs that hold for weeks, busy hours and quiet Sundays, so
that a report on them looks like one.  The files are written by the harvester's own writer.
"""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.packing import pieces_of
from harvester.dataset.parts import stage
from harvester.identity import Identity

LAST_DAY = date(2026, 11, 22)
_IDENTITY = Identity(account="default", timezone="UTC", addresses=("http://127.0.0.1:8080",))
_WEEK = (100, 104, 106, 103, 98, 55, 38)
"""How busy the days of a week are, Monday first."""

# code, country, region, prefix, share of the calls, answered per cent, rate in millionths a minute
_PLACES = (
    ("India(Karnataka)", "India", "Karnataka", "9180", 22, 61, 8_400),
    ("Philippines(Manila)", "Philippines", "Manila", "632", 14, 54, 31_500),
    ("Brazil", "Brazil", None, "5511", 12, 66, 12_900),
    ("Indonesia(Jakarta)", "Indonesia", "Jakarta", "6221", 11, 57, 27_250),
    ("Mexico", "Mexico", None, "5255", 9, 63, 9_750),
    ("United Kingdom", "United Kingdom", None, "4420", 8, 71, 6_100),
    ("Nigeria(Lagos)", "Nigeria", "Lagos", "2341", 7, 43, 68_000),
    ("Germany", "Germany", None, "4930", 5, 74, 7_300),
    ("Viet Nam(Hanoi)", "Viet Nam", "Hanoi", "8424", 5, 58, 41_800),
    ("Colombia(Bogotá)", "Colombia", "Bogotá", "5760", 3, 60, 15_600),
    ("Kenya", "Kenya", None, "2542", 2, 49, 59_200),
    ("Côte d'Ivoire", "Côte d'Ivoire", None, "2252", 2, 41, 88_400),
)

_QUERY = """
WITH drawn AS (
    SELECT i, roll(i, 1, 100) AS place_roll, roll(i, 2, 100) AS answer_roll,
           roll(i, 3, 100) AS code_roll, roll(i, 4, 1000000) + 1 AS length_roll,
           roll(i, 5, 28800) + roll(i, 6, 28800) AS second_roll,
           roll(i, 7, 86400) AS any_second, roll(i, 8, 5000) AS pdd_roll,
           roll(i, 9, 1000000000) AS number_roll, roll(i, 10, 9000) AS queue_ms
    FROM range($begin, $end) t(i)
),
placed AS (
    SELECT d.*, p.*, answer_roll < p.answered_percent AS answered,
           $midnight + 1000 * (CASE WHEN code_roll < 6 THEN any_second
                                    ELSE 21600 + second_roll END)::BIGINT AS submit_ms,
           (p.rate_micros * (100 + ($day + 5 * p.number) // 17 % 5 * 3 - p.number % 3 * 2
            ) // 100)::BIGINT AS tariff
    FROM drawn d JOIN places p ON place_roll >= p.lo AND place_roll < p.hi
),
timed AS (
    SELECT *, CASE WHEN answered THEN 1 + (-ln(length_roll / 1000001.0) * 52)::INTEGER ELSE 0 END
              AS seconds,
           CASE WHEN answered THEN '200' WHEN code_roll < 30 THEN '486' WHEN code_roll < 56
           THEN '480' WHEN code_roll < 76 THEN '487' WHEN code_roll < 86 THEN '404'
           WHEN code_roll < 94 THEN '503' ELSE '603' END AS code_sent,
           CASE number % 3 WHEN 0 THEN 60 WHEN 1 THEN 20 ELSE 1 END AS step,
           submit_ms + queue_ms AS call_ms
    FROM placed
),
billed AS (
    SELECT *, (seconds + step - 1) // step * step
              + CASE WHEN $odd AND answered AND i % 389 = 0 THEN step ELSE 0 END AS charged,
           CASE WHEN $odd AND seconds > 20 AND i % 523 = 0 THEN 12 ELSE 0 END AS too_long,
           (number IN (5, 7)) <> ($odd AND i % 977 = 0) AS in_euros,
           CASE WHEN code_sent IN ('404', '503') THEN NULL
                ELSE call_ms + 900 + pdd_roll END AS ringing_ms
    FROM timed
)
SELECT '1' || lpad(i::VARCHAR, 18, '0') AS voice_id, 'default' AS account,
       prefix || lpad(number_roll::VARCHAR, 9, '0') AS callee, code,
       country AS destination_country, region AS destination_region,
       submit_ms AS submit_time, call_ms AS call_time, ringing_ms AS ringing_time,
       CASE WHEN answered THEN ringing_ms + 4000 END AS answer_time,
       CASE WHEN answered THEN ringing_ms + 4000 + 1000 * (seconds - too_long)
            ELSE call_ms + 30000 END AS hangup_time,
       480 AS utc_offset_min, seconds AS call_duration_s, charged AS charged_duration_s, answered,
       code_sent AS termination_code, code_sent::SMALLINT AS sip_code,
       CASE WHEN answered THEN 'success' ELSE 'failed' END AS termination_reason,
       ((tariff * charged // 60) * 0.000001::DECIMAL(7, 6))::DECIMAL(18, 8) AS cost,
       (tariff * 0.000001::DECIMAL(7, 6))::DECIMAL(18, 8) AS rate, 0::DECIMAL(18, 8) AS base_cost,
       CASE WHEN in_euros THEN 'EUR' ELSE 'USD' END AS currency,
       step || '+' || step AS bill_period, step AS bill_initial_s, step AS bill_increment_s,
       true AS is_final, true AS is_rated, false AS currency_presumed,
       submit_ms + 90000000 AS fetched_at, 'single' AS fetched_by,
       '20261122T010000Z-abcdef' AS run_id
FROM billed
"""


def write_calls(out: Path, count: int, *, days: int = 60, odd: bool = False) -> None:
    """About `count` calls of the `days` up to LAST_DAY, under out/cdr; what was there goes.

    `odd`: a few are billed wrongly, for an audit to find.
    """
    shutil.rmtree(out, ignore_errors=True)
    staging = out / "staging"
    staging.mkdir(parents=True)
    dates = [LAST_DAY - timedelta(days=days - 1 - n) for n in range(days)]
    busy = sum(_WEEK[day.weekday()] for day in dates)
    with duckdb.connect() as database:
        _make_places(database)
        begin = 0
        for number, day in enumerate(dates):
            end = begin + count * _WEEK[day.weekday()] // busy
            _write_day(database, out, (begin, end), number, day, odd=odd)
            begin = end
    staging.rmdir()


def _make_places(database: duckdb.DuckDBPyConnection) -> None:
    database.execute("CREATE MACRO roll(i, die, sides) AS (hash(i * 16 + die) % sides)::BIGINT")
    database.execute(
        "CREATE TABLE places (number INTEGER, code VARCHAR, country VARCHAR, region VARCHAR, "
        "prefix VARCHAR, lo INTEGER, hi INTEGER, answered_percent INTEGER, rate_micros INTEGER)"
    )
    lo = 0
    for number, (code, country, region, prefix, share, answered, rate) in enumerate(_PLACES):
        row = [number, code, country, region, prefix, lo, lo + share, answered, rate]
        database.execute("INSERT INTO places VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        lo += share


def _write_day(
    database: duckdb.DuckDBPyConnection,
    out: Path,
    ids: tuple[int, int],
    number: int,
    day: date,
    *,
    odd: bool,
) -> None:
    midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    values = {"begin": ids[0], "end": ids[1], "midnight": midnight, "day": number, "odd": odd}
    found = database.sql(_QUERY, params=values).to_arrow_table()
    columns = [
        found[field.name].cast(field.type)
        if field.name in found.column_names
        else pa.nulls(found.num_rows, field.type)
        for field in GROUP_RECORD.schema
    ]
    table = pa.table(columns, schema=GROUP_RECORD.schema)
    staged = stage(
        pieces_of([table], "UTC", GROUP_RECORD),
        GROUP_RECORD,
        staging=out / "staging",
        state_id="bench000",
        publication=number + 1,
        mode=0o640,
        identity=_IDENTITY,
    )
    for part in staged:
        target = out / "cdr" / part.path
        target.parent.mkdir(parents=True, exist_ok=True)
        part.staged.rename(target)
