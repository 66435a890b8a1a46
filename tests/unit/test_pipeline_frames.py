"""Messages through a pipe: whole or not at all, and an end that is told as one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest

from harvester.pipeline.workers import frames
from harvester.pipeline.workers.messages import Order


@asynccontextmanager
async def two_ends() -> AsyncIterator[tuple[frames.Pipes, int, int]]:
    """Pipes, and the other side's ends: to write to them, and to read from them."""
    from_other, other_writes = os.pipe()
    other_reads, to_other = os.pipe()
    pipes = await frames.opened(os.fdopen(from_other, "rb", 0), os.fdopen(to_other, "wb", 0))
    try:
        yield pipes, other_writes, other_reads
    finally:
        pipes.close()
        for fd in (other_writes, other_reads):
            with suppress(OSError):  # a test may have closed it
                os.close(fd)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


def packed(body: bytes, length: int | None = None) -> bytes:
    return (len(body) if length is None else length).to_bytes(4, "big") + body


async def test_messages_come_whole_and_one_by_one_in_whatever_pieces() -> None:
    async with two_ends() as (pipes, other_writes, _):
        sent = packed(b"one") + packed(b"") + packed(b"three")
        for at in range(len(sent)):
            os.write(other_writes, sent[at : at + 1])
            await asyncio.sleep(0)
        assert [await pipes.read() for _ in range(3)] == [b"one", b"", b"three"]


async def test_what_is_written_can_be_read_on_the_other_side() -> None:
    async with two_ends() as (pipes, _, other_reads):
        order = Order(ids=["a", "b"], grant=3)
        await pipes.write(order)
        found = os.read(other_reads, 65_536)
        assert int.from_bytes(found[:4], "big") == len(found) - 4
        assert msgspec.msgpack.decode(found[4:], type=Order) == order


@pytest.mark.parametrize(
    "sent", [b"", b"\0\0", packed(b"half", 5), packed(b"", frames.MOST_BYTES + 1)]
)
async def test_a_side_that_is_gone_or_speaks_otherwise_has_no_next_message(sent: bytes) -> None:
    async with two_ends() as (pipes, other_writes, _):
        os.write(other_writes, packed(b"whole") + sent)
        assert await pipes.read() == b"whole"
        if sent[:4] != (frames.MOST_BYTES + 1).to_bytes(4, "big"):
            os.close(other_writes)
        async with asyncio.timeout(10):
            assert await pipes.read() is None


async def test_writing_to_a_side_that_is_gone_is_an_error_of_the_system() -> None:
    async with two_ends() as (pipes, _, other_reads):
        os.close(other_reads)
        told: list[OSError] = []
        for _ in range(10):
            try:
                await pipes.write(Order(ids=["x" * 100_000]))
            except OSError as exc:
                told.append(exc)
            await asyncio.sleep(0)
        assert told
