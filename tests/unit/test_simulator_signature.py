"""The vendor's check of the three headers."""

from __future__ import annotations

import pytest

from harvester.simulator.signature import Credentials, check, sign

KEYS = ("bDqJFiq9", "7bz1lzh9")
TIME = "1630468800"
SIGN = "05d7a50893e22a5c4bb3216ae3396c7c"
NOW = 1630468800.9


def sent(key: str = KEYS[0], signed: str = SIGN, timestamp: str = TIME) -> Credentials:
    return Credentials([key], [signed], [timestamp])


def test_the_check_vector_of_the_vendors_page_is_signed_as_there() -> None:
    assert sign(*KEYS, TIME) == SIGN


@pytest.mark.parametrize("signed", [SIGN, SIGN.upper()])
def test_a_signature_is_good_in_either_case(signed: str) -> None:
    assert check(sent(signed=signed), KEYS, NOW, 60) == "0"


@pytest.mark.parametrize(
    "credentials",
    [
        sent(key="another"),
        sent(signed="0" * 32),
        sent(signed=""),
        sent(timestamp="1630468801"),
        Credentials([], [SIGN], [TIME]),
        Credentials([KEYS[0]], [], [TIME]),
        Credentials([KEYS[0]], [SIGN], []),
        Credentials([KEYS[0]], [SIGN, SIGN], [TIME]),
        Credentials([KEYS[0]], [SIGN], [TIME, TIME]),
    ],
)
def test_a_wrong_missing_or_doubled_header_is_refused(credentials: Credentials) -> None:
    assert check(credentials, KEYS, NOW, 60) == "-1"


@pytest.mark.parametrize(("away_s", "status"), [(60, "0"), (-60, "0"), (61, "-16"), (-61, "-16")])
def test_a_timestamp_is_good_within_the_window_on_both_sides(away_s: int, status: str) -> None:
    assert check(sent(), KEYS, NOW + away_s, 60) == status


@pytest.mark.parametrize("timestamp", ["1630468800000", "1630468800.5", "now", "-5", "9" * 30])
def test_a_timestamp_that_is_no_time_in_seconds_has_expired(timestamp: str) -> None:
    signed = sent(signed=sign(*KEYS, timestamp), timestamp=timestamp)
    assert check(signed, KEYS, NOW, 60) == "-16"
