"""Blobs of the journal become pieces of the data set, and what is odd in them is counted."""

from __future__ import annotations

import pyarrow as pa
import pytest

from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.packing import Piece
from harvester.pipeline.publish.normalizer import NORMALIZED_ROWS, Normalizer
from harvester.state import journal
from harvester.state.values import Entry

FETCHED_MS = 1_800_000_000_000
TALKED = b'{"data":{"callDuration":60,"submitTime":"2026-11-01T23:30:00Z","rate":"much","new":1}}'


def blob_of(first: int, count: int) -> bytes:
    """Answered calls without a cost and a currency, each with an odd rate and an unknown field."""
    entries = [Entry(f"{first + at:06}", FETCHED_MS, True, TALKED) for at in range(count)]
    return journal.encode(entries)[0]


def ids_of(rows: bytes) -> list[str]:
    ids: list[str] = pa.ipc.open_file(rows).read_all()["voice_id"].to_pylist()
    return ids


@pytest.mark.parametrize("sizes", [(1,), (3, 4), (NORMALIZED_ROWS, 1), (NORMALIZED_ROWS + 1, 4, 2)])
def test_all_answers_of_all_blobs_come_once_and_are_counted(sizes: tuple[int, ...]) -> None:
    """Whether they were normalised at once or by and by."""
    pieces: list[Piece] = []
    first = 0
    with Normalizer("acme", "Asia/Shanghai", GROUP_RECORD) as normalizer:
        for size in sizes:
            pieces += normalizer.add("run-1", blob_of(first, size))
            first += size
        pieces += normalizer.rest()
    total = sum(sizes)
    assert {piece.date for piece in pieces} == {"2026-11-02"}
    assert [one for piece in pieces for one in ids_of(piece.rows)] == [
        f"{at:06}" for at in range(total)
    ]
    assert sum(piece.presumed for piece in pieces) == total
    assert normalizer.without_cost == total
    assert normalizer.unparsed == {"rate": total}
    assert normalizer.extra == {"new": total}


def test_each_answer_is_of_the_run_that_fetched_it() -> None:
    with Normalizer("acme", "UTC", GROUP_RECORD) as normalizer:
        assert list(normalizer.add("run-1", blob_of(0, 2))) == []
        assert list(normalizer.add("run-2", blob_of(2, 1))) == []
        (piece,) = normalizer.rest()
    rows = pa.ipc.open_file(piece.rows).read_all()
    assert rows["run_id"].to_pylist() == ["run-1", "run-1", "run-2"]
    assert set(rows["account"].to_pylist()) == {"acme"}


def test_where_nothing_was_given_nothing_comes() -> None:
    with Normalizer("acme", "UTC", GROUP_RECORD) as normalizer:
        assert list(normalizer.rest()) == []
    assert (normalizer.without_cost, normalizer.unparsed, normalizer.extra) == (0, {}, {})
