"""The transport over real sockets: order of effects, what goes over the wire, what goes wrong."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import gzip
import re
import socket
import ssl
import struct
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp.client_proto import ResponseHandler
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harvester import __version__
from harvester.client.aiohttp_transport import AiohttpTransport
from harvester.client.http11_connection import LeanConnection
from harvester.client.http11_transport import LeanTransport
from harvester.client.judge import http_date, judge
from harvester.client.record_group import record_request
from harvester.client.sign import signed_headers
from harvester.client.transport import MAX_BODY_BYTES, NoReply, Reply, Request, Seal
from harvester.client.verdicts import Record
from harvester.config import Secrets, Vendor
from tests.support.descriptors import no_more_files
from tests.support.ports import free_port
from tests.support.simulated import Simulator

PAGE = Secrets(api_key="bDqJFiq9", api_secret="7bz1lzh9")
Way = AiohttpTransport | LeanTransport
WAYS: dict[str, type[Way]] = {"aiohttp": AiohttpTransport, "lean": LeanTransport}
SCHEMES = ("http", "https")
NOW = 1_700_000_000.0  # later than the calls that are answered: a time to come is none
IMPATIENT_S = 1.0  # on a busy machine a connection took over 0.3 s
ENOUGH_S = 10.0
"""Nobody waits this long unless something is broken."""


@dataclass(slots=True)
class Ask:
    """One request as the server sees it."""

    head: bytes
    connection: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def voice_id(self) -> str:
        return self.head.split(b" ", 2)[1].rsplit(b"/", 1)[1].decode()

    async def send(self, answer: bytes) -> None:
        self.writer.write(answer)
        await self.writer.drain()
        # Over TLS `drain` neither waits nor fails once the other side is gone.
        await asyncio.sleep(0)
        if self.writer.is_closing():
            raise ConnectionResetError

    async def drip(self, answer: bytes, every_s: float = 0.05) -> None:
        for byte in answer:
            await self.send(bytes([byte]))
            await asyncio.sleep(every_s)

    def hang_up(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        """End the connection with a RST, and throw away what isn't sent."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()


Behaviour = Callable[[Ask], Awaitable[None]]


def _of_vendor() -> ssl.SSLContext | None:
    return SETTINGS[-1].of_vendor()


def envelope(voice_id: str) -> bytes:
    hangup = b'"hangupTime":"2022-01-18T14:42:55+08:00"'
    return b'{"status":"0","data":{"voiceId":"%s",%s}}' % (voice_id.encode(), hangup)


def answer_of(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def right(ask: Ask) -> None:
    await ask.send(answer_of(envelope(ask.voice_id)))


@dataclass(slots=True)
class RawVendor:
    """A server that does to each request what `behaviour` says, byte by byte."""

    behaviour: Behaviour = right
    greeting: bytes = b""
    """Sent as soon as a connection is made, before any request."""
    tls: ssl.SSLContext | None = field(default_factory=_of_vendor)
    port: int = field(default_factory=free_port)
    opened: int = 0
    live: int = 0
    asks: list[Ask] = field(default_factory=list)
    _visits: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def base_url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/voice"

    @property
    def asked(self) -> list[str]:
        return [ask.voice_id for ask in self.asks]

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[RawVendor]:
        server = await asyncio.start_server(self._greet, "127.0.0.1", self.port, ssl=self.tls)
        try:
            yield self
        finally:
            server.close()
            for visit in self._visits:
                visit.cancel()
            await asyncio.gather(*self._visits, return_exceptions=True)

    def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self.live += 1
        visit = asyncio.create_task(self._serve(self.opened, reader, writer))
        self._visits.add(visit)
        visit.add_done_callback(self._visits.discard)

    async def _serve(
        self, connection: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            writer.write(self.greeting)
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                ask = Ask(head, connection, reader, writer)
                self.asks.append(ask)
                await self.behaviour(ask)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client hung up
        finally:
            self.live -= 1
            writer.close()

    async def until_live(self, connections: int) -> None:
        await until(lambda: self.live == connections)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(ENOUGH_S):
        while not is_so():  # noqa: ASYNC110 - a test watches a server of its own
            await asyncio.sleep(0.005)


@dataclass(frozen=True, slots=True)
class Setting:
    """The transport under test, and how it and the vendor speak."""

    way: type[Way]
    authority: trustme.CA | None = None

    def of_vendor(self) -> ssl.SSLContext | None:
        return None if self.authority is None else _tls(self.authority, "127.0.0.1")

    def of_us(self) -> ssl.SSLContext | None:
        return None if self.authority is None else _trusting(self.authority)


SETTINGS = [Setting(AiohttpTransport)]


@pytest.fixture(scope="module", params=[f"{w}-{s}" for w in WAYS for s in SCHEMES], autouse=True)
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test of this module is one of every transport, over http and over https."""
    name, _, scheme = request.param.partition("-")
    SETTINGS.append(Setting(WAYS[name], trustme.CA() if scheme == "https" else None))
    yield
    SETTINGS.pop()


@dataclass(slots=True)
class CountingSeal:
    """Seals with the number of the attempt."""

    count: int = 0

    async def __call__(self) -> dict[str, str]:
        self.count += 1
        return {"Sign": f"attempt {self.count}"}


@asynccontextmanager
async def transport_to(
    base_url: str,
    *,
    seal: Seal | None = None,
    concurrency: int = 1,
    timeout_s: float = ENOUGH_S,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Way]:
    vendor = Vendor(base_url=base_url, timeout_s=timeout_s)
    tested = SETTINGS[-1]
    tls = tls or tested.of_us()
    transport = tested.way(vendor, concurrency, seal or CountingSeal(), tls=tls)
    try:
        yield transport
    finally:
        await transport.close()


async def get(transport: Way, voice_id: str) -> Reply | NoReply:
    async with asyncio.timeout(ENOUGH_S):
        return await transport.send(record_request(voice_id))


async def get_reply(transport: Way, voice_id: str) -> Reply:
    reply = await get(transport, voice_id)
    assert isinstance(reply, Reply), reply
    return reply


async def get_record(transport: Way, voice_id: str) -> None:
    """The answer is this id's own."""
    reply = await get_reply(transport, voice_id)
    assert judge(voice_id, reply, NOW) == Record(over=True)


def is_at_rest(transport: Way) -> bool:
    """No attempt is remembered."""
    return transport.is_at_rest


# What goes over the wire


async def test_a_request_carries_the_four_headers_spelt_as_the_vendor_spells_them() -> None:
    async def seal() -> dict[str, str]:
        return signed_headers(PAGE, 1630468800)

    async with RawVendor().listening() as vendor:
        async with transport_to(vendor.base_url, seal=seal) as transport:
            await get_record(transport, "2203031113381000002")
        lines = vendor.asks[0].head.decode().split("\r\n")
    assert lines[0] == "GET /voice/recordGroup/2203031113381000002 HTTP/1.1"
    assert sorted(lines[1:-2]) == [
        "Accept-Encoding: identity",
        "Accept: application/json",
        "Api-Key: bDqJFiq9",
        "Content-Type: application/json;charset=UTF-8",
        f"Host: 127.0.0.1:{vendor.port}",
        "Sign: 05d7a50893e22a5c4bb3216ae3396c7c",
        "Timestamp: 1630468800",
        f"User-Agent: cdr-harvester/{__version__}",
    ]


async def test_the_prefix_of_the_base_url_is_kept_with_or_without_its_last_slash() -> None:
    async with RawVendor(tls=None).listening() as vendor:
        for base_url in (f"http://127.0.0.1:{vendor.port}/v3/voice{end}" for end in ("", "/")):
            async with transport_to(base_url) as transport:
                await get_record(transport, "aZ09_-")
        paths = [ask.head.split(b" ")[1] for ask in vendor.asks]
    assert paths == [b"/v3/voice/recordGroup/aZ09_-"] * 2


async def test_every_attempt_is_sealed_afresh() -> None:
    async with RawVendor().listening() as vendor, transport_to(vendor.base_url) as transport:
        for voice_id in ("1", "2", "3"):
            await get_record(transport, voice_id)
        assert [_sign(ask) for ask in vendor.asks] == ["attempt 1", "attempt 2", "attempt 3"]


async def test_connections_are_kept_alive_and_no_more_than_the_concurrency() -> None:
    async with (
        RawVendor().listening() as vendor,
        transport_to(vendor.base_url, concurrency=4) as transport,
    ):
        ids = iter(range(200))

        async def work() -> None:
            for voice_id in ids:
                await get_record(transport, str(voice_id))

        await asyncio.gather(*(work() for _ in range(4)))
        assert sorted(vendor.asked, key=int) == [str(number) for number in range(200)]
        assert vendor.opened <= 4


async def test_an_answer_tells_whether_its_connection_had_brought_another_before() -> None:
    async with RawVendor().listening() as vendor, transport_to(vendor.base_url) as transport:
        replies = [await get_reply(transport, str(n)) for n in range(4)]
        assert [reply.is_reused for reply in replies] == [False, True, True, True]
        vendor.behaviour = right_and_last
        assert (await get_reply(transport, "5")).is_reused
        assert not (await get_reply(transport, "6")).is_reused
        assert not (await get_reply(transport, "7")).is_reused


async def right_and_last(ask: Ask) -> None:
    await ask.send(answer_of(envelope(ask.voice_id), "Connection: close"))
    ask.hang_up()


async def test_of_connections_that_have_ended_nothing_stays_in_memory() -> None:
    """A backfill of weeks may open as many as it sends requests."""

    def remembered() -> int:
        gc.collect()
        return sum(type(one) in {ResponseHandler, LeanConnection} for one in gc.get_objects())

    async with (
        RawVendor(right_and_last).listening() as vendor,
        transport_to(vendor.base_url, concurrency=2) as transport,
    ):
        before = remembered()
        for number in range(40):
            await get_reply(transport, str(number))
        assert vendor.opened == 40
        assert remembered() - before <= 6


async def test_a_fresh_request_has_a_connection_that_has_brought_no_answer() -> None:
    async with (
        RawVendor().listening() as vendor,
        transport_to(vendor.base_url, concurrency=4) as transport,
    ):
        for voice_id in ("1", "2"):
            await get_record(transport, voice_id)
        for voice_id in ("3", "4", "5"):
            async with asyncio.timeout(ENOUGH_S):
                reply = await transport.send(record_request(voice_id), fresh=True)
            assert isinstance(reply, Reply)
            assert not reply.is_reused
            assert judge(voice_id, reply, NOW) == Record(over=True)
        connections = [ask.connection for ask in vendor.asks]
        assert connections[0] == connections[1]
        assert len({*connections[1:]}) == 4
        assert vendor.live <= 2, "no more than the one in use and one that is being closed"
        assert _sign(vendor.asks[-1]) == "attempt 5", "it is sealed as any other"


async def test_closing_the_transport_closes_every_connection() -> None:
    async with RawVendor().listening() as vendor:
        async with transport_to(vendor.base_url, concurrency=3) as transport:
            await asyncio.gather(*(get_record(transport, str(n)) for n in range(3)))
        await vendor.until_live(0)


async def test_the_answers_of_the_stand_in_vendor_are_delivered() -> None:
    asked = [str(2609021133180000000 + n) for n in range(120)]
    with Simulator(rate_limit=0, fates="dead_param=0,dead_empty=0,no_record=0") as simulator:

        async def seal() -> dict[str, str]:
            return signed_headers(PAGE, int(time.time()))

        async with transport_to(simulator.base_url, seal=seal, concurrency=8) as transport:
            replies = await asyncio.gather(*(get_reply(transport, one) for one in asked))
        for voice_id, reply in zip(asked, replies, strict=True):
            assert isinstance(judge(voice_id, reply, time.time()), Record)
            assert http_date(reply.date) == pytest.approx(time.time(), abs=60)
            assert reply.took_s >= 0
        assert simulator.stats()["requests"] == len(asked)
        assert simulator.asks() == dict.fromkeys(asked, 1)


# The order of effects


async def test_a_turn_is_taken_with_the_connection_in_hand_and_directly_before_the_write() -> None:
    seen: list[tuple[int, int]] = []

    async def seal() -> dict[str, str]:
        await until(lambda: vendor.live == 1)
        await asyncio.sleep(0.05)  # time for a request to arrive, if one had been written
        seen.append((vendor.opened, len(vendor.asks)))
        return {}

    async with RawVendor().listening() as vendor, transport_to(vendor.base_url, seal=seal) as ours:
        await get_record(ours, "1")
        await get_record(ours, "2")
    assert seen == [(1, 0), (1, 1)]


async def test_no_turn_is_spent_on_a_connection_that_fails() -> None:
    seal = CountingSeal()
    async with transport_to(f"http://127.0.0.1:{free_port()}/voice", seal=seal) as transport:
        assert isinstance(await get(transport, "1"), NoReply)
    assert seal.count == 0


async def test_waiting_for_the_turn_is_not_waiting_for_the_vendor() -> None:
    async def seal() -> dict[str, str]:
        await asyncio.sleep(4 * IMPATIENT_S)
        return {}

    async def slowly(ask: Ask) -> None:
        await asyncio.sleep(IMPATIENT_S / 3)
        await right(ask)

    async with (
        RawVendor(slowly).listening() as vendor,
        transport_to(vendor.base_url, seal=seal, timeout_s=IMPATIENT_S) as transport,
    ):
        reply = await get_reply(transport, "1")
        assert reply.took_s < 4 * IMPATIENT_S


async def test_the_repeat_on_a_dead_connection_is_sealed_too() -> None:
    async def dies_on_the_second(ask: Ask) -> None:
        if len(vendor.asks) == 2:
            ask.hang_up()
        else:
            await right(ask)

    seal = CountingSeal()
    async with (
        RawVendor(dies_on_the_second).listening() as vendor,
        transport_to(vendor.base_url, seal=seal) as transport,
    ):
        await get_record(transport, "1")
        await get_record(transport, "2")
        assert vendor.asked == ["1", "2", "2"]
        assert [_sign(ask) for ask in vendor.asks] == ["attempt 1", "attempt 2", "attempt 3"]
        assert seal.count == 3


async def test_a_connection_that_dies_while_its_request_waits_for_the_turn_fails_no_id() -> None:
    async def dies_meanwhile() -> dict[str, str]:
        seals.append(vendor.live)
        if len(seals) == 2:
            vendor.asks[0].hang_up()
            await vendor.until_live(0)
            await asyncio.sleep(0.05)
        return {}

    seals: list[int] = []
    async with (
        RawVendor().listening() as vendor,
        transport_to(vendor.base_url, seal=dies_meanwhile) as transport,
    ):
        await get_record(transport, "1")
        await get_record(transport, "2")
        assert vendor.asked == ["1", "2"]
        assert len(seals) == 3


async def test_the_time_of_a_first_attempt_is_not_charged_to_its_repeat() -> None:
    turns = 0

    async def long_turn() -> dict[str, str]:
        nonlocal turns
        turns += 1
        if turns == 2:
            await asyncio.sleep(3 * IMPATIENT_S)
        return {}

    async def dies_first(ask: Ask) -> None:
        if len(vendor.asks) == 1:
            ask.hang_up()
        else:
            await right(ask)

    async with (
        RawVendor(dies_first).listening() as vendor,
        transport_to(vendor.base_url, seal=long_turn, timeout_s=IMPATIENT_S) as transport,
    ):
        await get_record(transport, "1")
        assert is_at_rest(transport)


class Stopped(Exception):
    """As the run raises it in a worker that waits for its turn."""


@pytest.mark.parametrize(
    "broken",
    [
        Stopped(),
        OSError(5, "broken disk"),
        ValueError(),
        TimeoutError(),
        aiohttp.ServerDisconnectedError(),
    ],
    ids=repr,
)
async def test_what_the_seal_raises_comes_out_unchanged_and_leaks_nothing(
    broken: Exception,
) -> None:
    turns = 0

    async def seal() -> dict[str, str]:
        nonlocal turns
        turns += 1
        if turns == 2:
            raise broken
        return {}

    async with RawVendor().listening() as vendor, transport_to(vendor.base_url, seal=seal) as ours:
        await get_record(ours, "1")
        with pytest.raises(type(broken)) as raised:
            await get(ours, "2")
        assert raised.value is broken
        await vendor.until_live(0)
        assert is_at_rest(ours)
        await get_record(ours, "3")
        assert vendor.asked == ["1", "3"]


# A request with a body

QUERY = b'{"page":1,"callee":"\xe9"}'
POST = Request("POST", "recordGroupQuery/of", QUERY)


async def body_of(ask: Ask) -> bytes:
    (size,) = re.findall(rb"\r\nContent-Length: (\d+)\r\n", ask.head)
    return await ask.reader.readexactly(int(size))


async def send(transport: Way, request: Request, *, fresh: bool = False) -> Reply | NoReply:
    async with asyncio.timeout(ENOUGH_S):
        return await transport.send(request, fresh=fresh)


@pytest.mark.parametrize("query", [QUERY, b"", b"x" * 300_000], ids=["short", "empty", "long"])
async def test_a_post_carries_its_body_and_the_headers_of_any_request(query: bytes) -> None:
    async def seal() -> dict[str, str]:
        return signed_headers(PAGE, 1630468800)

    async def takes_it(ask: Ask) -> None:
        if ask.head.startswith(b"POST"):
            bodies.append(await body_of(ask))
        await right(ask)

    bodies: list[bytes] = []
    async with RawVendor(takes_it).listening() as vendor:
        async with transport_to(vendor.base_url, seal=seal) as transport:
            for _ in range(2):
                reply = await send(transport, Request("POST", "recordGroupQuery/of", query))
                assert isinstance(reply, Reply)
                assert reply.body == envelope("of")
            await get_record(transport, "1")  # nothing of the body is left over
            assert vendor.opened == 1
        lines = vendor.asks[0].head.decode().split("\r\n")
        assert b"content-length" not in vendor.asks[2].head.lower()
    assert bodies == [query] * 2
    assert lines[0] == "POST /voice/recordGroupQuery/of HTTP/1.1"
    assert sorted(lines[1:-2]) == [
        "Accept-Encoding: identity",
        "Accept: application/json",
        "Api-Key: bDqJFiq9",
        f"Content-Length: {len(query)}",
        "Content-Type: application/json;charset=UTF-8",
        f"Host: 127.0.0.1:{vendor.port}",
        "Sign: 05d7a50893e22a5c4bb3216ae3396c7c",
        "Timestamp: 1630468800",
        f"User-Agent: cdr-harvester/{__version__}",
    ]


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("is_first", [True, False])
async def test_a_post_that_may_have_arrived_is_not_sent_again(is_first: bool, fresh: bool) -> None:
    async def drops_posts(ask: Ask) -> None:
        if ask.head.startswith(b"POST"):
            await body_of(ask)
            ask.hang_up()
        else:
            await right(ask)

    seal = CountingSeal()
    async with (
        RawVendor(drops_posts).listening() as vendor,
        transport_to(vendor.base_url, seal=seal) as transport,
    ):
        if not is_first:
            await get_record(transport, "1")
        reply = await send(transport, POST, fresh=fresh)
        assert isinstance(reply, NoReply)
        assert reply.cause == "reset"
        assert vendor.asked == (["of"] if is_first else ["1", "of"])
        assert seal.count == len(vendor.asked)
        assert is_at_rest(transport)
        await get_record(transport, "2")


async def test_a_post_that_was_not_written_goes_out_on_another_connection() -> None:
    async def dies_meanwhile() -> dict[str, str]:
        turns.append(vendor.live)
        if len(turns) == 2:
            vendor.asks[0].hang_up()
            await vendor.until_live(0)
            await asyncio.sleep(0.05)
        return {"Sign": f"attempt {len(turns)}"}

    async def takes_it(ask: Ask) -> None:
        if ask.head.startswith(b"POST"):
            bodies.append(await body_of(ask))
        await right(ask)

    turns: list[int] = []
    bodies: list[bytes] = []
    async with (
        RawVendor(takes_it).listening() as vendor,
        transport_to(vendor.base_url, seal=dies_meanwhile) as transport,
    ):
        await get_record(transport, "1")
        assert isinstance(await send(transport, POST), Reply)
        assert (vendor.asked, bodies) == (["1", "of"], [QUERY])
        assert [_sign(ask) for ask in vendor.asks] == ["attempt 1", "attempt 3"]
        assert is_at_rest(transport)


async def test_a_redirected_post_is_not_sent_elsewhere() -> None:
    async with RawVendor().listening() as elsewhere:

        async def redirect(ask: Ask) -> None:
            await body_of(ask)
            target = f"Location: {elsewhere.base_url}/recordGroupQuery/of"
            await ask.send(answer_of(b"", target, status="307 Temporary Redirect"))

        async with (
            RawVendor(redirect).listening() as vendor,
            transport_to(vendor.base_url) as transport,
        ):
            reply = await send(transport, POST)
            assert isinstance(reply, Reply)
            assert reply.status == 307
            assert vendor.asked == ["of"]
        assert elsewhere.opened == 0


async def test_a_path_that_looks_like_an_address_stays_under_the_base_url() -> None:
    async with RawVendor().listening() as elsewhere, RawVendor().listening() as vendor:
        host = f"127.0.0.1:{elsewhere.port}"
        async with transport_to(vendor.base_url) as transport:
            for path in (f"//{host}/1", f"http://{host}/2", f"@{host}/3"):
                assert isinstance(await send(transport, Request("GET", path)), Reply)
        paths = [ask.head.split(b" ")[1].decode() for ask in vendor.asks]
        assert paths == [f"/voice///{host}/1", f"/voice/http://{host}/2", f"/voice/@{host}/3"]
        assert elsewhere.opened == 0


@pytest.mark.parametrize(
    "request_",
    [
        Request("GET", "1 HTTP/1.1\r\nX: 1"),
        Request("GET", "a b"),
        Request("GET", "\u00e9"),
        Request("GET", "1", b"{}"),
        Request("POST", "1"),
    ],
    ids=repr,
)
async def test_what_is_no_request_is_not_sent(request_: Request) -> None:
    async with RawVendor().listening() as vendor, transport_to(vendor.base_url) as transport:
        with pytest.raises(ValueError, match=r"request|POST|ascii"):
            await send(transport, request_)
        assert vendor.opened == 0


# Cancellation, in each phase


async def _hold(ask: Ask) -> None:
    await asyncio.sleep(ENOUGH_S)


async def _hold_the_body(ask: Ask) -> None:
    await ask.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    await asyncio.sleep(ENOUGH_S)


@pytest.mark.parametrize("behaviour", [_hold, _hold_the_body])
async def test_cancelled_while_the_answer_is_awaited_leaks_nothing(behaviour: Behaviour) -> None:
    async with (
        RawVendor(behaviour).listening() as vendor,
        transport_to(vendor.base_url) as transport,
    ):
        asking = asyncio.create_task(transport.send(record_request("1")))
        await until(lambda: vendor.asked == ["1"])
        await asyncio.sleep(0.05)
        await _cancel(asking)
        await until(vendor.asks[0].reader.at_eof)
        assert is_at_rest(transport)
        assert _connections_in_use(transport) == 0
        vendor.behaviour = right
        await get_record(transport, "2")


async def test_cancelled_while_it_waits_for_its_turn_leaks_nothing() -> None:
    waits = asyncio.Event()

    async def seal() -> dict[str, str]:
        if vendor.behaviour is _hold:
            waits.set()
            await asyncio.sleep(ENOUGH_S)
        return {}

    async with (
        RawVendor(_hold).listening() as vendor,
        transport_to(vendor.base_url, seal=seal) as transport,
    ):
        asking = asyncio.create_task(transport.send(record_request("1")))
        await waits.wait()
        await vendor.until_live(1)
        await _cancel(asking)
        await vendor.until_live(0)
        assert is_at_rest(transport)
        vendor.behaviour = right
        await get_record(transport, "2")
        assert vendor.asked == ["2"]


async def test_cancelled_while_it_connects_leaks_nothing() -> None:
    """A TLS handshake that the other side never answers is a connection in the making."""
    async with RawVendor(tls=None).listening() as vendor:
        base_url = vendor.base_url.replace("http:", "https:")
        async with transport_to(base_url) as transport:
            asking = asyncio.create_task(transport.send(record_request("1")))
            await vendor.until_live(1)
            # asyncio leaves a socket to the garbage collector if it is cancelled in the very round
            # in which it connected: get past that, into the handshake.
            await asyncio.sleep(0.1)
            await _cancel(asking)
            await vendor.until_live(0)
            assert is_at_rest(transport)
            assert _connections_in_use(transport) == 0


async def _cancel(asking: asyncio.Task[Reply | NoReply]) -> None:
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


def _connections_in_use(transport: Way) -> int:
    if isinstance(transport, LeanTransport):
        return len(transport._open) - len(transport._idle)
    connector = transport._session.connector
    assert connector is not None
    return len(connector._acquired)


# Nobody let in, nothing let out


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 T", "308 P"])
async def test_a_redirect_is_an_answer_and_is_never_followed(status: str) -> None:
    async with RawVendor().listening() as elsewhere:
        targets = [
            elsewhere.base_url + "/recordGroup/1",
            f"https://127.0.0.1:{elsewhere.port}/voice/recordGroup/1",
            f"//127.0.0.1:{elsewhere.port}/",
            "/voice/recordGroup/2",
        ]

        async def redirect(ask: Ask) -> None:
            location = f"Location: {targets[int(ask.voice_id)]}"
            await ask.send(answer_of(b"", location, status=status))

        async with (
            RawVendor(redirect).listening() as vendor,
            transport_to(vendor.base_url) as transport,
        ):
            for number in range(len(targets)):
                reply = await get_reply(transport, str(number))
                assert reply.status == int(status[:3])
            assert vendor.asked == ["0", "1", "2", "3"]
        assert elsewhere.opened == 0


async def test_a_redirect_to_the_same_place_under_another_scheme_is_not_followed() -> None:
    async def upgrade(ask: Ask) -> None:
        location = f"Location: https://127.0.0.1:{vendor.port}/voice/recordGroup/1"
        await ask.send(answer_of(b"", location, status="302 Found"))

    async with (
        RawVendor(upgrade).listening() as vendor,
        transport_to(vendor.base_url) as transport,
    ):
        assert (await get_reply(transport, "1")).status == 302
        assert (vendor.opened, vendor.asked) == (1, ["1"])


async def test_a_cookie_is_never_sent_back() -> None:
    async def bake(ask: Ask) -> None:
        await ask.send(answer_of(envelope(ask.voice_id), "Set-Cookie: id=7; Path=/"))

    async with RawVendor(bake).listening() as vendor, transport_to(vendor.base_url) as transport:
        await get_record(transport, "1")
        await get_record(transport, "2")
        assert b"cookie" not in vendor.asks[1].head.lower()


async def test_proxies_and_passwords_of_the_environment_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with RawVendor().listening() as proxy, RawVendor().listening() as vendor:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        async with transport_to(vendor.base_url) as transport:
            await get_record(transport, "1")
        assert proxy.opened == 0
        assert b"authorization" not in vendor.asks[0].head.lower()


def _tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def _trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_https_is_spoken_with_whom_the_authority_vouches_for() -> None:
    authority = trustme.CA()
    async with (
        RawVendor(tls=_tls(authority, "127.0.0.1")).listening() as vendor,
        transport_to(vendor.base_url, tls=_trusting(authority)) as transport,
    ):
        await get_record(transport, "1")
        await get_record(transport, "2")
        assert vendor.opened == 1


async def test_an_authority_that_nobody_knows_is_refused_before_anything_is_sent() -> None:
    async with RawVendor(tls=_tls(trustme.CA(), "127.0.0.1")).listening() as vendor:
        for tls in (None, _trusting(trustme.CA())):
            async with transport_to(vendor.base_url, tls=tls) as transport:
                assert await _cause_of(transport) == "tls"
        assert vendor.asks == []


async def test_a_certificate_for_another_host_is_refused_before_anything_is_sent() -> None:
    authority = trustme.CA()
    async with (
        RawVendor(tls=_tls(authority, "api.example.com")).listening() as vendor,
        transport_to(vendor.base_url, tls=_trusting(authority)) as transport,
    ):
        assert await _cause_of(transport) == "tls"
        assert vendor.asks == []


async def test_the_systems_trust_is_that_of_ssl_cert_file_and_keeps_no_keys(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With no trust handed in: as a run makes its transport."""
    authority, keys = trustme.CA(), tmp_path / "keys"
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    for name, cause in (("127.0.0.1", None), ("api.example.com", "tls")):
        async with RawVendor(tls=_tls(authority, name)).listening() as vendor:
            settings = Vendor(base_url=vendor.base_url, timeout_s=ENOUGH_S)
            transport = SETTINGS[-1].way(settings, 1, CountingSeal())
            try:
                if cause is None:
                    await get_record(transport, "1")
                else:
                    assert await _cause_of(transport) == cause
            finally:
                await transport.close()
    assert not keys.exists() or not keys.read_text()


async def test_a_certificate_that_has_expired_or_is_another_hosts_is_said() -> None:
    authority = trustme.CA()
    expired = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    past = datetime(2001, 1, 1, tzinfo=UTC)
    authority.issue_cert("127.0.0.1", not_after=past).configure_cert(expired)
    for tls, words in (
        (expired, "certificate has expired"),
        (_tls(authority, "api.example.com"), "mismatch"),
        (_tls(trustme.CA(), "127.0.0.1"), "SSL_CERT_FILE"),
    ):
        async with (
            RawVendor(tls=tls).listening() as vendor,
            transport_to(vendor.base_url, tls=_trusting(authority)) as transport,
        ):
            reply = await get(transport, "1")
            assert isinstance(reply, NoReply)
            assert reply.cause == "tls"
            assert words in reply.detail


async def test_plain_http_where_tls_is_expected_gets_nothing() -> None:
    async with RawVendor(
        greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n", tls=None
    ).listening() as vendor:
        base_url = vendor.base_url.replace("http:", "https:")
        async with transport_to(base_url) as transport:
            assert await _cause_of(transport) == "tls"
        assert vendor.asks == []


# No connection


async def test_nobody_listens_is_refused() -> None:
    async with transport_to(f"http://127.0.0.1:{free_port()}/voice") as transport:
        assert await _cause_of(transport) == "refused"
        assert is_at_rest(transport)


async def test_a_proxy_of_the_environment_is_named_where_there_is_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://someone:hunter2@127.0.0.1:1")
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    async with transport_to(f"http://127.0.0.1:{free_port()}/voice") as transport:
        reply = await get(transport, "1")
    assert isinstance(reply, NoReply)
    assert reply.cause == "refused"
    assert "HTTP_PROXY is set" in reply.detail
    assert "hunter2" not in reply.detail


async def test_a_want_of_descriptors_is_ours() -> None:
    """A connection needs one, and there is none left; with one again, the next is made."""
    async with RawVendor().listening() as vendor, transport_to(vendor.base_url) as transport:
        with no_more_files():
            assert await _cause_of(transport) == "exhausted"
            assert await _cause_of(transport) == "exhausted"
        assert vendor.asks == []
        assert is_at_rest(transport)
        await get_record(transport, "2")


async def test_a_name_that_is_none_is_dns() -> None:
    async with transport_to("http://no-such-host.invalid/voice") as transport:
        assert await _cause_of(transport) == "dns"


async def test_a_connection_that_is_never_taken_up_is_a_timeout() -> None:
    """A queue of one that nobody serves: the kernel drops whoever comes later."""
    with contextlib.ExitStack() as waiting:
        listener = waiting.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(8):
            early = waiting.enter_context(socket.socket())
            early.setblocking(False)
            early.connect_ex(address)
        base_url = f"http://127.0.0.1:{address[1]}/voice"
        async with transport_to(base_url, timeout_s=IMPATIENT_S) as transport:
            assert await _cause_of(transport) == "timeout"


async def test_a_handshake_that_is_never_answered_is_a_timeout() -> None:
    async with RawVendor(tls=None).listening() as vendor:
        base_url = vendor.base_url.replace("http:", "https:")
        async with transport_to(base_url, timeout_s=IMPATIENT_S) as transport:
            assert await _cause_of(transport) == "timeout"
            assert _connections_in_use(transport) == 0
        await vendor.until_live(0)


async def _cause_of(transport: Way, voice_id: str = "1") -> str:
    reply = await get(transport, voice_id)
    assert isinstance(reply, NoReply), reply
    return reply.cause


def _sign(ask: Ask) -> str:
    found = re.search(rb"\r\nSign: ([^\r]*)", ask.head)
    assert found is not None
    return found[1].decode()


# Strange answers.  After each, the next id is asked as if nothing had been.

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BODY = envelope("odd")


def sends(*parts: bytes, then: Callable[[Ask], None] | None = None) -> Behaviour:
    async def behaviour(ask: Ask) -> None:
        for part in parts:
            await ask.send(part)
            await asyncio.sleep(0.01)
        if then is not None:
            then(ask)

    return behaviour


def drips(start: bytes, drop: bytes) -> Behaviour:
    async def behaviour(ask: Ask) -> None:
        await ask.send(start)
        while True:
            await ask.send(drop)
            await asyncio.sleep(IMPATIENT_S / 10)

    return behaviour


def pours(start: bytes, portion: bytes) -> Behaviour:
    async def behaviour(ask: Ask) -> None:
        await ask.send(start)
        while True:
            await ask.send(portion)

    return behaviour


def encoded(body: bytes, encoding: str) -> bytes:
    return answer_of(body, f"Content-Encoding: {encoding}")


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


def with_headers(lines: Iterable[bytes]) -> bytes:
    return b"".join((HEAD, *lines, b"Content-Length: %d\r\n\r\n" % len(BODY), BODY))


def with_lf(answer: bytes) -> bytes:
    """The same with lines that end in LF alone."""
    return answer.replace(b"\r\n", b"\n")


CODINGS = ("identity", "gzip")
READABLE = {
    "http 1.0 without a length": (
        sends(b"HTTP/1.0 200 OK\r\n\r\n", BODY, then=Ask.hang_up),
        200,
        BODY,
    ),
    "http 1.1 without a length": (sends(HEAD + b"\r\n", BODY, then=Ask.hang_up), 200, BODY),
    "connection: close": (
        sends(answer_of(BODY, "Connection: close"), then=Ask.hang_up),
        200,
        BODY,
    ),
    "said to be the last, and left open": (sends(answer_of(BODY, "Connection: close")), 200, BODY),
    "204": (sends(b"HTTP/1.1 204 No Content\r\n\r\n"), 204, b""),
    "304": (sends(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"), 304, b""),
    "an empty body": (sends(answer_of(b"")), 200, b""),
    "100 before it": (sends(b"HTTP/1.1 100 Continue\r\n\r\n", answer_of(BODY)), 200, BODY),
    "103 before it": (
        sends(b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n", answer_of(BODY)),
        200,
        BODY,
    ),
    "chunked": (sends(CHUNKED, chunk(BODY[:9]), chunk(BODY[9:]), b"0\r\n\r\n"), 200, BODY),
    "chunked with trailers": (
        sends(CHUNKED + chunk(BODY) + b"0\r\nRetry-After: 9\r\nX: y\r\n\r\n"),
        200,
        BODY,
    ),
    "a byte a chunk": (
        sends(CHUNKED + b"".join(chunk(b"x") for _ in range(20_000)) + b"0\r\n\r\n"),
        200,
        b"x" * 20_000,
    ),
    "a byte a write": (lambda ask: ask.drip(answer_of(BODY), 0.001), 200, BODY),
    "gzip, unasked": (sends(encoded(gzip.compress(BODY), "gzip")), 200, BODY),
    "gzip in two members": (
        sends(encoded(gzip.compress(BODY[:9]) + gzip.compress(BODY[9:]), "gzip")),
        200,
        BODY,
    ),
    "noughts behind a member of gzip": (
        sends(
            encoded(
                gzip.compress(BODY[:9]) + bytes(5_000) + gzip.compress(BODY[9:]) + bytes(50), "gzip"
            )
        ),
        200,
        BODY,
    ),
    "deflate, unasked": (sends(encoded(zlib.compress(BODY), "deflate")), 200, BODY),
    "gzip and the connection closed": (
        sends(
            encoded(gzip.compress(b"x" * MAX_BODY_BYTES), "gzip"),
            then=Ask.hang_up,
        ),
        200,
        b"x" * MAX_BODY_BYTES,
    ),
    # aiohttp asks gzip for no checksum: what is cut off shows in the JSON.
    "gzip without its end": (sends(encoded(gzip.compress(BODY)[:-9], "gzip")), 200, BODY),
    "an encoding that nobody knows": (sends(encoded(BODY, "rot13")), 200, BODY),
    "rot13 said of JSON": (sends(encoded(BODY, "rot13")), 200, BODY),
    "zstd said of JSON": (sends(encoded(BODY, "zstd")), 200, BODY),
    "x-gzip": (sends(encoded(gzip.compress(BODY), "x-gzip")), 200, BODY),
    "GZIP": (sends(encoded(gzip.compress(BODY), "GZIP")), 200, BODY),
    "gzip, said twice": (
        sends(answer_of(gzip.compress(BODY), *["Content-Encoding: gzip"] * 2)),
        200,
        BODY,
    ),
    "gzip of gzip": (
        sends(encoded(gzip.compress(gzip.compress(BODY)), "gzip, gzip")),
        200,
        BODY,
    ),
    "identity and gzip": (
        sends(answer_of(gzip.compress(BODY), *(f"Content-Encoding: {c}" for c in CODINGS))),
        200,
        BODY,
    ),
    # RFC 9112 §2.2: a line may end in LF alone.
    "a head of LF": (sends(with_lf(answer_of(BODY))), 200, BODY),
    "a head of LF in two packets": (
        sends(with_lf(answer_of(BODY))[:20], with_lf(answer_of(BODY))[20:]),
        200,
        BODY,
    ),
    "an empty line of LF": (sends(answer_of(BODY).replace(b"\r\n\r\n", b"\r\n\n")), 200, BODY),
    "a status line of LF": (sends(answer_of(BODY).replace(b"\r\n", b"\n", 1)), 200, BODY),
    # RFC 9112 §5.2: a user agent reads a folded line.
    "a folded header": (sends(with_headers([b"X: a\r\n b\r\n"])), 200, BODY),
    "a blank after the size of a chunk": (
        sends(CHUNKED + b"%x \r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
        200,
        BODY,
    ),
    "an extension of a chunk": (
        sends(CHUNKED + b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)),
        200,
        BODY,
    ),
    "chunked, said twice": (
        sends(HEAD + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n" + chunk(BODY) + b"0\r\n\r\n"),
        200,
        BODY,
    ),
    "a transfer coding that nobody knows": (
        sends(HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + BODY, then=Ask.hang_up),
        200,
        BODY,
    ),
    "a long body that its connection ends": (
        sends(HEAD + b"\r\n" + b"x" * MAX_BODY_BYTES, then=Ask.hang_up),
        200,
        b"x" * MAX_BODY_BYTES,
    ),
    "a long packed body that its connection ends": (
        sends(
            HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"x" * MAX_BODY_BYTES),
            then=Ask.hang_up,
        ),
        200,
        b"x" * MAX_BODY_BYTES,
    ),
    "as long as may be": (sends(answer_of(b"x" * MAX_BODY_BYTES)), 200, b"x" * MAX_BODY_BYTES),
    "a status that nobody knows": (sends(answer_of(BODY, status="999 What")), 999, BODY),
    "no reason": (sends(answer_of(BODY, status="200")), 200, BODY),
    "bytes that are no text in a header": (sends(with_headers([b"X: \xff\xfe\r\n"])), 200, BODY),
}

NO_CHUNK = {
    "a page": b"<html><h1>502 Bad Gateway</h1></html>\r\n",
    "another answer": answer_of(BODY),
    "a size below zero": b"-1\r\n",
    "a size that is none": b"\r\n\r\n",
    "a size of 64 bits and more": b"f" * 17 + b"\r\n",
    "a chunk longer than it said": b"5\r\n0123456789\r\n",
    "a trailer of 20 kB": b"0\r\nX: " + b"y" * 20_000 + b"\r\n\r\n",
    "a trailer without a colon": b"0\r\nno colon\r\n\r\n",
    "trailers by the hundred": b"0\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    "bytes": bytes(range(128, 256)),
}
"""What can't follow a chunk."""

UNREADABLE = {
    "closed without a word": (sends(then=Ask.hang_up), "reset"),
    "reset without a word": (sends(then=Ask.reset), "reset"),
    "closed within the head": (sends(HEAD + b"Content-Len", then=Ask.hang_up), "reset"),
    "closed within the body": (sends(answer_of(BODY)[:-9], then=Ask.hang_up), "torn"),
    "reset within the body": (sends(answer_of(BODY)[:-9], then=Ask.reset), "torn"),
    "closed within a chunk": (sends(CHUNKED, chunk(BODY)[:-9], then=Ask.hang_up), "torn"),
    "closed before the last chunk": (sends(CHUNKED, chunk(BODY), then=Ask.hang_up), "torn"),
    "reset before the last chunk": (sends(CHUNKED, chunk(BODY), then=Ask.reset), "torn"),
    "a chunk of no size": (sends(CHUNKED + b"zz\r\nxx\r\n"), "protocol"),
    "a chunk of over 64 bits": (sends(CHUNKED + b"f" * 17 + b"\r\n"), "protocol"),
    "a chunk of endless extensions": (sends(CHUNKED + b"1;" + b"x" * 100_000), "timeout"),
    **{
        f"a chunk, in the next packet {name}{how}": (
            sends(CHUNKED + chunk(BODY[:9]), tail, then=then),
            "torn",
        )
        for name, tail in NO_CHUNK.items()
        for how, then in (("", None), (", and the end", Ask.hang_up))
    },
    "a head, and in the next packet no chunk": (sends(CHUNKED, NO_CHUNK["a page"]), "torn"),
    "not http": (sends(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "protocol"),
    "binary": (sends(bytes(range(256)) * 4), "protocol"),
    "http 9": (sends(b"HTTP/9.9 200 OK\r\n\r\n"), "protocol"),
    "a status that is no number": (sends(b"HTTP/1.1 abc OK\r\n\r\n"), "protocol"),
    "a request": (sends(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "protocol"),
    "a length that is no number": (sends(HEAD + b"Content-Length: ten\r\n\r\n"), "protocol"),
    "a length below zero": (sends(HEAD + b"Content-Length: -1\r\n\r\n"), "protocol"),
    "two lengths": (
        sends(HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
        "protocol",
    ),
    "a length and chunks": (
        sends(HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        "protocol",
    ),
    "a nul in a header": (sends(HEAD + b"X: a\0b\r\n\r\n"), "protocol"),
    "a header without a colon": (sends(HEAD + b"no colon\r\n\r\n"), "protocol"),
    "a million headers": (pours(HEAD, b"X: y\r\n" * 10_000), "protocol"),
    "a header without an end": (pours(HEAD + b"X: ", b"y" * 65_536), "protocol"),
    "a header name without an end": (pours(HEAD, b"y" * 65_536), "protocol"),
    "a status line without an end": (pours(b"HTTP/1.1 200 ", b"O" * 65_536), "protocol"),
    "chunks of LF": (sends(with_lf(CHUNKED + chunk(BODY) + b"0\r\n\r\n")), "protocol"),
    "lines that end in CR alone": (sends(answer_of(BODY).replace(b"\n", b"")), "protocol"),
    "a status below 100": (sends(answer_of(BODY, status="099 What")), "protocol"),
    "101": (sends(answer_of(b"", "Upgrade: x", status="101 Switching Protocols")), "protocol"),
    "zstd": (sends(encoded(b"\x28\xb5\x2f\xfd\x20\x00", "zstd")), "coding"),
    "br": (sends(encoded(b"\x0b\x02\x80", "br")), "coding"),
    "br within gzip": (sends(encoded(gzip.compress(b"\x0b\x02\x80"), "br, gzip")), "coding"),
    "gzip within gzip that is none": (
        sends(encoded(gzip.compress(b"x" * 99), "gzip, gzip")),
        "torn",
    ),
    "gzip that is none": (sends(encoded(BODY, "gzip")), "torn"),
    "deflate that ends early": (sends(encoded(zlib.compress(BODY)[:-9], "deflate")), "protocol"),
    "a byte too long": (sends(answer_of(b"x" * (MAX_BODY_BYTES + 1))), "too_long"),
    "a body without an end": (pours(HEAD + b"\r\n", b"x" * 65_536), "too_long"),
    "chunks without an end": (pours(CHUNKED, chunk(b"x" * 65_536)), "too_long"),
    "a gzip bomb": (sends(encoded(gzip.compress(b"x" * (8 << 20)), "gzip")), "too_long"),
    "a deflate bomb": (sends(encoded(zlib.compress(b"x" * (8 << 20)), "deflate")), "too_long"),
    "silence": (_hold, "timeout"),
    "silence within the head": (sends(HEAD), "timeout"),
    "silence within the body": (sends(answer_of(BODY)[:-9]), "timeout"),
    "silence after a body without a length": (sends(HEAD + b"\r\n" + BODY), "timeout"),
    "a head that drips": (drips(HEAD + b"X: ", b"y"), "timeout"),
    "a body that drips": (drips(HEAD + b"Content-Length: 9999\r\n\r\n", b"x"), "timeout"),
    "a body without a length that drips": (drips(HEAD + b"\r\n", b"x"), "timeout"),
    "chunks that drip": (drips(CHUNKED, chunk(b"x")), "timeout"),
    "gzip that drips": (lambda ask: ask.drip(encoded(gzip.compress(BODY), "gzip")), "timeout"),
    "100 for ever": (drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "timeout"),
}


@asynccontextmanager
async def _odd(behaviour: Behaviour, timeout_s: float) -> AsyncIterator[tuple[RawVendor, Way]]:
    async def odd_or_right(ask: Ask) -> None:
        await (behaviour(ask) if ask.voice_id == "odd" else right(ask))

    async with (
        RawVendor(odd_or_right).listening() as vendor,
        transport_to(vendor.base_url, timeout_s=timeout_s) as transport,
    ):
        await get_record(transport, "before")
        yield vendor, transport
        assert is_at_rest(transport)
        await get_record(transport, "after")
        assert _connections_in_use(transport) == 0


@pytest.mark.parametrize("name", READABLE)
async def test_an_odd_answer_is_read(name: str) -> None:
    behaviour, status, body = READABLE[name]
    async with _odd(behaviour, ENOUGH_S) as (_, transport):
        for _ in range(2):  # its head may be known by sight the second time
            reply = await get_reply(transport, "odd")
            assert (reply.status, reply.body) == (status, body)
            assert reply.retry_after is None


@pytest.mark.parametrize("name", UNREADABLE)
async def test_an_answer_that_cannot_be_read_is_no_reply(name: str) -> None:
    behaviour, cause = UNREADABLE[name]
    async with _odd(behaviour, IMPATIENT_S) as (vendor, transport):
        assert await _cause_of(transport, "odd") == cause
        # Where no answer had begun, aiohttp asks once more; but never when time was up.
        assert vendor.asked.count("odd") == (2 if cause == "reset" else 1)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.binary(max_size=200)
    | st.builds(
        bytes.__add__,
        st.sampled_from([HEAD, CHUNKED, HEAD + b"\r\n", HEAD + b"Content-Encoding: gzip\r\n\r\n"]),
        st.binary(max_size=200),
    )
)
def test_no_bytes_from_a_server_raise(answer: bytes) -> None:
    async def ask() -> None:
        async with _odd(sends(answer, then=Ask.hang_up), IMPATIENT_S) as (_, transport):
            await get(transport, "odd")

    asyncio.run(ask())


# No id gets the answer of another


async def _two_at_once(ask: Ask) -> None:
    if ask.voice_id == "1":
        await ask.send(answer_of(envelope("1")) + answer_of(b'{"status":"-22"}'))
    else:
        await right(ask)


async def test_a_second_answer_in_the_same_packet_reaches_nobody() -> None:
    async with (
        RawVendor(_two_at_once).listening() as vendor,
        transport_to(vendor.base_url) as transport,
    ):
        await get_record(transport, "1")
        await get_record(transport, "2")
        assert vendor.asked == ["1", "2"]


RIGHT = answer_of(envelope("2"))
AFTER_A_KNOWN_HEAD = {
    "nothing, and its end": (sends(RIGHT[:-5], then=Ask.hang_up), "torn"),
    "nothing more": (sends(RIGHT[:-5]), "timeout"),
    "all in two pieces": (sends(RIGHT[:-5], RIGHT[-5:]), None),
    "all but the head first": (sends(RIGHT[:9], RIGHT[9:]), None),
    "another answer": (sends(RIGHT + answer_of(b'{"status":"-22"}')), None),
}


@pytest.mark.parametrize("name", AFTER_A_KNOWN_HEAD)
async def test_a_known_head_vouches_for_nothing_that_follows_it(name: str) -> None:
    behaviour, cause = AFTER_A_KNOWN_HEAD[name]

    async def odd_second(ask: Ask) -> None:
        await (behaviour(ask) if ask.voice_id == "2" else right(ask))

    async with (
        RawVendor(odd_second).listening() as vendor,
        transport_to(vendor.base_url, timeout_s=IMPATIENT_S) as transport,
    ):
        await get_record(transport, "1")  # the same head: its body is as long
        if cause is None:
            await get_record(transport, "2")
        else:
            assert await _cause_of(transport, "2") == cause
        await get_record(transport, "3")
        assert vendor.asked == ["1", "2", "3"]


@pytest.mark.parametrize("late", ["in the pool", "before the turn"])
async def test_a_second_answer_that_comes_late_reaches_nobody(late: str) -> None:
    async def one_more() -> None:
        await vendor.asks[0].send(answer_of(b'{"status":"-22"}'))
        await asyncio.sleep(0.05)

    turns = 0

    async def seal() -> dict[str, str]:
        nonlocal turns
        turns += 1
        if late == "before the turn" and turns == 2:
            await one_more()
        return {}

    async with RawVendor().listening() as vendor, transport_to(vendor.base_url, seal=seal) as ours:
        await get_record(ours, "1")
        if late == "in the pool":
            await one_more()
        await get_record(ours, "2")
        assert vendor.asked == ["1", "2"]
        assert vendor.opened == 2


async def test_an_answer_before_the_request_is_not_believed() -> None:
    async def seal() -> dict[str, str]:
        await asyncio.sleep(0.05)
        return {}

    greeting = answer_of(b'{"status":"-22"}')
    async with (
        RawVendor(greeting=greeting).listening() as vendor,
        transport_to(vendor.base_url, seal=seal) as transport,
    ):
        assert await _cause_of(transport) == "reset"
        vendor.greeting = b""
        await get_record(transport, "2")
        assert vendor.asked == ["2"]


async def test_a_switch_of_protocols_ends_the_connection() -> None:
    async def switch(ask: Ask) -> None:
        if ask.voice_id == "1":
            upgrade = (
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
            )
            await ask.send(upgrade + answer_of(b'{"status":"-22"}'))
        else:
            await right(ask)

    async with RawVendor(switch).listening() as vendor, transport_to(vendor.base_url) as transport:
        await get(transport, "1")
        await get_record(transport, "2")
        assert vendor.opened == 2


SAYS_WHICH = {
    "zstd": (encoded(b"\x28\xb5\x2f\xfd\x20\x00", "zstd"), "packed with zstd"),
    "br": (encoded(b"\x0b\x02\x80", "br"), "packed with br"),
    "a number for a coding": (
        encoded(b"\x0b", "8613800138000" * 2),
        "packed with something unknown",
    ),
    "a length twice": (with_headers([b"Content-Length: 99\r\n"]), "length twice"),
    "two lengths in one": (
        HEAD + b"Content-Length: 5, 5\r\n\r\nhello",
        "length is no number, or two",
    ),
    "a length and chunks": (
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "both Content-Length and Transfer-Encoding",
    ),
    "chunks and a length": (
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "both Content-Length and Transfer-Encoding",
    ),
    "another protocol": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "it begins otherwise"),
    "TLS where none is expected": (b"\x15\x03\x03\x00\x02\x02\x46", "https too"),
}


@pytest.mark.parametrize("name", SAYS_WHICH)
async def test_a_failure_says_which_and_quotes_nothing(name: str) -> None:
    answer, words = SAYS_WHICH[name]
    async with _odd(sends(answer, then=Ask.hang_up), ENOUGH_S) as (_, transport):
        reply = await get(transport, "odd")
        assert isinstance(reply, NoReply)
        assert words in reply.detail
        assert not re.search(r"[0-9]{5}|odd", reply.detail), reply.detail


def test_secrets_do_not_show_in_a_failure() -> None:
    async def ask() -> NoReply:
        async def seal() -> dict[str, str]:
            return signed_headers(PAGE, 1630468800)

        garbage = sends(b"HTTP/1.1 " + base64.b64encode(bytes(99)) + b"\r\n\r\n")
        async with (
            RawVendor(garbage).listening() as vendor,
            transport_to(vendor.base_url, seal=seal) as transport,
        ):
            reply = await get(transport, "1")
        assert isinstance(reply, NoReply)
        return reply

    told = repr(asyncio.run(ask()))
    assert PAGE.api_key not in told
    assert "05d7a508" not in told
