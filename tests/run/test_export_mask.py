"""`harvester export --mask`, over a harvest whose numbers stand wherever a vendor may put them."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.security.commands import harvester, run
from tests.security.hostile import Ask, HostileVendor
from tests.security.leaks import leaks, left_behind

KEY, OTHER_KEY = "kW3x" * 10, "pQ7y" * 10
IDS = [f"26090212345612{n:04d}" for n in range(60)]
SPELLED = ("+49 151 1234567", "4915112345678", "+1 (415) 555-2671", "110112")
"""Numbers as the vendor sends them; the last is too short to be known by its looks."""
DIGITS = tuple(re.sub(r"\D", "", number) for number in SPELLED)
MASK = re.compile("tel_[0-9a-f]{20}")


def _answer(ask: Ask) -> None:
    at = int(ask.voice_id[-2:])
    number = SPELLED[at % 4]
    numbers = {"callee": number, "displayNum": SPELLED[(at + 1) % 4]}
    match at % 6:
        case 0:
            ask.say("-22", reason=f"=no such subscriber {SPELLED[at % 3]}")
        case 1:
            ask.say("-777", {**numbers, "peer": int(DIGITS[1])}, reason="odd")
        case 2:
            ask.deliver(**numbers, hangupTime=None, peer=[SPELLED[0]])
        case _:
            ask.deliver(
                **numbers,
                calledInfo=f"to {DIGITS[1]}",
                feedbackValue=DIGITS[1],
                terminationReason=f"=1+{SPELLED[0]}",
                voiceFileId=f"rec-{DIGITS[1]}.wav",
                callDuration=DIGITS[1],
                baseCost=SPELLED[2],
                peer={"tel": int(DIGITS[1]), SPELLED[2]: None},
            )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masked")
    (folder / "ids.txt").write_text("\n".join(IDS))
    with HostileVendor(_answer) as vendor:
        done = run(vendor.base_url, folder)
    assert done.returncode == 3, done.stderr
    return folder


def exported(folder: Path, what: str, form: str, *more: str, key: str = KEY) -> list[Any]:
    """The rows of `export WHAT`, through a file."""
    file = folder / "files" / f"{what}-{form}{''.join(more)}-{key[:2]}"
    file.parent.mkdir(exist_ok=True)
    words = ("export", what, "--out", "out", "--format", form, "-o", file, *more)
    done = harvester(*words, cwd=folder, env={"HARVESTER_MASK_KEY": key})
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert key not in done.stderr
    match form:
        case "csv":
            return list(csv.DictReader(io.StringIO(file.read_text())))
        case "jsonl":
            return [json.loads(line) for line in file.read_text().splitlines()]
        case _:
            return pq.read_table(file).to_pylist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("what", ["delivered", "dead", "open"])
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_no_number_is_left_in_a_masked_export(folder: Path, what: str, form: str) -> None:
    plain = exported(folder, what, form)
    masked = exported(folder, what, form, "--mask")
    assert [row["voice_id"] for row in masked] == [row["voice_id"] for row in plain]
    hidden = {*SPELLED, *DIGITS}
    suffix = ".parquet" if form == "parquet" else ""
    for name, rows in (("plain", plain), ("masked", masked)):
        place = folder / f"{name}-{what}-{form}"
        place.mkdir()
        more = "--mask" if name == "masked" else ""
        file = folder / "files" / f"{what}-{form}{more}-{KEY[:2]}"
        file.rename(place / f"file{suffix}")
        found = {what for _, what in leaks(left_behind(place), hidden)}
        assert bool(found) is (name == "plain"), rows[:2]
        assert leaks(left_behind(place), [KEY]) == []


def test_the_same_number_has_the_same_mask_in_every_column_export_and_form(folder: Path) -> None:
    delivered = exported(folder, "delivered", "jsonl", "--mask")
    plain = {row["voice_id"]: row for row in exported(folder, "delivered", "jsonl")}
    masks: dict[str, str] = {}
    for row in delivered:
        before = plain[row["voice_id"]]
        for name in ("callee", "display_num"):
            digits = re.sub(r"\D", "", before[name])
            assert masks.setdefault(digits, row[name]) == row[name]
    assert len(set(masks.values())) == len(masks) == len(DIGITS)
    assert all(MASK.fullmatch(mask) for mask in masks.values())
    one = delivered[0]
    assert one["called_info"] == f"to {masks[DIGITS[1]]}"
    assert one["feedback_key"] == masks[DIGITS[1]]
    assert one["voice_file_id"] == f"rec-{masks[DIGITS[1]]}.wav"
    assert json.loads(one["extra"])["peer"] == {"tel": masks[DIGITS[1]], masks[DIGITS[2]]: None}
    assert json.loads(one["unparsed"]) == {
        "callDuration": masks[DIGITS[1]],
        "baseCost": masks[DIGITS[2]],
    }
    for row in exported(folder, "open", "jsonl", "--mask"):
        answer = json.loads(row["answer"])["data"]
        assert {answer["callee"], answer["displayNum"]} <= set(masks.values())
        assert answer["peer"] == [masks[DIGITS[0]]]
        assert answer["voiceId"] == row["voice_id"]
        assert answer["submitTime"] == "2026-09-02T10:00:00+08:00"
    dead = exported(folder, "dead", "csv", "--mask")
    answers = " ".join(row["answer"] for row in dead)
    assert set(MASK.findall(answers)) == set(masks.values())


def test_all_that_is_no_number_stays_as_it_was(folder: Path) -> None:
    changed = {"callee", "display_num", "termination_reason", "voice_file_id", "feedback_key"}
    changed |= {"called_info", "extra", "unparsed"}
    plain = exported(folder, "delivered", "parquet")
    masked = exported(folder, "delivered", "parquet", "--mask")
    for before, after in zip(plain, masked, strict=True):
        assert {name for name in before if before[name] != after[name]} == changed
        assert {name for name in before if before[name] is None} == {
            name for name in after if after[name] is None
        }


def test_another_key_makes_other_masks_and_the_same_key_the_same(folder: Path) -> None:
    first, again = (exported(folder, "delivered", "jsonl", "--mask") for _ in range(2))
    other = exported(folder, "delivered", "jsonl", "--mask", key=OTHER_KEY)
    assert first == again
    assert not {row["callee"] for row in first} & {row["callee"] for row in other}


def test_masked_csv_guards_against_formulas_still(folder: Path) -> None:
    rows = exported(folder, "delivered", "csv", "--mask")
    assert all(row["termination_reason"].startswith("'=1+tel_") for row in rows)
    assert all(MASK.fullmatch(row["callee"]) for row in rows)


def test_the_key_may_come_from_a_file(folder: Path) -> None:
    (folder / "mask.key").write_text(f"{KEY}\n")
    words = ("export", "delivered", "--out", "out", "--json", "--mask")
    by_file = harvester(*words, cwd=folder, env={"HARVESTER_MASK_KEY_FILE": "mask.key"})
    by_name = harvester(*words, cwd=folder, env={"HARVESTER_MASK_KEY": KEY})
    assert by_file.stdout == by_name.stdout != ""


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({}, "is missing: set HARVESTER_MASK_KEY"),
        ({"HARVESTER_MASK_KEY": "s3cr3t"}, "32 characters"),
        ({"HARVESTER_MASK_KEY_FILE": "nowhere.key"}, "nowhere.key"),
        ({"HARVESTER_MASK_KEY": KEY, "HARVESTER_MASK_KEY_FILE": "x"}, "unset one of them"),
    ],
)
def test_without_a_good_key_nothing_is_written_and_the_remedy_is_named(
    folder: Path, env: dict[str, str], said: str
) -> None:
    words = ("export", "delivered", "--out", "out", "--mask", "-o", "none.csv")
    done = harvester(*words, cwd=folder, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "openssl rand" in done.stderr or "MASK_KEY_FILE" in done.stderr
    assert not (folder / "none.csv").exists()
    for secret in ("s3cr3t", KEY):
        assert secret not in done.stderr


def test_config_show_tells_whether_there_is_a_mask_key_and_never_which(folder: Path) -> None:
    for env, told in (({"HARVESTER_MASK_KEY": KEY}, "set (environment)"), ({}, "not set")):
        done = harvester("config", "show", cwd=folder, env=env)
        (line,) = [line for line in done.stdout.splitlines() if "MASK_KEY" in line]
        assert line.split(maxsplit=1)[1] == told
        assert KEY not in done.stdout
