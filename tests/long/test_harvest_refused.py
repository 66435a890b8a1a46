"""What stops a run, what does not, and that neither costs an id."""

from __future__ import annotations

from pathlib import Path

from harvester.simulator import make_ids
from tests.support.harvesting import Harvest
from tests.support.simulated import ALL_RECORDS, END, Simulator

IDS = list(make_ids(300, 13, end=END))


def _source(tmp_path: Path, count: int = 300) -> Path:
    source = tmp_path / "ids.txt"
    source.write_text("\n".join(IDS[:count]))
    return source


def test_a_wrong_secret_stops_the_run_after_a_few_ids_and_all_stay_pending(tmp_path: Path) -> None:
    source = _source(tmp_path)
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url, pace__concurrency=4)
        refused = harvest.run(source, secrets=["bDqJFiq9", "wrong"])
        assert refused.code == 4
        assert "HARVESTER_API_SECRET" in refused.summary["message"]
        assert refused.summary["list"]["pending"] == 300
        # Whoever goes first, and five from elsewhere in the list: a vendor may lock the account.
        assert vendor.stats()["requests"] == 1 + 5
        assert harvest.run(source).code == 0
    assert harvest.ids() == sorted(IDS)


def test_a_lone_id_that_is_refused_stops_the_run_too(tmp_path: Path) -> None:
    source = _source(tmp_path, 1)
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        assert harvest.run(source, secrets=["bDqJFiq9", "wrong"]).code == 4
        assert vendor.stats()["requests"] == 1


def test_a_vendor_that_is_not_there_ends_with_5_and_all_ids_pending(tmp_path: Path) -> None:
    source = _source(tmp_path, 20)
    with Simulator(rate_limit=0) as vendor:
        gone = vendor.base_url
    harvest = Harvest(tmp_path / "out", gone, retry__max_outage_s=4.0)
    ended = harvest.run(source)
    assert ended.code == 5, ended.err
    assert "out of reach" in ended.summary["message"]
    assert ended.summary["list"]["pending"] == 20
    assert ended.summary["run"]["dead"] == 0


def test_an_outage_that_lasts_ends_the_run_with_5_and_kills_no_id(tmp_path: Path) -> None:
    source = _source(tmp_path)
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url, retry__max_outage_s=6.0)
        vendor.post_faults(down=True)
        ended = harvest.run(source)
        assert ended.code == 5, ended.err
        assert ended.summary["outages"] == 1
        assert ended.summary["run"]["dead"] == 0
        assert ended.summary["list"]["pending"] == 300
        # While it lasted, a probe every 5 s: not thousands of requests.
        assert vendor.stats()["requests"] + ended.summary["requests"] < 1_000
        vendor.post_faults(down=False)
        assert harvest.run(source).code == 0


def test_a_clock_that_is_two_hours_off_costs_a_few_signatures_and_no_id(tmp_path: Path) -> None:
    source = _source(tmp_path)
    with Simulator(rate_limit=0, fates=ALL_RECORDS, clock_skew_s=7200) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        ended = harvest.run(source)
        assert ended.code == 0, ended.err
        assert abs(ended.summary["clock_skew_s"] - 7200) <= 2
        assert vendor.stats()["requests"] <= 300 + 2 * 64
    assert harvest.ids() == sorted(IDS)


def test_a_wrong_prefix_is_told_as_a_wrong_base_url(tmp_path: Path) -> None:
    source = _source(tmp_path)
    with Simulator(rate_limit=0) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url + "/v9")
        ended = harvest.run(source)
        assert ended.code == 4, ended.err
        assert "base_url" in ended.summary["message"]


def test_push_back_slows_the_run_down_and_costs_no_id(tmp_path: Path) -> None:
    source = _source(tmp_path)
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor:
        vendor.post_faults(faults="throttle=1", total=5)
        harvest = Harvest(tmp_path / "out", vendor.base_url, pace__rate_per_s=100.0)
        ended = harvest.run(source)
        assert ended.code == 0, ended.err
        assert ended.summary["throttled"] >= 1
        assert vendor.stats()["requests"] == 305


def test_another_account_on_the_same_output_is_refused(tmp_path: Path) -> None:
    source = _source(tmp_path, 5)
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor:
        assert Harvest(tmp_path / "out", vendor.base_url).run(source).code == 0
        other = Harvest(tmp_path / "out", vendor.base_url, vendor__account="other").run(source)
        assert other.code == 2
        assert "'default'" in other.err
        assert vendor.stats()["requests"] == 5
