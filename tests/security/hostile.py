"""A vendor that means no good: it says whatever a test tells it to, and remembers what it heard."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeAlias

from tests.support.ports import free_port

Behaviour: TypeAlias = Callable[["Ask"], None]


class Ask:
    """One request: its id and headers, and the socket to answer on."""

    def __init__(self, head: bytes, connection: socket.socket) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        self.path = first.split(" ")[1]
        self.voice_id = self.path.rsplit("/", 1)[-1]
        pairs = (line.split(":", 1) for line in lines if ":" in line)
        self.headers = {name.lower(): value.strip() for name, value in pairs}
        self.connection = connection

    def send(self, raw: bytes) -> None:
        """Write bytes as they are."""
        self.connection.sendall(raw)

    def answer(self, body: bytes, *headers: str, status: str = "200 OK") -> None:
        """A whole answer."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
        self.send("\r\n".join([*lines, "", ""]).encode() + body)

    def say(self, status: object, data: object = None, reason: str = "success") -> None:
        """The vendor's envelope."""
        self.answer(json.dumps({"status": status, "reason": reason, "data": data}).encode())

    def deliver(self, **fields: object) -> None:
        """A record of a call that is over."""
        self.say("0", {**record(self.voice_id), **fields})


def record(voice_id: str) -> dict[str, Any]:
    """A plain record."""
    return {
        "voiceId": voice_id,
        "callee": "8613812345678",
        "submitTime": "2026-09-02T10:00:00+08:00",
        "answerTime": "2026-09-02T10:00:09+08:00",
        "hangupTime": "2026-09-02T10:01:09+08:00",
        "callDuration": 60,
        "terminationCode": "200",
        "cost": "0.5",
        "currency": "EUR",
    }


class HostileVendor:
    """Listens on a free port for as long as the `with` lasts; a thread a connection."""

    def __init__(self, behave: Behaviour) -> None:
        self._behave = behave
        self._listener = socket.create_server(("127.0.0.1", free_port()), backlog=256)
        self._is_open = True
        self.asks: list[Ask] = []
        self.connections = 0

    @property
    def base_url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/voice"

    def asked(self, voice_id: str) -> int:
        """How often it was asked for an id."""
        return sum(ask.voice_id == voice_id for ask in list(self.asks))

    def heard(self, header: str) -> set[str]:
        """Every value of a header that it was sent."""
        return {ask.headers[header] for ask in list(self.asks) if header in ask.headers}

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_open = False
        self._listener.close()

    def _listen(self) -> None:
        while self._is_open:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        waiting = b""
        with connection:
            try:
                while self._is_open:
                    while b"\r\n\r\n" not in waiting:
                        more = connection.recv(65_536)
                        if not more:
                            return
                        waiting += more
                    head, waiting = waiting.split(b"\r\n\r\n", 1)
                    ask = Ask(head, connection)
                    self.asks.append(ask)
                    self._behave(ask)
            except OSError:
                return  # whoever asked has had enough
