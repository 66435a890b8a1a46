"""A backfill beside a nightly run that needs the whole limit, at a vendor that closes connections
which lie idle: it waits, and wastes neither a turn nor an attempt.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harvester.simulator import make_ids
from tests.support.harvesting import Harvest, worst_second
from tests.support.ports import free_port
from tests.support.simulated import ALL_RECORDS, END, Simulator

IDLE_S = 1.5
RATE = 50


class Impatient:
    """A way to the vendor that closes each connection after `IDLE_S` without a byte."""

    def __init__(self, port: int) -> None:
        self._vendor = port
        self._loop = asyncio.new_event_loop()
        self._is_listening = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.port = free_port()

    def start(self) -> None:
        self._thread.start()
        assert self._is_listening.wait(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _work(self) -> None:
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", self.port)
        )
        self._is_listening.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.05))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_vendor, to_vendor = await asyncio.open_connection("127.0.0.1", self._vendor)
        try:
            async with asyncio.timeout(IDLE_S) as idle:
                await asyncio.wait(
                    [
                        asyncio.ensure_future(_carry(reader, to_vendor, idle)),
                        asyncio.ensure_future(_carry(from_vendor, writer, idle)),
                    ],
                    return_when=asyncio.FIRST_COMPLETED,
                )
        except TimeoutError:
            pass
        finally:
            writer.close()
            to_vendor.close()


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, idle: asyncio.Timeout
) -> None:
    with suppress(OSError, RuntimeError):
        while data := await reader.read(65_536):
            idle.reschedule(asyncio.get_running_loop().time() + IDLE_S)
            writer.write(data)


@contextmanager
def impatient(port: int) -> Iterator[int]:
    way = Impatient(port)
    way.start()
    try:
        yield way.port
    finally:
        way.stop()


def test_a_backfill_that_others_hold_up_wastes_no_turn_and_no_attempt(tmp_path: Path) -> None:
    ids = list(make_ids(1_400, 21, end=END))
    (tmp_path / "nightly.txt").write_text("\n".join(ids[:600]))
    (tmp_path / "backfill.txt").write_text("\n".join(ids[600:]))
    with (
        Simulator(rate_limit=RATE, fates=ALL_RECORDS) as vendor,
        impatient(vendor.port) as port,
    ):

        def output(name: str, priority: str, concurrency: int) -> Harvest:
            return Harvest(
                tmp_path / name,
                vendor.base_url.replace(f":{vendor.port}", f":{port}"),
                pace__rate_per_s=float(RATE),
                pace__concurrency=concurrency,
                pace__limit_file=str(tmp_path / "limit"),
                pace__priority=priority,
            )

        nightly, backfill = output("n", "normal", 8), output("b", "low", 24)
        one = nightly.start(tmp_path / "nightly.txt", trace=str(tmp_path / "n.trace"))
        while not (tmp_path / "n.trace").exists() or not (tmp_path / "n.trace").read_text():
            time.sleep(0.01)
        other = backfill.start(
            tmp_path / "backfill.txt", trace=str(tmp_path / "b.trace"), max_duration_s=18.0
        )
        first, second = nightly.ended(one), backfill.ended(other)
        sent = vendor.stats()["requests"]
    assert first.code == 0, first.err
    assert second.code == 8, second.err
    for ended in (first, second):
        assert ended.summary["retries"] == {}
        assert ended.summary["outages"] == 0
    # What was counted as a request was one: no turn went to a connection that was dead.
    assert first.summary["requests"] + second.summary["requests"] == sent
    # And once the nightly run is done, the backfill has the limit.
    assert second.summary["run"]["delivered"] >= 2 * RATE
    times = [
        float(line) for name in "nb" for line in (tmp_path / f"{name}.trace").read_text().split()
    ]
    assert worst_second(times) <= RATE
