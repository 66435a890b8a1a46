"""The metrics file, read by somebody else's parser and held against its page in the docs."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from harvester.pipeline.engine.progress import Progress
from harvester.pipeline.run.metrics_file import MetricsFile
from harvester.pipeline.run.prometheus import PREFIX, PagesFigures, RunFigures, exposition, metrics
from tests.support.simulated import ROOT

NOW = Progress(
    to_fetch=100,
    resolved=60,
    delivered=50,
    open=4,
    dead=3,
    deferred=3,
    requests=75,
    retries={"throttled": 5, "-18": 3, "http_503": 2},
    requests_per_s=9.5,
    resolved_per_s=8.1,
    rate_per_s=50.0,
    pace_per_s=35.0,
    paused_s=0.0,
    outage=False,
    elapsed_s=8.0,
    eta_s=4.9,
    phase="fetching",
    received_bytes=60_000,
)
WHOLE = RunFigures(
    run_id="20261122T010000Z-abcdef",
    account="main",
    started_s=1_764_000_000.125,
    ended_s=1_764_000_100.0,
    exit_code=3,
    last_success_s=1_764_000_100.0,
    last_new_ids_s=1_763_900_000.5,
    progress=NOW,
    throttled=5,
    by_pages=PagesFigures(ids=40, requests=3, sampled=20, differs=True),
    journal_records=7,
    unparsed={"cost": 3, "data": 1},
    unknown_fields=12,
    without_cost=2,
    unrated=6,
    refetched={"same": 9, "changed": 2},
    changed_fields=1,
    stand={"delivered": 57, "open": 4, "dead": 3, "pending": 43, "retrying": 2},
    stand_unrated={"open": 1, "delivered": 8},
    billing_days={"over": 58, "listed": 57, "complete": 55},
    billing_calls={"delivered": 900, "missing": 12},
    reconciled_s=1_700_000_000.0,
)


def read(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of a file, by name and labels."""
    return {
        (sample.name.removeprefix(PREFIX), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_another_parser_reads_the_same_figures() -> None:
    found = read(exposition(WHOLE))
    assert found[("requests_total", ())] == 75
    assert found[("unrated_ids_total", ())] == 6
    assert found[("by_pages_ids_total", ())] == 40
    assert found[("by_pages_differs", ())] == 1
    assert found[("refetched_ids_total", (("outcome", "changed"),))] == 2
    assert found[("output_unrated_ids", (("state", "open"),))] == 1
    assert found[("output_unrated_ids", (("state", "delivered"),))] == 8
    assert found[("billing_days", (("state", "complete"),))] == 55
    assert found[("billing_calls", (("state", "missing"),))] == 12
    assert found[("reconciled_timestamp_seconds", ())] == 1_700_000_000
    assert found[("retries_total", (("cause", "-18"),))] == 3
    assert found[("ids_total", (("outcome", "delivered"),))] == 50
    assert found[("pending_ids", ())] == 43
    assert found[("received_bytes_total", ())] == 60_000
    assert found[("pace_requests_per_second", ())] == 35
    assert found[("run_start_timestamp_seconds", ())] == 1_764_000_000.125
    assert found[("run_exit_code", ())] == 3
    assert found[("run_active", ())] == 0


def test_the_run_is_told_by_labels_alone() -> None:
    (sample,) = [
        (key, value) for key, value in read(exposition(WHOLE)).items() if key[0] == "run_info"
    ]
    assert dict(sample[0][1]).keys() == {"account", "run_id", "version"}
    assert dict(sample[0][1])["run_id"] == WHOLE.run_id
    assert sample[1] == 1


def test_every_family_has_help_and_type_and_a_name_by_the_conventions() -> None:
    for family in text_string_to_metric_families(exposition(WHOLE)):
        assert family.documentation.endswith(".")
        assert family.type in {"counter", "gauge"}
        for sample in family.samples:
            assert re.fullmatch(rf"{PREFIX}[a-z_]+", sample.name)
            assert sample.name.endswith("_total") is (family.type == "counter")


@given(st.text(max_size=20), st.dictionaries(st.text(max_size=12), st.integers(0, 9), max_size=4))
def test_whatever_an_account_or_a_cause_is_called_the_file_can_be_read(
    account: str, causes: dict[str, int]
) -> None:
    figures = RunFigures(
        account=account, started_s=0, progress=msgspec.structs.replace(NOW, retries=causes)
    )
    found = read(exposition(figures))
    told = sum(value for (name, _), value in found.items() if name == "retries_total")
    assert told == sum(causes.values())
    assert found[("run_active", ())] == 1


def test_a_cause_that_could_be_a_number_of_somebodys_is_told_as_odd() -> None:
    figures = RunFigures(
        account="main",
        started_s=0,
        progress=msgspec.structs.replace(NOW, retries={"8613812345678": 2}),
    )
    assert read(exposition(figures))[("retries_total", (("cause", "odd"),))] == 2


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        ("status_123456", "status_123456"),
        ("status_1234567", "odd"),
        ("x1234567y", "odd"),
        ("a" * 40, "a" * 40),
        ("a" * 41, "odd"),
        ("Torn", "odd"),
    ],
)
def test_a_cause_of_seven_digits_or_over_40_letters_is_odd(cause: str, told: str) -> None:
    progress = msgspec.structs.replace(NOW, retries={cause: 1})
    figures = RunFigures(account="main", started_s=0, progress=progress)
    assert read(exposition(figures))[("retries_total", (("cause", told),))] == 1


def test_every_metric_is_documented_and_no_other() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    documented = re.findall(r"(?m)^\| `(\w+)(?:\{[^`]*\})?` \| (counter|gauge) \|", page)
    assert documented == [(PREFIX + one.name, one.kind) for one in metrics(WHOLE)]


class Told:
    """What a run would have told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.fields: dict[str, object] = {}
        """Of the last one."""

    def message(self, level: str, event: str, **fields: object) -> None:
        self.events.append(f"{level} {event}")
        self.fields = fields

    def progress(self, progress: Progress) -> None:
        raise AssertionError("a metrics file has no progress to tell")


def test_the_file_is_whole_readable_for_all_and_alone(tmp_path: Path) -> None:
    file = tmp_path / "x.prom"
    writing = MetricsFile(str(file), Told())
    for _ in range(3):
        writing.write(WHOLE)
    assert file.read_text() == exposition(WHOLE)
    assert file.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_cannot_be_written_is_said_once(tmp_path: Path) -> None:
    told = Told()
    writing = MetricsFile(str(tmp_path / "missing" / "x.prom"), told)
    writing.write(WHOLE)
    writing.write(WHOLE)
    writing.write_failure("main", 0, 1, 6)
    assert told.events == ["warning metrics_failed"]
    reason = "No such file or directory"
    assert told.fields == {"file": str(tmp_path / "missing" / "x.prom"), "reason": reason}
    assert not writing.is_wanted


def test_a_run_that_failed_early_keeps_the_last_success(tmp_path: Path) -> None:
    file = tmp_path / "x.prom"
    MetricsFile(str(file), Told()).write(WHOLE)
    MetricsFile(str(file), Told()).write_failure("main", 1_764_100_000, 1_764_100_001, 6)
    found = read(file.read_text())
    assert found[("last_success_timestamp_seconds", ())] == WHOLE.last_success_s
    assert found[("last_new_ids_timestamp_seconds", ())] == WHOLE.last_new_ids_s
    assert found[("run_exit_code", ())] == 6
    assert ("requests_total", ()) not in found


def test_a_run_that_has_just_begun_has_counted_nothing() -> None:
    found = read(exposition(RunFigures(account="main", started_s=1.0, progress=NOW)))
    counted = (
        "throttled_total",
        "outages_total",
        "clock_skew_seconds",
        "journal_records",
        "published_records_total",
        "published_files_total",
        "published_bytes_total",
        "unknown_field_values_total",
        "answered_without_cost_total",
        "unrated_ids_total",
        "workers",
        "workers_lost_total",
    )
    assert {name: found[name, ()] for name in counted} == dict.fromkeys(counted, 0)
    assert found["ids_total", (("outcome", "cut_off"),)] == 0
    assert found["run_active", ()] == 1


def test_values_that_could_not_be_typed_are_told_by_the_vendors_fields_alone() -> None:
    unparsed = {"cost": 3, "submitTime": 2, "novelty": 1, "data": 4, "491701112223": 6}
    found = read(exposition(msgspec.structs.replace(WHOLE, unparsed=unparsed)))
    values = {labels: n for (name, labels), n in found.items() if name == "unparsed_values_total"}
    told = {dict(labels)["field"]: n for labels, n in values.items()}
    assert told == {"cost": 3, "submitTime": 2, "data": 4, "odd": 7}


def test_what_is_not_known_or_is_nothing_has_no_family() -> None:
    names = {one.name for one in metrics(WHOLE)}
    now = msgspec.structs.replace(NOW, eta_s=None)
    figures = RunFigures(account="main", started_s=1.0, progress=now)
    assert names - {one.name for one in metrics(figures)} == {
        "eta_seconds",
        "run_end_timestamp_seconds",
        "run_exit_code",
        "last_success_timestamp_seconds",
        "last_new_ids_timestamp_seconds",
        "by_pages_ids_total",
        "by_pages_requests_total",
        "by_pages_sampled_total",
        "by_pages_differs",
        "refetched_ids_total",
        "changed_fields",
        "output_ids",
        "output_unrated_ids",
        "billing_days",
        "billing_calls",
        "reconciled_timestamp_seconds",
    }


def test_deferred_ids_are_pending_and_never_less_than_none() -> None:
    def pending(**counts: int) -> float:
        now = msgspec.structs.replace(NOW, **counts)
        figures = RunFigures(account="main", started_s=1.0, progress=now)
        return read(exposition(figures))[("pending_ids", ())]

    assert pending(to_fetch=10, resolved=7, deferred=2) == 5
    assert pending(to_fetch=10, resolved=12, deferred=2) == 0
    assert pending(to_fetch=10, resolved=12, deferred=1) == 0


def test_whole_numbers_are_written_as_such() -> None:
    lines = exposition(WHOLE).splitlines()
    assert f"{PREFIX}requests_total 75" in lines
    assert f"{PREFIX}pace_limit_requests_per_second 50" in lines
    assert f"{PREFIX}eta_seconds 4.9" in lines


def test_no_path_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told = Told()
    for path in (None, ""):
        writing = MetricsFile(path, told)
        assert not writing.is_wanted
        writing.write(WHOLE)
        writing.write_failure("main", 0, 1, 6)
    assert (told.events, list(tmp_path.iterdir())) == ([], [])
    assert MetricsFile("x.prom", told).is_wanted


def test_a_run_that_fails_in_between_keeps_the_figures_that_it_told_last(tmp_path: Path) -> None:
    file = tmp_path / "x.prom"
    writing = MetricsFile(str(file), Told())
    writing.write(msgspec.structs.replace(WHOLE, ended_s=None, exit_code=None))
    writing.write_failure("other", 5.0, 1_764_000_200.0, 6)
    found = read(file.read_text())
    assert found[("requests_total", ())] == 75
    assert found[("run_exit_code", ())] == 6
    assert found[("run_end_timestamp_seconds", ())] == 1_764_000_200
    assert found[("run_start_timestamp_seconds", ())] == WHOLE.started_s
