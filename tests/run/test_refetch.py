"""`harvester refetch`: which ids, what is shown, and what the other commands know of it."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harvester.pipeline.engine.settle import KEPT_MS
from harvester.pipeline.run.refetch import estimate_of, selection_of, wilson
from harvester.pipeline.run.requests import RefetchRequest
from harvester.simulator import make_ids
from harvester.state.database import set_meta, transaction
from harvester.state.values import Compared
from tests.run.test_cli_commands import KEYS, harvester
from tests.support.nights import FETCHED_MS, nights
from tests.support.simulated import ALL_RECORDS, END, Simulator

IDS = sorted(make_ids(90, 11, end=END, days=3))
DAYS = ("--from", "2023-01-01")


class Place:
    """A folder with an output, and its vendor."""

    def __init__(self, folder: Path, vendor: Simulator) -> None:
        self.folder = folder
        self.vendor = vendor
        self.out = folder / "out"

    def run(self, *words: object, code: int = 0) -> dict[str, Any]:
        """The summary of a command that fetches."""
        shared = ("--out", "out", "--rate", 2000, "--base-url", self.vendor.base_url, "--json")
        done = harvester(*words, *shared, cwd=self.folder, env=KEYS)
        assert done.returncode == code, done.stderr
        self.log = done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def tell(self, *words: object, code: int = 0) -> str:
        """What a command says."""
        done = harvester(*words, "--out", "out", cwd=self.folder, env=KEYS)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    def changes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for path in self.out.glob("changes/*/*.parquet"):
            found += pq.ParquetFile(path).read().to_pylist()
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Simulator]]:
    """An output whose every record costs more when it is fetched again; not to be changed."""
    folder = tmp_path_factory.mktemp("refetch")
    (folder / "ids.txt").write_text("\n".join(IDS))
    with Simulator(
        rate_limit=0,
        drift=False,
        fates=ALL_RECORDS,
        billing="rerated=0.5",
        key="bDqJFiq9",
        secret="7bz1lzh9",
    ) as vendor:
        Place(folder, vendor).run("run", "ids.txt")
        yield folder, vendor


@pytest.fixture
def place(made: tuple[Path, Simulator], tmp_path: Path) -> Place:
    folder = Path(shutil.copytree(made[0], tmp_path / "copy"))
    return Place(folder, made[1])


def test_only_ids_of_a_file_are_fetched_and_those_that_are_not_there_are_named(
    place: Place,
) -> None:
    (place.folder / "some.txt").write_text("\n".join([*IDS[:20], "2611230000001000009"]))
    words = ("refetch", "delivered", "--ids", "some.txt")
    told = place.tell(*words, "--dry-run")
    assert "20 delivered ids would be fetched again." in told
    assert "1 ids are not in the data set: 2611230000001000009" in told
    found = place.run(*words)["refetch"]
    assert (found["again"], found["outside"]) == (20, 1)
    assert found["outside_ids"] == ["2611230000001000009"]
    assert "ids_not_delivered" in place.log


def test_a_line_that_is_no_id_is_counted_and_hides_no_other(place: Place) -> None:
    (place.folder / "some.txt").write_text("\n".join([*IDS[:20], "no id !", IDS[0]]))
    words = ("refetch", "delivered", "--ids", "some.txt")
    assert "1 ids are not in the data set" in place.tell(*words, "--dry-run")
    found = place.run(*words)["refetch"]
    assert (found["again"], found["outside"]) == (20, 1)


def test_records_in_which_numbers_were_erased_are_left_out(place: Place) -> None:
    rows = {
        row["voice_id"]: row["callee"]
        for path in place.out.glob("cdr/*/*.parquet")
        for row in pq.ParquetFile(path).read(["voice_id", "callee"]).to_pylist()
    }
    number = rows[IDS[3]]
    theirs = {voice_id for voice_id, callee in rows.items() if callee == number}
    (place.folder / "numbers.txt").write_text(number)
    place.tell("erase", "--numbers", "numbers.txt", "--because", "T-1", "--yes")
    (place.folder / "all.txt").write_text("\n".join(IDS))
    words = ("refetch", "delivered", "--ids", "all.txt")
    (told,) = place.tell(*words, "--dry-run", "--json").splitlines()
    found = json.loads(told)
    assert (found["again"], found["left_out"]) == (len(IDS) - len(theirs), len(theirs))
    assert "as numbers were erased in them" in place.tell(*words, "--dry-run")
    place.run(*words)
    changed = pq.read_table(place.out / "changes", partitioning=None)
    assert changed.num_rows > 0
    assert not theirs & set(changed["voice_id"].to_pylist())
    assert number not in str(changed.to_pylist())


def test_without_days_only_what_the_vendor_must_still_have_is_fetched(place: Place) -> None:
    (told,) = place.tell("refetch", "delivered", "--dry-run", "--json").splitlines()
    found = json.loads(told)
    assert (found["again"], found["left_out"]) == (0, len(IDS))
    before = place.vendor.stats()["requests"]
    assert place.run("refetch", "delivered")["refetch"]["left_out"] == len(IDS)
    assert "all_left_out" in place.log
    assert place.vendor.stats()["requests"] == before


DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("days_off", "skew_days"),
    [
        (0, 0),
        (0, 100),  # our clock was behind when it was compared last, and is right now
        (0, -1_095),  # or ahead
        (-100, 100),  # it is behind, as it was then
        (1_095, -1_095),
    ],
)
def test_a_clock_that_was_wrong_leaves_nobody_out(
    tmp_path: Path, days_off: int, skew_days: int
) -> None:
    with closing(nights(tmp_path / "out", count=1)) as house:
        with transaction(house.db):
            set_meta(house.db, "clock_skew_s", str(skew_days * 86_400.0))
        vendors_ms = FETCHED_MS + DAY_MS
        request = RefetchRequest(what="delivered")
        chosen = selection_of(
            house.db,
            house.output,
            house.kind,
            request,
            None,
            vendors_ms + days_off * DAY_MS,
            "",
        )
    assert chosen.since_ms == vendors_ms - KEPT_MS


def test_where_no_clock_can_be_right_the_later_one_counts(tmp_path: Path) -> None:
    with closing(nights(tmp_path / "out", count=1)) as house:
        with transaction(house.db):
            set_meta(house.db, "clock_skew_s", str(100 * 86_400.0))
        # Ours is 200 days behind what was fetched, and with what the last run saw still 100.
        now_ms = FETCHED_MS - 200 * DAY_MS
        request = RefetchRequest(what="delivered")
        chosen = selection_of(house.db, house.output, house.kind, request, None, now_ms, "")
    assert chosen.since_ms == now_ms + 100 * DAY_MS - KEPT_MS


def test_days_are_those_of_the_clock_of_billing(place: Place) -> None:
    last = str(END)
    utc = json.loads(
        place.tell("refetch", "delivered", "--from", last, "--zone", "UTC", "--dry-run", "--json")
    )
    rows = [
        row["submit_time"].date()
        for path in place.out.glob("cdr/*/*.parquet")
        for row in pq.ParquetFile(path).read(["submit_time"]).to_pylist()
    ]
    assert utc["again"] == sum(day >= END for day in rows)
    assert utc["left_out"] == len(IDS) - utc["again"]


def test_a_dry_run_costs_nothing(place: Place) -> None:
    before = place.vendor.stats()["requests"], sorted(place.out.rglob("*"))
    assert f"{len(IDS)} delivered ids" in place.tell("refetch", "delivered", *DAYS, "--dry-run")
    assert (place.vendor.stats()["requests"], sorted(place.out.rglob("*"))) == before


def test_exit_code_3_where_a_limit_is_exceeded(place: Place) -> None:
    found = place.run("refetch", "delivered", *DAYS, "--fail-on-change", code=3)
    assert found["code"] == "found.changed"
    assert found["refetch"]["changed"] > 10
    # The same once more: nothing has changed since.
    assert place.run("refetch", "delivered", *DAYS, "--fail-on-change")["code"] == ""


@pytest.mark.parametrize(("limit", "code"), [("USD=0.000001", 3), ("USD=1000000", 0)])
def test_exit_code_3_where_costs_differ_by_more_than_they_may(
    place: Place, limit: str, code: int
) -> None:
    found = place.run("refetch", "delivered", *DAYS, "--fail-above", limit, code=code)
    assert found["code"] == ("found.amount" if code else "")
    moved = {
        currency: sum(
            (
                abs(row["new"]["cost"] - row["old"]["cost"])
                for row in place.changes()
                if row["new"]["currency"] == currency
            ),
            Decimal(0),
        )
        for currency in found["refetch"]["cost_moved"]
    }
    assert moved == {cur: Decimal(text) for cur, text in found["refetch"]["cost_moved"].items()}


def test_a_sample_says_what_it_means_for_all(place: Place) -> None:
    found = place.run("refetch", "delivered", *DAYS, "--sample", "40%")["refetch"]
    sample = found["sample"]
    assert 0 < sample["compared"] == found["again"] < len(IDS)
    assert sample["population"] == len(IDS)
    assert sample["share_low"] < sample["changed"] / sample["compared"] < sample["share_high"]
    assert sample["changed_low"] <= sample["changed_whole"] <= sample["changed_high"]
    assert Decimal(sample["cost_low"]["USD"]) < Decimal(sample["cost_whole"]["USD"])


def test_a_dry_run_shows_what_its_own_words_name_though_another_refetch_is_pending(
    place: Place,
) -> None:
    (place.folder / "all.txt").write_text("\n".join(IDS))
    (place.folder / "few.txt").write_text("\n".join(IDS[:5]))
    (place.folder / "short.toml").write_text("[pace]\nper_day = 110\n")
    place.run("refetch", "delivered", "--ids", "all.txt", "-c", "short.toml", code=8)

    def shown(*words: str) -> dict[str, Any]:
        told = place.tell("refetch", "delivered", *words, "--dry-run", "--json")
        found: dict[str, Any] = json.loads(told)
        return found

    same = shown("--ids", "all.txt")
    assert 0 < same["pending"] < len(IDS)
    assert (same["again"], same["population"]) == (same["pending"], len(IDS))
    few = shown("--ids", "few.txt")
    assert (few["population"], few["pending"]) == (5, same["pending"])


def test_a_dry_run_for_another_account_is_refused_as_the_run_would_be(place: Place) -> None:
    words = ("refetch", "delivered", *DAYS, "--account", "other")
    told = place.tell(*words, "--dry-run", code=2)
    assert "'other'" in told
    assert "would be fetched" not in told


def test_a_sample_of_a_few_is_at_least_one(place: Place) -> None:
    found = place.run("refetch", "delivered", *DAYS, "--sample", "0.001%")["refetch"]
    assert (found["again"], found["sample"]["compared"]) == (1, 1)


def test_a_sample_that_was_cut_short_is_judged_when_it_is_whole(place: Place) -> None:
    sent = place.vendor.stats()["requests"]
    words = ("refetch", "delivered", *DAYS, "--sample", "60%", "--fail-on-change")
    config = place.folder / "short.toml"
    config.write_text("[pace]\nper_day = 110\n")
    first = place.run(*words, "-c", "short.toml", code=8)["refetch"]
    assert first["sample"] is None
    assert first["again"] > 0
    other = place.tell("refetch", "delivered", *DAYS, "--sample", "1%", code=2)
    assert "ids of another refetch are pending" in other
    last = place.run(*words, code=3)["refetch"]
    assert last["sample"]["compared"] == first["again"] + last["again"]
    assert last["sample"]["changed"] == first["changed"] + last["changed"]
    assert place.vendor.stats()["requests"] - sent == last["sample"]["compared"]


@pytest.mark.parametrize(
    "words",
    [
        ("delivered", "--reason", "gave_up"),
        ("dead", "--sample", "1%"),
        ("dead", "--ids", "ids.txt"),
        ("dead", "--month", "2023-01"),
        ("delivered", "--sample", "0%"),
        ("delivered", "--sample", "half"),
        ("delivered", "--fail-above", "50"),
        ("gone",),
    ],
)
def test_what_makes_no_sense_is_refused(place: Place, words: tuple[str, ...]) -> None:
    before = place.vendor.stats()["requests"]
    place.tell("refetch", *words, code=2)
    assert place.vendor.stats()["requests"] == before


def test_the_other_commands_know_the_changes(place: Place) -> None:
    summary = place.run("refetch", "delivered", *DAYS)
    row = place.changes()[0]
    (told,) = place.tell("explain", row["voice_id"], "--json").splitlines()
    (change,) = json.loads(told)["changes"]
    assert Decimal(change["new"]["cost"]) == row["new"]["cost"]
    assert change["changed"] == ["cost"]
    assert "Changed since" in place.tell("explain", row["voice_id"])
    place.tell("verify", "--deep")
    (told,) = place.tell("status", "--json").splitlines()
    status = json.loads(told)
    assert (status["in_data"], status["pending"], status["pending_again"]) == (len(IDS), 0, 0)
    assert summary["refetch"]["pending"] == 0


def test_a_rebuild_keeps_the_changes_and_their_numbers(place: Place) -> None:
    place.run("refetch", "delivered", *DAYS)
    before = place.changes()
    shutil.rmtree(place.out / "state")
    place.tell("rebuild")
    place.tell("verify", "--deep")
    again = place.run("refetch", "delivered", *DAYS)["refetch"]
    assert (again["same"], again["changed"]) == (len(IDS), 0)
    assert place.changes() == before
    (place.folder / "more.txt").write_text("\n".join(make_ids(5, 12, end=END)))
    assert place.run("run", "more.txt")["run"]["delivered"] == 5
    names = [path.name for path in place.out.glob("c*/*/*.parquet")]
    assert len(names) == len(set(names))
    of_changes = {path.name.split("-")[2] for path in place.out.glob("changes/*/*.parquet")}
    (last,) = {name.split("-")[2] for name in names if name.split("-")[2] > max(of_changes)}
    assert int(last) > int(max(of_changes))


@pytest.mark.parametrize("what", ["missing", "unknown", "changed"])
def test_a_start_looks_at_the_files_of_changes_too(place: Place, what: str) -> None:
    place.run("refetch", "delivered", *DAYS)
    (part,) = place.out.glob("changes/*/*.parquet")
    if what == "missing":
        part.unlink()
    elif what == "unknown":
        shutil.copy(part, part.with_name(part.name.replace("-0.parquet", "-9.parquet")))
    else:
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 1
        part.write_bytes(content)
    told = place.tell("verify", "--deep", code=6)
    assert f"changes/{part.parent.name}" in told
    if what != "changed":  # a start does not read the files
        place.tell("publish", code=6)


def test_what_a_killed_run_could_not_show_the_next_one_shows(place: Place) -> None:
    place.run("refetch", "delivered", *DAYS)
    with closing(sqlite3.connect(place.out / "state" / "state.db")) as db, db:
        db.execute("DELETE FROM meta WHERE key = 'reported_publication'")
    assert "compared with what was delivered" in place.tell("publish")
    assert "compared with what was delivered" not in place.tell("publish")


def test_wilsons_interval() -> None:
    low, high = wilson(12, 10_000)
    assert (round(low * 100, 3), round(high * 100, 3)) == (0.069, 0.21)
    assert wilson(0, 50)[0] == 0.0
    assert math.isclose(wilson(0, 50)[1], 0.0713, abs_tol=1e-4)
    assert wilson(50, 50)[1] == 1.0


def test_the_money_of_a_sample_is_scaled_with_its_scatter() -> None:
    found = Compared(same=98, changed=2, cost={"USD": "4"}, squares={"USD": "10"})
    sample = estimate_of(found, 1_000)
    assert sample is not None
    assert sample.cost_whole == {"USD": "40.00"}
    # 1,000 * 1.96 * sqrt(((10 - 4*4/100) / 99) / 100)
    assert (sample.cost_low, sample.cost_high) == ({"USD": "-21.79"}, {"USD": "101.79"})
    assert estimate_of(Compared(), 10) is None
