"""Answers that never end, or are far too big, cost their own id an attempt and nobody else."""

from __future__ import annotations

import gzip
import json
import threading
import time
from pathlib import Path

from tests.security.commands import run_words, start
from tests.security.hostile import Ask, HostileVendor

IDS = [f"26090212345612{n:04d}" for n in range(400)]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
GIB = 1 << 30
MOST_RSS_KB = 300 * 1024
_BOMB = gzip.compress(b"[" + b" " * (64 << 20), compresslevel=9)


def _gibibyte(ask: Ask) -> None:
    ask.send(HEAD + b"Content-Length: %d\r\n\r\n" % GIB)
    for _ in range(GIB >> 20):
        ask.send(b" " * (1 << 20))


def _without_end(ask: Ask) -> None:
    ask.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    while True:
        ask.send(b"10000\r\n" + b" " * 65_536 + b"\r\n")


def _bomb(ask: Ask) -> None:
    ask.answer(_BOMB, "Content-Encoding: gzip")


def _a_million_headers(ask: Ask) -> None:
    ask.send(HEAD + b"".join(b"X-%d: y\r\n" % n for n in range(10**6)) + b"\r\n{}")


def _one_byte_a_second(ask: Ask) -> None:
    ask.send(HEAD + b"Content-Length: 1000\r\n\r\n")
    while True:
        ask.send(b" ")
        time.sleep(1)


def _one_endless_header(ask: Ask) -> None:
    ask.send(HEAD + b"X: ")
    while True:
        ask.send(b"y" * 65_536)


ODD = dict(
    zip(
        IDS[5::60],
        [
            _gibibyte,
            _without_end,
            _bomb,
            _a_million_headers,
            _one_byte_a_second,
            _one_endless_header,
        ],
        strict=False,
    )
)


def test_a_run_among_endless_answers_stays_small_delivers_the_others_and_keeps_those_pending(
    tmp_path: Path,
) -> None:
    (tmp_path / "ids.txt").write_text("\n".join(IDS))

    def behave(ask: Ask) -> None:
        ODD.get(ask.voice_id, Ask.deliver)(ask)

    with HostileVendor(behave) as vendor:
        process = start(
            *run_words(vendor.base_url),
            "--json",
            cwd=tmp_path,
            env={"HARVESTER_RETRY__NETWORK_ATTEMPTS": "2", "HARVESTER_VENDOR__TIMEOUT_S": "2"},
        )
        peak: list[int] = []
        watch = threading.Thread(target=_watch, args=(process.pid, peak))
        watch.start()
        out, err = process.communicate(timeout=150)
        watch.join()
    assert process.returncode == 5, err
    summary = json.loads(out.splitlines()[-1])
    assert summary["list"]["delivered"] == len(IDS) - len(ODD)
    assert summary["list"]["pending"] == len(ODD) == 6
    assert summary["run"]["deferred"] == len(ODD)
    assert all(vendor.asked(voice_id) == 3 for voice_id in ODD)  # two attempts, and the last try
    print(f"peak RSS {peak[-1] / 1024:.0f} MiB")
    assert peak[-1] < MOST_RSS_KB


def _watch(pid: int, peak: list[int]) -> None:
    """Follow VmHWM, which the kernel keeps, until the process is gone."""
    status = Path(f"/proc/{pid}/status")
    while True:
        try:
            lines = status.read_text().splitlines()
        except OSError:
            return
        told = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
        if not told:
            return
        peak += told
        time.sleep(0.05)
