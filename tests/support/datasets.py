"""Outputs made without a vendor: what the simulator tells, written by our own writer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from harvester.answers.answer import Answer
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.normalize import normalize
from harvester.dataset.packing import Packer, Piece, pieces_of
from harvester.dataset.parts import stage
from harvester.identity import Identity
from harvester.simulator import SimulatorOptions, make_ids
from harvester.simulator.calls import Fate, call_of, twin_of
from harvester.simulator.records import Records
from harvester.storage.output import Output, make_folders
from tests.support.oracle import Row, expected
from tests.support.simulated import END

NOW = datetime(2026, 11, 22, tzinfo=UTC)
RUN_ID = "20261122T010000Z-abcdef"


def simulated(out: Path, options: SimulatorOptions, count: int, zone: str = "UTC") -> list[Row]:
    """A data set of the simulator's final records; its rows as the oracle knows them."""
    made_up = tuple(make_ids(count, options.seed, end=END))
    doubles = (twin_of(options.seed, one, options.fates, options.bill) for one in made_up)
    ids = [
        voice_id
        for voice_id in (*made_up, *filter(None, doubles))
        if call_of(options.seed, voice_id, options.fates, options.bill).fate is Fate.RECORD
    ]
    vendor = Records(options)
    fetched = int(NOW.timestamp() * 1000)  # times in the future of the fetch would be fillers
    answers = [
        Answer(voice_id, _bytes(vendor.answer(voice_id, 0.0).body), fetched, RUN_ID, is_final=True)
        for voice_id in ids
    ]
    place(out, _packed(answers, zone))
    found = (expected(options, one, now=NOW, partition_timezone=zone) for one in ids)
    return [one.row for one in found if one.row is not None]


def made(out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A data set of `rows`, each with what it doesn't name as a plain answered call has it."""
    write(out, [filled(rows)])


def filled(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """`rows`, numbered and with all columns."""
    whole = [_PLAIN | {"voice_id": f"{n:019}"} | dict(row) for n, row in enumerate(rows)]
    return pa.Table.from_pylist(whole, GROUP_RECORD.schema)


def write(out: Path, tables: Iterable[pa.Table], zone: str = "UTC", publication: int = 1) -> None:
    """Parts of `tables` under out/cdr, in the folders of an output."""
    place(out, pieces_of(tables, zone, GROUP_RECORD), publication)


def _packed(answers: Sequence[Answer], zone: str) -> Iterator[Piece]:
    packer, found = Packer(zone, GROUP_RECORD), normalize(answers, "default", GROUP_RECORD)
    yield from packer.add(found.table, found.presumed)
    yield from packer.rest()


def place(
    out: Path, pieces: Iterable[Piece], publication: int = 1, identity: Identity | None = None
) -> None:
    """Parts of `pieces` under out/cdr."""
    output = Output(out)
    make_folders(output, 0o750)
    parts = stage(
        pieces,
        GROUP_RECORD,
        identity=identity,
        staging=output.staging,
        state_id="made0000",
        publication=publication,
        mode=0o640,
    )
    for part in parts:
        target = output.cdr / part.path
        target.parent.mkdir(exist_ok=True)
        part.staged.rename(target)


_PLAIN: dict[str, Any] = {
    "account": "default",
    "callee": "918012345678",
    "code": "India(Karnataka)",
    "destination_country": "India",
    "destination_region": "Karnataka",
    "submit_time": datetime(2026, 11, 2, 10, 0, tzinfo=UTC),
    "call_time": datetime(2026, 11, 2, 10, 0, 1, tzinfo=UTC),
    "ringing_time": datetime(2026, 11, 2, 10, 0, 4, tzinfo=UTC),
    "answer_time": datetime(2026, 11, 2, 10, 0, 10, tzinfo=UTC),
    "hangup_time": datetime(2026, 11, 2, 10, 1, 10, tzinfo=UTC),
    "call_duration_s": 60,
    "charged_duration_s": 60,
    "answered": True,
    "termination_code": "200",
    "sip_code": 200,
    "cost": Decimal("0.012"),
    "rate": Decimal("0.012"),
    "base_cost": Decimal(0),
    "currency": "USD",
    "bill_period": "20+20",
    "bill_initial_s": 20,
    "bill_increment_s": 20,
    "is_final": True,
    "is_rated": True,
    "currency_presumed": False,
    "fetched_by": "single",
    "fetched_at": datetime(2026, 11, 2, 12, tzinfo=UTC),
    "run_id": RUN_ID,
}


def _bytes(body: bytes | str) -> bytes:
    return body if isinstance(body, bytes) else body.encode()
