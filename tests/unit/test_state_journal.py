"""The journal's blobs give back what they took, whatever the vendor wrote."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from harvester.answers.answer import PAGES, SINGLE, Answer
from harvester.state import journal
from harvester.state.values import Entry

TEXTS = st.text(st.characters(codec=None), max_size=20)
NUMBERS = st.one_of(
    st.integers(-(10**30), 10**30).map(str),
    st.from_regex(r"-?(0|[1-9][0-9]{0,20})\.[0-9]{1,25}([eE][+-]?[0-9]{1,3})?", fullmatch=True),
)


def literal(value: Any, escape: bool, indent: str) -> str:
    """A JSON text of `value`; numbers are given as their literals in a 1-tuple."""
    match value:
        case (number,):
            return str(number)
        case dict():
            inner = f",{indent}".join(
                f"{json.dumps(k, ensure_ascii=escape)} : {literal(v, escape, indent)}"
                for k, v in value.items()
            )
            return "{" + indent + inner + indent + "}"
        case list():
            return "[" + f", {indent}".join(literal(v, escape, indent) for v in value) + "]"
        case _:
            return json.dumps(value, ensure_ascii=escape)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), TEXTS, NUMBERS.map(lambda n: (n,))),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)


@given(
    value=st.dictionaries(TEXTS, VALUES, max_size=5),
    escape=st.booleans(),
    indent=st.sampled_from(["", " ", "\n", "\r\n  ", "\r", "\t", "\n\n\t"]),
    at_ms=st.integers(0, 2**53),
    is_final=st.booleans(),
    is_rated=st.booleans(),
    by=st.sampled_from([SINGLE, PAGES]),
)
def test_any_answer_comes_back_with_every_literal_as_it_was(
    value: dict[str, Any],
    escape: bool,
    indent: str,
    at_ms: int,
    is_final: bool,
    is_rated: bool,
    by: str,
) -> None:
    answer = literal(value, escape, indent).encode("utf-8", "surrogatepass")
    entry = Entry("a-1", at_ms, is_final, answer, is_rated, by)
    blob, size = journal.encode([entry, Entry("b", 0, True, b"{}")])
    first, second = journal.decode(blob, "run-1")
    assert (first.voice_id, first.fetched_at_ms) == ("a-1", at_ms)
    assert (first.is_final, first.is_rated, first.fetched_by) == (is_final, is_rated, by)
    assert first.body == answer.replace(b"\r", b" ").replace(b"\n", b" ")
    assert second == Answer("b", b"{}", 0, "run-1", True)
    assert size >= len(answer)


ODD_ANSWERS = {
    "a lone surrogate, escaped": rb'{"status":0,"data":{"voiceId":"1","to":"\ud83d"}}',
    "500 brackets": b'{"status":0,"data":{"voiceId":"1","x":' + b"[" * 500 + b"]" * 500 + b"}}",
    "a number of 5000 digits": b'{"status":0,"data":{"voiceId":"1","x":' + b"9" * 5000 + b"}}",
    "U+2028, U+0085, DEL": '{"status":0,"data":{"voiceId":"1","x":"\u2028\x85\x7f"}}'.encode(),
    "our own words": rb'{"status":0,"data":{"voiceId":"1","x":",\"answer\":{}}","final":false}}',
    "pretty": b'{\r\n "status" : 0,\n "data" : {\r "voiceId" : "1" }\n}\n',
    "trailing spaces": b'  {"status":"0","data":{"voiceId":"1"}}  \n\n',
}


@pytest.mark.parametrize("body", ODD_ANSWERS.values(), ids=ODD_ANSWERS.keys())
def test_odd_json_that_some_parsers_refuse_can_be_read_back_from_the_journal(body: bytes) -> None:
    (entry,) = journal.decode(journal.encode([Entry("1", 5, True, body)])[0], "run-1")
    assert entry.body.split() == body.split()


def test_a_byte_order_mark_is_left_out() -> None:
    (entry,) = journal.decode(
        journal.encode([Entry("1", 5, True, b'\xef\xbb\xbf{"a":1}')])[0], "run-1"
    )
    assert entry.body == b'{"a":1}'


def test_an_empty_blob_holds_nothing() -> None:
    assert list(journal.decode(journal.encode([])[0], "run-1")) == []


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_a_blob_whose_last_line_is_cut_is_damaged(cut: int) -> None:
    text = zstandard.ZstdDecompressor().decompress(journal.encode([Entry("1", 0, True, b"{}")])[0])
    with pytest.raises(journal.DAMAGED):
        list(journal.decode(zstandard.compress(text[:-cut]), "run-1"))


def test_a_bit_that_turned_never_becomes_another_price() -> None:
    body = b'{"status":0,"data":{"voiceId":"1","cost":"0.0123456789","to":"5551234567"}}'
    blob, _ = journal.encode([Entry("1", 5, True, body)])
    whole = journal.decode(blob, "run-1")
    for at in range(8 * len(blob)):
        turned = bytearray(blob)
        turned[at // 8] ^= 1 << at % 8
        with suppress(*journal.DAMAGED):  # or else it is a bit that means nothing
            assert journal.decode(bytes(turned), "run-1") == whole


@pytest.mark.parametrize("turn", ["\n", "\r", "\r\n"])
def test_a_line_break_of_any_kind_is_a_space(turn: str) -> None:
    body = f'{{{turn}"a":1}}'.encode()
    blob, _ = journal.encode([Entry("1", 5, True, body), Entry("2", 6, False, b"{}")])
    found = journal.decode(blob, "run-1")
    assert [one.body for one in found] == [b"{" + b" " * len(turn) + b'"a":1}', b"{}"]
