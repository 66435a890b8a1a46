"""Whole harvests from servers that lie: none of it becomes final by mistake."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from harvester.config import Secrets
from tests.support.harvesting import Ended, Harvest
from tests.support.ports import free_port

NOW = datetime.now(timezone(timedelta(hours=8)))
WAYS = ["aiohttp", "lean"]
STRAY = b'{"status":"-22","reason":"Parameter exception","data":null}'


def dated(days_ago: float, count: int) -> list[str]:
    """Ids whose own digits date them so many days back."""
    at = NOW - timedelta(days=days_ago)
    return [f"{at:%y%m%d%H%M%S}{n:07}" for n in range(count)]


def record(voice_id: str, *, over: bool = True) -> bytes:
    call = {
        "voiceId": voice_id,
        "submitTime": NOW.isoformat(timespec="seconds"),
        "terminationCode": "486" if over else None,
        "cost": "0",
    }
    return json.dumps({"status": "0", "data": call}).encode()


def http(body: bytes, line: str = "200 OK") -> bytes:
    date = f"{datetime.now(UTC):%a, %d %b %Y %H:%M:%S} GMT"
    head = f"HTTP/1.1 {line}\r\nDate: {date}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@dataclass(slots=True)
class Liar:
    """A server of HTTP by hand: `answer` gets (voiceId, the how-manieth on its connection)."""

    answer: Callable[[str, int], bytes]
    port: int = field(default_factory=free_port)
    asked: Counter[str] = field(default_factory=Counter)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/voice"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count = 0
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                count += 1
                voice_id = head.split(b" ", 2)[1].rsplit(b"/", 1)[1].decode()
                self.asked[voice_id] += 1
                writer.write(self.answer(voice_id, count))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def harvested(harvest: Harvest, ids: list[str], tmp_path: Path) -> Ended:
    source = tmp_path / "ids.txt"
    source.write_text("\n".join(ids))
    return await asyncio.to_thread(harvest.run, source)


@pytest.mark.parametrize("way", WAYS)
async def test_a_stray_no_before_the_true_answer_ends_no_id(tmp_path: Path, way: str) -> None:
    ids = dated(1, 120)

    def answer(voice_id: str, count: int) -> bytes:
        # From here on the connection is one answer behind.
        return (http(STRAY) if count == 3 else b"") + http(record(voice_id))

    vendor = Liar(answer)
    async with vendor.listening():
        # So few that each has many ids, however slowly they are made.
        few = {"vendor__transport": way, "pace__concurrency": 8}
        harvest = Harvest(tmp_path / "out", vendor.base_url, **few)
        ended = await harvested(harvest, ids, tmp_path)
    assert ended.code == 0, ended.err
    assert harvest.ids() == ids
    assert ended.summary["run"]["dead"] == 0
    assert ended.summary["retries"]["unconfirmed"] > 0
    assert sum(vendor.asked.values()) == ended.summary["requests"]


async def test_a_vendor_that_is_ill_buries_nothing_and_once_well_gives_every_record(
    tmp_path: Path,
) -> None:
    ids = dated(1, 900)
    is_ill = True
    vendor = Liar(lambda voice_id, count: http(STRAY if is_ill else record(voice_id)))
    async with vendor.listening():
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        ended = await harvested(harvest, ids, tmp_path)
        assert ended.code == 4, ended.err
        assert "Parameter exception" in ended.summary["message"]
        assert ended.summary["list"]["pending"] == 900
        is_ill = False
        again = await harvested(harvest, ids, tmp_path)
    assert again.code == 0, again.err
    assert harvest.ids() == ids


async def test_an_open_call_that_gets_one_no_is_still_delivered(tmp_path: Path) -> None:
    ids = dated(0.01, 1)
    answers = iter([record(ids[0], over=False), STRAY, record(ids[0])])
    vendor = Liar(lambda voice_id, count: http(next(answers)))
    async with vendor.listening():
        harvest = Harvest(tmp_path / "out", vendor.base_url, open_calls__delays_s=[0.01])
        for _ in range(2):
            ended = await harvested(harvest, ids, tmp_path)
            assert (ended.code, ended.summary["run"]["open"]) == (0, 1), ended.err
            assert harvest.rows() == []
        assert (await harvested(harvest, ids, tmp_path)).code == 0
    (row,) = harvest.rows()
    assert row["is_final"]


GONE = http(b"<html>not found</html>", "404 Not Found")


async def test_an_id_that_is_always_refused_spoils_no_night_and_a_revoked_key_is_seen(
    tmp_path: Path,
) -> None:
    bad, first, second = dated(5, 10), dated(4, 90), dated(3, 100)
    is_revoked = False

    def answer(voice_id: str, count: int) -> bytes:
        if is_revoked:
            return http(b'{"status":"-1","reason":"Authentication error"}')
        return GONE if voice_id in bad else http(record(voice_id))

    vendor = Liar(answer)
    async with vendor.listening():
        harvest = Harvest(tmp_path / "out", vendor.base_url, retry__busy_attempts=2)
        ended = await harvested(harvest, [*bad, *first], tmp_path)
        assert ended.code == 5, ended.err
        assert harvest.ids() == first
        assert (await harvested(harvest, [*bad, *first], tmp_path)).code == 5
        is_revoked = True
        revoked = await harvested(harvest, second, tmp_path)
        assert revoked.code == 4
        assert "HARVESTER_API_KEY" in revoked.summary["message"]
        is_revoked = False
        assert (await harvested(harvest, second, tmp_path)).code == 5
    assert harvest.ids() == sorted([*first, *second])


DENIED = http(b'{"status":"-1","reason":"Authentication error"}')
OOPS = http(b"<html>oops</html>", "500 Internal Server Error")


@pytest.mark.parametrize(
    ("answer", "requests"),
    # Three tries and a last one; five probes.  What is busy is tried eight times.
    [(DENIED, 10 * 4 + 5), (GONE, 10 * 4 + 5), (OOPS, 10 * 9 + 20)],
    ids=["-1", "404", "500"],
)
async def test_ids_that_always_fail_keep_few_workers_from_none_of_the_others(
    tmp_path: Path, answer: bytes, requests: int
) -> None:
    bad, good = dated(5, 10), dated(4, 90)
    vendor = Liar(lambda voice_id, count: answer if voice_id in bad else http(record(voice_id)))
    async with vendor.listening():
        harvest = Harvest(
            tmp_path / "out", vendor.base_url, pace__concurrency=4, retry__max_outage_s=30.0
        )
        ended = await harvested(harvest, [*bad, *good], tmp_path)
    assert ended.code == 5, ended.err
    assert harvest.ids() == good
    assert ended.summary["run"]["deferred"] == 10
    assert sum(vendor.asked.values()) <= 90 + requests


async def test_more_ids_than_workers_that_always_fail_at_the_head_of_a_list_are_no_outage(
    tmp_path: Path,
) -> None:
    # The youngest one fails as well: the probe of an outage is another id each time.
    bad, good = [*dated(5, 80), *dated(2, 1)], dated(4, 200)
    vendor = Liar(lambda voice_id, count: OOPS if voice_id in bad else http(record(voice_id)))
    async with vendor.listening():
        harvest = Harvest(
            tmp_path / "out", vendor.base_url, retry__max_outage_s=30.0, retry__busy_attempts=2
        )
        ended = await harvested(harvest, [*bad[:80], *good, bad[80]], tmp_path)
    assert ended.code == 5, ended.err
    assert harvest.ids() == good
    assert ended.summary["run"]["deferred"] == 81


ODD = http(b'{"status":"-77","reason":"?"}')


@pytest.mark.parametrize(
    ("answer", "ends"),
    [(DENIED, (5, 0, 25)), (GONE, (5, 0, 25)), (ODD, (3, 25, 0))],
    ids=["-1", "404", "-77"],
)
@pytest.mark.parametrize("concurrency", [4, 64])
async def test_the_last_ids_of_a_list_may_be_such_that_are_always_refused(
    tmp_path: Path, answer: bytes, ends: tuple[int, int, int], concurrency: int
) -> None:
    good, bad = dated(5, 90), dated(3, 25)
    vendor = Liar(lambda voice_id, count: answer if voice_id in bad else http(record(voice_id)))
    async with vendor.listening():
        harvest = Harvest(tmp_path / "out", vendor.base_url, pace__concurrency=concurrency)
        ended = await harvested(harvest, [*good, *bad], tmp_path)
    run = ended.summary["run"]
    assert (ended.code, run["dead"], run["deferred"]) == ends, ended.err
    assert harvest.ids() == good


@pytest.mark.parametrize("answer", [DENIED, ODD], ids=["-1", "-77"])
async def test_access_that_is_denied_before_the_last_ids_halts_the_run(
    tmp_path: Path, answer: bytes
) -> None:
    good, bad = dated(5, 90), dated(3, 25)

    def says(voice_id: str, count: int) -> bytes:
        is_denied = voice_id in bad or vendor.asked[voice_id] > 1
        return answer if is_denied else http(record(voice_id))

    vendor = Liar(says)
    async with vendor.listening():
        harvest = Harvest(tmp_path / "out", vendor.base_url, pace__concurrency=4)
        ended = await harvested(harvest, [*good, *bad], tmp_path)
    assert ended.code == 4, ended.err
    assert harvest.ids() == good
    assert ended.summary["run"]["dead"] == 0


async def test_another_key_on_the_same_output_has_nothing_delivered_yet(tmp_path: Path) -> None:
    ids = dated(4, 2)
    is_known = True
    vendor = Liar(lambda voice_id, count: http(record(voice_id)) if is_known else DENIED)
    async with vendor.listening():
        harvest = Harvest(tmp_path / "out", vendor.base_url, retry__busy_attempts=2)
        assert (await harvested(harvest, ids[:1], tmp_path)).code == 0
        is_known = False
        assert (await harvested(harvest, ids[1:], tmp_path)).code == 5, "an id of its own"
        other = Secrets("zq9-Another", "secret")
        source = tmp_path / "ids.txt"
        ended = await asyncio.to_thread(
            harvest.run, source, secrets=[other.api_key, other.api_secret]
        )
        assert ended.code == 4, "this key never let us in"
    state = (tmp_path / "out" / "state" / "state.db").read_bytes()
    assert b"zq9-Another" not in state
    assert b"bDqJFiq9" not in state
