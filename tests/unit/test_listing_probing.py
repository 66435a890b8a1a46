"""By which time a list is cut, as one call shows."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product

import pytest

from harvester.client.record_group import Listed, Page, Query
from harvester.client.verdicts import RawRecord, Record
from harvester.errors import UsageError
from harvester.pipeline.listing.probing import find_filter

ID = "26110108100000000001"
SUBMIT = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
TIMES = {"submitTime": SUBMIT, "callTime": SUBMIT + 4, "hangupTime": SUBMIT + 60}


@dataclass
class Vendor:
    """Lists one call, by one of its times."""

    by: str | None = "submitTime"
    ends: tuple[bool, bool] = (True, True)
    times: dict[str, object] = field(default_factory=lambda: dict(TIMES))
    total: int = 1
    fails: str = ""
    stops_after: int = 99

    def raw(self) -> RawRecord:
        told = {
            name: datetime.fromtimestamp(at, UTC).isoformat() if isinstance(at, int | float) else at
            for name, at in self.times.items()
        }
        body = json.dumps({"status": "0", "data": {"voiceId": ID, **told}}).encode()
        return RawRecord(ID, body, True)

    async def record(self, voice_id: str) -> Record | str | None:
        assert voice_id == ID
        return self.fails or Record(True, records=(self.raw(),))

    async def page(self, query: Query) -> Page | str | None:
        self.stops_after -= 1
        if self.stops_after < 0:
            return None
        at = self.times[self.by] if self.by else -1
        assert isinstance(at, int | float)
        first, last = query.start_s + (not self.ends[0]), query.end_s - (not self.ends[1])
        if first <= at <= last:
            return Page(1, (Listed(self.raw(), None),), 1)
        return Page(0 if self.total == 1 else self.total, (), 0)


@pytest.mark.parametrize(("by", "ends"), list(product(TIMES, product((True, False), repeat=2))))
async def test_it_finds_the_time_and_whether_the_start_counts(
    by: str, ends: tuple[bool, bool]
) -> None:
    found = await find_filter(Vendor(by, ends), ID, 7)
    assert found is not None
    assert (found.by, found.is_start_counted) == (by, ends[0])
    assert (found.voice_id, found.found_ms) == (ID, 7)


async def test_a_fraction_of_a_second_is_no_proof_that_the_start_counts() -> None:
    times: dict[str, object] = {**TIMES, "submitTime": SUBMIT + 0.5}
    found = await find_filter(Vendor(ends=(False, True), times=times), ID, 7)
    assert found is not None
    assert not found.is_start_counted


@pytest.mark.parametrize(
    ("vendor", "why"),
    [
        (Vendor(fails="no_record"), "no_record"),
        (Vendor(times={**TIMES, "hangupTime": ""}), "not over"),
        (Vendor(times={**TIMES, "callTime": SUBMIT + 1}), "apart"),
        (Vendor(by=None), "around none of its times"),
        (Vendor(by=None, total=300), "more calls than a page holds"),
    ],
)
async def test_a_call_that_can_not_show_it_is_refused(vendor: Vendor, why: str) -> None:
    with pytest.raises(UsageError, match=why) as told:
        await find_filter(vendor, ID, 7)
    assert told.value.code == "listing.probe"


@pytest.mark.parametrize("pages", range(4))
async def test_where_the_command_stops_nothing_is_found(pages: int) -> None:
    assert await find_filter(Vendor(stops_after=pages), ID, 7) is None
