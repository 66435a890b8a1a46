"""`discover --compare` over sockets: a list that lies is found, and an honest one is believed."""

from __future__ import annotations

import json
import random
import signal
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harvester.pipeline.listing.windows import DAY_S
from harvester.simulator import make_ids
from harvester.state import listings
from harvester.state.database import open_database
from harvester.state.listings import Comparison
from tests.long.test_discover import listing_simulator, whole_call
from tests.run.test_cli_commands import KEYS, harvester
from tests.support.discovering import Discovery, day
from tests.support.harvesting import Harvest, read_trace, worst_second
from tests.support.hostile_list import Call, HostileList, Said, calls_of, envelope


def drawn_seed() -> int:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    return seed


def kept(out: Path) -> Comparison | None:
    with closing(open_database(out / "state" / "state.db", "default")) as db:
        return listings.comparison(db)


@pytest.mark.parametrize("by", ["submit", "hangup"])
def test_a_list_that_tells_the_truth_is_believed(tmp_path: Path, by: str) -> None:
    with listing_simulator(f"calls=600,by={by}", seed=drawn_seed()) as vendor:
        listed = Discovery(tmp_path / "out", vendor)
        done = listed.run(compare=120)
        assert done.code == 0, done.err
        found = done.summary["comparison"]
        assert (found["equal"], found["differing"], found["codes"]) == (120, 0, {})
        assert done.summary["is_believed"]
        one = kept(tmp_path / "out")
        assert one is not None
        assert one.compared == 120
        asked = vendor.stats()["requests"]
        # Listed and settled already: only the calls that are compared are asked for.
        again = listed.run(compare=100)
        assert again.code == 0
        assert again.summary["listed"] == done.summary["listed"]
        assert vendor.stats()["requests"] - asked == again.summary["requests"]
        # Six a call at most: the first ones have it tried out by which time they are listed.
        assert 200 <= again.summary["requests"] < (350 if by == "submit" else 700)
        assert not listed.missing()


def test_what_is_compared_is_the_newest_list_of_each_day(tmp_path: Path) -> None:
    """One listing has days on either side of those that a newer one has."""
    made = calls_of(600)
    for number, call in enumerate(made):
        call.submit_s -= number % 3 * DAY_S
    late = [Call(f"late-{call.voice_id}", call.submit_s) for call in made[1::3]]
    with HostileList(made, lambda vendor, asked: Said(envelope(vendor.page(asked)))) as vendor:
        listed = Discovery(tmp_path / "out", vendor)
        days = {"first": day(2), "last": day()}
        assert listed.run(**days).summary["listed"] == 600
        vendor.calls += late
        assert listed.run(first=day(1), last=day(1)).summary["listed"] == 400
        asked = vendor.requests
        done = listed.run(**days, compare=100, take=True)
        assert done.code == 0, done.err
        assert done.summary["days"] == [[str(day(2)), str(day())]]
        assert (done.summary["listed"], done.summary["taken"]) == (800, 800)
        assert not listed.missing()
        assert max(vendor.requests - asked, done.summary["requests"]) < 700


def test_a_lie_in_one_of_200_is_found_by_1000(tmp_path: Path) -> None:
    # Of all seeds one in 150 draws none that lies; this one draws some.
    with listing_simulator("calls=3000,lies=200", seed=7) as vendor:
        done = Discovery(tmp_path / "out", vendor).run(compare=1000, seed=7)
        assert done.code == 3, done.err
        assert "error: listing.differs" in done.err
        found = done.summary["comparison"]
        print(f"drawn with {found['seed']}, {found['differing']} differ")
        assert found["differing"] == len(found["differences"]) > 0
        assert {name for one in found["differences"] for name in one["columns"]} == {"cost"}
        assert not done.summary["is_believed"]
        assert kept(tmp_path / "out") is None


def test_a_list_that_lies_from_now_on_is_not_believed_any_more(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with listing_simulator("calls=300") as vendor:
        assert Discovery(out, vendor).run(compare=100).code == 0
        assert kept(out) is not None
    with listing_simulator("calls=300,lies=3") as vendor:
        done = Discovery(out, vendor).run(compare=10)
        assert done.code == 3
        assert not done.summary["is_believed"]
        assert kept(out) is None


@pytest.mark.parametrize("by", ["submit", "call"])
def test_success_is_coded_otherwise_and_that_is_learnt(tmp_path: Path, by: str) -> None:
    with listing_simulator(f"calls=300,zero,by={by}", drift=False) as vendor:
        done = Discovery(tmp_path / "out", vendor).run(compare=100)
        assert done.code == 0, done.err
        one = kept(tmp_path / "out")
        assert one is not None
        assert one.codes == {"0": "200"} == done.summary["comparison"]["codes"]


def test_a_code_that_is_spelt_in_two_ways_cannot_be_learnt(tmp_path: Path) -> None:
    # Singly a sixth of the older calls say 0, where the list says so of all.
    with listing_simulator("calls=900,zero", seed=drawn_seed()) as vendor:
        done = Discovery(tmp_path / "out", vendor).run(compare=400)
        assert done.code == 3, done.err
        columns = {tuple(one["columns"]) for one in done.summary["comparison"]["differences"]}
        assert columns == {("termination_code",)}


def test_a_price_that_comes_between_two_looks_is_no_lie(tmp_path: Path) -> None:
    # Each answer about a call alone is followed by another price, once.
    with listing_simulator("calls=300", billing="rerated=1", drift=False) as vendor:
        done = Discovery(tmp_path / "out", vendor).run(compare=100)
        assert done.code == 0, done.err
        found = done.summary["comparison"]
        assert (found["equal"], found["differing"]) == (100, 0)
        asked = vendor.stats()["requests"]
        assert done.summary["requests"] == asked > 300, "some were looked at twice"


def test_fewer_than_100_prove_nothing_and_it_says_so(tmp_path: Path) -> None:
    with listing_simulator("calls=80") as vendor:
        listed = Discovery(tmp_path / "out", vendor)
        few = listed.run(compare=20)
        assert (few.code, few.summary["comparison"]["equal"]) == (0, 20)
        none = listed.run(compare=150)
        assert none.code == 5, none.err
        assert "error: listing.unproven" in none.err
        assert none.summary["comparison"]["drawn"] == len(vendor.listed()["ids"])
        assert kept(tmp_path / "out") is None


def test_a_second_with_more_than_a_page_is_compared_as_well(tmp_path: Path) -> None:
    with listing_simulator("calls=0,burst=250", seed=drawn_seed()) as vendor:
        done = Discovery(tmp_path / "out", vendor).run(compare=120)
        assert done.code == 0, done.err
        assert done.summary["comparison"]["equal"] == 120


def test_what_one_way_cannot_give_proves_nothing(tmp_path: Path) -> None:
    with listing_simulator("calls=600", drift=False) as vendor:
        listed = Discovery(tmp_path / "out", vendor)
        assert listed.run().code == 0
        ids = vendor.listed()["ids"]
        vendor.post_faults("http500=1", only=ids[::3])
        done = Discovery(tmp_path / "out", vendor, retry__busy_attempts=1).run(compare=100)
        assert done.code == 5, done.err
        assert "error: listing.unproven" in done.err
        found = done.summary["comparison"]
        assert found["drawn"] == 110 == found["equal"] + sum(found["apart"].values())
        assert set(found["apart"]) == {"http_500"}
        assert kept(tmp_path / "out") is None


def test_with_all_faults_and_habits_it_is_believed(tmp_path: Path) -> None:
    faults = "all,busy=0.05,torn=0.02,other_id=0.01,refused=0,drip=0,bomb=0.001,slow=0"
    habits = "calls=900,extra=40,burst=130,cap=70,overflow,text"
    with listing_simulator(habits, seed=drawn_seed(), faults=faults) as vendor:
        listed = Discovery(tmp_path / "out", vendor)
        done = listed.run(compare=200)
        while done.code == 5 and "listing.unsettled" in done.err:
            done = listed.run(compare=200)
        assert done.code == 0, done.err
        assert done.summary["comparison"]["equal"] >= 200


def test_it_keeps_the_pace_and_a_limit_file_is_shared(tmp_path: Path) -> None:
    limit = {"pace__limit_file": str(tmp_path / "limit"), "pace__rate_per_s": 50.0}
    (tmp_path / "ids.txt").write_text("\n".join(make_ids(200, 21, end=day(), days=1)))
    with listing_simulator("calls=400", latency_ms=5) as vendor:
        harvest = Harvest(tmp_path / "run", vendor.base_url, **limit)
        listed = Discovery(tmp_path / "out", vendor, **limit)
        run = harvest.start(tmp_path / "ids.txt", trace=str(tmp_path / "1.trace"))
        found = listed.start(trace=tmp_path / "2.trace", compare=100)
        assert listed.ended(found).code == 0
        assert harvest.ended(run).code in (0, 3, 5)
        times = [read_trace(tmp_path / f"{number}.trace") for number in (1, 2)]
        assert worst_second([*times[0], *times[1]]) <= 50
        assert len(times[0]) + len(times[1]) == vendor.stats()["requests"]


@pytest.mark.parametrize(
    ("flags", "order", "code"),
    [
        ({"pace__per_day": 340}, {}, "limit.per_day"),
        ({"pace__rate_per_s": 30.0}, {"max_duration_s": 4.0}, "limit.duration"),
    ],
)
def test_a_limit_ends_it_and_nothing_half_is_kept(
    tmp_path: Path, flags: dict[str, Any], order: dict[str, Any], code: str
) -> None:
    with listing_simulator("calls=600") as vendor:
        assert Discovery(tmp_path / "out", vendor).run().code == 0
        asked = vendor.stats()["requests"]
        done = Discovery(tmp_path / "out", vendor, **flags).run(compare=200, **order)
        assert done.code == 8, done.err
        assert code in done.err
        assert 0 < done.summary["comparison"]["equal"] < 200
        assert kept(tmp_path / "out") is None
        if "pace__per_day" in flags:
            assert vendor.stats()["requests"] == 340 > asked
            assert done.summary["comparison"]["equal"] > 100, "as many as would prove it"
        assert Discovery(tmp_path / "out", vendor).run(compare=200).code == 0
        assert kept(tmp_path / "out") is not None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_or_killed_it_has_found_nothing_and_counts_its_requests(
    tmp_path: Path, number: int
) -> None:
    with listing_simulator("calls=600", latency_ms=5) as vendor:
        listed = Discovery(tmp_path / "out", vendor, pace__rate_per_s=100.0)
        assert listed.run().code == 0
        asked = vendor.stats()["requests"]
        process = listed.start(compare=400)
        while vendor.stats()["requests"] < asked + 150:
            time.sleep(0.01)
        process.send_signal(number)
        assert listed.ended(process).code in (143, -signal.SIGKILL)
        assert kept(tmp_path / "out") is None
        sent = vendor.stats()["requests"]
        poor = Discovery(tmp_path / "out", vendor, pace__per_day=sent).run(compare=400)
        assert poor.code == 8, "what the other one sent counts for the day"
        assert vendor.stats()["requests"] == sent
        assert Discovery(tmp_path / "out", vendor).run(compare=400).code == 0
        assert kept(tmp_path / "out") is not None


def test_with_a_probe_it_needs_a_page_a_call(tmp_path: Path) -> None:
    with listing_simulator("calls=600,by=hangup,ends=none", drift=False) as vendor:
        call = whole_call(vendor, tmp_path)
        listed = Discovery(tmp_path / "out", vendor)
        listed.run(probe=call)
        asked = vendor.stats()["requests"]
        assert listed.run(compare=100).code == 0
        # Two a call, the pages of the listing, and its total twice before and twice after.
        assert vendor.stats()["requests"] - asked <= 215 + 4


def test_it_is_of_this_account_at_this_address_alone(tmp_path: Path) -> None:
    with listing_simulator("calls=300") as vendor:
        listed = Discovery(tmp_path / "out", vendor)
        assert listed.run(compare=100).summary["is_believed"]
        one = kept(tmp_path / "out")
        assert one is not None
        with closing(open_database(tmp_path / "out" / "state" / "state.db", "default")) as db:
            other = Comparison(one.compared, one.found_ms, one.codes, "of another address")
            listings.keep_comparison(db, other)
        assert not listed.run().summary["is_believed"]


def test_as_a_user_sees_it(tmp_path: Path) -> None:
    with listing_simulator("calls=400,lies=20,zero", drift=False) as vendor:
        url = ("--base-url", vendor.base_url, "--rate", 500, "--out", "out")
        words = ("discover", "--from", day(), "--to", day(), "--compare", 200, *url)
        done = harvester(*words, cwd=tmp_path, env=KEYS)
        assert done.returncode == 3, done.stderr
        assert "drawn with seed" in done.stdout
        assert "Codes:" in done.stdout
        assert "Differs:" in done.stdout
        assert "Next: show these calls to the vendor" in done.stdout
        told = json.loads(harvester(*words, "--json", cwd=tmp_path, env=KEYS).stdout)
        assert (told["code"], told["exit_code"]) == ("listing.differs", 3)
        assert told["comparison"]["differences"][0]["columns"] == ["cost"]
        for wrong in (("--compare", "0"), ("--compare", "-5")):
            none = harvester(*words, *wrong, cwd=tmp_path, env=KEYS)
            assert none.returncode == 2
        aimless = ("discover", "--compare", 9, "--probe", "26112010000000000001", *url)
        assert harvester(*aimless, cwd=tmp_path, env=KEYS).returncode == 2
