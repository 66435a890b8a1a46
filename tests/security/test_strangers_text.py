"""Text that others wrote makes no path, no SQL, no terminal sequence and no line of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.security.commands import harvester, run, run_words
from tests.security.hostile import Ask, HostileVendor
from tests.security.leaks import leaks, left_behind, told_to_people

IDS = [f"26090212345612{n:04d}" for n in range(60)]
EVIL = "\x1b[2J\x1b]0;owned\x07\r\n../../../etc/passwd'; DROP TABLE run; --\u202e{x}\x00%s"
RAW = ("\x1b", "\x07", "\u202e", "\x00")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "ids.txt").write_text("\n".join([*IDS, EVIL.replace("\r\n", ""), "'; --"]))
    return inside


def _answer(ask: Ask) -> None:
    match int(ask.voice_id[-2:]) % 5:
        case 0:
            ask.say("-22", reason=EVIL)
        case 1:
            ask.say(EVIL, reason=EVIL)
        case 2:
            ask.deliver(hangupTime=None, terminationReason=EVIL)
        case _:
            fields = ("submitTime", "terminationReason", "currency", "callee", "code", "cost")
            ask.deliver(**dict.fromkeys(fields, EVIL), **{EVIL: EVIL})


def test_a_vendor_of_escapes_and_quotes_reaches_neither_terminal_nor_log_nor_paths(
    folder: Path,
) -> None:
    with HostileVendor(_answer) as vendor:
        screens = [run(vendor.base_url, folder), run(vendor.base_url, folder, "--json")]
    # The first run has reported the dead.
    assert [screen.returncode for screen in screens] == [3, 0], screens[0].stderr
    dead, going_on, odd = IDS[0], IDS[2], IDS[3]
    for words in (
        *(("explain", one) for one in (dead, IDS[1], going_on, odd)),
        ("explain", odd, "--json"),
        ("status",),
        ("verify", "--deep"),
        ("refetch", "dead", "--dry-run"),
        ("export", "dead", "--json"),
    ):
        screens.append(harvester(*words, "--out", "out", cwd=folder))
        assert "this is a bug" not in screens[-1].stderr
    told = {f"screen {n}": (one.stdout + one.stderr).encode() for n, one in enumerate(screens)}
    assert leaks(told, RAW) == []
    assert leaks(told_to_people(left_behind(folder / "out")), RAW) == []
    assert {path.name for path in folder.parent.iterdir()} == {"inside"}
    assert {path.name for path in folder.iterdir()} == {"ids.txt", "out"}
    dates = {path.name for path in (folder / "out" / "cdr").iterdir()}
    assert dates == {"submit_date=__HIVE_DEFAULT_PARTITION__"}


def test_the_data_keep_a_strangers_text_as_it_was_sent(folder: Path) -> None:
    with HostileVendor(_answer) as vendor:
        run(vendor.base_url, folder)
    parts = (folder / "out" / "cdr").rglob("*.parquet")
    rows = [row for part in parts for row in pq.ParquetFile(part).read().to_pylist()]
    assert rows
    for row in rows:
        assert row["termination_reason"] == row["callee"] == EVIL
        assert json.loads(row["extra"]) == {EVIL: EVIL}
        assert json.loads(row["unparsed"]).keys() == {"submitTime", "cost"}


@pytest.mark.parametrize(
    "name", ["o'ut; DROP", 'o"ut', "out*[a]?{b}", "out\x1b[2J", "out put", "o\nut", "--out", "%s$x"]
)
def test_names_of_files_and_folders_may_be_as_odd_as_they_like(tmp_path: Path, name: str) -> None:
    for kind in (".txt", ".csv"):
        (tmp_path / f"ids {name}{kind}").write_text("voiceId\n" * (kind == ".csv") + "\n".join(IDS))
    with HostileVendor(lambda ask: ask.deliver()) as vendor:
        words = list(run_words(vendor.base_url))
        words[words.index("out")] = f"./{name}"
        words[words.index("ids.txt")] = f"./ids {name}.txt"
        done = harvester(*words, f"./ids {name}.csv", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert len(vendor.asks) == len(IDS)
        again = harvester(*words, cwd=tmp_path)
        assert again.returncode == 0, again.stderr
    deep = harvester("verify", "--deep", "--out", f"./{name}", cwd=tmp_path)
    assert deep.returncode == 0, deep.stdout + deep.stderr
    assert "\x1b" not in done.stdout + done.stderr + deep.stdout + deep.stderr
