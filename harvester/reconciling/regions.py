"""Three lists compared, out of core: every id of any of them in exactly one region.

Theory of operation.  V and D are joined first, into a table of DuckDB's own, which spills; each id
is in it once.  Two clocks never quite agree, and one may go by another zone: so a call of V is
placed if it stands anywhere in the dialer's file, and one that the dialer or our books have on
these days and the vendor on others (the day before or after in its list, any in the record that we
have) is left out.  Our calls then pass along it as they are read, once, and each finds its place: a
full join, of which the table is the smaller side.  An id of V or D is ours wherever we have it; any
other is one of B only if its call belongs to the days: by its submit_time as it is now, else by the
digits of its id, else by when it was first seen.

Ids are text and money is decimal all the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from harvester.analysis.current import current_sql, price_sql, priced_sql
from harvester.dataset.usage import currency_name
from harvester.inputs.id_dates import stamp_of, stamp_sql
from harvester.money import PRECISION, SCALE
from harvester.pipeline.listing.windows import Window
from harvester.reconciling.figures import Group
from harvester.reconciling.ours import PUBLISHED, WAITING
from harvester.storage.duckdb_engine import BATCH_ROWS, Room, connect, listed, pattern, trouble
from harvester.vendor_clock import OFFSET_S

_DAY_MS = 86_400_000
_PAID_NAMES = ("charged_duration_s", "cost", "currency")
_PAID = ", ".join(_PAID_NAMES)
_MS = pa.timestamp("ms", tz="UTC")
_MONEY = pa.decimal128(PRECISION, SCALE)

ROWS = pa.schema(
    [
        pa.field("voice_id", pa.string(), nullable=False),
        pa.field("submit_time", _MS),
        pa.field("sent_at", _MS),
        pa.field("state", pa.string()),
        pa.field("charged_duration_s", pa.int32()),
        pa.field("cost", _MONEY),
        pa.field("currency", pa.string()),
        pa.field("our_charged_duration_s", pa.int32()),
        pa.field("our_cost", _MONEY),
        pa.field("our_currency", pa.string()),
    ]
)
"""Of the file of a region; submit_time, seconds and cost are those of its figures."""


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Parquet files of the three lists."""

    listed: Sequence[Path]
    """Calls of the vendor's list (`listing.rows.SCHEMA`) that belong to the days."""
    files: Sequence[Path]
    """Those of cdr/."""
    changes: Sequence[Path]
    states: Path
    """What our books hold beside them (`ours.SCHEMA`)."""
    dropped: Sequence[Path]
    """Ids that left the data set."""
    dialer: Path | None
    """Ids of the dialer's file, each once (voice_id)."""
    nearby: Sequence[Path] = ()
    """Calls of the vendor's list of the day before and the day after, as far as they are listed."""
    sent: Path | None
    """When they were sent (voice_id, sent_at), in as many rows as one likes."""


class Compared:
    """The lists, joined; to be asked more than once."""

    def __init__(self, database: duckdb.DuckDBPyConnection, sources: Sources, days: Window) -> None:
        self._database = database
        _load(database, sources, days)
        self.vendor = self._count("told WHERE in_v")
        """Calls in V."""
        self.placed = self._count("told WHERE in_d")
        """Ids in D."""
        self.elsewhere = self._count("told WHERE is_elsewhere")
        """Of these, calls of V that the dialer has on other days."""
        self.rounded = 0 if sources.dialer is None else self._count(_rounded_sql())
        """Ids of the dialer's file alone that are those of calls of V with their last digits lost.
        """
        published = self._count(f"{_files([sources.states])} WHERE state = '{PUBLISHED}'")
        ours = ""
        if sources.files:
            ours = priced_sql(database, current_sql(sources.files, sources.changes))
        self._joined = _joined_sql(sources, days, ours, has_published=published > 0)

    def groups(self) -> list[Group]:
        """What calls add up to that have region, state, currency and day in common."""
        day = f"(at_ms + {OFFSET_S * 1000}) // {_DAY_MS}"
        rows = self._database.execute(
            f"SELECT region, state, currency, {day}, count(*), "  # noqa: S608 - our constants
            "coalesce(sum(charged_duration_s), 0)::BIGINT, sum(cost), count(cost), min(at_ms), "
            f"max(at_ms) FROM ({self._joined}) GROUP BY ALL"
        ).fetchall()
        return [
            Group(region, state or "", currency_name(currency), _day(number), *figures)
            for region, state, currency, number, *figures in rows
        ]

    def rows(self) -> Iterator[tuple[str, pa.Table]]:
        """All ids as tables of `ROWS`, in order of region, time and id; each of one region."""
        query = f"SELECT region, {', '.join(ROWS.names)} FROM ({self._joined}) "  # noqa: S608
        query += "ORDER BY region, at_ms, voice_id"
        for batch in self._database.sql(query).to_arrow_reader(BATCH_ROWS):
            table = pa.Table.from_batches([batch])
            for region in pc.unique(table["region"]).to_pylist():
                rows = table.filter(pc.equal(table["region"], region))
                yield region, rows.select(ROWS.names).cast(ROWS)

    def _count(self, source: str) -> int:
        rows = self._database.execute(f"SELECT count(*) FROM {source}").fetchall()  # noqa: S608
        return int(rows[0][0])


@contextmanager
def compared(sources: Sources, days: Window, room: Room) -> Iterator[Compared]:
    """The lists of `days`, joined.  Raises StoreError."""
    database = connect(room.memory_limit, room.scratch)
    try:
        database.execute("SET TimeZone = 'UTC'")
        yield Compared(database, sources, days)
    except (duckdb.Error, pa.ArrowException, OSError) as exc:
        raise trouble(exc) from exc
    finally:
        database.close()


def _load(database: duckdb.DuckDBPyConnection, sources: Sources, days: Window) -> None:
    """Make the table `told`: each id of V or D, once."""
    dropped = "false"
    if sources.dropped:
        dropped = f"voice_id IN (SELECT voice_id FROM {_files(sources.dropped)})"  # noqa: S608
    counts = f"(is_within AND {_not_nearby_sql(sources, 'voice_id')})"
    database.execute(f"CREATE TEMP TABLE v AS {_vendor_sql(sources.listed)}")
    database.execute(f"CREATE TEMP TABLE d AS {_dialer_sql(sources, days)}")
    database.execute(
        "CREATE TEMP TABLE told AS SELECT *, "  # noqa: S608 - our constants, here and below
        f"{dropped} AS is_dropped FROM (SELECT voice_id, coalesce(in_v, false) AS in_v, "
        f"coalesce(in_d, false) AS in_d, submit_time, {_PAID}, sent_at, "
        f"in_d AND NOT is_within AS is_elsewhere FROM v FULL JOIN d USING (voice_id) "
        f"WHERE in_v OR {counts})"
    )
    database.execute("DROP TABLE v")
    database.execute("DROP TABLE d")
    if sources.files and sources.dialer is not None:
        ours = current_sql(sources.files, sources.changes)
        database.execute(
            "DELETE FROM told WHERE in_d AND NOT in_v AND voice_id IN (SELECT voice_id "  # noqa: S608
            f"FROM {ours} SEMI JOIN (SELECT voice_id FROM told WHERE in_d AND NOT in_v) "
            f"USING (voice_id) WHERE NOT {_between_sql('epoch_ms(submit_time)', days)})"
        )


def _vendor_sql(files: Sequence[Path]) -> str:
    """Each call once, as last seen: one whose time has changed may be in two listings."""
    if not files:
        return (
            "SELECT '' AS voice_id, true AS in_v, NULL::TIMESTAMPTZ AS submit_time, "
            "0 AS charged_duration_s, 0::DECIMAL(38, 8) AS cost, '' AS currency WHERE false"
        )
    # What stands where the price will stand is none; of a call that goes on, whatever.
    cost = price_sql("is_rated AND is_final")
    if len(files) == 1:
        return (
            f"SELECT true AS in_v, voice_id, submit_time, charged_duration_s, {cost} AS cost, "  # noqa: S608
            f"currency FROM {_files(files)}"
        )
    return (
        "SELECT true AS in_v, unnest(arg_max(call, asked_at)) FROM "  # noqa: S608
        f"(SELECT call, call.asked_at AS asked_at, call.voice_id AS voice_id FROM (SELECT "
        f"{{voice_id: voice_id, submit_time: submit_time, charged_duration_s: charged_duration_s, "
        f"cost: {cost}, currency: currency, asked_at: asked_at}} AS call "
        f"FROM {_files(files)})) GROUP BY voice_id"
    )


def _dialer_sql(sources: Sources, days: Window) -> str:
    """The ids of the dialer's file, and whether not every row of one was sent on other days."""
    columns = "voice_id, true AS in_d, NULL::TIMESTAMPTZ AS sent_at, true AS is_within"
    if sources.dialer is None:
        return f"SELECT {columns} FROM (SELECT '' AS voice_id) WHERE false"  # noqa: S608
    ids = _files([sources.dialer])
    if sources.sent is None:
        return f"SELECT {columns} FROM {ids}"  # noqa: S608
    within = _between_sql("epoch_ms(sent_at)", days)
    return (
        "SELECT voice_id, true AS in_d, sent_at, coalesce(counts, true) AS is_within "  # noqa: S608
        f"FROM {ids} LEFT JOIN (SELECT voice_id, "
        f"min(sent_at) FILTER ({within}) AS sent_at, bool_or(sent_at IS NULL OR ({within})) "
        f"AS counts FROM {_files([sources.sent])} GROUP BY voice_id) USING (voice_id)"
    )


def _rounded_sql() -> str:
    """The ids of `told` that only the dialer has, and that a number of another type has left of
    an id which only the vendor has: a spreadsheet's, of 15 digits; a double's value; or the
    shortest text that stands for a double.
    """
    number, size = "try_cast(voice_id AS DOUBLE)", "length(voice_id)::INTEGER"
    shortest = f"replace(split_part(({number})::VARCHAR, 'e', 1), '.', '')"
    forms = [
        f"rpad(left(voice_id, 15), {size}, '0')",
        f"printf('%.0f', {number})",
        f"rpad({shortest}, {size}, '0')",
    ]
    lost = " UNION ".join(
        f"SELECT {form} AS voice_id FROM told WHERE in_v AND NOT in_d "  # noqa: S608
        "AND regexp_full_match(voice_id, '[1-9][0-9]{16,30}')"
        for form in forms
    )
    return f"told SEMI JOIN ({lost}) USING (voice_id) WHERE in_d AND NOT in_v"


def _not_nearby_sql(sources: Sources, voice_id: str) -> str:
    """SQL: whether the vendor does not have the call on the day before or after instead."""
    if not sources.nearby:
        return "true"
    nearby = _files(sources.nearby)
    return f"{voice_id} NOT IN (SELECT voice_id FROM {nearby})"  # noqa: S608


def _between_sql(ms: str, days: Window) -> str:
    return f"({ms} >= {days.start_s * 1000} AND {ms} < {days.until_s * 1000})"


def _joined_sql(sources: Sources, days: Window, delivered: str, *, has_published: bool) -> str:
    """Every id with its region, state, time and money, as the figures have them.

    delivered: our records, as SQL; "" where there are none.
    at_ms: when it was submitted, or sent, or as its digits have it, or when we first saw it.
    """
    digits = stamp_sql("id")
    digits_ms = f"epoch_ms(strptime({digits}, '%y%m%d%H%M%S')) - {OFFSET_S * 1000}"
    within = _within_sql(digits, days)
    # Where the list has no price yet, and we have the record, that is what the call costs.
    theirs = (
        "in_v AND (told.cost IS NOT NULL OR ours.cost IS NULL AND ours.charged_duration_s IS NULL)"
    )
    mine = {
        name: f"CASE WHEN {theirs} THEN told.{name} ELSE ours.{name} END" for name in _PAID_NAMES
    }
    paid = ", ".join(f"{value} AS {name}" for name, value in mine.items())
    our = ", ".join(f"ours.{name} AS our_{name}" for name in _PAID_NAMES)
    return f"""
        SELECT *, id AS voice_id,
            CASE
                WHEN submit_time IS NOT NULL THEN epoch_ms(submit_time)
                WHEN sent_at IS NOT NULL THEN epoch_ms(sent_at)
                ELSE coalesce({digits_ms}, epoch_ms(seen_at))
            END AS at_ms
        FROM (
            SELECT coalesce(told.voice_id, ours.voice_id) AS id,
                told.voice_id IS NOT NULL AS is_told,
                concat(
                    CASE WHEN in_v THEN 'V' END,
                    CASE WHEN ours.voice_id IS NOT NULL OR is_dropped THEN 'B' END,
                    CASE WHEN in_d THEN 'D' END
                ) AS region,
                coalesce(ours.state, CASE WHEN is_dropped THEN 'dropped' END) AS state,
                coalesce(told.submit_time, ours.submit_time) AS submit_time,
                sent_at, seen_at, {paid}, {our}
            FROM ({_ours_sql(sources, delivered, has_published=has_published)}) AS ours
            FULL JOIN told ON ours.voice_id = told.voice_id
        )
        WHERE is_told OR ({within} AND {_not_nearby_sql(sources, "id")})
    """  # noqa: S608 - our constants


def _within_sql(digits: str, days: Window) -> str:
    """SQL: whether a call of ours belongs to the days."""
    first, until = (datetime.fromtimestamp(at, UTC) for at in (days.start_s, days.until_s))
    return f"""CASE
        WHEN submit_time IS NOT NULL THEN {_between_sql("epoch_ms(submit_time)", days)}
        WHEN {digits} IS NOT NULL
            THEN {digits} >= '{stamp_of(first)}' AND {digits} < '{stamp_of(until)}'
        ELSE coalesce({_between_sql("epoch_ms(seen_at)", days)}, true)
    END"""


def _ours_sql(sources: Sources, delivered: str, *, has_published: bool) -> str:
    """Our calls, each once, with the state that it is in."""
    states = _files([sources.states])
    columns = f"submit_time, seen_at, {_PAID}"
    odd = f"('{WAITING}', '{PUBLISHED}')"
    query = f"SELECT voice_id, state, {columns} FROM {states} WHERE state NOT IN {odd}"  # noqa: S608
    if delivered:
        query += f"""
            UNION ALL
            SELECT voice_id, 'delivered', submit_time, fetched_at AS seen_at, {_PAID}
            FROM {delivered}
        """  # noqa: S608
    if has_published:
        dead = f"SELECT voice_id FROM {states} WHERE state = '{PUBLISHED}'"  # noqa: S608
        state = f"CASE WHEN voice_id IN ({dead}) THEN 'dead' ELSE state END AS state"
        query = f"SELECT * REPLACE ({state}) FROM ({query})"  # noqa: S608
    return f"""
        {query}
        UNION ALL
        SELECT voice_id, 'pending', NULL, min(seen_at), NULL, NULL, NULL FROM {states}
        WHERE state = '{WAITING}'
            AND voice_id NOT IN (SELECT voice_id FROM {states} WHERE state <> '{WAITING}')
        GROUP BY voice_id
    """  # noqa: S608


def _day(number: int | None) -> str:
    return "" if number is None else str(date(1970, 1, 1) + timedelta(days=number))


def _files(paths: Sequence[Path]) -> str:
    return f"read_parquet({listed(map(pattern, paths))}, hive_partitioning = false)"
