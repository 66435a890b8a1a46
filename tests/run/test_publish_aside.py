"""Normalising in a process of its own: the same pieces, and a death that loses nothing."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from bench.answers import answers
from harvester.dataset.group_record import GROUP_RECORD, GROUP_RECORD_1
from harvester.dataset.kind import RecordKind
from harvester.dataset.packing import PIECE_ROWS, Piece
from harvester.errors import HarvesterError, StoreError
from harvester.pipeline.publish import messages
from harvester.pipeline.publish.normalizer import NORMALIZED_ROWS, Normalizer, Normalizing
from harvester.pipeline.publish.normalizer_process import NormalizerAside
from harvester.pipeline.publish.publisher import Publisher
from harvester.state import journal, run_records
from harvester.state.acknowledge import acknowledge
from harvester.state.values import Batch, Entry
from harvester.state.writer import InlineLedger
from tests.support.fakes import ACCOUNT, House
from tests.support.harvesting import gone, is_running
from tests.support.simulated import ROOT

RUN = "run-1"
COUNT = 6_000
ENTRIES = [Entry(a.voice_id, a.fetched_at_ms, True, a.body) for a in answers(COUNT)]
BLOBS = [journal.encode(ENTRIES[at : at + 500])[0] for at in range(0, COUNT, 500)]


def made_by(normalizing: Normalizing, blobs: list[bytes] = BLOBS) -> list[Piece]:
    with normalizing:
        pieces = [piece for blob in blobs for piece in normalizing.add(RUN, blob)]
        return [*pieces, *normalizing.rest()]


def test_the_other_process_makes_the_same_pieces_and_counts_the_same() -> None:
    here, aside = (
        Normalizer(ACCOUNT, "Asia/Shanghai", GROUP_RECORD),
        NormalizerAside(ACCOUNT, "Asia/Shanghai", GROUP_RECORD),
    )
    assert made_by(here) == made_by(aside)
    assert here.unparsed == aside.unparsed
    assert here.extra == aside.extra
    assert here.without_cost == aside.without_cost
    assert here.unparsed, "the sample is too tame"
    assert here.extra, "the sample is too tame"


@pytest.mark.parametrize(
    "kind", [GROUP_RECORD_1, GROUP_RECORD.without(["callee", "currentlyUnknown"])]
)
def test_the_other_process_takes_columns_and_fields_as_it_is_told(kind: RecordKind) -> None:
    """The columns of an older version, and fields that are never stored."""
    given = ("other", "America/New_York", kind)
    pieces = made_by(NormalizerAside(*given), BLOBS[:2])
    assert pieces == made_by(Normalizer(*given), BLOBS[:2])
    rows = pa.ipc.open_file(pieces[0].rows).read_all()
    assert rows.schema.names == kind.schema.names
    assert set(rows["account"].to_pylist()) == {"other"}
    assert (rows["callee"].null_count == len(rows)) == ("callee" in kind.omitted)


def test_pieces_come_as_soon_as_they_are_full() -> None:
    one_day = [
        Entry(f"{n:06}", 1_790_000_000_000, True, b'{"data":{"submitTime":"2026-09-02T12:00:00Z"}}')
        for n in range(PIECE_ROWS + NORMALIZED_ROWS)
    ]
    with NormalizerAside(ACCOUNT, "UTC", GROUP_RECORD) as normalizing:
        (piece,) = normalizing.add(RUN, journal.encode(one_day)[0])
        assert piece.date == "2026-09-02"
        assert list(normalizing.rest()) == []


def test_no_secret_of_ours_reaches_the_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARVESTER_API_SECRET", "s3cret")
    with NormalizerAside(ACCOUNT, "UTC", GROUP_RECORD) as normalizing:
        list(normalizing.add(RUN, BLOBS[0]))
        environment = Path(f"/proc/{normalizing.pid}/environ").read_bytes()
    assert b"HARVESTER_" not in environment
    assert b"s3cret" not in environment


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_everybody_leaves_it_to_the_run(number: signal.Signals) -> None:
    with NormalizerAside(ACCOUNT, "UTC", GROUP_RECORD) as normalizing:
        # At once: the interpreter has hardly begun.
        os.kill(normalizing.pid, number)
        for blob in BLOBS:
            list(normalizing.add(RUN, blob))
        assert len(list(normalizing.rest())) > 0


def test_the_process_is_gone_with_its_publication() -> None:
    with NormalizerAside(ACCOUNT, "UTC", GROUP_RECORD) as normalizing:
        list(normalizing.add(RUN, BLOBS[0]))
        assert is_running(normalizing.pid)
    assert not is_running(normalizing.pid)


def test_one_that_was_killed_is_a_store_error_that_says_so() -> None:
    with pytest.raises(StoreError, match=r"normaliser process was killed.*publish_bytes"):
        made_by(Killed(after=3))


def test_a_damaged_blob_is_told_without_a_word_of_what_it_holds() -> None:
    telling = journal.encode([Entry("7", 5, True, b'{"data":{"callee":"91856321412"}}')])[0]
    broken = telling[:-4] + b"\x00" * 4  # the checksum
    with pytest.raises(HarvesterError, match="ZstdError") as caught:
        made_by(NormalizerAside(ACCOUNT, "UTC", GROUP_RECORD), [broken])
    assert "91856321412" not in str(caught.value)
    assert "journal.py" in str(caught.value)


ORPHAN = """
import os, signal, sys
from harvester.dataset.group_record import GROUP_RECORD
from harvester.pipeline.publish.normalizer_process import NormalizerAside
with NormalizerAside("default", "UTC", GROUP_RECORD) as normalizing:
    print(normalizing.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_does_not_outlive_a_run_that_is_killed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ORPHAN], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert gone(int(done.stdout))


def test_one_that_cannot_be_started_is_a_store_error() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
    try:
        with (
            pytest.raises(StoreError, match=r"can't be started: Too many open files\. Nothing is"),
            NormalizerAside(ACCOUNT, "UTC", GROUP_RECORD),
        ):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_process_ends_with_the_last_piece() -> None:
    with NormalizerAside(ACCOUNT, "UTC", GROUP_RECORD) as normalizing:
        list(normalizing.add(RUN, BLOBS[0]))
        list(normalizing.rest())
        assert not is_running(normalizing.pid)


# --- within a publication ----------------------------------------------------------------------


class Killed(NormalizerAside):
    """Its process is killed after so many blobs."""

    def __init__(
        self,
        account: str = ACCOUNT,
        timezone: str = "UTC",
        kind: RecordKind = GROUP_RECORD,
        *,
        after: int = 5,
    ) -> None:
        super().__init__(account, timezone, kind)
        self._after = after

    def add(self, run_id: str, blob: bytes) -> Iterator[Piece]:
        if self._after == 0:
            os.kill(self.pid, signal.SIGKILL)
        self._after -= 1
        return super().add(run_id, blob)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """An output with all of the entries in its journal."""
    made = House(tmp_path / "out", sorted(entry.voice_id for entry in ENTRIES))
    run_records.begin_run(made.db, RUN, 1_000)
    for at in range(0, COUNT, 500):
        acknowledge(
            made.db,
            RUN,
            Batch(entries=ENTRIES[at : at + 500]),
            work_list=None,
            counters={},
            requests_of_day=("2026-09-02", at),
        )
    yield made
    made.close()


def publisher_of(
    house: House, aside: Callable[[str, str, RecordKind], Normalizing], aside_from: int = COUNT
) -> Publisher:
    return Publisher(
        InlineLedger(house.db, house.output.database),
        house.output,
        house.config.output,
        ACCOUNT,
        house.state_id,
        aside=aside,
        aside_from=aside_from,
    )


def test_a_killed_process_is_a_publication_that_never_began(house: House) -> None:
    with pytest.raises(StoreError):
        publisher_of(house, Killed).publish(is_fetching=True)
    assert house.published() == []
    assert len(house.journaled()) == COUNT
    again = publisher_of(house, NormalizerAside)
    assert again.recover() == 0
    done = again.publish(is_fetching=True)
    assert done is not None
    assert done.records == COUNT
    assert done.extra
    assert sorted(house.published()) == house.ids
    assert house.journaled() == []


def test_a_run_that_stops_does_not_wait_for_the_publication(house: House) -> None:
    made: list[NormalizerAside] = []
    seen: list[int] = []

    def aside(account: str, timezone: str, kind: RecordKind) -> NormalizerAside:
        made.append(NormalizerAside(account, timezone, kind))
        return made[0]

    def stops_at_the_third() -> bool:
        seen.append(1)
        return len(seen) > 3

    assert publisher_of(house, aside).publish(stops_at_the_third, is_fetching=True) is None
    assert len(seen) < len(BLOBS)
    assert len(house.journaled()) == COUNT
    assert list(house.output.staging.iterdir()) == []
    assert not is_running(made[0].pid)


@pytest.mark.parametrize(
    ("is_fetching", "aside_from", "begun"),
    [(True, COUNT, 1), (True, COUNT + 1, 0), (False, COUNT, 0)],
)
def test_only_much_work_beside_a_loop_that_asks_is_worth_a_process(
    house: House, is_fetching: bool, aside_from: int, begun: int
) -> None:
    made: list[Normalizer] = []

    def aside(account: str, timezone: str, kind: RecordKind) -> Normalizer:
        made.append(Normalizer(account, timezone, kind))
        return made[-1]

    done = publisher_of(house, aside, aside_from).publish(is_fetching=is_fetching)
    assert done is not None
    assert len(made) == begun


def test_answered_calls_without_a_cost_are_counted_in_the_other_process_too() -> None:
    talked = b'{"data":{"callDuration":60,"cost":%s}}'
    some = [Entry(f"{n:06}", 5, True, talked % (b"null" if n % 3 else b'"1"')) for n in range(9)]
    aside = NormalizerAside(ACCOUNT, "UTC", GROUP_RECORD)
    made_by(aside, [journal.encode(some)[0]])
    assert aside.without_cost == 6


def test_a_child_whose_caller_died_before_its_order_ends_without_a_word() -> None:
    done = subprocess.run(
        [sys.executable, "-m", messages.MODULE],
        cwd=ROOT,
        input=b"",
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_one_that_is_gone_before_it_is_asked_is_a_store_error_too() -> None:
    """Nothing can be written to it; that must not be taken for a bug of ours."""
    with NormalizerAside(ACCOUNT, "UTC", GROUP_RECORD) as normalizing:
        os.kill(normalizing.pid, signal.SIGKILL)
        os.waitid(os.P_PID, normalizing.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(StoreError, match=r"normaliser process was killed"):
            list(normalizing.add(RUN, BLOBS[0]))
