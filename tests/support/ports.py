"""Ports of 127.0.0.1 that no other test gets while this one may still send to them.

A port that the kernel gives for 0 goes to whoever asks next once it is closed: the last requests
of a harvest whose vendor is gone then count at the simulator of another test.  So each process
takes its own, in turn, from below those the kernel gives away, and is back at the first after all.
"""

from __future__ import annotations

import itertools
import os
import re
import socket

_PROCESSES = 16
_EACH = 1_000
_FIRST = 12_000


def _own() -> range:
    found = re.search(r"\d+", os.environ.get("PYTEST_XDIST_WORKER", "0"))
    number = int(found[0]) if found else 0
    first = _FIRST + number % _PROCESSES * _EACH
    return range(first, first + _EACH)


# Two runs of the tests beside each other begin at different places.
_next = itertools.cycle([*_own()][os.getpid() % _EACH :] + [*_own()][: os.getpid() % _EACH])


def free_port() -> int:
    """A port on which nobody listens."""
    for port in itertools.islice(_next, _EACH):
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(port)
    raise RuntimeError(f"no port is free among {_EACH} from {_own()[0]} on")
