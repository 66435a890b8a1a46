"""Content codings that are undone: whatever is in them, and at a cost that grows with its size."""

from __future__ import annotations

import gzip
import time

import pytest

from harvester.client import coding
from harvester.client.transport import MAX_BODY_BYTES, NoReply

BODY = b'{"status":"-22"}'


@pytest.mark.parametrize("size", [1, 9, 4_090, 4_096, 4_100, 9_000])
def test_members_that_end_anywhere_in_a_piece_are_one_body(size: int) -> None:
    member = gzip.compress(b"x" * size, 0)
    packed = (member + bytes(7)) * 20 + bytes(size)
    assert coding.decoded(packed, "gzip") == b"x" * size * 20


def test_noughts_alone_or_before_the_first_member_are_no_gzip() -> None:
    for packed in (bytes(10), bytes(3) + gzip.compress(BODY)):
        assert isinstance(coding.decoded(packed, "gzip"), NoReply)


def test_what_follows_a_member_and_is_neither_noughts_nor_a_member_is_damage() -> None:
    for rest in (b"xy", bytes(5) + b"<html>", gzip.compress(BODY)[1:]):
        assert isinstance(coding.decoded(gzip.compress(BODY) + rest, "gzip"), NoReply)


def test_very_many_tiny_members_cost_by_their_number_and_not_by_its_square() -> None:
    """The end of a member hands back a copy of what follows: 50,000 times most of a megabyte."""
    few, many = (gzip.compress(b"") * n for n in (5_000, MAX_BODY_BYTES // 20))
    assert _cpu_s(many) < 40 * min(_cpu_s(few) for _ in range(3)), "10 if linear, else over 100"


def _cpu_s(packed: bytes) -> float:
    begun = time.thread_time()
    assert coding.decoded(packed, "gzip") == b""
    return time.thread_time() - begun
