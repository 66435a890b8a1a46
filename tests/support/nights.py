"""An output as some nights leave it: each adds a small part to each of the same dates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from harvester.analysis.verify.verify import Order, verify
from harvester.dataset.group_record import GROUP_RECORD
from harvester.pipeline.engine.acknowledger import keep
from harvester.pipeline.publish.publisher import Publisher
from harvester.state import run_records
from harvester.state.belongs import keep_data_version
from harvester.state.values import Batch, Entry
from harvester.state.writer import InlineLedger
from tests.support.fakes import ACCOUNT, House

DAYS = ("2026-09-01", "2026-09-02", "2026-09-03")
FETCHED_MS = 1_790_000_000_000  # 2026-09-21


def answer(voice_id: str, day: str, more: str = "") -> bytes:
    """A call of a minute; what it costs, in one of two currencies, depends on its id.

    `more`: further fields, as JSON.
    """
    number = int(voice_id[-4:])
    currency = "EUR" if number % 3 else "USD"
    return (
        f'{{"status":0,"data":{{"voiceId":"{voice_id}",{more}"submitTime":"{day}T12:00:00+00:00",'
        f'"hangupTime":"{day}T12:01:00+00:00","callDuration":60,"chargedDuration":60,'
        f'"cost":"0.0{number % 7}","currency":"{currency}"}}}}'
    ).encode()


def run_of(night: int) -> str:
    """The name of its run."""
    return f"20260921T01{night:02}00Z-{night:06x}"


def nights(
    root: Path,
    count: int = 10,
    rows: int = 4,
    days: tuple[str, ...] = DAYS,
    version: int = GROUP_RECORD.version,
    more: Callable[[str], str] = lambda _: "",
) -> House:
    """An output with a part of `rows` records of each of `days` by each of `count` runs.

    `version`: of its columns.  `more`: further fields of the answer about an id, each with a comma
    behind it.
    """
    house = House(root)
    keep_data_version(house.db, version)
    for number in range(count):
        night(house, number, rows=rows, days=days, count=count, more=more)
    return house


def night(
    house: House,
    number: int,
    *,
    rows: int,
    days: tuple[str, ...],
    count: int = 1_000,
    more: Callable[[str], str] = lambda _: "",
) -> None:
    """One more run: a part of `rows` records of each of `days`.

    `count`: nights that there may be; ids of one lie between those of the others.
    """
    run_id = run_records.begin_run(house.db, run_of(number), number + 1).id
    entries = []
    for row, day in ((row, day) for row in range(rows) for day in days):
        voice_id = f"{day.replace('-', '')[2:]}120000{row * count + number:07}"
        body = answer(voice_id, day, more(voice_id))
        entries.append(Entry(voice_id, FETCHED_MS, True, body))
    counters = Counter(begun=len(entries), delivered=len(entries))
    _, usage = keep(
        house.db,
        run_id,
        Batch(entries=entries),
        work_list=None,
        counters=counters,
        requests_of_day=("", 0),
    )
    counters.update(usage)
    publisher(house).publish()
    run_records.end_run(house.db, run_id, number + 2, 0, counters)


def publisher(house: House) -> Publisher:
    """Publishes what is in the journal."""
    ledger = InlineLedger(house.db, house.output.database)
    return Publisher(
        ledger, house.output, house.config.output, ACCOUNT, house.state_id, kind=house.kind
    )


def damage(house: House) -> list[str]:
    """What `verify --deep` finds; the output is closed by now."""
    found = verify(house.output, Order("UTC", "400MB", deep=True)).findings
    return [f"{one.kind}: {one.what}" for one in found if one.severity == "damage"]
