"""Pings at the start and the end of a run (`monitor.ping_url`), as healthchecks.io has them.

Whoever is pinged can tell that a run never began, never ended or went wrong, also when this machine
is no longer there to say so.  A ping carries nothing but the exit code in its path: no header of
the vendor's, no figure, no name.  It goes to the configured host alone: no redirect is followed and
no proxy is asked.  A ping that fails or is slow costs a run `WAIT_S` at most, and nothing else.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from harvester.client.tls import system_trust
from harvester.errors import GOOD_ENDS
from harvester.version import __version__

WAIT_S = 3.0


class Pinger:
    """Pings one address."""

    def __init__(self, url: str, warn: Callable[[str], None], wait_s: float = WAIT_S) -> None:
        """`warn` gets the reason when a ping has failed; never the address, which is a password."""
        self._url = urlsplit(url.rstrip("/"))
        self._warn = warn
        self._wait_s = wait_s
        self._is_over = False

    def start(self) -> None:
        """The run begins: …/start, without waiting for it."""
        threading.Thread(target=self._ping, args=("/start",), daemon=True).start()

    def end(self, exit_code: int) -> None:
        """The run is over; waits `wait_s` for the answer at most, a slow name server included."""
        path = "" if exit_code in GOOD_ENDS else f"/{exit_code}"
        thread = threading.Thread(target=self._ping, args=(path,), daemon=True)
        thread.start()
        thread.join(self._wait_s)
        if thread.is_alive():
            self._warn(f"no answer within {self._wait_s:g} s")
        self._is_over = True  # the log is about to be closed: whatever comes now comes too late

    def _ping(self, path: str) -> None:
        try:
            status = self._get(self._url.path + path)
        except (OSError, http.client.HTTPException, ValueError) as exc:
            self._tell(type(exc).__name__)
            return
        if not 200 <= status < 300:
            self._tell(f"HTTP {status}")

    def _tell(self, reason: str) -> None:
        if not self._is_over:
            self._warn(reason)

    def _get(self, path: str) -> int:
        host = self._url.hostname or ""
        connection: http.client.HTTPConnection
        if self._url.scheme == "https":
            tls = system_trust()
            connection = http.client.HTTPSConnection(
                host, self._url.port, timeout=self._wait_s, context=tls
            )
        else:
            connection = http.client.HTTPConnection(host, self._url.port, timeout=self._wait_s)
        try:
            agent = {"User-Agent": f"cdr-harvester/{__version__}"}
            connection.request("GET", path or "/", headers=agent)
            return connection.getresponse().status
        finally:
            connection.close()
