"""img2dataset's way: ThreadPool.imap_unordered held back by a semaphore, urllib, no keep-alive."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from multiprocessing.pool import ThreadPool
from threading import Semaphore

from bench.peers.job import WORKERS, Job, Writer, data_of, job, normalize, signed


def fetch_all(todo: Job) -> None:
    """Fetch and write every record."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    room = Semaphore(2 * WORKERS)

    def source() -> Iterator[str]:
        for voice_id in todo.voice_ids():
            room.acquire()
            yield voice_id

    def fetch(voice_id: str) -> bytes:
        request = urllib.request.Request(todo.prefix + voice_id, headers=signed())
        with direct.open(request, timeout=30) as response:
            body: bytes = response.read()
        return body

    writer = Writer(todo.out)
    with ThreadPool(WORKERS) as pool:
        for body in pool.imap_unordered(fetch, source()):
            room.release()
            writer.add(normalize(data_of(json.loads(body))))
    writer.flush()


if __name__ == "__main__":
    fetch_all(job())
