"""Content codings that nobody asked for: undone in order, and never longer than an answer."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest

from harvester.client.coding import TOO_LONG, decoded
from harvester.client.failures import no_way
from harvester.client.transport import MAX_BODY_BYTES, NoReply

BODY = b'{"status":"0"}'


def gz(content: bytes) -> bytes:
    """Packed without the time: it would be in the names of the tests."""
    return gzip.compress(content, mtime=0)


def bare(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("packed", "header"),
    [
        (BODY, ""),
        (BODY, "identity"),
        (BODY, " , identity,"),
        (gz(BODY), "gzip"),
        (gz(BODY), " X-GZIP "),
        (gz(BODY[:5]) + gz(BODY[5:]), "gzip"),
        (zlib.compress(BODY), "deflate"),
        (bare(BODY), "Deflate"),
        (gz(zlib.compress(BODY)), "deflate, gzip"),
        (gz(BODY), "gzip, gzip"),
        (gz(BODY), "br, gzip"),
        (BODY, "br"),
        (b"", "gzip"),
    ],
)
def test_what_is_packed_is_unpacked(packed: bytes, header: str) -> None:
    assert decoded(packed, header) == (BODY if packed else b"")


NOISE = random.Random(7).randbytes(10_000)
NOUGHTS = bytes(10_000)


@pytest.mark.parametrize(
    ("packed", "content"),
    [
        pytest.param(gz(NOISE), NOISE, id="long"),
        pytest.param(gz(NOISE) + gz(NOISE), NOISE + NOISE, id="two long ones"),
        pytest.param(gzip.compress(NOUGHTS, 0, mtime=0), NOUGHTS, id="noughts within"),
        pytest.param(gz(BODY) + NOUGHTS, BODY, id="noughts behind"),
        pytest.param(gz(BODY) + NOUGHTS + gz(NOISE), BODY + NOISE, id="noughts between"),
    ],
)
def test_all_members_of_gzip_are_unpacked_without_the_noughts_behind_each(
    packed: bytes, content: bytes
) -> None:
    assert decoded(packed, "gzip") == content


@pytest.mark.parametrize("header", ["", "identity", "identity, identity"])
def test_what_is_not_packed_may_be_anything(header: str) -> None:
    assert decoded(b"<html>", header) == b"<html>"


@pytest.mark.parametrize(
    ("packed", "header", "cause"),
    [
        (BODY, "gzip", "torn"),
        (zlib.compress(BODY), "gzip", "torn"),
        (b"\0" + gz(BODY), "gzip", "torn"),
        (b"\x08" + BODY, "deflate", "torn"),
        (zlib.compress(BODY)[:-1], "deflate", "protocol"),
        (bare(BODY)[:-1], "deflate", "protocol"),
        (zlib.compress(gz(BODY)), "deflate, gzip", "torn"),
        (gz(b"no JSON"), "br, gzip", "coding"),
        (b"no JSON", "br", "coding"),
    ],
)
def test_what_can_not_be_unpacked_is_no_reply(packed: bytes, header: str, cause: str) -> None:
    found = decoded(packed, header)
    assert isinstance(found, NoReply)
    assert found.cause == cause


@pytest.mark.parametrize("header", ["gzip", "deflate"])
def test_an_answer_may_be_as_long_unpacked_as_any_other(header: str) -> None:
    pack = gzip.compress if header == "gzip" else zlib.compress
    longest = b"0" * MAX_BODY_BYTES
    assert decoded(pack(longest), header) == longest
    assert decoded(pack(longest + b"0"), header) is TOO_LONG


def test_members_are_as_long_together_as_one_may_be() -> None:
    half = gzip.compress(b"0" * (MAX_BODY_BYTES // 2))
    assert decoded(half + half, "gzip") == b"0" * MAX_BODY_BYTES
    assert decoded(half + half + gzip.compress(b"0"), "gzip") is TOO_LONG


@pytest.mark.parametrize(
    ("name", "told"),
    [("z" * 16, "z" * 16), ("z" * 17, "something unknown here"), ("z_z", "something unknown here")],
)
def test_a_coding_of_up_to_16_letters_is_named(name: str, told: str) -> None:
    found = decoded(b"x", name)
    assert isinstance(found, NoReply)
    assert found.detail.startswith(f"the answer is packed with {told}, though")


@pytest.mark.parametrize(
    ("status", "words"),
    [(407, "user and password"), (403, "does not let us through"), (502, "could not reach")],
)
def test_a_proxy_that_makes_no_way_is_told_by_its_status(status: int, words: str) -> None:
    found = no_way(status)
    assert found.cause == "proxy"
    assert f"answers {status} to CONNECT" in found.detail
    assert words in found.detail


@pytest.mark.parametrize("header", ["gzip", "deflate", "br", "deflate, gzip"])
def test_an_empty_body_is_empty_whatever_its_header_says(header: str) -> None:
    """So answer servers that compress to a request whose answer has no body."""
    assert decoded(b"", header) == b""
