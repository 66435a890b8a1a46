"""runs/<run_id>/summary.json, read back: what a run wrote down when it ended.

Every version of the file is read into one `RunSummary`.  A version that changes what a field is
called or means gets a struct of its own beside `_Version2`, and a line in `_VERSIONS`; fields that
are only added need neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import msgspec

from harvester.run_name import is_run_id

SUMMARY = "summary.json"


class SummaryError(ValueError):
    """A summary can't be read; its text says why."""


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What a run says of itself, in counts of ids but for `requests` and `rows`."""

    run_id: str
    account: str
    started_at: datetime
    ended_at: datetime
    exit_code: int | None
    """None: it was killed, and the next one closed its control totals."""
    requests: int
    attempted: int
    delivered: int
    open: int
    dead: int
    deferred: int
    cut_off: int
    opens_published: int
    rows: int
    cost: dict[str, Decimal]
    """By currency."""
    balanced: bool
    """Whether its control totals agreed with each other and with the rows."""
    first_publication: int | None = None
    """Its number among the runs of its output; None where an older version wrote none down."""
    code: str = ""
    """Which trouble ended it, or what it found; empty where there is none, and in version 1."""
    unrated: int = 0
    """Of the delivered ones: calls without a price."""
    changed: int = 0
    """Records that it had fetched again and that differ from what the data set had."""
    doubted: int = 0
    """Records that came by pages of a list that differed: they were left to be fetched again."""
    took_pages: bool = False
    """Whether it went by pages of the list, to an end of its own."""


class _Run(msgspec.Struct, frozen=True):
    attempted: int
    delivered: int
    open: int
    dead: int
    deferred: int
    cut_off: int
    opens_published: int
    unrated: int = 0


class _Refetch(msgspec.Struct, frozen=True):
    changed: int = 0


class _ByPages(msgspec.Struct, frozen=True):
    fetched_again: int = 0


class _Data(msgspec.Struct, frozen=True):
    rows: int
    cost: dict[str, Decimal]


class _Version1(msgspec.Struct, frozen=True):
    """What is read of it; its other fields don't matter here."""

    run_id: str
    account: str
    started_at: datetime
    ended_at: datetime
    exit_code: int | None
    requests: int
    run: _Run
    data: _Data
    differences: list[msgspec.Raw]
    first_publication: int | None = None
    refetch: _Refetch | None = None
    by_pages: _ByPages | None = None


class _Version2(_Version1, frozen=True, kw_only=True):
    """It gave other names to fields that don't matter here, and a code to the end of the run."""

    code: str


class _Head(msgspec.Struct, frozen=True):
    version: int = 1


def summary_files(runs: Path) -> Iterator[Path]:
    """The summaries under `runs`, by the names of their folders, whatever these are."""
    yield from sorted(runs.glob(f"*/{SUMMARY}"))


def summaries(runs: Path) -> list[RunSummary]:
    """Those that the runs under `runs` left, by name; one that can't be read is left out."""
    found = []
    for path in summary_files(runs):
        if is_run_id(path.parent.name):
            with suppress(SummaryError):
                found.append(read_summary(path))
    return found


def read_summary(path: Path) -> RunSummary:
    """The summary at `path`.

    Raises SummaryError if it can't be read, is none, or if a newer version wrote it.
    """
    try:
        text = path.read_bytes()
        version = msgspec.json.decode(text, type=_Head).version
        if version not in _VERSIONS:
            raise SummaryError(f"version {version} is that of a newer cdr-harvester")
        return _VERSIONS[version](text)
    except (OSError, msgspec.MsgspecError) as exc:
        raise SummaryError(str(exc)) from exc


def _of_version_1(text: bytes) -> RunSummary:
    return _summary(msgspec.json.decode(text, type=_Version1), code="")


def _of_version_2(text: bytes) -> RunSummary:
    found = msgspec.json.decode(text, type=_Version2)
    return _summary(found, code=found.code)


def _summary(found: _Version1, *, code: str) -> RunSummary:
    return RunSummary(
        run_id=found.run_id,
        account=found.account,
        started_at=found.started_at,
        ended_at=found.ended_at,
        exit_code=found.exit_code,
        requests=found.requests,
        attempted=found.run.attempted,
        delivered=found.run.delivered,
        open=found.run.open,
        dead=found.run.dead,
        deferred=found.run.deferred,
        cut_off=found.run.cut_off,
        opens_published=found.run.opens_published,
        rows=found.data.rows,
        cost=found.data.cost,
        balanced=not found.differences,
        first_publication=found.first_publication,
        code=code,
        unrated=found.run.unrated,
        changed=0 if found.refetch is None else found.refetch.changed,
        doubted=0 if found.by_pages is None else found.by_pages.fetched_again,
        took_pages=found.by_pages is not None,
    )


_VERSIONS: dict[int, Callable[[bytes], RunSummary]] = {
    1: _of_version_1,
    2: _of_version_2,
}
