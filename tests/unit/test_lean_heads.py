"""The lean transport's memory of heads: what it is used for, and that it stays small."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any, cast

import pytest

from harvester.client.http11_connection import LeanConnection, SeenHead, SeenHeads
from harvester.client.transport import (
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    NoReply,
    Reply,
)


class Wire(asyncio.Transport):
    """Takes what is written; open until it is aborted."""

    def __init__(self) -> None:
        super().__init__()
        self.is_aborted = False
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        self.is_aborted = True


async def _answer_to(connection: LeanConnection, *pieces: bytes) -> Reply | NoReply:
    answer = connection.ask(b"GET / HTTP/1.1\r\n\r\n")
    for piece in pieces:
        connection.data_received(piece)
    return await asyncio.wait_for(answer, 5)


def _connection(heads: SeenHeads) -> LeanConnection:
    connection = LeanConnection(heads)
    connection.connection_made(cast("asyncio.BaseTransport", Wire()))
    return connection


HEAD = b"HTTP/1.1 200 OK\r\nDate: D\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n"


async def test_what_a_head_said_is_remembered_as_the_parser_read_it() -> None:
    heads = SeenHeads()
    first = await _answer_to(_connection(heads), HEAD + b"{}")
    assert heads.get(HEAD) == SeenHead(200, 2, "D", "7")
    again = await _answer_to(_connection(heads), HEAD + b"[]")
    assert isinstance(first, Reply)
    assert isinstance(again, Reply)
    assert (first.status, first.body, first.date, first.retry_after) == (200, b"{}", "D", "7")
    assert (again.status, again.body, again.date, again.retry_after) == (200, b"[]", "D", "7")


async def test_a_known_head_is_not_parsed_again() -> None:
    heads = SeenHeads()
    heads.add(HEAD, SeenHead(299, 2, None, None))  # as no parser would have it
    reply = await _answer_to(_connection(heads), HEAD + b"{}")
    assert isinstance(reply, Reply)
    assert reply.status == 299


@pytest.mark.parametrize(
    "pieces",
    [
        (HEAD, b"{}"),
        (HEAD + b"{", b"}"),
        (HEAD + b"{}!",),
        (HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"{}",),
        (HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: x\r\n\r\n") + b"{}",),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"{}",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",),
        (HEAD.replace(b"Date: D", b"Date: " + 2_048 * b"D") + b"{}",),
    ],
)
async def test_only_a_plain_answer_in_one_piece_is_remembered(pieces: tuple[bytes, ...]) -> None:
    heads = SeenHeads()
    await _answer_to(_connection(heads), *pieces)
    assert [head for head in (HEAD, pieces[0].split(b"{")[0]) if heads.get(head)] == []


async def test_an_answer_that_may_have_no_body_is_remembered_without_one() -> None:
    heads = SeenHeads()
    head = HEAD.replace(b"200 OK", b"204 No Content")
    await _answer_to(_connection(heads), head)
    assert heads.get(head) == SeenHead(204, 0, "D", "7")


async def test_a_connection_is_used_again_only_between_whole_answers() -> None:
    connection, wire = LeanConnection(SeenHeads()), Wire()
    assert not connection.is_usable(), "it is not made yet"
    connection.connection_made(cast("asyncio.BaseTransport", wire))
    assert connection.is_usable()
    answer = connection.ask(b"GET / HTTP/1.1\r\n\r\n")
    for piece in (HEAD, b"{"):
        connection.data_received(piece)
        assert not connection.is_usable()
    connection.data_received(b"}")
    replies = [await answer]
    for body in (b"[]", b"[]", b"{}"):  # the first of them by the parser, then by its head
        assert connection.is_usable()
        replies.append(await _answer_to(connection, HEAD + body))
    assert [(one.body, one.is_reused) for one in replies if isinstance(one, Reply)] == [
        (b"{}", False),
        (b"[]", True),
        (b"[]", True),
        (b"{}", True),
    ]
    wire.abort()
    assert not connection.is_usable(), "it is closing"


@pytest.mark.parametrize(
    "pieces",
    [
        (HEAD + b"{}",),
        (HEAD + b"{", b"}"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD, b"{", b"}"),
        (HEAD.replace(b"Date: D", b"X: " + 4_000 * b"x") + b"{}",),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
            b"1\r\n}\r\n0\r\n\r\n",
        ),
    ],
)
async def test_an_answer_is_the_same_in_whatever_pieces_it_comes(pieces: tuple[bytes, ...]) -> None:
    connection = _connection(SeenHeads())
    for _ in range(2):
        reply = await _answer_to(connection, *pieces)
        assert isinstance(reply, Reply)
        assert (reply.status, reply.body) == (200, b"{}")
        assert connection.is_usable()


@pytest.mark.parametrize("asked", [0, 1, 2, 3])
async def test_what_comes_when_nothing_is_asked_condemns_a_connection(asked: int) -> None:
    connection, wire = LeanConnection(SeenHeads()), Wire()
    connection.connection_made(cast("asyncio.BaseTransport", wire))
    for _ in range(asked):
        await _answer_to(connection, HEAD + b"{}")
    assert wire.written == [b"GET / HTTP/1.1\r\n\r\n"] * asked
    connection.data_received(HEAD + b"{}")
    assert wire.is_aborted
    assert not connection.is_usable()


async def test_a_connection_that_others_shall_not_follow_is_closed_after_its_answer() -> None:
    connection, wire = LeanConnection(SeenHeads()), Wire()
    connection.connection_made(cast("asyncio.BaseTransport", wire))
    last = HEAD.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    reply = await _answer_to(connection, last + b"{}")
    assert isinstance(reply, Reply)
    assert wire.is_aborted


@pytest.mark.parametrize(
    ("pieces", "error", "cause"),
    [
        ((), None, "reset"),
        ((HEAD[:20],), None, "reset"),
        ((HEAD + b"{",), None, "torn"),
        ((b"HTTP/1.1 200 OK\r\n\r\n{",), OSError("gone"), "torn"),
        ((b"HTTP/1.1 200 OK\r\n\r\n{", b"}"), None, None),
    ],
)
async def test_a_connection_that_ends_is_told_by_how_far_its_answer_had_come(
    pieces: tuple[bytes, ...], error: Exception | None, cause: str | None
) -> None:
    connection = _connection(SeenHeads())
    answer = connection.ask(b"GET / HTTP/1.1\r\n\r\n")
    for piece in pieces:
        connection.data_received(piece)
    assert not answer.done()
    connection.connection_lost(error)
    found = await answer
    assert (found.cause if isinstance(found, NoReply) else None) == cause
    if isinstance(found, Reply):
        assert found.body == b"{}", "it ends where its connection does"


async def test_a_known_head_is_no_word_on_how_much_of_its_body_came() -> None:
    connection = _connection(SeenHeads())
    for pieces in ((HEAD + b"{}",), (HEAD + b"{}",), (HEAD + b"{", b"}"), (HEAD, b"{}")):
        reply = await _answer_to(connection, *pieces)
        assert isinstance(reply, Reply)
        assert reply.body == b"{}"
        assert 0 <= reply.took_s < 60


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "cause"),
    [
        ((b"SSH-2.0-OpenSSH\r\n",), "protocol"),
        ((CHUNKED, b"no size\r\n"), "torn"),
    ],
)
async def test_what_is_no_http_ends_the_connection_and_is_told_by_where_it_began(
    pieces: tuple[bytes, ...], cause: str
) -> None:
    connection = _connection(SeenHeads())
    reply = await _answer_to(connection, *pieces)
    assert isinstance(reply, NoReply)
    assert reply.cause == cause
    assert not connection.is_usable()


@pytest.mark.parametrize(
    ("lines", "is_read"),
    [
        ([b"X: x"] * (MAX_HEADERS - 1), True),
        ([b"X: x"] * MAX_HEADERS, False),
        ([b"XXXX: " + b"x" * (MAX_HEADER_BYTES - 4)], True),
        ([b"XXXX: " + b"x" * (MAX_HEADER_BYTES - 3)], False),
        ([b"X: a\0b"], False),
    ],
)
async def test_a_head_has_so_many_lines_of_so_many_bytes_at_most(
    lines: list[bytes], is_read: bool
) -> None:
    head = b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: 2", *lines, b"", b""])
    reply = await _answer_to(_connection(SeenHeads()), head + b"{}")
    assert isinstance(reply, Reply) is is_read
    if isinstance(reply, NoReply):
        assert reply.cause == "protocol"


async def test_a_second_answer_behind_the_first_condemns_the_connection() -> None:
    connection = _connection(SeenHeads())
    reply = await _answer_to(connection, HEAD + b"{}" + HEAD + b"[]")
    assert isinstance(reply, Reply)
    assert reply.body == b"{}"
    assert not connection.is_usable()


@pytest.mark.parametrize(
    ("begin", "most", "cause"),
    [
        (b"HTTP/1.1 200 OK\r\nX: ", MAX_HEADER_BYTES * MAX_HEADERS, "protocol"),
        (CHUNKED + b"1;x=", 8 * MAX_BODY_BYTES, "too_long"),
    ],
)
async def test_what_never_ends_is_read_no_further_than_an_answer_may_go(
    begin: bytes, most: int, cause: str
) -> None:
    connection = _connection(SeenHeads())
    answer = connection.ask(b"GET / HTTP/1.1\r\n\r\n")
    connection.data_received(begin)
    read = len(begin)
    while not answer.done():
        connection.data_received(b"x" * 65_536)
        read += 65_536
        assert read <= most + 65_536
    assert read > most
    reply = await answer
    assert isinstance(reply, NoReply)
    assert reply.cause == cause
    assert not connection.is_usable()


def test_the_latest_heads_are_remembered_but_for_very_long_ones() -> None:
    heads, said = SeenHeads(), SeenHead(200, 1, None, None)
    for name in (b"a", b"b", b"c" * 2_048, b"d" * 2_049):
        heads.add(name, said)
    assert [heads.get(name) for name in (b"a", b"b", b"c" * 2_048)] == [said] * 3
    assert heads.get(b"d" * 2_049) is None


def test_the_memory_of_heads_stays_small() -> None:
    heads = SeenHeads()
    names = [b"%d\r\n\r\n" % number for number in range(100_000)]
    for name in names:
        heads.add(name, SeenHead(200, 1, None, None))
    assert heads.get(names[-1]) is not None
    assert sum(heads.get(name) is not None for name in names) <= 512


@pytest.mark.parametrize(
    ("lines", "date", "retry_after"),
    [
        ([b"Date: first", b"Date: second"], "first", None),
        ([b"DATE: D", b"retry-AFTER: 7", b"Retry-After: 9"], "D", "7"),
        ([], None, None),
    ],
)
async def test_of_a_header_that_comes_twice_the_first_counts_however_it_is_spelt(
    lines: list[bytes], date: str | None, retry_after: str | None
) -> None:
    head = b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: 2", *lines, b"", b""])
    connection = _connection(SeenHeads())
    for _ in range(2):
        reply = await _answer_to(connection, head + b"{}")
        assert isinstance(reply, Reply)
        assert (reply.date, reply.retry_after) == (date, retry_after)


async def test_of_codings_that_come_twice_both_count() -> None:
    packed = gzip.compress(gzip.compress(b"{}"))
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(packed)
    twice = head + b"Content-Encoding: gzip\r\nContent-Encoding: gzip\r\n\r\n"
    reply = await _answer_to(_connection(SeenHeads()), twice + packed)
    assert isinstance(reply, Reply)
    assert reply.body == b"{}"


async def test_what_announces_an_answer_says_nothing_for_it() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nRetry-After: 60\r\nDate: early\r\n\r\n"
    for pieces in ((early + HEAD + b"{}",), (early, HEAD + b"{}"), (early, early, HEAD, b"{}")):
        plain = [piece.replace(b"Retry-After: 7\r\n", b"") for piece in pieces]
        reply = await _answer_to(_connection(SeenHeads()), *plain)
        assert isinstance(reply, Reply)
        assert (reply.status, reply.date, reply.retry_after, reply.body) == (200, "D", None, b"{}")


async def test_a_status_under_100_is_none() -> None:
    reply = await _answer_to(_connection(SeenHeads()), HEAD.replace(b"200", b"099") + b"{}")
    assert isinstance(reply, NoReply)
    assert reply.cause == "protocol"


TRAILED = CHUNKED + b"2\r\n{}\r\n0\r\nX-Late: x\r\nRetry-After: 60\r\n\r\n"


async def test_a_trailer_says_nothing_for_its_answer_nor_for_the_next_one() -> None:
    connection = _connection(SeenHeads())
    plain = HEAD.replace(b"Retry-After: 7\r\n", b"")
    for answer in (TRAILED, plain + b"{}", TRAILED):
        reply = await _answer_to(connection, answer)
        assert isinstance(reply, Reply)
        assert (reply.body, reply.retry_after) == (b"{}", None)
        assert connection.is_usable()
    reply = await _answer_to(connection, HEAD[:20], HEAD[20:] + b"{}")
    assert isinstance(reply, Reply)
    assert reply.retry_after == "7"


@pytest.mark.parametrize(("size", "is_read"), [(MAX_BODY_BYTES, True), (MAX_BODY_BYTES + 1, False)])
@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_is_read_up_to_its_largest_size_however_it_is_sent(
    size: int, is_read: bool, is_chunked: bool
) -> None:
    body = b" " * size
    begin = HEAD.replace(b"Length: 2", b"Length: %d" % size)
    answer = CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (size, body) if is_chunked else begin + body
    for pieces in (
        (answer,),
        tuple(answer[at : at + 65_536] for at in range(0, len(answer), 65_536)),
    ):
        connection = _connection(SeenHeads())
        reply = await _answer_to(connection, *pieces)
        assert isinstance(reply, Reply) is is_read
        assert connection.is_usable() is is_read
        if isinstance(reply, NoReply):
            assert reply.cause == "too_long"


@pytest.mark.parametrize("answer", [HEAD + b"{}", TRAILED])
async def test_an_answer_that_nobody_waits_for_any_more_breaks_nothing(answer: bytes) -> None:
    connection, wire = LeanConnection(SeenHeads()), Wire()
    connection.connection_made(cast("asyncio.BaseTransport", wire))
    await _answer_to(connection, answer)
    connection.ask(b"GET / HTTP/1.1\r\n\r\n").cancel()
    connection.data_received(answer)
    connection.connection_lost(None)
    connection.ask(b"GET / HTTP/1.1\r\n\r\n").cancel()
    connection.connection_lost(OSError("gone"))
    assert wire.is_aborted


async def test_an_answer_in_many_pieces_says_whether_its_connection_was_used_before() -> None:
    connection = _connection(SeenHeads())
    answer = HEAD.replace(b"Length: 2", b"Length: 20") + b"{%s}" % (b" " * 18)
    for is_reused in (False, True, True):
        reply = await _answer_to(connection, *(bytes([byte]) for byte in answer))
        assert isinstance(reply, Reply)
        assert reply.is_reused is is_reused
        assert 0 < reply.took_s < 60
