"""`-q` is silent only when all is in order: what is odd in the records is a warning with counts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harvester.answers.answer import Answer
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.normalize import normalize
from harvester.pipeline.publish.oddities import NEEDED
from harvester.state import run_records
from harvester.state.acknowledge import acknowledge
from harvester.state.values import Batch, Entry
from tests.run.test_cli_commands import KEYS, harvester
from tests.support.fakes import ACCOUNT, House
from tests.support.simulated import Simulator
from tests.unit.test_pipeline_prometheus import read

FETCHED_MS = 1_790_000_000_000


def answer(**fields: object) -> Answer:
    data = {"voiceId": "1", "submitTime": "2026-09-02T10:00:00+08:00", **fields}
    body = json.dumps({"status": 0, "reason": "", "data": data}).encode()
    return Answer("1", body, FETCHED_MS, "run", True)


TALKED = {"answerTime": "2026-09-02T10:00:05+08:00", "callDuration": 60}


@pytest.mark.parametrize("by_value", [False, True], ids=["at once", "by value"])
@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ({**TALKED, "cost": "0.01"}, 0),
        ({**TALKED, "cost": 0}, 0),
        ({**TALKED, "costEur": "0.01"}, 0),
        (TALKED, 1),
        ({**TALKED, "cost": ""}, 1),
        ({**TALKED, "cost": None}, 1),
        ({"callDuration": 3}, 1),
        ({"answerTime": TALKED["answerTime"]}, 1),
        # It was sent, in an odd form: that is told as unreadable.
        ({**TALKED, "cost": "1,25"}, 0),
        ({**TALKED, "cost": {"amount": 1}}, 0),
        ({**TALKED, "costEur": "free"}, 0),
        ({"callDuration": 0}, 0),
        ({}, 0),
    ],
)
def test_answered_calls_without_a_cost_are_counted(
    fields: dict[str, object], counts: int, by_value: bool
) -> None:
    paid = answer(**TALKED, cost="0.01")
    found = normalize([paid, answer(**fields), paid], "a", GROUP_RECORD, by_value=by_value)
    assert found.without_cost == counts


def rows(out: Path) -> list[dict[str, Any]]:
    columns = ["run_id", "answered", "cost", "unparsed", "extra"]
    return [
        row
        for path in sorted(out.glob("cdr/*/*.parquet"))
        for row in pq.ParquetFile(path).read(columns).to_pylist()
    ]


def counted(found: list[dict[str, Any]], column: str) -> Counter[str]:
    return Counter(name for row in found if row[column] for name in json.loads(row[column]))


def test_a_quiet_run_warns_of_what_is_odd_in_its_records(tmp_path: Path) -> None:
    harvester("simulate", "--now", "2023-01-11", "--ids", 1_200, "all.txt", cwd=tmp_path)
    ids = (tmp_path / "all.txt").read_text().split()
    (tmp_path / "one.txt").write_text("\n".join(ids[:900]))
    (tmp_path / "two.txt").write_text("\n".join(ids[900:]))
    with Simulator(rate_limit=0, seed=8) as vendor:  # drift is on

        def run(file: str) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
            shared = ("--out", "out", "--rate", 2000, "--base-url", vendor.base_url)
            words = ("run", file, *shared, "-q", "--json", "--metrics-file", "run.prom")
            done = harvester(*words, cwd=tmp_path, env=KEYS)
            assert done.returncode in (0, 3), done.stderr
            summary = json.loads(done.stdout.splitlines()[-1])
            theirs = [row for row in rows(tmp_path / "out") if row["run_id"] == summary["run_id"]]
            return summary, [json.loads(line) for line in done.stderr.splitlines()], theirs

        first, said, found = run("one.txt")
        unparsed, extra = counted(found, "unparsed"), counted(found, "extra")
        needed = {name: n for name, n in unparsed.items() if name in NEEDED}
        others = {name: n for name, n in unparsed.items() if name not in NEEDED}
        assert needed, "the stand-in vendor is too tame"
        assert extra, "the stand-in vendor is too tame"
        without = sum(
            row["answered"] and row["cost"] is None and "cost" not in (row["unparsed"] or "")
            for row in found
        )
        assert first["odd"]["unreadable"] == needed
        assert first["odd"]["changed_fields"] == others
        assert first["odd"]["new_fields"] == dict(extra)
        assert first["odd"]["answered_without_cost"] == without
        told = {one["event"]: one for one in said if one["level"] == "warning"}
        assert told["unreadable_values"]["fields"] == needed
        assert told.get("changed_fields", {"fields": {}})["fields"] == others
        assert told["new_fields"]["fields"] == dict(extra)
        figures = read((tmp_path / "run.prom").read_text())
        for name, number in unparsed.items():
            assert figures["unparsed_values_total", (("field", name),)] == number
        assert figures["unknown_field_values_total", ()] == sum(extra.values())
        assert figures["answered_without_cost_total", ()] == without
        assert figures["changed_fields", ()] == len(others) + len(extra)

        second, _, found = run("two.txt")
        unparsed, extra = counted(found, "unparsed"), counted(found, "extra")
        new = {name for name in unparsed if name not in NEEDED} - set(others)
        assert set(second["odd"]["changed_fields"]) == new
        assert set(second["odd"]["new_fields"]) == set(extra) - set(first["odd"]["new_fields"])
        assert second["odd"]["unreadable"] == {
            name: n for name, n in unparsed.items() if name in NEEDED
        }


def test_people_read_one_line_with_counts_and_a_quiet_publish_warns_too(tmp_path: Path) -> None:
    out = House(tmp_path / "out")
    run_records.begin_run(out.db, "run-1", 1)
    strange = [
        answer(**TALKED, cost="1,25"),
        answer(**TALKED),
        answer(**{**TALKED, "cost": "0.1", "submitTime": "yesterday", "ringingTime": "soon"}),
        answer(**TALKED, cost="0.1", carrier="x"),
    ]
    entries = [Entry(f"{n:020}", FETCHED_MS, True, one.body) for n, one in enumerate(strange)]
    batch = Batch(entries=entries)
    acknowledge(out.db, "run-1", batch, work_list=None, counters={}, requests_of_day=("", 0))
    run_records.end_run(out.db, "run-1", 2, 143, {"delivered": 4, "begun": 4})
    out.close()
    words = ("publish", "--out", "out", "--account", ACCOUNT, "-q")
    done = harvester(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert [line.partition(" ")[0] for line in said] == ["warning:"] * 4
    assert said[0].endswith("they are kept in unparsed: cost 1, submitTime 1")
    assert said[1].endswith("1 answered call(s) have no cost")
    assert said[2].endswith("they are kept in unparsed: ringingTime 1")
    assert said[3].endswith("they are kept in extra: carrier 1")
    assert harvester(*words, cwd=tmp_path).stderr == ""
