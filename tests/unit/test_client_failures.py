"""What went wrong on the way: its name, and words that say what to do."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from harvester.client.coding import decoded
from harvester.client.failures import no_connection, no_http, unused_proxy
from harvester.client.transport import NoReply
from tests.support.descriptors import no_more_files


def os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def tls_error(reason: str) -> ssl.SSLError:
    found = ssl.SSLError(1, "it failed")
    found.reason = reason
    return found


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "fs.file-max"),
        (errno.EADDRNOTAVAIL, "ip_local_port_range"),
        (errno.ENOBUFS, "memory"),
        (errno.ENOMEM, "memory"),
    ],
)
def test_what_this_machine_lacks_is_ours_and_is_named(number: int, words: str) -> None:
    reply = no_connection(os_error(number), ". HINT")
    assert reply.cause == "exhausted"
    assert "this machine has no more" in reply.detail
    assert words in reply.detail
    assert "HINT" not in reply.detail


@pytest.mark.parametrize(
    "exc",
    [
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        OSError("Multiple exceptions: [Errno 101] no, [Errno 24] too many open files"),
    ],
    ids=repr,
)
def test_a_want_of_descriptors_is_seen_where_the_error_does_not_say_so(exc: OSError) -> None:
    assert no_connection(exc).cause != "exhausted"
    with no_more_files():
        reply = no_connection(exc)
    assert reply.cause == "exhausted"


def test_what_is_said_to_be_the_networks_is_so_though_there_are_no_descriptors_left() -> None:
    with no_more_files():
        reply = no_connection(os_error(errno.ECONNREFUSED))
    assert reply.cause == "refused"


@pytest.mark.parametrize(
    ("exc", "cause", "detail"),
    [
        (TimeoutError(), "timeout", "no connection within vendor.timeout_s. HINT"),
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "dns",
            "the host name can't be resolved (Name or service not known). HINT",
        ),
        (
            os_error(errno.ECONNREFUSED),
            "refused",
            "no connection (ECONNREFUSED: Connection refused). HINT",
        ),
        (
            OSError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.1', 443)"),
            "refused",
            "no connection (ECONNREFUSED: Connection refused). HINT",
        ),
        (
            OSError("Multiple exceptions: [Errno 113] Connect call failed, [Errno 101] x"),
            "refused",
            "no connection (EHOSTUNREACH: No route to host). HINT",
        ),
        (
            ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)"),
            "tls",
            "no TLS connection: no reason given. Is vendor.base_url right?",
        ),
        (
            tls_error(reason="WRONG_VERSION_NUMBER"),
            "tls",
            "no TLS connection: wrong version number. Is vendor.base_url right?",
        ),
        (
            ssl.SSLCertVerificationError(1, "certificate verify failed"),
            "tls",
            "the certificate is not accepted: no reason given",
        ),
        (OSError("220303111338: who knows"), "refused", "no connection (OSError). HINT"),
    ],
    ids=repr,
)
def test_why_there_is_no_connection(exc: OSError, cause: str, detail: str) -> None:
    assert no_connection(exc, ". HINT") == NoReply(cause, detail)


@pytest.mark.parametrize(
    ("said", "names_the_remedy"),
    [
        ("certificate has expired", False),
        ("Hostname mismatch, certificate is not valid for 'a.example'.", False),
        ("self-signed certificate in certificate chain", True),
        ("self signed certificate", True),  # as OpenSSL 1.1 spelt it
        ("unable to get local issuer certificate", True),
    ],
)
def test_a_certificate_that_fails_is_said_why(said: str, names_the_remedy: bool) -> None:
    exc = ssl.SSLCertVerificationError(1, f"certificate verify failed: {said}")
    exc.verify_message = said
    reply = no_connection(exc)
    assert reply.cause == "tls"
    assert f"the certificate is not accepted: {said}" in reply.detail
    assert ("SSL_CERT_FILE" in reply.detail) is names_the_remedy


@pytest.mark.parametrize(
    "said",
    [
        "Duplicate Content-Length",
        "Duplicate Content-Length:\n\n  b'8613800138000'\n  ^",
    ],
)
def test_the_parsers_words_are_known_not_quoted(said: str) -> None:
    reply = no_http(said)
    assert reply.cause == "protocol"
    assert "says its length twice" in reply.detail
    assert "86138" not in reply.detail
    assert no_http("what nobody knows: 8613800138000") == no_http("")
    assert no_http("Bad status line:\n  Expected HTTP/:\n\n  b'x'") == no_http("Expected HTTP/")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Invalid HTTP version", "its version is another"),
        ("Expected HTTP/", "it begins otherwise. Is vendor.base_url right"),
        ("Invalid character in chunk size:\n x", "the size of a chunk is no number"),
        ("Content-Length can't be present with Transfer-Encoding", "has both Content-Length and"),
        ("what nobody knows", "HTTP/1.1"),
    ],
)
def test_what_is_no_http_is_told_in_words_of_its_own(said: str, told: str) -> None:
    reply = no_http(said)
    assert told in reply.detail
    assert "says its length twice" not in reply.detail


PROXY = "http://someone:hunter2@proxy.example:3128"


@pytest.mark.parametrize(
    ("environ", "base_url", "name"),
    [
        ({}, "https://a.example/voice", None),
        ({"HTTPS_PROXY": PROXY}, "https://a.example/voice", "HTTPS_PROXY"),
        ({"https_proxy": PROXY}, "https://a.example/voice", "HTTPS_PROXY"),
        ({"HTTP_PROXY": PROXY}, "https://a.example/voice", None),
        ({"HTTP_PROXY": PROXY}, "http://a.example/voice", "HTTP_PROXY"),
        ({"ALL_PROXY": PROXY}, "https://a.example/voice", "ALL_PROXY"),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "a.example"}, "https://a.example/voice", None),
        ({"HTTPS_PROXY": PROXY, "no_proxy": ".example"}, "https://a.example:444/voice", None),
        ({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, "https://a.example/voice", None),
        ({"HTTPS_PROXY": ""}, "https://a.example/voice", None),
    ],
)
def test_a_proxy_of_the_environment_that_is_not_used_is_named_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], base_url: str, name: str | None
) -> None:
    for known in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(known, raising=False)
        monkeypatch.delenv(known.lower(), raising=False)
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    hint = unused_proxy(base_url)
    assert bool(hint) is (name is not None)
    if name is not None:
        assert f"{name} is set" in hint
        assert "vendor.proxy" in hint
    assert "hunter2" not in hint
    assert "proxy.example" not in hint


def test_an_unknown_coding_is_named_unless_it_could_be_anything() -> None:
    zstd = decoded(b"\x28\xb5", "zstd")
    assert isinstance(zstd, NoReply)
    assert zstd.cause == "coding"
    assert "zstd" in zstd.detail
    strange = decoded(b"\x28\xb5", '"x\x1b[31m"')
    assert isinstance(strange, NoReply)
    assert "\x1b" not in strange.detail
    assert decoded(b"", "zstd") == b""
    assert decoded(b' {"status":0}', "br") == b' {"status":0}'


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_file_of_authorities_that_is_none_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    file = tmp_path / "my ca.pem"
    if content is not None:
        file.write_text(content)
    exc = ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate")
    exc.verify_message = "self-signed certificate"
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    told = no_connection(exc).detail
    assert "SSL_CERT_FILE names no file of certificates (PEM) that can be read" in told
    assert "my ca" not in told
    trustme.CA().cert_pem.write_to_path(file)
    assert "name its authority by SSL_CERT_FILE" in no_connection(exc).detail
