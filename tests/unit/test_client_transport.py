"""The transport's reading of answers, without a socket: status, body and the headers it hands on.

aioresponses stands in for the session's request, so nothing here is sealed or sent; what happens
on the wire is tests/integration/test_transport*.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from aioresponses import aioresponses
from msgspec.structs import replace
from yarl import URL

from harvester.client.aiohttp_transport import AiohttpTransport
from harvester.client.failures import NO_HTTP
from harvester.client.judge import judge
from harvester.client.record_group import record_request
from harvester.client.transport import NoReply, Reply
from harvester.client.verdicts import Busy, NoRecord, Record, Refusal, Throttled, Verdict
from harvester.config import Vendor

ID = "2203031113381000002"
URL_OF_ID = f"https://api.example.com/v3/voice/recordGroup/{ID}"
OURS = f'{{"status":"0","data":{{"voiceId":"{ID}","hangupTime":"2022-01-18T14:42:55+08:00"}}}}'


async def never() -> dict[str, str]:
    raise AssertionError("nothing is sent here")


@pytest.fixture
async def transport() -> AsyncIterator[AiohttpTransport]:
    transport = AiohttpTransport(Vendor(base_url="https://api.example.com/v3/voice/"), 4, never)
    yield transport
    await transport.close()


@pytest.fixture
def web() -> Iterator[aioresponses]:
    with aioresponses() as web:
        yield web


async def test_one_get_goes_to_the_ids_address_and_no_redirect_is_followed(
    transport: AiohttpTransport, web: aioresponses
) -> None:
    web.get(URL_OF_ID, status=302, headers={"Location": "https://elsewhere.example.com/"})
    reply = await transport.send(record_request(ID))
    assert isinstance(reply, Reply)
    assert reply.status == 302
    (calls,) = web.requests.values()
    assert list(web.requests) == [("GET", URL(URL_OF_ID))]
    assert [call.kwargs["allow_redirects"] for call in calls] == [False]


async def test_an_answer_is_handed_on_as_it_came(
    transport: AiohttpTransport, web: aioresponses
) -> None:
    date = "Wed, 01 Sep 2021 04:00:00 GMT"
    web.get(URL_OF_ID, status=418, body=b"\xff{", headers={"date": date, "retry-after": "7"})
    reply = await transport.send(record_request(ID))
    assert isinstance(reply, Reply)
    assert replace(reply, took_s=0.0) == Reply(
        418, b"\xff{", date, "7", content_type="application/json"
    )


async def test_what_an_answer_leaves_out_is_none(
    transport: AiohttpTransport, web: aioresponses
) -> None:
    web.get(URL_OF_ID, body=b"")
    reply = await transport.send(record_request(ID))
    assert isinstance(reply, Reply)
    assert replace(reply, took_s=0.0) == Reply(200, b"", None, None)


@pytest.mark.parametrize(
    ("status", "body", "headers", "verdict"),
    [
        (200, OURS, {}, Record(over=True)),
        (200, OURS, {"Content-Type": "text/html"}, Record(over=True)),
        (500, OURS, {}, Record(over=True)),
        (200, OURS, {"Retry-After": "7"}, Record(over=True)),
        (200, '{"status":0,"data":null}', {}, NoRecord()),
        (429, "slow down", {"Retry-After": "7"}, Throttled(7.0)),
        (429, "slow down", {}, Throttled(None)),
        (503, "<html>", {}, Busy("http_503")),
        (404, '{"status":404,"error":"Not Found"}', {}, Refusal("http_404")),
        (302, "", {"Location": "/login"}, Refusal("http_302")),
    ],
)
async def test_an_answer_gets_its_verdict(
    transport: AiohttpTransport,
    web: aioresponses,
    status: int,
    body: str,
    headers: dict[str, str],
    verdict: Verdict,
) -> None:
    web.get(URL_OF_ID, status=status, body=body, headers=headers)
    reply = await transport.send(record_request(ID))
    assert isinstance(reply, Reply)
    assert judge(ID, reply, 1_700_000_000.0) == verdict


@pytest.mark.parametrize(
    ("exc", "cause"),
    [
        (TimeoutError(), "timeout"),
        (aiohttp.SocketTimeoutError(), "timeout"),
        (aiohttp.ConnectionTimeoutError(), "timeout"),
        (aiohttp.ServerDisconnectedError(), "reset"),
        (aiohttp.ClientOSError(104, "Connection reset by peer"), "reset"),
        (aiohttp.ClientConnectionResetError(), "reset"),
        (ConnectionResetError(), "reset"),
        (aiohttp.ClientPayloadError("Response payload is not completed"), "torn"),
        (aiohttp.InvalidURL("x"), "protocol"),
        (aiohttp.http_exceptions.BadHttpMessage("x"), "protocol"),
        (ValueError("x"), "protocol"),
    ],
)
async def test_what_goes_wrong_on_the_way_is_a_value_with_a_stable_name(
    transport: AiohttpTransport, web: aioresponses, exc: Exception, cause: str
) -> None:
    web.get(URL_OF_ID, exception=exc)
    reply = await transport.send(record_request(ID))
    assert isinstance(reply, NoReply)
    assert reply.cause == cause


async def test_a_detail_quotes_nothing_that_the_vendor_sent(
    transport: AiohttpTransport, web: aioresponses
) -> None:
    for exc, detail in (
        (aiohttp.http_exceptions.BadHttpMessage('"callee":"91856321412"'), NO_HTTP),
        (aiohttp.ClientPayloadError('"callee":"91856321412"'), "ClientPayloadError"),
        (aiohttp.ServerDisconnectedError('"callee":"91856321412"'), "ServerDisconnectedError"),
    ):
        web.get(URL_OF_ID, exception=exc)
        reply = await transport.send(record_request(ID))
        assert isinstance(reply, NoReply)
        assert reply.detail == detail
