"""The process of a worker on this machine, started by `child_link`.

It lives by its stdin: when the owner dies, however suddenly, that ends, and the worker with it,
with whatever it has on the wire.  Signals are kept from it, as from every process of ours: a Ctrl-C
speaks to all at once, and what becomes of a run is the owner's to say.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
import traceback

import msgspec

from harvester.client.connect import way_to
from harvester.config import Secrets
from harvester.pipeline.workers import frames
from harvester.pipeline.workers.asking import Asking
from harvester.pipeline.workers.messages import Hello, Order, Start
from harvester.version import __version__

_OBJECTS_A_LOOK = 50_000


def main() -> int:
    """Work until stdin ends; the exit code says whether something went wrong."""
    answers = os.dup(sys.stdout.fileno())
    # A word on stdout would stand in the middle of a message.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        asyncio.run(_serve(answers))
    except Exception as exc:  # noqa: BLE001 - whatever it is, the owner is to hear of it
        # Without the exception's own words: they may quote a record, which holds phone numbers.
        sys.stderr.write(f"{type(exc).__name__}\n{''.join(traceback.format_tb(exc.__traceback__))}")
        return 1
    return 0


async def _serve(answers: int) -> None:
    pipes = await frames.opened(os.fdopen(0, "rb", 0), os.fdopen(answers, "wb", 0))
    first = await pipes.read()
    if first is None:
        return
    start = msgspec.msgpack.decode(first, type=Start)
    assert start.secrets is not None, "a worker on this machine is given the secrets"
    connect = way_to(start.vendor)
    gc.freeze()  # what was imported stays; see cli.commands.run
    gc.set_threshold(_OBJECTS_A_LOOK)
    asking = Asking(start, Secrets(*start.secrets), connect, time.time)
    decode = msgspec.msgpack.Decoder(Order).decode
    await pipes.write(Hello(version=__version__, at_ns=asking.now_ns))
    while (message := await pipes.read()) is not None:
        try:
            await pipes.write(await asking.exchange(decode(message)))
        except OSError:
            break
    # At once: nothing may be sent for an owner that is gone.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
