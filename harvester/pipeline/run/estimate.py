"""What asking a number of ids should come to, by what the last runs of this output took.

`plan` tells it beforehand; a run writes it down when it starts, so that its summary can set the
plan against what became of it.
"""

from __future__ import annotations

import math
import sqlite3
from pathlib import Path

import msgspec

from harvester.config import Output, Pace
from harvester.pipeline.engine.progress import retries
from harvester.state import publications, run_records
from harvester.storage.output import Output as OutputPaths

# What an output that has no records yet will take, measured with made-up ones (bytes a record in
# the data set, by how many records of how many days):
#
#            1,000   20,000   200,000
#    1 day      98       50        47
#    7 days    173       57        48
#   45 days    694       92        53
#
# That is some 48 bytes a record, which grow a little where a file is small, and 15,000 bytes a file
# (its footer, dictionaries and statistics), of which a publication makes one a day.  How many days
# the ids are of isn't known here: five are allowed for, too much for one night and too little
# for a backfill of a thousand ids.  All of the above but the 694 are within half and twice of it.
BYTES_PER_ROW = 60
BYTES_PER_FILE = 15_000
FILES = 5
# The journal keeps answers as they came, packed by the commit: 84 to 99 bytes each by the 500, 112
# to 132 by the 25 that half a second brings at 50 a second; and SQLite's pages are not all full.
BYTES_IN_JOURNAL = 140
_BYTES_PER_LISTED = 30
_RUNS_MEASURED = 10


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What `to_fetch` ids should come to, at the full pace and without a budget."""

    to_fetch: int
    requests: int
    retry_share: float
    """Requests per id in the last runs of this output; 1 where there were none."""
    seconds: float
    data_bytes: int
    """What the records will take as Parquet."""
    working_bytes: int
    """What is needed beside it while it works."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What `--max-duration` and `pace.per_day` allow of an estimate."""

    requests: int
    """In the next run."""
    left_after: int
    """Ids that the next run leaves over."""
    runs: int
    """Runs that it takes, one a day; 1 without a budget."""
    seconds: float
    """From the start of the first run to the end of the last, one a day."""


def estimate(
    db: sqlite3.Connection | None, pace: Pace, output: Output, to_fetch: int, listed: int
) -> Estimate:
    """`db` None: nothing was ever asked.  `listed`: rows of the list that will be in force."""
    share = _retry_share(db)
    requests = round(to_fetch * share)
    return Estimate(
        to_fetch=to_fetch,
        requests=requests,
        retry_share=round(share, 3),
        seconds=requests / pace.rate_per_s,
        data_bytes=_data_bytes(db, OutputPaths(Path(output.dir)), to_fetch),
        working_bytes=_working_bytes(output, to_fetch, listed),
    )


def budget(
    whole: Estimate,
    *,
    rate_per_s: float,
    per_day: int | None,
    sent_today: int,
    max_duration_s: float | None,
) -> Budget:
    """How far the budgets let the next run get, and how many runs the whole takes.

    `sent_today`: requests that count against `per_day` already.
    """
    day = math.inf if per_day is None else per_day
    night = math.inf if max_duration_s is None else max(1.0, max_duration_s * rate_per_s)
    a_run = min(day, night)
    first = min(a_run, max(0, day - sent_today), whole.requests)
    rest = whole.requests - first
    more = math.ceil(rest / a_run) if rest else 0
    last = rest - (more - 1) * a_run if more else first
    asked = whole.to_fetch if not rest else math.floor(first / max(1.0, whole.retry_share))
    return Budget(
        requests=round(first),
        left_after=whole.to_fetch - asked,
        runs=1 + more,
        seconds=more * 86_400 + last / rate_per_s,
    )


def _retry_share(db: sqlite3.Connection | None) -> float:
    """Requests per id, as the last runs had it."""
    if db is None:
        return 1.0
    # A run without a delivery was refused or met an outage: it tells nothing of a usual night.
    runs = [run for run in run_records.last_runs(db, _RUNS_MEASURED) if run.delivered]
    requests = sum(run.requests for run in runs)
    # By the retries, not by the ids: a run that is cut short has begun ids that it never asked.
    first_asks = requests - sum(sum(retries(run.counters).values()) for run in runs)
    return max(1.0, requests / first_asks) if first_asks > 0 else 1.0


def _data_bytes(db: sqlite3.Connection | None, output: OutputPaths, to_fetch: int) -> int:
    """As the records that are there already, or else as made-up ones.

    What small files take for themselves says nothing of the records that come.
    """
    rows = records_size = 0
    for part in publications.current_parts(db, output.place_of) if db is not None else ():
        if part.bytes > 2 * BYTES_PER_FILE:
            rows += part.rows
            records_size += part.bytes - BYTES_PER_FILE
    per_row = records_size / rows if rows else BYTES_PER_ROW
    return round(to_fetch * per_row) + min(to_fetch, FILES) * BYTES_PER_FILE


def _working_bytes(output: Output, to_fetch: int, listed: int) -> int:
    """The journal at its fullest (twice a publication) and its staged parts, and the lists."""
    journal = min(2 * output.publish_bytes, to_fetch * BYTES_IN_JOURNAL)
    return (
        journal
        + min(to_fetch, output.publish_records) * BYTES_PER_ROW
        + (2 * listed * _BYTES_PER_LISTED)
    )
