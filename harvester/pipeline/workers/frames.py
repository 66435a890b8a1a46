"""Messages through a pipe, for whoever waits on an event loop: four bytes of length, then the
message in MessagePack.
"""

from __future__ import annotations

import asyncio
from typing import IO

import msgspec

_LENGTH_BYTES = 4
MOST_BYTES = 1 << 30
_READ_AHEAD = 1 << 20


class Pipes:
    """The two pipes to a process, or to the one that started us."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """See `opened`."""
        self._reader = reader
        self._writer = writer

    async def write(self, message: msgspec.Struct) -> None:
        """Send `message`.  Raises OSError where nobody reads."""
        body = msgspec.msgpack.encode(message)
        self._writer.write(len(body).to_bytes(_LENGTH_BYTES, "big") + body)
        await self._writer.drain()

    async def read(self) -> bytes | None:
        """The next message, encoded; None where the other side is gone."""
        try:
            length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES), "big")
            return await self._reader.readexactly(length) if length <= MOST_BYTES else None
        except (asyncio.IncompleteReadError, OSError):
            return None

    def close(self) -> None:
        """Close both; the transports close the files."""
        self._writer.close()


async def opened(read_from: IO[bytes], write_to: IO[bytes]) -> Pipes:
    """These two, on this event loop."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(_READ_AHEAD)
    protocol = asyncio.StreamReaderProtocol(reader)
    await loop.connect_read_pipe(lambda: protocol, read_from)
    transport, flow = await loop.connect_write_pipe(
        lambda: asyncio.streams.FlowControlMixin(loop), write_to
    )
    return Pipes(reader, asyncio.StreamWriter(transport, flow, reader, loop))
