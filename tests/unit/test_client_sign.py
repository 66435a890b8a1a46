"""The signature, held against the vendor's own example."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from harvester.client.sign import sign, signed_headers
from harvester.config import Secrets

PAGE = Secrets(api_key="bDqJFiq9", api_secret="7bz1lzh9")
ascii_text = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


def test_the_vendors_example_comes_out() -> None:
    assert sign("bDqJFiq9", "7bz1lzh9", 1630468800) == "05d7a50893e22a5c4bb3216ae3396c7c"


def test_the_four_headers_are_made_from_one_timestamp() -> None:
    assert signed_headers(PAGE, 1630468800) == {
        "Content-Type": "application/json;charset=UTF-8",
        "Sign": "05d7a50893e22a5c4bb3216ae3396c7c",
        "Timestamp": "1630468800",
        "Api-Key": "bDqJFiq9",
    }


@given(ascii_text, ascii_text, st.integers(0, 2**40))
def test_sign_is_the_digest_of_what_the_other_headers_say(
    key: str, secret: str, second: int
) -> None:
    headers = signed_headers(Secrets(key, secret), second)
    signed = f"{headers['Api-Key']}{secret}{headers['Timestamp']}"
    assert headers["Sign"] == hashlib.md5(signed.encode()).hexdigest()


def test_neither_key_nor_secret_shows_in_a_repr() -> None:
    assert "bDqJFiq9" not in repr(PAGE)
    assert "7bz1lzh9" not in repr(PAGE)
