"""The process that normalises, started by `normalizer_process`.

It computes and keeps nothing: no file, no lock, no secret.  So it may be killed at any moment, and
one whose caller is dead does no harm; it finds its stdin at an end and ends as well.
"""

from __future__ import annotations

import gc
import os
import sys
import traceback
from typing import IO

import msgspec

from harvester.dataset.group_record import KINDS
from harvester.pipeline.publish import messages
from harvester.pipeline.publish.normalizer import Normalizer
from harvester.storage.import_blocker import NotHere


def main() -> int:
    """Answer every blob with the pieces that are full, until stdin ends."""
    sys.meta_path.insert(0, NotHere())
    # Nothing here is part of a cycle, and to look for some is a tenth of normalising.
    gc.disable()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # A word on stdout would stand in the middle of a message.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        _serve(sys.stdin.buffer, answers)
    except BrokenPipeError:
        return 0  # nobody wants to know any more
    except Exception as exc:  # noqa: BLE001 - whatever it is, the caller is to hear of it
        # Without the exception's own words: they may quote a record, which holds phone numbers.
        sys.stderr.write(f"{type(exc).__name__}\n{''.join(traceback.format_tb(exc.__traceback__))}")
        return 1
    return 0


def _serve(asks: IO[bytes], answers: IO[bytes]) -> None:
    first = messages.read(asks)
    if first is None:
        return
    order = msgspec.msgpack.decode(first, type=messages.Order)
    decode = msgspec.msgpack.Decoder(messages.Ask).decode
    kind = KINDS[order.kind, order.version].without(order.omitted)
    with Normalizer(order.account, order.timezone, kind) as normalizer:
        while (message := messages.read(asks)) is not None:
            ask = decode(message)
            if ask.blob is None:
                pieces = list(normalizer.rest())
                made = messages.Made(
                    pieces,
                    dict(normalizer.unparsed),
                    dict(normalizer.extra),
                    normalizer.without_cost,
                )
            else:
                made = messages.Made(list(normalizer.add(ask.run_id, ask.blob)))
            messages.write(answers, made)


if __name__ == "__main__":
    sys.exit(main())
