"""Messages through a pipe: four bytes of length, then the message in MessagePack."""

from __future__ import annotations

from typing import IO, Final

import msgspec

from harvester.dataset.packing import Piece

MODULE: Final = "harvester.pipeline.publish.normalizer_child"


class Order(msgspec.Struct, frozen=True):
    """The first message to the child: whose records these are, and whose days count."""

    account: str
    timezone: str
    kind: str
    version: int
    """Of one of `group_record.KINDS`: its name and its version."""
    omitted: tuple[str, ...] = ()
    """Fields that are not stored."""


class Ask(msgspec.Struct, frozen=True, gc=False):
    """A blob of the journal; without one, the question for what is left."""

    run_id: str = ""
    blob: bytes | None = None


class Made(msgspec.Struct, frozen=True, gc=False):
    """The answer to each `Ask`: the pieces that are full now, and with the last ones the counters.

    A vendor may name fields as it likes; to send their counts each time could take for ever.
    """

    pieces: list[Piece]
    unparsed: dict[str, int] = {}
    extra: dict[str, int] = {}
    without_cost: int = 0


_LENGTH_BYTES = 4


def write(pipe: IO[bytes], message: msgspec.Struct) -> None:
    """Send `message`.  Raises OSError where nobody reads."""
    body = msgspec.msgpack.encode(message)
    pipe.write(len(body).to_bytes(_LENGTH_BYTES, "big") + body)
    pipe.flush()


def read(pipe: IO[bytes]) -> bytes | None:
    """The next message, encoded; None where the other side is gone."""
    size = pipe.read(_LENGTH_BYTES)
    if len(size) < _LENGTH_BYTES:
        return None
    length = int.from_bytes(size, "big")
    body = pipe.read(length)
    return body if len(body) == length else None
