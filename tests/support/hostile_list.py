"""A vendor's list that a test writes itself: what the simulator has no habit for."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.support.discovering import day

CLOCK = timezone(timedelta(hours=8))
MIDNIGHT_S = int(datetime.combine(day(), datetime.min.time(), tzinfo=CLOCK).timestamp())
"""Of the day that is listed."""


@dataclass
class Call:
    """One call; times in Unix seconds."""

    voice_id: str
    submit_s: float
    more: dict[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """As the vendor writes it."""
        at = self.submit_s
        times = {"submitTime": at, "callTime": at + 4, "answerTime": at + 9, "hangupTime": at + 69}
        told = {
            name: datetime.fromtimestamp(ms, UTC).astimezone(CLOCK).isoformat()
            for name, ms in times.items()
        }
        fields = {
            "voiceId": self.voice_id,
            "callee": "8613800138000",
            **told,
            "callDuration": 60,
            "chargedDuration": 60,
            "terminationCode": "200",
            "cost": "0.02",
            "rate": "0.02",
        }
        return fields | self.more


@dataclass
class Question:
    """What a page is asked for."""

    start_s: float
    end_s: float
    current: int
    size: int
    number: int
    """Of the request, from 1 on."""


@dataclass
class Said:
    """An answer; `drips` byte by byte, `cut` after so many bytes by a reset."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    drips: bool = False
    cut: int | None = None


Answer = Callable[["HostileList", Question], Said]


def envelope(data: object, status: object = "0") -> bytes:
    return json.dumps({"status": status, "reason": "", "data": data}).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Who is attacked may hang up."""


class HostileList:
    """Listens inside the `with`."""

    def __init__(
        self,
        calls: list[Call],
        answer: Answer | None = None,
        *,
        by: str = "submitTime",
        ends: tuple[bool, bool] = (True, True),
        single: Callable[[Call], dict[str, Any]] = Call.record,
    ) -> None:
        """`answer`: to a question for a page; `ends`: which ends of a window count."""
        self.calls = calls
        self.by = by
        self.ends = ends
        self.requests = 0
        self._answer = answer or (lambda vendor, asked: Said(envelope(vendor.page(asked))))
        self._single = single
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/voice"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def listed(self) -> dict[str, Any]:
        """As `Simulator.listed`."""
        return {"ids": [call.voice_id for call in self.calls]}

    def found(self, asked: Question) -> list[Call]:
        """The calls of a window, newest first."""

        def at(call: Call) -> float:
            return datetime.fromisoformat(call.record()[self.by]).timestamp()

        starts, ends = self.ends
        inside = [
            (at(call), call)
            for call in self.calls
            if (asked.start_s <= at(call) if starts else asked.start_s < at(call))
            and (at(call) <= asked.end_s if ends else at(call) < asked.end_s)
        ]
        return [call for _, call in sorted(inside, key=lambda one: -one[0])]

    def page(self, asked: Question) -> dict[str, Any]:
        """The right page."""
        found = self.found(asked)
        first = (asked.current - 1) * asked.size
        records = [call.record() for call in found[first : first + asked.size]]
        return {
            "total": len(found),
            "size": asked.size,
            "current": asked.current,
            "records": records,
        }

    def _reply(self, path: str, body: bytes) -> Said:
        with self._lock:
            self.requests += 1
            number = self.requests
        if path.endswith("recordGroupQuery"):
            asked = json.loads(body)
            start, end = (
                datetime.fromisoformat(asked["params"][name]).timestamp()
                for name in ("strTime", "endTime")
            )
            return self._answer(self, Question(start, end, asked["current"], asked["size"], number))
        voice_id = path.rpartition("/")[2]
        for call in self.calls:
            if call.voice_id == voice_id:
                return Said(envelope(self._single(call)))
        return Said(envelope(None, "-24"))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                self._say(vendor._reply(self.path, self.rfile.read(length)))

            def do_GET(self) -> None:
                self._say(vendor._reply(self.path, b""))

            def _say(self, said: Said) -> None:
                self.send_response(said.status)
                for name, value in said.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(said.body)))
                self.end_headers()
                if said.cut is not None:
                    self.wfile.write(said.body[: said.cut])
                    self.wfile.flush()
                    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    self.close_connection = True
                    self.connection.close()
                    return
                if said.drips:
                    for at in range(len(said.body)):
                        try:
                            self.wfile.write(said.body[at : at + 1])
                            self.wfile.flush()
                        except OSError:
                            self.close_connection = True
                            return
                        time.sleep(0.2)
                    return
                self.wfile.write(said.body)

            def log_message(self, *args: object) -> None:
                del args

        return Handler


def calls_of(count: int, *, apart_s: float = 40.0, first_s: float = 600.0) -> list[Call]:
    """Calls of the day, one after another."""
    return [
        Call(f"2611{at:06}0000000001"[:20], MIDNIGHT_S + first_s + at * apart_s)
        for at in range(count)
    ]
