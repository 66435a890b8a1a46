"""How many currencies were presumed, and whose the records are: by the footers of their files."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester.cli.main import run_command
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.packing import Packer, Piece
from harvester.dataset.stated import Stated, read_stated
from harvester.identity import STAND_IN, Identity, vendor_of
from harvester.simulator import SimulatorOptions, write_ids
from harvester.simulator.calls import call_of
from harvester.simulator.drift import state
from tests.run.test_cli_commands import harvester
from tests.run.test_old_outputs import ARCHIVES, home
from tests.support.datasets import filled, place
from tests.support.harvesting import Harvest
from tests.support.simulated import END, Simulator

__all__ = ["home"]  # a fixture

ACME = Identity(account="acme", timezone="UTC", addresses=("https://api.example.com/voice",))
KEY = "cdr.presumed_currency"


def of_days(presumed: dict[int, list[bool]], out: Path, publication: int = 1) -> None:
    """A part for each day of November 2026, of which these rows' currencies were presumed."""
    packer = Packer("UTC", GROUP_RECORD)
    pieces: list[Piece] = []
    for day, marks in presumed.items():
        at = datetime(2026, 11, day, 10, tzinfo=UTC)
        rows = [
            {"voice_id": f"{publication}{day:02}{n}", "submit_time": at} for n in range(len(marks))
        ]
        pieces += packer.add(filled(rows), pa.array(marks))
    place(out, [*pieces, *packer.rest()], publication, ACME)


def footers(out: Path) -> dict[str, str | None]:
    """What each day's parts say."""
    found = {}
    for path in sorted(out.glob("cdr/*/*.parquet")):
        said = pq.read_metadata(path).metadata.get(KEY.encode())
        found[path.parent.name.removeprefix("submit_date=")] = said and said.decode()
    return found


def as_older(part: Path) -> None:
    """Take the newer keys out of a part's footer: as a version before them wrote it."""
    table = pq.ParquetFile(part).read()
    part.chmod(0o640)
    with pq.ParquetWriter(part, table.schema.remove_metadata()) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"cdr.schema_version": "1", "cdr.rows": str(len(table))})


def test_a_footer_counts_the_rows_of_its_own_day(tmp_path: Path) -> None:
    of_days({1: [True, False, True], 2: [False], 3: [True] * 5}, tmp_path / "out")
    assert footers(tmp_path / "out") == {"2026-11-01": "2", "2026-11-02": "0", "2026-11-03": "5"}


def test_rows_of_several_days_that_come_together_are_counted_each_on_its_own(
    tmp_path: Path,
) -> None:
    packer = Packer("UTC", GROUP_RECORD)
    days = [1, 2, 1, 2, 2, 1]
    rows = [{"submit_time": datetime(2026, 11, day, 10, tzinfo=UTC)} for day in days]
    marks = [True, False, True, True, False, False]
    pieces = list(packer.add(filled(rows), pa.array(marks)))
    place(tmp_path / "out", [*pieces, *packer.rest()])
    assert footers(tmp_path / "out") == {"2026-11-01": "2", "2026-11-02": "1"}


def test_what_an_older_version_left_unsaid_is_counted_as_that(tmp_path: Path) -> None:
    out = tmp_path / "out"
    of_days({1: [True, False, True], 2: [True] * 4}, out)
    parts = sorted(path.relative_to(out / "cdr").as_posix() for path in out.glob("cdr/*/*.parquet"))
    assert read_stated(out / "cdr", parts) == Stated(ACME, 7, 6, 0)
    as_older(out / "cdr" / parts[1])
    assert read_stated(out / "cdr", parts) == Stated(ACME, 3, 2, 1)
    as_older(out / "cdr" / parts[0])
    assert read_stated(out / "cdr", parts) == Stated(Identity(), 0, 0, 2)


def test_report_and_audit_say_it_of_the_files_that_they_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files of the 10th and 11th, three records each; those of the 1st and 30th are not read."""
    out, page = tmp_path / "out", tmp_path / "page.html"
    of_days({1: [True], 10: [True, True, False], 11: [True, False, False], 30: [True]}, out)
    of_days({10: [True]}, out, publication=2)
    (older,) = out.glob("cdr/*/part-made0000-2-0.parquet")
    as_older(older)
    told = (
        "of 6 records read, as the vendor named no currency; files of an older version that don't "
        "say: 1"
    )
    for command in ("report", "audit"):
        words = [command, "--out", str(out), "--from", "2026-11-10", "--to", "2026-11-11"]
        assert run_command([*words, "--html", str(page)]) == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert f"3 {told}" in shown
        assert "USD presumed" in shown
        text = page.read_text().replace("&#x27;", "'")
        assert f'<dt>USD presumed</dt><dd class="big">3</dd><dd class="soft">{told}' in text
        assert "account acme · api.example.com · days of Asia/Shanghai" in text
        assert str(tmp_path) not in text, "no path of this machine"
        assert run_command([*words, "--json"]) == 0
        last: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert last["presumed_currency"] == {"records": 3, "of_records": 6, "files_without": 1}
        assert (last["account"], last["vendor"]) == ("acme", "api.example.com")


def test_a_harvest_counts_what_the_vendor_did_not_name(tmp_path: Path) -> None:
    """By day, against what the stand-in vendor says of each id."""
    options = SimulatorOptions(seed=11)
    ids = tmp_path / "ids.txt"
    write_ids(ids, 800, options.seed, end=END, days=3)
    with Simulator(seed=11, rate_limit=0) as vendor:
        harvest = Harvest(tmp_path / "out", vendor.base_url, vendor__account="acme")
        done = harvest.run(ids)
        assert done.code in (0, 3), done.err
    expected: Counter[str] = Counter()
    for row in harvest.rows(["voice_id", "currency"]):
        call = call_of(options.seed, row["voice_id"], options.fates, options.bill)
        said = state(call, options.seed, drift=options.drift, wild=options.wild).fields
        named = "costEur" in said or said["currency"].value is not None
        assert named or row["currency"] == "USD"
        expected[row["submit_date"]] += not named
    assert {day: int(said or -1) for day, said in footers(tmp_path / "out").items()} == expected
    total = expected.total()
    assert 0 < total < len(harvest.ids())
    assert done.summary["presumed_currency"] == total
    words = ("report", "--out", "out", "--json")
    told = json.loads(harvester(*words, cwd=tmp_path).stdout)
    assert told["presumed_currency"] == {
        "records": total,
        "of_records": len(harvest.ids()),
        "files_without": 0,
    }
    assert (told["account"], told["vendor"]) == ("acme", STAND_IN)
    assert harvester("verify", "--deep", "--out", "out", cwd=tmp_path).returncode == 0
    shutil.rmtree(tmp_path / "out" / "state")
    assert harvester("rebuild", "--out", "out", cwd=tmp_path).returncode == 0
    assert harvester("verify", "--deep", "--out", "out", cwd=tmp_path).returncode == 0
    assert (
        json.loads(harvester(*words, cwd=tmp_path).stdout)["presumed_currency"]
        == told["presumed_currency"]
    )


@pytest.mark.parametrize("home", ARCHIVES[:1], ids=["645ca2a"], indirect=True)
def test_an_older_output_says_that_it_does_not_know(home: Path) -> None:
    files = len(list(home.glob("out/cdr/*/*.parquet")))
    assert files
    told = json.loads(harvester("report", "--out", "out", "--json", cwd=home).stdout)
    assert told["presumed_currency"] == {"records": 0, "of_records": 0, "files_without": files}
    assert (told["account"], told["vendor"]) == ("default", None), "the ledger knows the account"
    harvester("publish", "--out", "out", cwd=home)
    after = json.loads(harvester("report", "--out", "out", "--json", cwd=home).stdout)
    found = after["presumed_currency"]
    assert found["files_without"] == files
    assert found["of_records"] == after["total"]["calls"] - told["total"]["calls"] > 0


@pytest.mark.parametrize(
    ("addresses", "named"),
    [
        ((), ""),
        (("https://api.example.com/voice",), "api.example.com"),
        (("https://user:word@API.example.com.:8443/v/",), "api.example.com"),
        (("http://127.0.0.1:8080",), STAND_IN),
        (("http://localhost:1", "http://[::1]:2"), STAND_IN),
        (("https://a.example.com", "https://b.example.com/x"), "a.example.com, b.example.com"),
    ],
)
def test_a_vendor_is_named_by_its_hosts(addresses: tuple[str, ...], named: str) -> None:
    assert vendor_of(Identity(addresses=addresses)) == named
