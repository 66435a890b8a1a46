"""Listings: what the vendor's list was asked for, and how far that has come.

Theory of operation.  A listing is a span of time.  Its windows are kept as they are closed, in one
transaction with the name of the file that holds what they brought, and with the day's count of
requests: so a listing that is killed goes on with the windows that are not settled.  Once all are,
the windows go, and the listing itself says what was listed and when.  Files of a listing that a
later one covers are of no use any more.

What goes on is the newest listing from then on, and as old as the oldest window that it keeps: so
it keeps none of which a newer listing has heard since, nor one that is to be asked again by now.

One that came to its end with windows that can't be settled goes on for `GOES_ON_MS`, with these
alone.  Then the span is listed from scratch: calls come late, also into the windows that are
settled.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import TypeVar

import msgspec
import zstandard

from harvester.state.between_runs import keep_requests_of_day
from harvester.state.database import get_meta, one_number, set_meta, transaction
from harvester.vendor_clock import OFFSET_S

T = TypeVar("T", bound=msgspec.Struct)

_DAY_S = 86_400
_EPOCH = date(1970, 1, 1).toordinal()
_FILTER = "list_filter"
_LOOKED = "list_looked"
_UNFIT = "list_unfit"
_COMPARISON = "list_comparison"
_DOUBTED = "taken_doubted"
_COLUMNS = (
    "id, start_s, until_s, begun_ms, ended_ms, requests, calls, unsettled, least, most, "
    "asked_from_s, asked_until_s"
)
GOES_ON_MS = 20 * 3_600_000
"""Less than a day, as a crontab counts it."""
_UNFIT_MS = 31 * 24 * 3_600_000


class ListingRecord(msgspec.Struct, frozen=True):
    """A listing of days: from `start_s` on and before `until_s`, Unix time.

    Its windows may begin before and end after them.
    """

    id: int
    start_s: int
    until_s: int
    begun_ms: int
    ended_ms: int | None
    """None: not all of it was asked for."""
    requests: int
    calls: int | None
    """Distinct ids that it brought, once it has ended."""
    unsettled: int
    """Windows that are not settled though all were asked for."""
    least: int | None = None
    most: int | None = None
    """How many calls its windows have as one, as the vendor said since the oldest of them that is
    kept was asked for: at least, and at most.  None: it has not said.
    """
    asked_from_s: int | None = None
    asked_until_s: int | None = None
    """The time that is asked for, to have all calls of the span.  None: an older version began it.
    """

    @property
    def is_settled(self) -> bool:
        """Whether all of its span was listed for sure."""
        return self.ended_ms is not None and not self.unsettled


class WindowRecord(msgspec.Struct, frozen=True):
    """A window of a listing that is closed.  `cause`: why it is not settled; empty where it is."""

    start_s: int
    until_s: int
    asked_ms: int
    total: int
    distinct: int
    cause: str


class ListedFile(msgspec.Struct, frozen=True):
    """A file of what windows brought; `path` is relative to state/listed/."""

    path: str
    rows: int


class Comparison(msgspec.Struct, frozen=True):
    """The list brings what requests for single ids bring: that was found out with so many calls."""

    compared: int
    found_ms: int
    codes: dict[str, str]
    """A terminationCode as the list spells it -> as single answers do; where both are one, nothing.
    """
    proof: str
    """Of which account at which address (`identity.proof_of`): of no other is it believed."""


def begin(
    db: sqlite3.Connection,
    span: tuple[int, int],
    now_ms: int,
    is_current: Callable[[WindowRecord], bool] = lambda _: True,
    *,
    asked: tuple[int, int] | None = None,
) -> ListingRecord:
    """Begin the listing of a span, or go on with one that is not settled.

    Windows that were not settled then are asked for again, and so are those that are not current.
    `asked`: the time to ask for; None: the span itself.  One that asked for other time before goes
    on only where that is the beginning of this; it keeps its own until `widen`.
    """
    with transaction(db):
        found = db.execute(
            "SELECT id FROM listing WHERE start_s = ? AND until_s = ? AND asked_from_s = ? "
            "AND asked_until_s <= ? AND (ended_ms IS NULL OR (unsettled > 0 AND ended_ms > ?)) "
            "ORDER BY id DESC LIMIT 1",
            (*span, *(asked or span), now_ms - GOES_ON_MS),
        ).fetchone()
        kept = [] if found is None else _still_current(db, found[0], is_current)
        number = db.execute(
            "INSERT INTO listing (start_s, until_s, begun_ms, requests, is_running, asked_from_s, "
            "asked_until_s) VALUES (?, ?, ?, 0, 1, ?, ?)",
            (*span, min((one.asked_ms for one in kept), default=now_ms), *(asked or span)),
        ).lastrowid
        assert number is not None
        if kept:
            (old,) = found
            columns = "requests, least, most, asked_from_s, asked_until_s"
            kept_of = f"SELECT {columns} FROM listing WHERE id = ?"  # noqa: S608
            db.execute(f"UPDATE listing SET ({columns}) = ({kept_of}) WHERE id = ?", (old, number))  # noqa: S608
            db.execute("UPDATE listed_file SET listing = ? WHERE listing = ?", (number, old))
            db.execute("DELETE FROM listed_window WHERE listing = ?", (old,))
            db.execute("DELETE FROM listing WHERE id = ?", (old,))
            _keep_windows(db, number, kept)
        set_meta(db, "clean", "0")
    return listing(db, number)


def _still_current(
    db: sqlite3.Connection, number: int, is_current: Callable[[WindowRecord], bool]
) -> list[WindowRecord]:
    known = windows(db, number)
    # What is unsettled as a whole has parts that are settled each.
    void = [(one.start_s, one.until_s) for one in known if one.cause]
    void += [
        (one.start_s, one.until_s) for one in all_listings(db) if one.id > number and one.is_settled
    ]
    return [
        one
        for one in known
        if is_current(one)
        and not any(start_s < one.until_s and one.start_s < until_s for start_s, until_s in void)
    ]


def _keep_windows(db: sqlite3.Connection, number: int, closed: Sequence[WindowRecord]) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO listed_window VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (number, one.start_s, one.until_s, one.asked_ms, one.total, one.distinct, one.cause)
            for one in closed
        ],
    )


def go_on(db: sqlite3.Connection, number: int) -> None:
    """More is sent for it: until `rest` whoever dies may have sent what is not kept."""
    with transaction(db):
        db.execute("UPDATE listing SET is_running = 1 WHERE id = ?", (number,))
        set_meta(db, "clean", "0")


def listing(db: sqlite3.Connection, number: int) -> ListingRecord:
    """One listing, as it is now.  Raises IndexError if there is none of that number."""
    return _listings(db, "WHERE id = ?", number)[0]


def all_listings(db: sqlite3.Connection) -> list[ListingRecord]:
    """Every listing, in the order in which they began."""
    return _listings(db, "ORDER BY id")


def listed_days(db: sqlite3.Connection) -> dict[str, int]:
    """Each day of the vendor's clock that was listed for sure -> when that began last, in ms."""
    found: dict[str, int] = {}
    for one in all_listings(db):
        if one.is_settled:
            for number in range(
                (one.start_s + OFFSET_S) // _DAY_S, (one.until_s + OFFSET_S) // _DAY_S
            ):
                found[str(date.fromordinal(_EPOCH + number))] = one.begun_ms
    return found


def windows(db: sqlite3.Connection, number: int) -> list[WindowRecord]:
    """The windows of a listing that were closed, in order of time; none once it has ended."""
    rows = db.execute(
        "SELECT start_s, until_s, asked_ms, total, distinct_ids, cause FROM listed_window "
        "WHERE listing = ? ORDER BY start_s",
        (number,),
    )
    return [WindowRecord(*row) for row in rows]


def keep(
    db: sqlite3.Connection,
    number: int,
    closed: Sequence[WindowRecord],
    file: ListedFile | None,
    *,
    requests: int,
    requests_of_day: tuple[str, int],
) -> None:
    """Keep windows, with the file of what they brought.  `requests`: sent since the last time."""
    with transaction(db):
        _keep_windows(db, number, closed)
        if file is not None:
            db.execute("INSERT INTO listed_file VALUES (?, ?, ?)", (file.path, number, file.rows))
        db.execute("UPDATE listing SET requests = requests + ? WHERE id = ?", (requests, number))
        keep_requests_of_day(db, requests_of_day)


def keep_total(db: sqlite3.Connection, number: int, least: int, most: int) -> None:
    """Keep how many calls a listing has as a whole, as the vendor says now.

    Calls come late, also into windows that are settled: so what it said before counts as well.
    """
    with transaction(db):
        db.execute(
            "UPDATE listing SET least = MIN(COALESCE(least, ?), ?), "
            "most = MAX(COALESCE(most, ?), ?) WHERE id = ?",
            (least, least, most, most, number),
        )


def widen(db: sqlite3.Connection, number: int, until_s: int, more: tuple[int, int] | None) -> None:
    """It asks for time up to `until_s` from now on, which has `more` calls, at least and at most.

    None: that is not known, so what the vendor said before is no help any more.
    """
    least, most = more or (None, None)
    with transaction(db):
        db.execute(
            "UPDATE listing SET asked_until_s = ?, least = least + ?, most = most + ? WHERE id = ?",
            (until_s, least, most, number),
        )


def keep_unsettled(db: sqlite3.Connection, number: int, whole: WindowRecord) -> None:
    """Keep that all windows of a listing are not settled as one, in the place of each."""
    with transaction(db):
        db.execute("DELETE FROM listed_window WHERE listing = ?", (number,))
        _keep_windows(db, number, [whole])


def rest(db: sqlite3.Connection, number: int) -> None:
    """It stops for now, and all that it has sent is kept."""
    with transaction(db):
        db.execute("UPDATE listing SET is_running = 0 WHERE id = ?", (number,))
        set_meta(db, "clean", "1")


def end(
    db: sqlite3.Connection, number: int, now_ms: int, *, calls: int, unsettled: int = 0
) -> None:
    """All of its span was asked for: `calls` distinct ids.

    If all windows are settled, what older ones have of it, and of seconds that it covers, goes.
    """
    with transaction(db):
        db.execute(
            "UPDATE listing SET ended_ms = ?, calls = ?, unsettled = ?, is_running = 0 "
            "WHERE id = ?",
            (now_ms, calls, unsettled, number),
        )
        set_meta(db, "clean", "1")
        if unsettled:
            return
        db.execute("DELETE FROM listed_window WHERE listing = ?", (number,))
        covered = (
            "SELECT old.id FROM listing AS old, listing AS new WHERE new.id = ? "
            "AND old.id < new.id AND old.start_s >= new.start_s AND old.until_s <= new.until_s"
        )
        db.execute(f"DELETE FROM listed_window WHERE listing IN ({covered})", (number,))  # noqa: S608
        db.execute(f"DELETE FROM listed_file WHERE listing IN ({covered})", (number,))  # noqa: S608
        db.execute(
            "DELETE FROM listing WHERE (ended_ms IS NULL OR unsettled > 0) "  # noqa: S608
            f"AND id IN ({covered})",
            (number,),
        )


def files(db: sqlite3.Connection, number: int | None = None) -> list[str]:
    """Paths of the files of a listing, or of all, relative to state/listed/."""
    if number is None:
        rows = db.execute("SELECT path FROM listed_file ORDER BY path")
    else:
        rows = db.execute("SELECT path FROM listed_file WHERE listing = ? ORDER BY path", (number,))
    return [str(path) for (path,) in rows]


def forget(db: sqlite3.Connection, paths: Sequence[str]) -> None:
    """Files are gone: the listings that they belong to are listed from scratch."""
    with transaction(db):
        for path in paths:
            owner = "SELECT listing FROM listed_file WHERE path = ?"
            db.execute(f"DELETE FROM listed_window WHERE listing IN ({owner})", (path,))  # noqa: S608
            db.execute(f"DELETE FROM listing WHERE id IN ({owner})", (path,))  # noqa: S608
            db.execute("DELETE FROM listed_file WHERE path = ?", (path,))


def close_killed(db: sqlite3.Connection) -> int:
    """How many listings were killed: since their last `keep` they may have sent more."""
    with transaction(db):
        return db.execute("UPDATE listing SET is_running = 0 WHERE is_running = 1").rowcount


def are_any_running(db: sqlite3.Connection) -> bool:
    """Whether one was killed, and nobody has closed it yet."""
    return db.execute("SELECT 1 FROM listing WHERE is_running = 1 LIMIT 1").fetchone() is not None


def keep_filter(db: sqlite3.Connection, found: msgspec.Struct) -> None:
    """Keep how the vendor cuts windows."""
    with transaction(db):
        set_meta(db, _FILTER, msgspec.json.encode(found).decode())


def keep_look(db: sqlite3.Connection, now_ms: int) -> None:
    """Keep that it is looked for, with calls of the list."""
    with transaction(db):
        set_meta(db, _LOOKED, str(now_ms))


def has_looked(db: sqlite3.Connection, now_ms: int) -> bool:
    """Whether it was looked for lately, and need not be for as long as a listing goes on; or what
    was found so did not hold, and would be found again.
    """
    noted = ((get_meta(db, _LOOKED), GOES_ON_MS), (get_meta(db, _UNFIT), _UNFIT_MS))
    return any(at_ms and abs(now_ms - int(at_ms)) < within_ms for at_ms, within_ms in noted)


def drop_filter(db: sqlite3.Connection, now_ms: int) -> None:
    """Forget what calls of the list have shown, and do not look at them for a while."""
    with transaction(db):
        db.execute("DELETE FROM meta WHERE key = ?", (_FILTER,))
        set_meta(db, _UNFIT, str(now_ms))


def list_filter(db: sqlite3.Connection, kind: type[T]) -> T | None:
    """How the vendor cuts windows; None: that was never found out."""
    kept = get_meta(db, _FILTER)
    return None if kept is None else msgspec.json.decode(kept, type=kind)


def keep_comparison(db: sqlite3.Connection, one: Comparison) -> None:
    """Keep it in place of an older one, inside whatever transaction is open."""
    set_meta(db, _COMPARISON, msgspec.json.encode(one).decode())


def comparison(db: sqlite3.Connection) -> Comparison | None:
    """The one that is kept, of whatever account and address it is; None: there is none."""
    kept = get_meta(db, _COMPARISON)
    return None if kept is None else msgspec.json.decode(kept, type=Comparison)


def drop_comparison(db: sqlite3.Connection) -> None:
    """Forget it, inside whatever transaction is open."""
    db.execute("DELETE FROM meta WHERE key = ?", (_COMPARISON,))


def keep_taken(db: sqlite3.Connection, run_id: str, ids: Sequence[str]) -> None:
    """Keep which ids a run has taken from pages, inside whatever transaction is open."""
    packed = zstandard.ZstdCompressor(level=1, write_checksum=True).compress(
        "\n".join(ids).encode()
    )
    db.execute("INSERT INTO taken (run, n, ids) VALUES (?, ?, ?)", (run_id, len(ids), packed))


def count_taken(db: sqlite3.Connection) -> int:
    """Ids that were taken from pages, in runs whose way by pages has not come to its end."""
    return one_number(db, "SELECT COALESCE(SUM(n), 0) FROM taken")


def taken_ids(db: sqlite3.Connection) -> Iterator[list[str]]:
    """Those ids, a batch at a time."""
    unpack = zstandard.ZstdDecompressor().decompress
    for (packed,) in db.execute("SELECT ids FROM taken ORDER BY seq"):
        yield unpack(packed).decode().split("\n")


def forget_taken(db: sqlite3.Connection) -> None:
    """The way by pages came to its end, and its samples showed no difference."""
    with transaction(db):
        clear_taken(db)


def clear_taken(db: sqlite3.Connection) -> None:
    """The same, inside whatever transaction is open: those ids are settled, or listed again."""
    db.execute("DELETE FROM taken")
    db.execute("DELETE FROM meta WHERE key = ?", (_DOUBTED,))


def doubt_taken(db: sqlite3.Connection) -> None:
    """A page was not what the single way says: neither counts the comparison of the two any more,
    nor what was taken from pages.
    """
    with transaction(db):
        drop_comparison(db)
        set_meta(db, _DOUBTED, "1")


def is_taken_doubted(db: sqlite3.Connection) -> bool:
    """Whether what was taken is to be fetched again, one by one."""
    return get_meta(db, _DOUBTED) == "1"


def count_doubted(db: sqlite3.Connection) -> int:
    """Of what was taken from pages, that which is to be fetched again, and is not listed yet."""
    return count_taken(db) if is_taken_doubted(db) else 0


def _listings(db: sqlite3.Connection, clause: str, *values: int) -> list[ListingRecord]:
    rows = db.execute(f"SELECT {_COLUMNS} FROM listing {clause}", values)  # noqa: S608
    return [ListingRecord(*row) for row in rows]
