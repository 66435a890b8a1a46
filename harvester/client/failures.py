"""What went wrong on the way, by name and in words that say what to do.

A `NoReply` quotes nothing that the vendor sent, as a record holds phone numbers: only the system's
own words, and the parser's where they are known here.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from typing import Final
from urllib.parse import urlsplit

from harvester.client.transport import EXHAUSTED, NoReply

_OURS: Final[dict[int | None, str]] = {
    errno.EMFILE: "file descriptor: raise its limit (`ulimit -n`, LimitNOFILE=)",
    errno.ENFILE: "file descriptor in the whole system: raise fs.file-max",
    errno.EADDRNOTAVAIL: "local address or port: widen net.ipv4.ip_local_port_range",
    errno.ENOBUFS: "buffer for a socket: free some memory",
    errno.ENOMEM: "memory for a socket: free some",
}
"""What a connection needs of this machine.  Its want says nothing of the vendor, nor of an id."""

NO_HTTP: Final = "what came is no answer in HTTP/1.1"
_TWO_LENGTHS = (
    "it says its length twice (Content-Length): see what stands between us and the vendor"
)
_LENGTH_AND_CHUNKS = (
    "it has both Content-Length and Transfer-Encoding: see what stands between us and the vendor"
)
_REASONS: Final = {
    # llhttp's words, as both transports hand them on
    "Duplicate Content-Length": _TWO_LENGTHS,
    "Content-Length can't be present with Transfer-Encoding": _LENGTH_AND_CHUNKS,
    "Transfer-Encoding can't be present with Content-Length": _LENGTH_AND_CHUNKS,
    "Invalid character in Content-Length": "its length is no number, or two (Content-Length)",
    "Content-Length overflow": "its length is no number that can be (Content-Length)",
    "Invalid character in chunk size": "the size of a chunk is no number",
    "Expected HTTP/": "it begins otherwise. Is vendor.base_url right, its port and https too?",
    "Invalid HTTP version": "its version is another",
    "Invalid status code": "its status is no number of three digits",
    "Invalid header token": "a header of it is none",
    "Invalid header value char": "a header of it holds a byte that none may hold",
}


def no_http(said: str) -> NoReply:
    """What came is no HTTP.  `said`: the parser's words; further on they may quote the vendor's."""
    said = said.removeprefix("Bad status line:\n  ")
    for words, told in _REASONS.items():
        if said.startswith(words):
            return NoReply("protocol", f"{NO_HTTP}: {told}")
    return NoReply("protocol", NO_HTTP)


def no_way(status: int) -> NoReply:
    """The proxy refused a tunnel to the vendor, by an HTTP status."""
    told = {
        407: "it wants user and password in vendor.proxy, or others",
        403: "it does not let us through to that host and port",
    }.get(status, "it could not reach the vendor, or would not")
    return NoReply("proxy", f"the proxy answers {status} to CONNECT: {told}")


def no_connection(exc: OSError, hint: str = "") -> NoReply:
    """Why no connection could be made.  `hint` follows where the network may be to blame."""
    missing = _missing(exc)
    if missing is not None:
        return NoReply(EXHAUSTED, f"this machine has no more {missing}, or lower pace.concurrency")
    match exc:
        case TimeoutError():
            return NoReply("timeout", "no connection within vendor.timeout_s" + hint)
        case ssl.SSLCertVerificationError():
            return NoReply("tls", f"the certificate is not accepted: {_certificate(exc)}")
        case ssl.SSLError():
            why = (getattr(exc, "reason", None) or "no reason given").replace("_", " ").lower()
            return NoReply("tls", f"no TLS connection: {why}. Is vendor.base_url right?")
        case socket.gaierror():
            return NoReply("dns", f"the host name can't be resolved ({exc.strerror})" + hint)
        case _:
            return NoReply("refused", f"no connection ({_words(exc)})" + hint)


def _missing(exc: OSError) -> str | None:
    """What this machine lacks, if that is why."""
    if exc.errno in _OURS:
        return _OURS[exc.errno]
    if isinstance(exc, socket.gaierror) or exc.errno is None:
        # Without a descriptor no name is resolved either, and the resolver does not say why; nor
        # is there a number where several addresses failed.
        try:
            socket.socket().close()
        except OSError as now:
            return _OURS.get(now.errno)
    return None


def _certificate(exc: ssl.SSLCertVerificationError) -> str:
    said = getattr(exc, "verify_message", "") or "no reason given"
    if "issuer" in said or "self-signed" in said or "self signed" in said:
        said += _unusable_authority() or (
            "; if a firewall of yours signs in the vendor's place, name its authority by "
            "SSL_CERT_FILE"
        )
    return said


def _unusable_authority() -> str | None:
    """That SSL_CERT_FILE names no authority, where it is set; OpenSSL passes over that in silence.

    The file itself is never quoted.
    """
    named = os.environ.get("SSL_CERT_FILE")
    if not named:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=named)
    except OSError:  # what `ssl` raises is one
        return "; and SSL_CERT_FILE names no file of certificates (PEM) that can be read"
    return None


def _words(exc: OSError) -> str:
    """The system's words, without a name that may be an id's."""
    number = exc.errno
    # Where several addresses failed there is no number, but the number of each is in the text.
    found = re.search(r"\[Errno (\d+)\]", str(exc)) if number is None else None
    if found is not None:
        number = int(found[1])
    return type(exc).__name__ if number is None else _errno_text(number)


def _errno_text(number: int) -> str:
    """An error number as its name and words."""
    return f"{errno.errorcode.get(number, number)}: {os.strerror(number)}"


def unused_proxy(base_url: str) -> str:
    """A hint, if the environment names a proxy for `base_url`; it is never used.

    Never shows the proxy's address, which may hold a password.
    """
    address = urlsplit(base_url)
    # With it comes half of the standard library's HTTP: not worth it until something has failed.
    from urllib.request import getproxies_environment, proxy_bypass

    proxies = getproxies_environment()
    for name in (address.scheme, "all"):
        if name in proxies and not proxy_bypass(address.netloc, proxies):
            return (
                f". {name.upper()}_PROXY is set, but proxies of the environment are not used: name "
                "it as vendor.proxy if it is the only way out"
            )
    return ""
