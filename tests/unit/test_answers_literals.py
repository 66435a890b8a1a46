"""The scalar rules: what a text means, to the last digit, or that it means nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester.answers.literals import (
    decimal_of,
    instant_of,
    period_of,
    seconds_of,
    sip_code_of,
    split_code,
)


@pytest.mark.parametrize(
    ("literal", "amount"),
    [
        ("2", "2"),
        ("0.0126", "0.0126"),
        ("-0.10", "-0.1"),
        ("1e3", "1000"),
        ("1E+3", "1000"),
        ("12.5e-1", "1.25"),
        ("007.50", "7.5"),
        ("9999999999.99999999", "9999999999.99999999"),
        ("0.00000001", "0.00000001"),
        ("1.2000000000", "1.2"),
        ("0.0000000000000000000", "0"),
        ("0e999999999999", "0"),
        ("1000000000000e-6", "1000000"),
        ("0.000000000001e12", "1"),
    ],
)
def test_an_amount_keeps_every_digit(literal: str, amount: str) -> None:
    assert decimal_of(literal) == Decimal(amount)


@pytest.mark.parametrize(
    "literal",
    [
        "",
        " 1",
        "1 ",
        "1\n",
        "+1",
        ".5",
        "1.",
        "1,20",
        "1_000",
        "0x1",
        "NaN",
        "Infinity",
        "\u0661",
        "--1",
        "1e",
        "1e1.5",
        "1 e3",
        "0.123456789",
        "12345678901",
        "0.123456789012",
        "1e10",
        "1e-9",
        "1e999999999",
        "1e-999999999",
        "1e99999999999999999999999",
        "9" * 5000,
        "0." + "1" * 5000,
    ],
)
def test_an_amount_that_does_not_fit_exactly_is_refused(literal: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decimal_of(literal)


def test_minus_zero_is_zero() -> None:
    assert [str(decimal_of(zero)).lstrip("0.E-8") for zero in ("-0", "-0.00", "-0e5")] == [""] * 3
    assert not any(decimal_of(zero).is_signed() for zero in ("-0", "-0.00", "-0e5"))


@given(st.decimals(allow_nan=False, allow_infinity=False, places=8, max_value=10**10 - 1))
def test_every_amount_of_the_columns_type_survives(amount: Decimal) -> None:
    if abs(amount) < 10**10:
        assert decimal_of(f"{amount:f}") == amount
        assert decimal_of(f"{amount:e}") == amount


@pytest.mark.parametrize(
    ("literal", "seconds"),
    [
        ("13", 13),
        ("13.0", 13),
        ("1e1", 10),
        ("0", 0),
        ("-0", 0),
        ("2147483647", 2147483647),
        ("1", 1),
        ("2147483640.00e0", 2147483640),
        ("214748364e1", 2147483640),
        ("0.5e1", 5),
    ],
)
def test_a_duration_is_a_whole_number_of_seconds(literal: str, seconds: int) -> None:
    assert seconds_of(literal) == seconds


@pytest.mark.parametrize(
    "literal", ["-1", "2147483648", "1000000000000", "12.5", "", "13 s", "+1", "1e999999999"]
)
def test_a_duration_out_of_range_is_refused(literal: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        seconds_of(literal)


@pytest.mark.parametrize(
    ("text", "utc", "offset_min"),
    [
        ("2022-01-18T14:42:40+08:00", "2022-01-18T06:42:40.000", 480),
        ("2022-01-18 14:42:40+0800", "2022-01-18T06:42:40.000", 480),
        ("2022-01-18T14:42:40+08", "2022-01-18T06:42:40.000", 480),
        ("2022-01-18T14:42:40-05:30", "2022-01-18T20:12:40.000", -330),
        ("2022-01-18T14:42:40Z", "2022-01-18T14:42:40.000", 0),
        ("2022-01-18T14:42:40z", "2022-01-18T14:42:40.000", 0),
        ("2022-01-18T14:42:40", "2022-01-18T06:42:40.000", None),
        ("2022-01-18T14:42:40.9999999999+08:00", "2022-01-18T06:42:40.999", 480),
        ("2022-01-18T14:42:40.5", "2022-01-18T06:42:40.500", None),
        ("2024-02-29T00:00:00+08:00", "2024-02-28T16:00:00.000", 480),
        ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999", 0),
        ("0001-01-02T00:00:00Z", "0001-01-02T00:00:00.000", 0),
        ("2022-01-18T14:42:40+23:59", "2022-01-17T14:43:40.000", 1439),
        ("2022-01-18T14:42:40-23:59", "2022-01-19T14:41:40.000", -1439),
        ("2022-01-18T14:42:40+00:01", "2022-01-18T14:41:40.000", 1),
        ("2022-01-18T14:42:40.1Z", "2022-01-18T14:42:40.100", 0),
        ("2022-01-18T14:42:40.01Z", "2022-01-18T14:42:40.010", 0),
        ("9999-12-30T23:59:59.999Z", "9999-12-30T23:59:59.999", 0),
        # As Java's OffsetDateTime and ZonedDateTime write it.
        ("2022-01-18T14:42+08:00", "2022-01-18T06:42:00.000", 480),
        ("2022-01-18T14:42Z", "2022-01-18T14:42:00.000", 0),
        ("2022-01-18 14:42", "2022-01-18T06:42:00.000", None),
        ("2022-01-18T14:42:40.5+08:00[Asia/Shanghai]", "2022-01-18T06:42:40.500", 480),
        ("2022-01-18t14:42:40z", "2022-01-18T14:42:40.000", 0),
        ("2022-01-18T14:42:40,25+08:00", "2022-01-18T06:42:40.250", 480),
    ],
)
def test_a_time_is_read_with_its_offset(text: str, utc: str, offset_min: int | None) -> None:
    ms, offset = instant_of(text)
    expected = datetime.fromisoformat(utc).replace(tzinfo=UTC)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert (ms, offset) == (round((expected - epoch).total_seconds() * 1000), offset_min)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2022-01-01T00Z",
        "0000-00-00",
        "0000-00-00 00:00:00",
        "2022-01-18",
        "14:42:40",
        "1642488160000",
        "2022-02-29T00:00:00Z",
        "2022-13-01T00:00:00Z",
        "2022-01-01T24:00:00Z",
        "2022-06-30T23:59:60Z",
        "2022-01-01T00:60:00Z",
        "2022-01-01T00:00:00+24:00",
        "2022-01-01T00:00:00+08:60",
        "2022-01-01T00:00.5Z",
        "2022-01-01T00:00:Z",
        "2022-01-01T00:00Z[]",
        "2022-01-01T00:00Z[Asia/Shanghai",
        " 2022-01-01T00:00:00Z",
        "2022-01-01T00:00:00Z\n",
        "2022-01-01T00:00:00.Z",
        "20220101T000000Z",
        "\u0662022-01-01T00:00:00Z",
        "0001-01-01T00:00:00+08:00",
        "9999-12-31T23:59:59-08:00",
        "9999-12-31T00:00:00Z",
        "0001-01-01T23:59:59Z",
        "2022-01-01T00:00:00 +08:00",
    ],
)
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        instant_of(text)


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        ("Afghanistan(Kandahar)", ("Afghanistan", "Kandahar")),
        ("Congo (DRC)(Kinshasa)", ("Congo (DRC)", "Kinshasa")),
        ("A(B(C))", ("A", "B(C)")),
        (" India ( Karnataka ) ", ("India", "Karnataka")),
        ("Singapore", ("Singapore", None)),
        ("India(Karnataka", ("India(Karnataka", None)),
        ("India)Karnataka(", ("India)Karnataka(", None)),
        ("A((B)", ("A((B)", None)),
        ("A)B(C)", ("A)B(C)", None)),
        ("A)(B((C)", ("A)(B((C)", None)),
        ("A)((B)", ("A)((B)", None)),  # as many of each
        ("A(B) mobile", ("A(B) mobile", None)),
        ("A()", ("A", None)),
        ("(B)", ("(B)", None)),
        (" ", (None, None)),
    ],
)
def test_a_destination_is_split_at_its_last_outermost_parentheses(
    code: str, parts: tuple[str | None, str | None]
) -> None:
    assert split_code(code) == parts


def test_a_billing_period_has_an_initial_and_an_increment() -> None:
    assert period_of("20+20") == (20, 20)
    assert period_of(" 60 + 6 ") == (60, 6)
    assert period_of("0+1") == (0, 1)
    assert period_of("2147483647+2147483647") == (2147483647, 2147483647)
    assert period_of("\t0000000001+1\t") == (1, 1)
    for odd in ("2147483648+1", "1+2147483648", "00000000001+1", "\n1+1"):
        with pytest.raises(ValueError, match=r"."):
            period_of(odd)
    for odd in ("20", "20+", "20+20+20", "-20+20", "20.5+20", "9999999999+1", "per minute"):
        with pytest.raises(ValueError, match=r"."):
            period_of(odd)


def test_a_sip_code_lies_between_100_and_699() -> None:
    assert [sip_code_of(code) for code in ("100", "486", "699")] == [100, 486, 699]
    for odd in ("0", "99", "700", "0200", "200 ", "2OO", "4860", ""):
        with pytest.raises(ValueError, match=r"."):
            sip_code_of(odd)
