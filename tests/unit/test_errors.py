"""Exit codes: schedulers and monitors act on them, so they never change."""

from __future__ import annotations

import errno

import pytest

from harvester import errors
from harvester.errors import HarvesterError, disk_code, first_line, worst

CODES = {
    "HarvesterError": 1,
    "UsageError": 2,
    "ConfigError": 2,
    "SourceError": 2,
    "VendorRefused": 4,
    "VendorUnavailable": 5,
    "ListIncomplete": 5,
    "Unreconciled": 3,
    "ListDiffers": 3,
    "StoreError": 6,
    "AlreadyRunning": 7,
    "BudgetReached": 8,
    "Interrupted": 130,
    "Terminated": 143,
}
GO_ON = {
    "VendorRefused",
    "VendorUnavailable",
    "ListIncomplete",
    "BudgetReached",
    "Interrupted",
    "Terminated",
}
"""After these the same command, typed again, goes on where the run stopped."""


def test_each_error_has_its_exit_code_and_says_whether_it_goes_on() -> None:
    found = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, HarvesterError)
    }
    assert {name: kind.exit_code for name, kind in found.items()} == CODES
    assert {name for name, kind in found.items() if kind.resumable} == GO_ON


def test_the_ends_of_a_run_that_did_what_it_was_meant_to() -> None:
    """Of these the last success is dated, and no alarm is raised."""
    assert errors.GOOD_ENDS == (0, 3, 8)
    assert (errors.EXIT_DONE, errors.EXIT_UNEXPECTED, errors.EXIT_SOME_DEAD) == (0, 1, 3)


@pytest.mark.parametrize(
    ("codes", "first"),
    [
        ([], 0),
        ([0], 0),
        ([0, 3], 3),
        ([3, 5], 5),
        ([5, 3, 8], 8),
        ([8, 143], 143),
        ([143, 130], 130),
        ([130, 4], 4),
        ([0, 3, 5, 8, 143, 130, 4, 6], 6),
        ([6, 1], 1),
        ([0, 7, 6], 7),
        ([6, 99, 1], 1),
    ],
)
def test_of_several_endings_the_first_to_act_on_is_told(codes: list[int], first: int) -> None:
    assert worst(codes) == first
    assert worst(reversed(codes)) == first


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "output.full"),
        (errno.EDQUOT, "output.full"),
        (errno.EACCES, "output.permission"),
        (errno.EPERM, "output.permission"),
        (errno.EROFS, "output.permission"),
        (errno.EIO, "output.failed"),
        (None, "output.failed"),
    ],
)
def test_what_a_file_system_refuses_has_a_code_that_says_what_to_do(
    number: int | None, code: str
) -> None:
    assert disk_code(OSError(number, "so it is") if number else OSError("so it is")) == code


@pytest.mark.parametrize(
    ("said", "quoted"),
    [("one\ntwo", "one"), ("\n  one  \ntwo", "one"), ("", "ValueError"), (" \n ", "ValueError")],
)
def test_of_a_librarys_error_the_first_line_is_quoted_or_its_kind(said: str, quoted: str) -> None:
    assert first_line(ValueError(said)).strip() == quoted
