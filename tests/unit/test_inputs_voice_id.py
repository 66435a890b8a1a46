"""What is a voiceId, what isn't and why, and what an id's digits tell."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.inputs.voice_id import (
    EXCERPT_CHARS,
    PLAIN,
    clean,
    dated,
    excerpt,
    fault,
    no_ids,
    same_name,
)


@pytest.mark.parametrize(
    "text",
    ["2203031113381000002", "22121121451211349002", "0", "00", "a-b_C", "x" * 64, "-a", "1e5"],
)
def test_an_id_of_the_grammar_is_taken_as_it_is(text: str) -> None:
    assert clean(text) == text
    assert fault(text) is None


@pytest.mark.parametrize(
    "space",
    [" ", "\t", "\r", "\n", "\u3000", "\u00a0", "\ufeff", "\u200b", "\u200e", "\u2060", "\u202a"],
)
def test_white_space_around_an_id_is_trimmed(space: str) -> None:
    assert clean(f"{space}123{space}") == "123"
    assert fault(f"{space}123{space}") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \t\r\n", "empty"),
        ("x" * 65, "too_long"),
        ("x" * 63 + "/", "forbidden_character"),
        ("x" * 64 + "/", "too_long"),
        ("1" * 1_000_000, "too_long"),
        ("12 34", "forbidden_character"),
        ("12/34", "forbidden_character"),
        ("..", "forbidden_character"),
        ("../../etc/passwd", "forbidden_character"),
        ("12%2F34", "forbidden_character"),
        ("12?x=1", "forbidden_character"),
        ("12#34", "forbidden_character"),
        ("12\n34", "forbidden_character"),
        ("1.2203e18", "forbidden_character"),
        ("+123", "forbidden_character"),
        ("١٢٣", "forbidden_character"),
        ("é", "forbidden_character"),
        ("1\ufeff2", "forbidden_character"),
        ("'12", "forbidden_character"),
        ("\"12'", "forbidden_character"),
        ('="12"', "forbidden_character"),
        ("(3 rows)", "forbidden_character"),
        ("Total: 3", "forbidden_character"),
        ("\ufeff\u200b", "empty"),
        ('""', "empty"),
        ('"', "forbidden_character"),
        ("'", "forbidden_character"),
        ("NULL", "placeholder"),
        ("None", "placeholder"),
        ("nan", "placeholder"),
        ("NaN", "placeholder"),
        ('"null"', "placeholder"),
        ("--", "placeholder"),
        ("-", "placeholder"),
        ("_", "placeholder"),
        ("-1", "placeholder"),
        ("-" * 20, "placeholder"),
        ("Total", "placeholder"),
        ("voiceId", "placeholder"),
        ("Voice_ID", "placeholder"),
        ("😀", "forbidden_character"),
        ("12\0", "nul_byte"),
        ("12\udcff", "not_utf8"),
    ],
)
def test_a_text_that_is_no_id_is_refused_with_its_reason(text: str, reason: str) -> None:
    assert clean(text) is None
    assert fault(text) == reason


@pytest.mark.parametrize("text", ['"123"', "'123'", ' "123"\t', '"\ufeff123 "'])
def test_quotes_around_an_id_are_no_part_of_it(text: str) -> None:
    assert clean(text) == "123"


@pytest.mark.parametrize("name", ["Call Reference", "call_reference", "CALLREFERENCE", "callid2"])
def test_the_name_of_the_column_is_no_id_however_it_is_spelt(name: str) -> None:
    words = no_ids("CallReference", "call id 2")
    for spelt in ("callreference", "Call_Reference", "_CALL_reference_", "Call_Id_2", "VoiceID"):
        assert (clean(spelt, words), fault(spelt, words)) == (None, "placeholder")
    assert clean("callreference2", words) == "callreference2"
    assert same_name(name) in {"callreference", "callid2"}


def test_a_column_named_by_digits_or_signs_makes_no_id_a_word() -> None:
    words = no_ids("2203031113381000002", "a.b", "(", "назва")
    for one in ("2203031113381000002", "acb", "a-b_C", "-a", "0"):
        assert clean(one, words) == one


@pytest.mark.parametrize(
    "text", ["1" * 64, "1" * 65, "0", "1_-Za", "1 ", "1\n", "x1", "-1", "null", ""]
)
def test_what_needs_no_second_look_is_an_id_that_begins_with_a_digit(text: str) -> None:
    is_plain = re.fullmatch(PLAIN, text) is not None
    assert is_plain is (clean(text) == text and text[0].isdigit())


@given(st.text())
def test_a_text_is_either_clean_or_has_a_fault(text: str) -> None:
    assert (clean(text) is None) == (fault(text) is not None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("a\tb\r\n", "a\\tb\\r\\n"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udcff\udce9", "\\xff\\xe9"),
        ("back\\slash", "back\\\\slash"),
        ("né 😀", "né 😀"),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 79 + "…"),
    ],
)
def test_an_excerpt_shows_a_bad_line_without_what_a_terminal_obeys(text: str, shown: str) -> None:
    assert excerpt(text) == shown


@given(st.text(max_size=300))
def test_an_excerpt_is_short_and_printable_and_can_be_written_as_utf8(text: str) -> None:
    shown = excerpt(text)
    assert len(shown) <= EXCERPT_CHARS
    assert shown.isprintable()
    shown.encode("utf-8")


@pytest.mark.parametrize(
    ("voice_id", "instant"),
    [
        # 19 digits without a type digit: the vendor page's own sample.
        ("2203031113381000002", datetime(2022, 3, 3, 3, 13, 38, tzinfo=UTC)),
        # 20 digits: a type digit first, or eight digits of sequence behind.
        ("12205181141482000029", datetime(2022, 5, 18, 3, 41, 48, tzinfo=UTC)),
        ("22121121451211349002", datetime(2022, 12, 11, 13, 45, 12, tzinfo=UTC)),
        # The clock is +08:00: in UTC it is still the day, and the year, before.
        ("2601010000001000002", datetime(2025, 12, 31, 16, 0, 0, tzinfo=UTC)),
        # 2021-10-11 after a type digit; without it 2012, which is before the vendor's time.
        ("12110112345062000029", datetime(2021, 10, 11, 15, 45, 6, tzinfo=UTC)),
    ],
)
def test_an_id_tells_its_instant(voice_id: str, instant: datetime) -> None:
    assert dated(voice_id) == instant


def test_the_later_of_two_readings_counts() -> None:
    # 2022-01-11 01:23:11 without a type digit, 2020-11-10 12:31:11 with one.
    assert dated("2201110123111000002") == datetime(2022, 1, 10, 17, 23, 11, tzinfo=UTC)
    # 2023-01-11 01:23:11 without, 2030-11-10 12:31:11 with.
    assert dated("2301110123111000002") == datetime(2030, 11, 10, 4, 31, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("stamp", "year"),
    [
        ("141231235959", None),
        ("150101000000", 2015),
        ("491231235959", 2049),
        ("500101000000", None),
    ],
)
def test_the_vendors_ids_are_of_the_years_2015_to_2049(stamp: str, year: int | None) -> None:
    # A type digit that no date can begin with.
    found = dated(f"9{stamp}000001")
    assert (None if found is None else (found + timedelta(hours=8)).year) == year


@pytest.mark.parametrize(
    "voice_id",
    [
        "220303111338100000",  # 18 digits
        "220303111338100000222",  # 21
        "2213031113381000002",  # month 13
        "2202301113381000002",  # February 30th
        "2203032413381000002",  # hour 24
        "1111111111111111111",  # 2011 is out of range
        "abcdefghijklmnopqrs",
        "٢203031113381000002",
        "",
    ],
)
def test_digits_that_form_no_date_tell_nothing(voice_id: str) -> None:
    assert dated(voice_id) is None
