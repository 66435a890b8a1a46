"""Files that are not what they seem: refused by name, with the command that makes ids of them."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harvester.errors import SourceError
from harvester.inputs.discover import find
from harvester.inputs.worklist.build import make
from harvester.inputs.worklist.spec import ListResult
from harvester.simulator import make_ids
from tests.run.test_cli_commands import KEYS, harvester
from tests.run.test_inputs_list import Place
from tests.support.simulated import END, Simulator

IDS = [f"22030311133810{number:05}" for number in range(7, 67, 13)]
A, B, C = IDS[:3]
PHONE = "8613812345678"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "place")


def put(place: Place, name: str, content: bytes | str) -> Path:
    path = place.folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def listed(place: Place, *paths: Path, share: float = 0.5) -> ListResult:
    files = find([str(path) for path in paths], spool=place.scratch)
    return make(place.spec(*files, max_bad_share=share))


def refusal(place: Place, *paths: Path) -> str:
    before = sorted(place.list_path.parent.iterdir())
    with pytest.raises(SourceError) as refused:
        listed(place, *paths)
    assert sorted(place.list_path.parent.iterdir()) == before, "no half-made list"
    said = str(refused.value)
    assert said.isprintable()
    assert not re.search(r"[0-9]{7}", said.replace(str(place.folder), "")), "a number is shown"
    return said


def rows(template: str, ids: Sequence[str] = IDS) -> str:
    return "".join(template.format(one) for one in ids)


# Each with a command that is run as it stands; what it writes is an input.
CONVERTED: dict[str, tuple[str, str | bytes, str]] = {
    "old_mac": ("a.txt", "\r".join(IDS), "CR alone"),
    "old_mac_end": ("a.txt", "\r".join(IDS) + "\r", "CR alone"),
    "old_mac_csv": ("a.csv", "voiceId,x\r" + "\r".join(f"{one},1" for one in IDS), "CR alone"),
    "formula": ("a.txt", rows('="{}"\n'), "formulas"),
    "formula_csv": ("a.csv", "voiceId,x\n" + rows('="{}",1\n'), "formulas"),
    "formula_quoted": ("a.csv", "x;voiceId\r\n" + rows('1;"=""{}"""\r\n'), "formulas"),
    "apostrophe": ("a.txt", rows("'{}\n"), "apostrophe"),
    "apostrophe_csv": ("a.csv", "x,voiceId\n" + rows("1,'{}\n"), "apostrophe"),
    "comma_more": ("a.csv", "voiceId,callee\n" + rows("{},1,\n"), "end with a comma more"),
    "comma_more_crlf": ("a.csv", "voiceId\r\n" + rows("{},\r\n"), "end with a comma more"),
    "semicolon_more": ("a.csv", "voiceId;callee\n" + rows("{};1;\n"), "end with a semicolon more"),
    "tab_more": ("a.tsv", "callee\tvoiceId\n" + rows("1\t{}\t\n"), "end with a tab more"),
    "pipe_more": ("a.csv", "callee|voiceId\n" + rows("1|{}|\n"), "end with a pipe more"),
    "title": ("a.csv", "Calls of November\n\nvoiceId,x\n" + rows("{},1\n"), "line 3, below a"),
    "title_wide": ("a.csv", "Calls,,\nvoiceId,x,y\n" + rows("{},1,2\n"), "line 2, below a"),
    "title_semicolon": ("a.csv", "Calls\nvoice id;x\n" + rows("{};1\n"), "line 2, below a"),
    "array": ("a.jsonl", json.dumps([{"voiceId": one} for one in IDS]), "JSON array"),
    "array_numbers": ("a.jsonl", json.dumps([{"voiceId": int(one)} for one in IDS]), "array"),
    "array_pretty": ("a.json", json.dumps([{"voiceId": one} for one in IDS], indent=2), "array"),
    "array_of_texts": ("a.json", json.dumps(IDS), "JSON array"),
    "csv_in_txt": ("a.txt", "callee,voiceId\n" + rows("1,{}\n"), "Name it .csv"),
    "tsv_in_txt": ("a.txt", "callee\tvoiceId\n" + rows("1\t{}\n"), "Name it .csv"),
    "headless_txt": ("a.txt", rows("x;{};2\n"), "Take the ids out"),
    "headless_tabs": ("a.txt", rows("x\t{}\t2\n"), "Take the ids out"),
    "sql_list": ("a.txt", rows("'{}',\n"), "Take the ids out"),
    "ids_in_a_line": ("a.txt", ",".join(IDS) + "\n", "several on a line"),
    "ids_in_a_line_quoted": ("a.txt", "('" + "','".join(IDS) + "')", "several on a line"),
    "ids_in_a_query": ("a.sql", "SELECT 1 WHERE id IN (" + ", ".join(IDS) + ");", "several on"),
    "ids_and_blanks": ("a.txt", " ".join(IDS), "several on a line"),
    "ids_and_semicolons": ("a.txt", "\n".join([";".join(IDS), ";".join(IDS)]), "several on"),
    "inserts": ("a.sql", rows("INSERT INTO calls VALUES ('{}');\n"), "among other text"),
    "log": ("a.log", rows("2026-11-01 10:00:00 INFO call {} of 491511234567 done\n"), "among"),
    "addresses": ("a.txt", rows("https://example.com/voice/recordGroup/{}\n"), "among other"),
    "list_of_points": ("a.txt", rows("- {}\n"), "among other text"),
    "numbered_list": ("a.txt", rows("1. {}\n"), "among other text"),
    "ids_in_a_line_gz": ("a.txt.gz", gzip.compress(",".join(IDS).encode()), "several on a line"),
    "utf16le": ("a.txt", "\r\n".join(IDS).encode("utf-16-le"), "UTF-16LE without"),
    "utf16be": ("a.csv", ("x,voiceId\n" + rows("1,{}\n")).encode("utf-16-be"), "UTF-16BE"),
    "old_mac_gz": ("a.txt.gz", gzip.compress("\r".join(IDS).encode()), "CR alone"),
    "title_gz": (
        "a.csv.gz",
        gzip.compress(("x y\n\nx,voiceId\n" + rows("1,{}\n")).encode()),
        "line 3, below",
    ),
    "utf16_gz": ("a.txt.gz", gzip.compress("\n".join(IDS).encode("utf-16-le")), "UTF-16LE"),
    "name_to_quote": ("it's  a $HOME.txt", "\r".join(IDS), "CR alone"),
}


@pytest.mark.parametrize(("name", "content", "says"), CONVERTED.values(), ids=list(CONVERTED))
def test_a_file_in_another_form_is_refused_and_the_command_makes_ids_of_it(
    place: Place, name: str, content: str | bytes, says: str
) -> None:
    path = put(place, name, content)
    said = refusal(place, path)
    assert said.startswith(f"{path}: ")
    assert says in said
    command = re.search(r": ((?:tr|sed|tail|python3|cut|cat|grep|iconv|zcat) .*)", said)
    assert command, said
    before = set(place.folder.iterdir())
    subprocess.run(["bash", "-euc", command[1]], check=True, cwd=place.folder)
    (made,) = set(place.folder.iterdir()) - before
    listed(place, made)
    assert [one for _, one in place.rows()] == sorted(IDS)


# Each with words of the message; what is lost or drawn has no command, but advice.
ADVISED: dict[str, tuple[str, str | bytes, str]] = {
    "exponent": ("a.txt", "2.20303E+18\n2.20303E+18\n", "last digits are lost"),
    "exponent_csv": ("a.csv", "voiceId,x\n2.20303E+18,1\n", "last digits are lost"),
    "exponent_comma": ("a.csv", "voiceId;x\n2,20303E+18;1\n", "last digits are lost"),
    "point_zero": ("a.txt", "2203031113381000000.0\n", "last digits are lost"),
    "point_zero_csv": ("a.csv", "x,voiceId\n1,2203031113381000000.00\n", "last digits are lost"),
    "thousands": ("a.csv", 'voiceId\n"2,203,031,113,381,000,000"\n', "last digits are lost"),
    "mysql": ("a.txt", f"+---+\n| voice_id |\n+---+\n| {A} |\n+---+\n", "mysql -N -B"),
    "mysql_csv": ("a.csv", f"+---+---+\n| voice_id | x |\n+---+---+\n| {A} | 1 |\n", "psql -At"),
    "psql": ("a.txt", f" voice_id | x\n----------+---\n {A} | 1\n(1 row)\n", "psql -At"),
    "html": ("a.xls", f"<html><table><tr><td>{A}</td></tr></table></html>\n", "HTML"),
    "html_csv": ("a.csv", f"<table><tr>\n<td>\n{A}</td></tr></table>\n", "HTML"),
    "xml": ("a.txt", f"<?xml version='1.0'?>\n<id>{A}</id>\n", "XML"),
    "json_objects": ("a.txt", f'{{"voiceId": "{A}"}}\n', "name it .jsonl"),
    "json_pretty": ("a.jsonl", f'{{\n  "voiceId": "{A}"\n}}\n', "over several lines"),
    "missing_name": ("a.csv", "voiceId,callee\n" + rows("{},1,2\n"), "comma more than the header"),
    "binary": ("a.txt", bytes(range(128, 256)) * 8, "no text"),
    "zeros": ("a.txt", bytes(4096), "no text"),
    "words": ("a.txt", "voiceId\nNULL\nNone\nnan\n-----\n(3 rows)\nTotal: 3\n", "placeholder 5"),
    "one_line": ("a.txt", "hello world\n", "1 line(s) (forbidden character 1)"),
    "no_field": ("a.jsonl", '{"voiceId": null}\n{"voiceId": 2.2e18}\n', "not a whole number 1"),
    "ods": ("a.ods", b"PK\x03\x04" + bytes(40), "ZIP archive"),
    "xlsx": ("a.xlsx", b"PK\x03\x04\x14\0\6\0\x08\0\0\0!\0" + bytes(40), "spreadsheet"),
    "xls": ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(40), "spreadsheet"),
    "pdf": ("a.txt", b"%PDF-1.7\n%\xe2\xe3\n1 0 obj\n", "PDF"),
    "bzip2": ("a.txt", b"BZh91AY&SY\x00", "bunzip2"),
    "xz": ("a.csv", b"\xfd7zXZ\x00\x00", "unxz"),
    "pgp": ("a.txt", "-----BEGIN PGP MESSAGE-----\n\nhQEMA\n", "gpg -d"),
    "zip_gz": ("a.txt.gz", gzip.compress(b"PK\x03\x04"), "ZIP archive"),
    "tar_gz": ("a.csv.gz", gzip.compress(b"ids.csv".ljust(257, b"\0") + b"ustar\0"), "tar"),
}


@pytest.mark.parametrize(("name", "content", "says"), ADVISED.values(), ids=list(ADVISED))
def test_a_file_without_an_id_is_refused_with_what_it_looks_like(
    place: Place, name: str, content: str | bytes, says: str
) -> None:
    path = put(place, name, content)
    said = refusal(place, path)
    assert path.name in said
    assert says in said


@pytest.mark.parametrize("order", [0, 1])
def test_one_good_file_hides_no_bad_one(place: Place, order: int) -> None:
    good = put(place, "good.txt", rows("{}\n"))
    bad = put(place, "bad.csv", "voiceId,x\n2.20303E+18,1\n")
    said = refusal(place, *([good, bad], [bad, good])[order])
    assert said.startswith(str(bad))


def test_a_parquet_file_without_an_id_is_refused(place: Place) -> None:
    path = place.folder / "a.parquet"
    pq.write_table(pa.table({"voiceId": pa.array([None, "NULL"], pa.string())}), path)
    assert "not one voiceId in 2 line(s) (empty 1, placeholder 1)" in refusal(place, path)


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
@pytest.mark.parametrize(
    ("good", "bad", "share", "fits"),
    [
        (10, 10, 0.5, True),
        (10, 11, 0.5, False),
        (9, 10, 0.5, True),
        (1, 18, 0.5, True),
        (9, 11, 0.5, False),
        (1, 19, 0.95, True),
        (1, 20, 0.95, False),
        (99, 1, 0.0, False),
        (18, 1, 0.0, True),
        (1, 99, 1.0, True),
    ],
)
def test_the_share_of_bad_lines_counts_from_twenty_lines_on(
    place: Place, name: str, good: int, bad: int, share: float, fits: bool
) -> None:
    form: dict[str, tuple[str, Callable[[str], str]]] = {
        "a.txt": ("# a comment\n\n", "{}\n".format),
        "a.csv": ("voiceId,callee\n", f"{{}},{PHONE}\n".format),
        "a.jsonl": ("", '{{"voiceId": "{}"}}\n'.format),
    }
    head, line = form[name]
    ids = [f"22030311133810{number:05}" for number in range(good)]
    lines = [line(one) for one in [*ids, *["no id"] * bad]]
    path = put(place, name, head + "".join(lines))
    other = put(place, "other.txt", "".join(f"{number}\n" for number in range(1000)))
    if fits:
        result = listed(place, path, other, share=share)
        assert (result.bad, result.listed) == (bad, good + 1000)
        return
    with pytest.raises(SourceError, match=r"input\.max_bad_share = [0-9.]+ allows") as refused:
        listed(place, path, other, share=share)
    assert f"{name}: no voiceId in {bad} of its {good + bad} lines" in str(refused.value)
    assert PHONE not in str(refused.value)


@pytest.mark.parametrize("name", ["a.txt", "a.csv"])
def test_ids_that_a_spreadsheet_has_rounded_to_15_digits_are_refused(
    place: Place, name: str
) -> None:
    head = "voiceId\n" if name == "a.csv" else ""
    whole = [f"2203031113{number:05}1002" for number in range(1, 40)]
    rounded = [one[:15] + "0000" for one in whole]
    path = put(place, name, head + rows("{}\n", rounded))
    assert "a spreadsheet has rounded them" in refusal(place, path)
    assert "rounded" in refusal(place, put(place, name, head + rows("{}\n", rounded[:3])))
    told = refusal(place, put(place, name, head + rows("{}\n", [*whole[:38], *rounded])))
    assert "39 of its 77 ids have 15 digits and then zeros" in told
    for ids in (rounded[:2], [*whole, *rounded], [*whole, rounded[0]], [rounded[0]] * 9):
        assert listed(place, put(place, name, head + rows("{}\n", ids))).listed == len(set(ids))


@pytest.mark.parametrize("first", [26112010_000000_123457, 2611201012345678901, 261120101234567891])
def test_ids_that_a_program_has_kept_as_floats_are_refused(place: Place, first: int) -> None:
    whole = [str(first + 982_451_653 * number) for number in range(60)]
    floats = [str(int(float(one))) for one in whole]
    assert floats != whole
    told = refusal(place, put(place, "a.txt", rows("{}\n", floats)))
    assert "keeps them as floating-point numbers" in told
    for ids in (whole, floats[:19], [*floats[:40], whole[7]], [floats[0]] * 40):
        assert listed(place, put(place, "a.txt", rows("{}\n", ids))).listed == len(set(ids))


def test_ids_that_a_float_keeps_whole_are_no_sign(place: Place) -> None:
    ids = [*map(str, range(10**15, 10**15 + 30)), *(f"call-{number:020}" for number in range(30))]
    assert listed(place, put(place, "a.txt", rows("{}\n", ids))).listed == 60


def test_certain_forms_are_read(place: Place) -> None:
    table = "x,voiceId\r\n" + rows("1,{}\r\n")
    for name, content in {
        "a.txt": "\ufeff" + rows("{}\r\n"),
        "b.txt": rows("{}\r\n"),
        "c.csv": table,
        "d.tsv": table.replace(",", "\t"),
        "e.jsonl": rows('{{"voiceId": "{}"}}\n'),
    }.items():
        for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"):
            mark = "" if encoding in ("utf-16", "utf-32") else "\ufeff"
            path = put(place, name, (mark + content.removeprefix("\ufeff")).encode(encoding))
            result = listed(place, path)
            assert (name, encoding, result.bad, place.input()) == (name, encoding, 0, IDS)
    packed = put(place, "f.csv.gz", gzip.compress(table.encode("utf-16")))
    assert listed(place, packed).listed == len(IDS)
    quoted = put(place, "g.txt", rows('"{}"\n'))
    assert listed(place, quoted).listed == len(IDS)


def test_utf_16_that_is_cut_or_broken_costs_its_lines(place: Place) -> None:
    whole = ("\ufeff" + rows("{}\n")).encode("utf-16-le")
    result = listed(place, put(place, "a.txt", whole[:-1]))
    assert (result.listed, result.bad) == (len(IDS) - 1, 1)


def test_run_plan_and_doctor_refuse_alike_before_the_first_request(tmp_path: Path) -> None:
    ids = list(make_ids(8, 4, end=END))
    (tmp_path / "good.txt").write_text("\n".join(ids[:4]))
    bad, out = tmp_path / "bad.csv", tmp_path / "out"
    with Simulator(rate_limit=0, drift=False, fates="") as vendor:
        words = ("good.txt", "bad.csv", "--out", "out", "--base-url", vendor.base_url)
        for number, content in enumerate(("voiceId,x\n2.2E+18,\n", "Calls\n\nvoiceId,x\n1,2\n")):
            bad.write_text(content)
            before = sorted(out.glob("state/lists/*"))
            said = [harvester(one, *words, cwd=tmp_path, env=KEYS) for one in ("run", "plan")]
            assert [done.returncode for done in said] == [2, 2]
            assert "bad.csv: not one voiceId" in said[0].stderr
            assert said[1].stderr.split("bad.csv: ", 1)[1] in said[0].stderr
            doctor = harvester("doctor", *words, "--json", cwd=tmp_path, env=KEYS)
            assert doctor.returncode == 2
            assert "bad.csv: not one voiceId" in doctor.stdout
            assert len(vendor.asks()) == 4 * number, "nothing was fetched"
            assert sorted(out.glob("state/lists/*")) == before
            # Mended, the same command goes on.
            bad.write_text("voiceId,x\n" + "".join(f"{one},1\n" for one in ids[4 : 4 + 4 * number]))
            done = harvester("run", *words, cwd=tmp_path, env=KEYS)
            assert done.returncode == 0, done.stderr
            assert set(vendor.asks()) == set(ids[: 4 + 4 * number])
