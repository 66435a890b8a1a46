"""requests in a ThreadPoolExecutor, a Session for each thread."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import requests

from bench.peers.job import WORKERS, Job, Writer, data_of, job, normalize, signed


def fetch_all(todo: Job) -> None:
    """Fetch and write every record."""
    local = threading.local()

    def fetch(voice_id: str) -> dict[str, object]:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        response = local.session.get(todo.prefix + voice_id, headers=signed(), timeout=30)
        response.raise_for_status()
        return normalize(data_of(response.json()))

    writer = Writer(todo.out)
    with ThreadPoolExecutor(WORKERS) as pool:
        for row in pool.map(fetch, todo.voice_ids()):
            writer.add(row)
    writer.flush()


if __name__ == "__main__":
    fetch_all(job())
