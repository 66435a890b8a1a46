"""An output keeps to its account, its days and its vendor's address, whatever one night says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harvester.config import load
from harvester.dataset.group_record import GROUP_RECORD
from harvester.dataset.origin import identities, own_days
from harvester.errors import ConfigError, StoreError
from harvester.identity import Identity
from harvester.operations.rebuild import rebuild
from harvester.pipeline.run.recovery import open_output
from harvester.simulator import write_ids
from harvester.state.belongs import binding
from tests.support import forked
from tests.support.harvesting import Harvest
from tests.support.outputs import edit, look, parts, strip_identity
from tests.support.simulated import END, ROOT, Simulator

SEED = 20261127
ZONE = "Asia/Shanghai"
REAL = "https://api.itniotech.com/voice"


@pytest.fixture(scope="module")
def harvested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A night with the vendor's days, from a stand-in vendor."""
    root = tmp_path_factory.mktemp("belonging")
    write_ids(root / "ids.txt", 400, SEED, end=END)
    with Simulator(seed=SEED, rate_limit=0) as vendor:
        harvest = Harvest(root / "out", vendor.base_url, output__partition_timezone=ZONE)
        done = harvest.run(root / "ids.txt")
        assert done.code == 3, done.err  # some of its ids are dead
    return root / "out"


@pytest.fixture
def out(harvested: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(harvested, tmp_path / "out"))


@pytest.fixture
def old(out: Path) -> Path:
    strip_identity(out)
    return out


def opened(out: Path, *, rebind: bool | None = False, **flags: object) -> Identity:
    """What the output is held to after a start with these flags."""
    named = {name.replace("__", ".", 1): value for name, value in flags.items()}
    config = load(flags={"output.dir": str(out), **named}).config
    with open_output(config, rebind=rebind) as held:
        assert held.config.output.partition_timezone == held.identity.timezone
        assert held.config.vendor.account == held.identity.account
        return binding(held.db)


@pytest.mark.parametrize(("mode", "folders"), [("0640", 0o750), ("0600", 0o700), ("0664", 0o775)])
def test_whoever_may_read_the_files_may_list_their_folder(
    tmp_path: Path, mode: str, folders: int
) -> None:
    before = os.umask(0)
    try:
        opened(tmp_path / "new", output__mode=mode)
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "cdr").stat().st_mode & 0o777 == folders


def command(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    keys = {"HARVESTER_API_KEY": "bDqJFiq9", "HARVESTER_API_SECRET": "7bz1lzh9"}
    return forked.run(
        [sys.executable, "-m", "harvester", *map(str, words)],
        cwd=ROOT,
        env={**os.environ, **keys, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_it_stands_in_the_ledger_and_in_every_footer(out: Path) -> None:
    own = opened(out, rebind=None)
    assert (own.account, own.timezone) == ("default", ZONE)
    assert [url.startswith("http") and "127.0.0.1" in url for url in own.addresses] == [True]
    names = [path.relative_to(out / "cdr").as_posix() for path in parts(out)]
    assert set(identities(out / "cdr", names).values()) == {own}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"output__partition_timezone": "UTC"}, ["UTC", ZONE]),
        ({"output__partition_timezone": "Asia/Tokyo"}, ["Asia/Tokyo", ZONE]),
        ({"vendor__base_url": REAL}, [REAL, "stand-in vendor on this machine"]),
        ({"vendor__account": "other"}, ["'default'", "'other'"]),
    ],
)
def test_one_night_with_another_setting_is_refused_and_changes_nothing(
    out: Path, flags: dict[str, Any], said: list[str]
) -> None:
    before = opened(out)
    with pytest.raises(ConfigError) as raised:
        opened(out, **flags)
    assert all(words in str(raised.value) for words in said)
    assert opened(out) == before


def test_a_night_without_the_setting_goes_on_with_the_outputs_own(
    out: Path, tmp_path: Path
) -> None:
    """Over real sockets: the rows of the second night lie in the days of the first one's zone."""
    more = tmp_path / "more.txt"
    write_ids(more, 300, SEED + 1, end=END)
    with Simulator(seed=SEED, rate_limit=0) as vendor:
        done = Harvest(out, vendor.base_url).run(more)
        assert done.code == 3, done.err
        words = ("--out", out)
        # The dead ones were reported by the run before.
        assert command("run", more, *words, "-q").returncode == 0, "at the last address"
        # What only reads does not need to be told either; and is refused a wrong zone likewise.
        assert command("verify", "--deep", *words).returncode == 0
        report = command("report", "--json", *words)
        assert json.loads(report.stdout)["timezone"] == ZONE
        readers = (
            "verify",
            "report",
            "plan",
            "status",
            "audit",
            "publish",
            "refetch dead --dry-run",
        )
        for line in (*readers, "export delivered", "export dead", "sql SELECT", "explain 1"):
            name, *rest = line.split(" ")
            zone = command(name, *rest, *words, HARVESTER_OUTPUT__PARTITION_TIMEZONE="UTC")
            assert (zone.returncode, ZONE in zone.stderr) == (2, True), (line, zone.stderr)
            account = command(name, *rest, *words, HARVESTER_VENDOR__ACCOUNT="other")
            assert (account.returncode, "'default'" in account.stderr) == (2, True), line
        doctor = command("doctor", more, *words, "--base-url", REAL)
        assert (doctor.returncode, "--rebind" in doctor.stdout) == (2, True)
        rebound = command("doctor", more, *words, "--base-url", vendor.base_url, "--rebind")
        assert rebound.returncode == 0, rebound.stdout
        shutil.rmtree(out / "state")
        assert command("rebuild", *words, "-q").returncode == 0
        assert command("verify", "--deep", *words).returncode == 0


def test_an_address_is_compared_only_by_who_sends_requests(out: Path) -> None:
    assert opened(out, rebind=None, vendor__base_url=REAL) == opened(out)
    assert command("plan", "--out", out, "--base-url", REAL).returncode == 0


def test_a_new_address_on_purpose_is_the_outputs_own_from_then_on(out: Path) -> None:
    first = opened(out).addresses
    assert opened(out, rebind=True, vendor__base_url=REAL).addresses == (*first, REAL)
    assert opened(out).addresses == (*first, REAL)
    with pytest.raises(ConfigError, match="stand-in vendor on this machine"):
        opened(out, vendor__base_url="http://localhost:1/voice")


def test_rebind_without_an_address_is_a_mistake(tmp_path: Path) -> None:
    for name in ("run", "doctor"):
        done = command(name, "--rebind", "--out", tmp_path / "none")
        assert done.returncode == 2
        assert "--base-url" in done.stderr + done.stdout
    assert not (tmp_path / "none").exists()


def test_nothing_is_kept_of_an_address_that_never_gave_an_answer(tmp_path: Path) -> None:
    """A mistyped first address, or zone, can simply be corrected."""
    assert opened(tmp_path / "o", vendor__base_url="https://typo.example/v").addresses == ()
    opened(tmp_path / "o", vendor__base_url=REAL, output__partition_timezone="Asia/Tokyo")
    with open_output(load(flags={"output.dir": str(tmp_path / "o")}).config) as held:
        assert held.identity.timezone == "UTC"


@pytest.mark.parametrize("zone", [None, ZONE, "PRC"])
def test_an_older_output_has_its_zone_from_its_folders(old: Path, zone: str | None) -> None:
    flags: dict[str, Any] = {} if zone is None else {"output__partition_timezone": zone}
    assert opened(old, vendor__base_url="http://127.0.0.1:1/v", **flags).addresses == (
        "http://127.0.0.1:1/v",
    )
    assert opened(old, rebind=None).timezone in (ZONE, zone)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_an_older_output_refuses_a_zone_that_its_folders_do_not_have(old: Path, zone: str) -> None:
    with pytest.raises(ConfigError) as raised:
        opened(old, output__partition_timezone=zone)
    assert zone in str(raised.value)
    assert ZONE in str(raised.value)
    assert look(old, "SELECT COUNT(*) FROM meta WHERE key = 'partition_timezone'") == [(0,)]


def test_an_older_output_is_read_verified_and_rebuilt_as_before(old: Path) -> None:
    config = load(flags={"output.dir": str(old)}).config
    assert own_days(old / "cdr", config, GROUP_RECORD).output.partition_timezone == ZONE
    assert command("verify", "--deep", "--out", old).returncode == 0
    shutil.rmtree(old / "state")
    rebuild(config)
    assert opened(old, rebind=None).timezone == ZONE
    assert command("verify", "--deep", "--out", old).returncode == 0


def refile(out: Path, zone: str) -> str:
    """Give a part another zone in its footer; the part."""
    path = parts(out)[0]
    with pq.ParquetFile(path) as file:
        footer = {k.decode(): v.decode() for k, v in file.metadata.metadata.items()}
        rows = file.read().replace_schema_metadata(None)
    del footer["ARROW:schema"]
    with pq.ParquetWriter(path, rows.schema) as writer:
        writer.write_table(rows)
        writer.add_key_value_metadata({**footer, "cdr.partition_timezone": zone})
    return f"{path.parent.name}/{path.name}"


def test_parts_that_disagree_are_not_rebuilt_from_and_are_named(out: Path) -> None:
    odd = refile(out, "Asia/Tokyo")
    shutil.rmtree(out / "state")
    with pytest.raises(StoreError) as raised:
        rebuild(load(flags={"output.dir": str(out)}).config)
    told = str(raised.value)
    assert all(word in told for word in ("Asia/Tokyo", ZONE, odd))
    assert sum(path.name in told and path.parent.name in told for path in parts(out)) == 2
    assert not (out / "state" / "state.db").exists()


def test_verify_names_a_part_of_another_output(out: Path) -> None:
    edit(out, "UPDATE meta SET value = '[\"https://sister.example/v\"]' WHERE key = 'base_urls'")
    audit = command("verify", "--deep", "--out", out)
    assert audit.returncode == 6
    assert "sister.example" in audit.stdout


def test_rebuild_knows_it_by_the_snapshot_where_there_is_no_part(out: Path) -> None:
    shutil.rmtree(out / "state")
    for path in parts(out):
        path.unlink()
    rebuild(load(flags={"output.dir": str(out)}).config)
    assert opened(out, rebind=None).account == "default"
    stored = json.loads(look(out, "SELECT value FROM meta WHERE key = 'base_urls'")[0][0])
    assert "127.0.0.1" in stored[0]


def test_rebuild_refuses_a_zone_that_is_set_and_is_not_the_datas(out: Path) -> None:
    shutil.rmtree(out / "state")
    flags = {"output.dir": str(out), "output.partition_timezone": "UTC"}
    with pytest.raises(ConfigError, match=ZONE):
        rebuild(load(flags=flags).config)
    rebuild(load(flags={"output.dir": str(out), "vendor.base_url": REAL}).config)
