"""What a listing brought is not lost where it could not be kept: it is kept the next time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harvester.client.transport import Reply, Request, Seal
from harvester.config import Vendor
from harvester.errors import StoreError
from harvester.pipeline.engine.local_workers import Fetching
from harvester.pipeline.listing.lister import Day, Lister, Span
from harvester.pipeline.listing.windows import Window, gaps
from harvester.state import listings
from harvester.state.database import open_database
from harvester.state.writer import LedgerWriter
from tests.support.fakes import ACCOUNT, SECRETS, config_of

FIRST_S = 1_795_000_000
SECONDS, EACH = 150, 60


class ListTransport:
    """Lists `EACH` calls a second, none of the very ends of a window; answers at once."""

    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    async def send(self, request: Request, *, fresh: bool = False) -> Reply:
        sealed = self._seal()
        if not isinstance(sealed, dict):
            await sealed
        assert request.body is not None
        asked = json.loads(request.body)
        start, end = (
            int(datetime.fromisoformat(asked["params"][name]).timestamp())
            for name in ("strTime", "endTime")
        )
        seconds = range(max(start + 1, FIRST_S), min(end, FIRST_S + SECONDS))
        calls = [
            {"voiceId": f"{at}{n:03}", "submitTime": datetime.fromtimestamp(at, UTC).isoformat()}
            for at in seconds
            for n in range(EACH)
        ]
        data = {"total": len(calls), "records": calls[:100]}
        return Reply(200, json.dumps({"status": "0", "data": data}).encode())

    async def close(self) -> None:
        pass


class FailingLedger(LedgerWriter):
    """Can't keep the first windows that it is given."""

    failures = 1

    async def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if function is listings.keep and self.failures:
            self.failures -= 1
            raise StoreError("no room", code="output.full")
        return await super().call(function, *args, **kwargs)


def connect(vendor: Vendor, connections: int, seal: Seal) -> ListTransport:
    return ListTransport(seal)


async def test_what_could_not_be_kept_is_kept_with_what_comes_after(tmp_path: Path) -> None:
    config = config_of(tmp_path, pace__rate_per_s=1000.0, pace__concurrency=3)
    folder = tmp_path / "state" / "listed"
    folder.mkdir(parents=True)
    with closing(open_database(tmp_path / "state.db", ACCOUNT)) as db:
        window = Window(FIRST_S, FIRST_S + SECONDS)
        number = listings.begin(db, (window.start_s, window.until_s), 9).id
        ledger = FailingLedger(db, tmp_path / "state.db")
        lister = Lister(
            Fetching(
                vendor=config.vendor,
                pace=config.pace,
                retry=config.retry,
                secrets=SECRETS,
                connect=connect,
                locked_at=asyncio.get_running_loop().time(),
                quiet_s=0.0,
            ),
            Day({}, 0.0),
            ledger,
            folder,
            is_id=lambda text: True,
        )
        with pytest.raises(StoreError):
            await lister.list_span(Span(number, window, (), "submitTime", False))
        await lister.close()
        ledger.close()
        assert lister.requests > 100, "it was to be kept before the end"
        kept = [Window(one.start_s, one.until_s) for one in listings.windows(db, number)]
        assert len(kept) == lister.windows > 20
        closed = set(range(FIRST_S, FIRST_S + SECONDS))
        for gap in gaps([window], kept):
            closed -= set(range(gap.start_s, gap.until_s))
        rows = [pq.read_table(folder / one) for one in listings.files(db, number)]
        ids = {str(one) for table in rows for one in table["voice_id"].to_pylist()}
        assert ids >= {f"{at}{n:03}" for at in closed for n in range(EACH)}
        assert listings.listing(db, number).requests == lister.requests
