"""One work list per output: every id is asked once, none is forgotten, whatever the files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from harvester.simulator import make_ids
from tests.support.harvesting import Harvest
from tests.support.outputs import edit
from tests.support.simulated import ALL_RECORDS, END, Simulator

IDS = sorted(make_ids(3_000, 11, end=END))


def test_the_same_command_again_sends_no_request(tmp_path: Path) -> None:
    source = tmp_path / "ids.txt"
    source.write_text("\n".join(IDS[:500]))
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        assert harvest.run(source).code == 0
        assert harvest.run(source).code == 0
        renamed = source.rename(tmp_path / "the-same-ids.txt")
        assert harvest.run(renamed).code == 0
        assert vendor.stats()["requests"] == 500


def test_overlapping_files_of_other_forms_send_only_what_is_new(tmp_path: Path) -> None:
    text, comma = tmp_path / "a.txt", tmp_path / "b.csv"
    lines, columns = tmp_path / "c.jsonl.gz", tmp_path / "d.parquet"
    text.write_text("\n".join(IDS[:400]))
    comma.write_text("date,voiceId\n" + "".join(f"2026-11-01,{i}\n" for i in IDS[200:700]))
    with gzip.open(lines, "wt") as file:
        file.writelines(json.dumps({"voiceId": i}) + "\n" for i in IDS[600:900])
    pq.write_table(pa.table({"voiceId": IDS[800:1_000]}), columns)
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        for source, asked in ((text, 400), (comma, 700), (lines, 900), (columns, 1_000)):
            ended = harvest.run(source)
            assert ended.code == 0, ended.err
            assert vendor.stats()["requests"] == asked
        assert ended.summary["input"]["resolved_before"] == 100
    assert harvest.ids() == sorted(IDS[:1_000])


def test_two_overlapping_inputs_the_first_unfinished_ask_every_id_once(tmp_path: Path) -> None:
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text("\n".join(IDS[:2_000]))
    second.write_text("\n".join(IDS[1_500:]))
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url, pace__per_day=600)
        stopped = harvest.run(first)
        assert stopped.code == 8, stopped.err
        assert vendor.stats()["requests"] == 600
        again = harvest.run(first)
        assert again.code == 8, again.err
        assert vendor.stats()["requests"] == 600, "the day's budget is kept over runs"

        harvest = Harvest(tmp_path / "out", vendor.base_url)
        only = harvest.run(second, only=True)
        assert only.code == 0, only.err
        assert vendor.stats()["requests"] == 600 + 1_500
        assert only.summary["list"]["pending"] == 900
        rest = harvest.run()
        assert rest.code == 0, rest.err
        assert vendor.stats()["requests"] == 3_000
    assert harvest.ids() == sorted(IDS)


def test_deaths_of_an_input_show_in_its_exit_code_in_whichever_run_they_came(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_text("\n".join(IDS[:40]))
    second.write_text("\n".join(IDS[40:80]))
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url, pace__per_day=10)
        assert harvest.run(first).code == 8
        vendor.post_faults(refuse="-22")
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        # The second input finds all of its own ids alive; the first one's die in its run.
        vendor.post_faults(refuse=None, faults="none")
        assert harvest.run(second, only=True).code == 0
        vendor.post_faults(refuse="-22")
        # They are reported by the run in which they die, whichever input it was given: once.
        assert harvest.run().code == 3
        vendor.post_faults(refuse=None)
        assert harvest.run(second).code == 0
        again = harvest.run(first)
        assert again.code == 0
        assert again.summary["input"]["dead_since_first_listed"] == 30


def test_retry_asks_the_dead_again_and_each_stays_dead_until_it_is_settled(
    tmp_path: Path,
) -> None:
    source = tmp_path / "ids.txt"
    source.write_text("\n".join(IDS[:30]))
    with Simulator(rate_limit=0, fates=ALL_RECORDS) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        vendor.post_faults(refuse="-22")
        died = harvest.run(source)
        assert died.code == 3
        assert died.summary["run"]["dead"] == 30
        again = harvest.run(refetch={"what": "dead"})
        assert again.code == 3
        assert again.summary["list"]["retried"] == 30
        vendor.post_faults(refuse=None)
        revived = harvest.run(refetch={"what": "dead"})
        assert revived.code == 0, revived.err
        assert harvest.ids() == sorted(IDS[:30])
        assert harvest.run(source).code == 0
        # A no on a connection that was used before is fetched once more.
        confirmed = sum(run.summary["retries"].get("unconfirmed", 0) for run in (died, again))
        assert vendor.stats()["requests"] == 90 + confirmed
        assert confirmed <= 60


def test_an_open_call_is_asked_again_when_due_and_not_before(tmp_path: Path) -> None:
    source = tmp_path / "ids.txt"
    source.write_text("\n".join(IDS[:20]))
    fates = ALL_RECORDS.replace("open_then_final=0", "open_then_final=1")
    with Simulator(rate_limit=0, fates=fates) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url)
        first = harvest.run(source)
        assert first.code == 0
        assert first.summary["run"]["open"] == 20
        at_once = harvest.run(source)
        assert at_once.summary["requests"] == 0
        edit(tmp_path / "out", "UPDATE open_call SET due_ms = due_ms - 600000")
        due = harvest.run(source)
        assert due.summary["run"]["delivered"] == 20
    assert harvest.ids() == sorted(IDS[:20])
