"""A reconciliation from end to end, over days that are listed already: nothing is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from signal import SIGINT
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester.config import load
from harvester.errors import (
    BudgetReached,
    Interrupted,
    SourceError,
    StoreError,
    Unreconciled,
    UsageError,
)
from harvester.pipeline.engine.progress import Progress
from harvester.pipeline.listing import rows as listed_rows
from harvester.pipeline.listing.days import of_days
from harvester.pipeline.run.requests import StopCheck
from harvester.reconciling.dialer import Ours
from harvester.reconciling.figures import REGIONS, Reconciled
from harvester.reconciling.reconcile import Order, reconcile, stopped
from harvester.state import listings, run_records, work_lists
from harvester.state.acknowledge import acknowledge
from harvester.state.database import open_database
from harvester.state.id_counts import BillingDay, billing_days
from harvester.state.listings import ListedFile
from harvester.state.values import Batch, DeadLetter, Entry, OpenCall
from harvester.storage.disk import RealDisk
from harvester.storage.dropped import Dropped, write
from harvester.storage.output import Output
from harvester.vendor_clock import CLOCK
from tests.support.discovering import day
from tests.support.fakes import ACCOUNT, SECRETS, House

FIRST, LAST = day(80), day(79)
"""Days that the vendor has no more: nobody is asked for them again."""
NOON = datetime.combine(FIRST, datetime.min.time(), tzinfo=CLOCK) + timedelta(hours=12)
NOON_MS = int(NOON.timestamp() * 1000)
BOTH, LISTED, OPEN, DEAD, PLACED = (f"{NOON:%y%m%d%H%M%S}{n:07}" for n in range(5))


class Heard:
    """What it says on its way."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def message(self, level: str, event: str, **fields: object) -> None:
        self.events.append(event)

    def progress(self, progress: Progress) -> None:
        raise AssertionError("nothing is fetched")


def listed(
    output: Output,
    ids: Sequence[str],
    age_days: int,
    days: tuple[date, date] = (FIRST, LAST),
    unsettled: int = 0,
) -> None:
    """A listing of both days that began so many days after the last of them."""
    first, last = days
    name = f"listed-{first}-{age_days}.parquet"
    calls = [
        {
            "voice_id": one,
            "submit_time": NOON + (first - FIRST),
            "answered": True,
            "charged_duration_s": 90,
            "cost": Decimal("0.25"),
            "currency": "USD",
            "is_final": True,
            "is_rated": True,
            "asked_at": NOON,
        }
        for one in ids
    ]
    output.listed.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(calls, listed_rows.SCHEMA), output.listed / name)
    span = of_days(first, last)
    begun = datetime.combine(last, datetime.min.time(), tzinfo=CLOCK) + timedelta(days=age_days)
    with closing(open_database(output.database, ACCOUNT)) as db:
        one = listings.begin(db, (span.start_s, span.until_s), int(begun.timestamp() * 1000))
        file = ListedFile(name, len(ids))
        listings.keep(db, one.id, [], file, requests=3, requests_of_day=("", 0))
        listings.end(db, one.id, one.begun_ms + 1, calls=len(ids), unsettled=unsettled)


def known(root: Path, delivered: Sequence[str]) -> Output:
    """An output that has delivered some, with an open call and a dead letter besides."""
    house = House(root)
    with closing(house.db) as db:
        run_records.begin_run(db, "run-1", 1)
        answers = [
            json.dumps(
                {
                    "status": "0",
                    "data": {
                        "voiceId": one,
                        "submitTime": NOON.isoformat(),
                        "chargedDuration": "60",
                        "cost": "0.5",
                        "currency": "USD",
                    },
                }
            ).encode()
            for one in delivered
        ]
        batch = Batch(
            entries=[
                Entry(one, NOON_MS, True, answer)
                for one, answer in zip(delivered, answers, strict=True)
            ],
            open_calls=[OpenCall(OPEN, 5, NOON_MS, 1, "run-1")],
            dead_letters=[DeadLetter(DEAD, "gave_up", "", 1, NOON_MS, 1, "run-1")],
        )
        counters: dict[str, Any] = {}
        acknowledge(
            db,
            "run-1",
            batch,
            work_list=work_lists.current_list(db),
            counters=counters,
            requests_of_day=("", 0),
        )
        run_records.end_run(db, "run-1", 2, 0, counters)
    return house.output


Compares = Callable[..., Reconciled]


@pytest.fixture
def compares(tmp_path: Path) -> Compares:
    def comparing(
        delivered: Sequence[str] = (BOTH,),
        of_vendor: Sequence[str] = (BOTH,),
        *,
        age_days: int = 12,
        **order: Any,
    ) -> Reconciled:
        root = tmp_path / "out"
        if not root.exists():
            listed(known(root, delivered), of_vendor, age_days)
        settings = load(None, flags={"output.dir": str(root), "vendor.account": ACCOUNT}).config
        return reconcile(settings, SECRETS, Order(first=FIRST, last=LAST, **order), Heard())

    return comparing


def calls(done: Reconciled) -> dict[str, int]:
    return {name: one.calls for name, one in done.regions.items() if one.calls}


def test_two_lists_that_differ_in_one_call_each(compares: Compares, tmp_path: Path) -> None:
    done = compares(of_vendor=[BOTH, LISTED])
    assert calls(done) == {"V": 1, "B": 2, "VB": 1}
    assert done.regions["B"].states == {"open": 1, "dead": 1}
    assert (done.vendor, done.ours, done.together, done.requests) == (2, 3, 4, 0)
    assert done.differing == 2, "what is dead here and nowhere else is no difference"
    assert (done.exit_code, done.code) == (3, "reconcile.differ")
    assert isinstance(done.error, Unreconciled)
    assert "2 call(s) are not in both lists" in done.message
    assert (done.days.listed, done.days.not_listed, done.days.least_age_days) == (2, (), 12)
    assert done.dialer is None
    with closing(open_database(tmp_path / "out" / "state" / "state.db", ACCOUNT)) as db:
        kept = billing_days(db)
    assert [(one.day, one.listed, one.delivered, one.missing) for one in kept] == [
        (str(FIRST), 2, 1, 1),
        (str(LAST), 0, 0, 0),
    ]


@pytest.mark.parametrize(("allow", "code"), [(0, 3), (1, 3), (2, 0), (3, 0)])
def test_as_many_calls_may_differ_as_are_allowed(compares: Compares, allow: int, code: int) -> None:
    done = compares(of_vendor=[BOTH, LISTED], allow=allow)
    assert (done.exit_code, done.differing, done.allow) == (code, 2, allow)
    assert (done.error is None) == (code == 0)


@pytest.mark.parametrize(("age_days", "is_old"), [(11, False), (12, True)])
def test_calls_may_come_late_for_twelve_days(
    compares: Compares, age_days: int, *, is_old: bool
) -> None:
    done = compares(age_days=age_days, pasted=lambda text: text.replace("harvester", "HARVESTER"))
    says = done.regions["B"].next
    assert says.startswith("the same command again when the list is 12 days old") is not is_old
    assert "`HARVESTER explain ID`" in says
    assert done.days.least_age_days == age_days


def test_a_call_that_is_listed_on_the_next_day_is_none_of_these_days(
    compares: Compares, tmp_path: Path
) -> None:
    compares()
    after = LAST + timedelta(days=1)
    listed(Output(tmp_path / "out"), [OPEN], 12, (after, after))
    assert calls(compares()) == {"B": 1, "VB": 1}, "the dead one alone is left"


def test_what_a_later_listing_found_counts_though_it_may_not_have_all(
    compares: Compares, tmp_path: Path
) -> None:
    compares()
    output = Output(tmp_path / "out")
    listed(output, [LISTED], 13, unsettled=1)
    done = compares()
    assert calls(done) == {"V": 1, "B": 2, "VB": 1}, "what the one before has counts as well"
    assert (done.vendor, done.days.listed, done.days.least_age_days) == (2, 2, 12)
    listed(output, [BOTH], 14)
    assert calls(compares()) == {"B": 2, "VB": 1}, "one that has all for sure replaces both"


class Stopped:
    """Somebody wants it to stop."""

    @contextmanager
    def watched(self) -> Iterator[StopCheck]:
        yield lambda: stopped(SIGINT)


def counted(output: Output) -> list[BillingDay]:
    """The days whose calls were counted."""
    with closing(open_database(output.database, ACCOUNT)) as db:
        return [one for one in billing_days(db) if one.counted_ms is not None]


def test_who_is_to_stop_compares_nothing(tmp_path: Path) -> None:
    output = known(tmp_path / "out", [BOTH])
    listed(output, [BOTH], 12)
    flags = {"output.dir": str(tmp_path / "out"), "vendor.account": ACCOUNT}
    order = Order(first=FIRST, last=LAST)
    with pytest.raises(Interrupted, match="the same command again"):
        reconcile(load(None, flags=flags).config, SECRETS, order, Heard(), Stopped())
    assert counted(output) == []


def test_days_that_could_not_be_listed_to_the_end_are_not_compared(tmp_path: Path) -> None:
    """There is no time for it, so nothing is sent: no figure may be made of that."""
    output = known(tmp_path / "out", [BOTH])
    settings = load(
        None,
        flags={
            "output.dir": str(tmp_path / "out"),
            "vendor.account": ACCOUNT,
            "vendor.base_url": "http://127.0.0.1:9/voice",
        },
    ).config
    order = Order(first=day(1), last=day(), max_duration_s=0.0)
    with pytest.raises(BudgetReached) as ended:
        reconcile(settings, SECRETS, order, Heard())
    assert ended.value.code == "limit.duration"
    assert counted(output) == []


def test_days_whose_listing_has_lost_a_file_are_listed_again(
    compares: Compares, tmp_path: Path
) -> None:
    compares()
    (file,) = Output(tmp_path / "out").listed.glob("*.parquet")
    file.unlink()
    with pytest.raises(UsageError, match="the vendor keeps its list") as refused:
        compares()
    assert refused.value.code == "usage.date", "of days so old the vendor has none any more"


def test_a_call_that_left_the_data_set_is_known_still(compares: Compares, tmp_path: Path) -> None:
    assert calls(compares(of_vendor=[BOTH, LISTED])) == {"V": 1, "B": 2, "VB": 1}
    gone = Dropped(
        number=7, at_ms=1, before=str(LAST), dates=(str(FIRST),), rows=1, runs={}, months={}
    )
    write(Output(tmp_path / "out").dropped, gone, [pa.array([LISTED])], RealDisk())
    done = compares()
    assert calls(done) == {"B": 2, "VB": 2}
    assert done.regions["VB"].states == {"delivered": 1, "dropped": 1}


def test_an_id_that_stands_in_two_places_here_is_no_figure_but_an_error(
    compares: Compares, tmp_path: Path
) -> None:
    compares()
    with closing(open_database(Output(tmp_path / "out").database, ACCOUNT)) as db:
        db.execute("UPDATE open_call SET id = ?", (BOTH,))
    with pytest.raises(StoreError, match=r"don't balance \(V\)") as refused:
        compares()
    assert refused.value.code == "control_totals.differ"


@pytest.mark.parametrize(
    ("placed", "of_vendor", "is_refused"),
    [(20, 20, True), (19, 20, False), (20, 17, False), (20, 18, True)],
)
def test_a_file_of_which_nobody_knows_an_id_is_refused(
    compares: Compares, tmp_path: Path, placed: int, of_vendor: int, *, is_refused: bool
) -> None:
    """Two calls more are known here: an open one and a dead one."""
    theirs = [f"{NOON:%y%m%d%H%M%S}{n:07}" for n in range(100, 100 + of_vendor)]
    strange = [f"{NOON:%y%m%d%H%M%S}{n:07}" for n in range(500, 500 + placed)]
    if not is_refused:
        done = compares(delivered=[], of_vendor=theirs, ours=dialer(tmp_path, strange))
        assert calls(done) == {"V": of_vendor, "B": 2, "D": placed}
        return
    with pytest.raises(SourceError, match=f"not one of its {placed} ids") as refused:
        compares(delivered=[], of_vendor=theirs, ours=dialer(tmp_path, strange))
    assert refused.value.code == "input.other_ids"
    known_too = compares(
        delivered=[], of_vendor=theirs, ours=dialer(tmp_path, [*strange, theirs[0]])
    )
    assert calls(known_too)["D"] == placed


def test_an_id_that_lost_its_last_digits_refuses_the_dialers_file(
    compares: Compares, tmp_path: Path
) -> None:
    whole = f"{NOON:%y%m%d%H%M%S}1234567"
    rounded = f"{whole[:15]}0000"
    with pytest.raises(SourceError, match="1 of its ids are those of calls") as refused:
        compares(of_vendor=[BOTH, whole], ours=dialer(tmp_path, [BOTH, rounded]))
    assert refused.value.code == "input.rounded_ids"


def dialer(folder: Path, ids: Sequence[str]) -> Ours:
    file = folder / "dialer.txt"
    file.write_text("\n".join(ids))
    return Ours(file=str(file))


def test_three_lists_and_the_files_of_their_regions(compares: Compares, tmp_path: Path) -> None:
    ours = dialer(tmp_path, [BOTH, BOTH, OPEN, PLACED])
    files = tmp_path / "files"
    done = compares(of_vendor=[BOTH, LISTED], ours=ours, files=files)
    assert calls(done) == {"V": 1, "B": 1, "D": 1, "BD": 1, "VBD": 1}
    assert done.differing == 3
    assert done.dialer is not None
    assert (done.dialer.lines, done.dialer.double, done.dialer.calls) == (4, 1, 3)
    assert (done.dialer.outside, done.dialer.bad, done.dialer.by_time) == (0, 0, False)
    told = {
        name: pq.read_table(files / f"{name}.parquet")["voice_id"].to_pylist() for name in REGIONS
    }
    assert told == {
        "V": [LISTED],
        "B": [DEAD],
        "D": [PLACED],
        "VB": [],
        "VD": [],
        "BD": [OPEN],
        "VBD": [BOTH],
    }
    mark = json.loads((files / "reconcile.json").read_text())
    assert (mark["type"], mark["differing"], mark["exit_code"]) == ("reconcile", 3, 3)
    assert done.files == str(files)
    assert f"{files}/D.parquet has the ids" in done.regions["D"].next


def test_a_set_of_files_is_whole_or_has_no_mark(compares: Compares, tmp_path: Path) -> None:
    files = tmp_path / "files"
    (files / ".reconcile-left").mkdir(parents=True)
    compares(files=files)
    assert (files / "reconcile.json").exists()
    assert sorted(one.name for one in files.iterdir()) == sorted(
        [*(f"{name}.parquet" for name in REGIONS), "reconcile.json"]
    ), "what a killed run left is gone"
    # The last of the files can't be put into place: the older ones and the newer ones are mixed.
    (files / "VBD.parquet").unlink()
    (files / "VBD.parquet").mkdir()
    with pytest.raises(UsageError) as refused:
        compares(files=files)
    assert refused.value.code == "usage.unwritable"
    assert not (files / "reconcile.json").exists()


def test_a_dialers_file_that_is_no_good_is_refused(compares: Compares, tmp_path: Path) -> None:
    bad = dialer(tmp_path, [BOTH, *["no id at all"] * 3])
    with pytest.raises(SourceError):
        compares(ours=bad)
