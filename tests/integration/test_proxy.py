"""vendor.proxy: who sees what, what is verified, and what goes wrong."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from harvester.cli.main import run_command
from harvester.client.aiohttp_transport import AiohttpTransport
from harvester.client.record_group import record_request
from harvester.client.sign import signed_headers
from harvester.client.transport import NoReply, Reply
from harvester.config import Config, Secrets, Vendor, known_secrets, load
from harvester.errors import ConfigError
from tests.run.test_cli_commands import KEYS
from tests.support.ports import free_port

SECRETS = Secrets(api_key="bDqJFiq9", api_secret="7bz1lzh9")
LOGIN = "someone:p%40ss%3Aword"
BASIC = base64.b64encode(b"someone:p@ss:word")
BODY = b'{"status":"0","data":{"voiceId":"1"}}'


def server_tls(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


@dataclass(slots=True)
class Server:
    """A vendor, or (with `tunnels`) a proxy.  Notes every head that it can read."""

    tls: ssl.SSLContext | None = None
    tunnels: bool = False
    refuses: bytes = b""
    """What a proxy answers instead of making a tunnel; b"-" for nothing at all."""
    heads: list[bytes] = field(default_factory=list)
    opened: int = 0
    port: int = field(default_factory=free_port)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Server]:
        server = await asyncio.start_server(self._greet, "127.0.0.1", self.port, ssl=self.tls)
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                if self.refuses == b"-":
                    await asyncio.sleep(60)
                if head.startswith(b"CONNECT") and self.tunnels and not self.refuses:
                    await self._tunnel(head, reader, writer)
                    break
                length = b"Content-Length: %d\r\n\r\n" % len(BODY)
                writer.write(self.refuses or b"HTTP/1.1 200 OK\r\n" + length + BODY)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # whoever asked has hung up
        finally:
            writer.close()

    async def _tunnel(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        host, port = head.split(b" ")[1].decode().rsplit(":", 1)
        there, back = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65_536):
                    sink.write(data)
            finally:
                sink.close()

        await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)


async def seal() -> dict[str, str]:
    return signed_headers(SECRETS, 1_630_468_800)


@asynccontextmanager
async def through(
    proxy: str, base_url: str, tls: ssl.SSLContext | None, timeout_s: float = 10.0
) -> AsyncIterator[AiohttpTransport]:
    vendor = Vendor(base_url=base_url, proxy=proxy, timeout_s=timeout_s)
    transport = AiohttpTransport(vendor, 2, seal, tls=tls)
    try:
        yield transport
    finally:
        await transport.close()


async def get(transport: AiohttpTransport) -> Reply | NoReply:
    async with asyncio.timeout(10):
        return await transport.send(record_request("1"))


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("login", ["", f"{LOGIN}@"])
async def test_an_https_vendor_is_reached_by_a_tunnel_that_sees_nothing(
    scheme: str, login: str
) -> None:
    authority = trustme.CA()
    of_proxy = server_tls(authority) if scheme == "https" else None
    async with (
        Server(server_tls(authority)).listening() as vendor,
        Server(of_proxy, tunnels=True).listening() as proxy,
        through(
            f"{scheme}://{login}127.0.0.1:{proxy.port}",
            f"https://127.0.0.1:{vendor.port}/voice",
            trusting(authority),
        ) as transport,
    ):
        for _ in range(3):
            reply = await get(transport)
            assert isinstance(reply, Reply), reply
            assert reply.body == BODY
        assert (vendor.opened, proxy.opened) == (1, 1), "the tunnel is kept"
        assert [head.split(b" ")[0] for head in proxy.heads] == [b"CONNECT"]
        assert len(vendor.heads) == 3
        assert all(b"\r\nApi-Key: bDqJFiq9\r\n" in head for head in vendor.heads)
        assert not any(b"proxy" in head.lower() or BASIC in head for head in vendor.heads)
        (asked,) = proxy.heads
        assert not any(word in asked.lower() for word in (b"api-key", b"sign:", b"timestamp"))
        assert (b"Proxy-Authorization: Basic " + BASIC in asked) is bool(login)
        assert b"User-Agent: cdr-harvester/" in asked


async def test_the_vendors_certificate_is_checked_through_the_tunnel() -> None:
    authority = trustme.CA()
    for tls in (server_tls(authority, "api.example.com"), server_tls(trustme.CA())):
        async with (
            Server(tls).listening() as vendor,
            Server(tunnels=True).listening() as proxy,
            through(
                f"http://127.0.0.1:{proxy.port}",
                f"https://127.0.0.1:{vendor.port}/voice",
                trusting(authority),
            ) as transport,
        ):
            reply = await get(transport)
            assert isinstance(reply, NoReply)
            assert "the certificate is not accepted" in reply.detail
            assert vendor.heads == []


async def test_a_proxy_in_https_is_checked_as_well() -> None:
    authority = trustme.CA()
    async with (
        Server(server_tls(authority)).listening() as vendor,
        Server(server_tls(trustme.CA()), tunnels=True).listening() as proxy,
        through(
            f"https://{LOGIN}@127.0.0.1:{proxy.port}",
            f"https://127.0.0.1:{vendor.port}/voice",
            trusting(authority),
        ) as transport,
    ):
        reply = await get(transport)
        assert isinstance(reply, NoReply)
        assert "the certificate is not accepted" in reply.detail
        assert (vendor.opened, proxy.heads) == (0, [])


@pytest.mark.parametrize(
    ("refuses", "cause", "words"),
    [
        (b"HTTP/1.1 407 Auth\r\nContent-Length: 0\r\n\r\n", "proxy", "407 to CONNECT"),
        (b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", "proxy", "does not let us through"),
        (b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n", "proxy", "502 to CONNECT"),
        (b"HTTP/1.1 502 +8613800138000\r\nContent-Length: 0\r\n\r\n", "proxy", "502 to CONNECT"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "protocol", "it begins otherwise"),
        (b"-", "timeout", "through the proxy"),
    ],
)
async def test_a_proxy_that_refuses_is_named_and_nothing_is_shown(
    refuses: bytes, cause: str, words: str
) -> None:
    authority = trustme.CA()
    async with (
        Server(server_tls(authority)).listening() as vendor,
        Server(tunnels=True, refuses=refuses).listening() as proxy,
        through(
            f"http://{LOGIN}@127.0.0.1:{proxy.port}",
            f"https://127.0.0.1:{vendor.port}/voice",
            trusting(authority),
            timeout_s=0.5,
        ) as transport,
    ):
        reply = await get(transport)
        assert isinstance(reply, NoReply)
        assert reply.cause == cause
        assert words in reply.detail
        assert "p@ss" not in reply.detail
        assert LOGIN not in reply.detail
        assert "86138" not in reply.detail
        assert vendor.opened == 0


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-proxy.invalid:3128"])
async def test_a_proxy_that_is_not_there_is_named(host: str) -> None:
    async with through(f"http://{LOGIN}@{host}", "https://127.0.0.1:2/voice", None) as transport:
        reply = await get(transport)
    assert isinstance(reply, NoReply)
    assert reply.cause == "proxy"
    assert "no connection to the proxy" in reply.detail
    assert "p@ss" not in reply.detail
    assert LOGIN not in reply.detail


async def test_a_vendor_of_plain_http_is_asked_for_through_the_proxy() -> None:
    async with (
        Server().listening() as proxy,
        through(
            f"http://{LOGIN}@127.0.0.1:{proxy.port}", "http://vendor.invalid/voice", None
        ) as transport,
    ):
        reply = await get(transport)
        assert isinstance(reply, Reply)
        assert proxy.heads[0].startswith(b"GET http://vendor.invalid/voice/recordGroup/1 HTTP/1.1")
        assert b"Proxy-Authorization: Basic " + BASIC in proxy.heads[0]


def configured(**vendor: object) -> Config:
    return load(flags={f"vendor.{key}": value for key, value in vendor.items()}).config


@pytest.mark.parametrize(
    "proxy",
    [
        "http://proxy.example:3128",
        "https://proxy.example:3128/",
        "http://someone:word@proxy.example:3128",
        "http://someone@10.0.0.1:8080",
        "http://[::1]:3128",
    ],
)
def test_a_proxy_is_http_or_https(proxy: str) -> None:
    assert configured(proxy=proxy).vendor.proxy == proxy


@pytest.mark.parametrize(
    "proxy",
    [
        "proxy.example:3128",
        "proxy.example",
        "http://proxy.example",
        "socks5://someone:hunter2@proxy.example:1080",
        "http://someone:hunter2@proxy.example:99999",
        "http://someone:hunter2@:3128",
        "http://some%3Aone:hunter2@proxy.example:3128",
        "http://:hunter2@proxy.example:3128",
        "http://someone:hunter2@proxy.example:3128/path",
        "http://someone:hunter2@proxy.example:3128?x=y",
        "http://[::1:3128",
        "",
    ],
)
def test_another_proxy_is_refused_and_not_quoted(proxy: str) -> None:
    with pytest.raises(ConfigError, match=r"vendor\.proxy") as raised:
        configured(proxy=proxy)
    assert "hunter2" not in str(raised.value)


def test_the_lean_transport_refuses_a_proxy_and_names_the_one_that_can() -> None:
    with pytest.raises(ConfigError, match="aiohttp") as raised:
        configured(proxy="http://someone:hunter2@proxy.example:3128", transport="lean")
    assert raised.value.exit_code == 2
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:8080/voice", "http://a.example/voice"])
def test_a_proxy_that_would_see_the_key_needs_leave(base_url: str) -> None:
    proxy = "http://proxy.example:3128"
    with pytest.raises(ConfigError, match="plain http"):
        configured(proxy=proxy, base_url=base_url)
    allowed = configured(proxy=proxy, base_url=base_url, allow_insecure_http=True)
    assert allowed.vendor.proxy == proxy


@pytest.mark.parametrize("how", ["environment", "file"])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_proxys_login_is_not_shown(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    how: str,
    as_json: bool,
) -> None:
    proxy = "http://someone:hunter2@proxy.example:3128"
    file = tmp_path / "c.toml"
    file.write_text("" if how == "environment" else f'[vendor]\nproxy = "{proxy}"\n')
    if how == "environment":
        monkeypatch.setenv("HARVESTER_VENDOR__PROXY", proxy)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    assert run_command(["config", "show", "-c", str(file), *["--json"] * as_json]) == 0
    assert run_command(["config", "check", "-c", str(file), *["--json"] * as_json]) == 0
    told = capsys.readouterr()
    shown = told.out + told.err
    assert "http://***@proxy.example:3128" in shown
    assert "hunter2" not in shown
    assert "someone" not in shown


def test_what_is_to_be_masked_of_a_proxy() -> None:
    config = Config(vendor=Vendor(proxy=f"http://{LOGIN}@proxy.example:3128"))
    assert set(known_secrets({}, config)) == {LOGIN, "p%40ss%3Aword", "p@ss:word"}
    environ = {"HARVESTER_VENDOR__PROXY": "http://a:hunter2@b:1"}
    assert set(known_secrets(environ)) == {"a:hunter2", "hunter2"}
    assert known_secrets({"HARVESTER_VENDOR__PROXY": "http://b:1"}) == ()
    assert known_secrets({}, Config()) == ()
