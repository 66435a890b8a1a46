"""Reading ids out of every form of file: what is an id, what is a bad line, what stops the run."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.errors import SourceError
from harvester.inputs.bad_lines import BadIds
from harvester.inputs.discover import IdFile, find
from harvester.inputs.formats import blocks
from harvester.inputs.voice_id import INVISIBLE, clean
from harvester.inputs.worklist.build import read_ids

A, B, C = "2203031113381000002", "12205181141482000029", "22121121451211349002"


class Read:
    """What a file held: its ids as they came, and (line, reason) of its bad lines."""

    def __init__(self, file: IdFile, column: str = "voiceId", listed_at_most: int = 1000) -> None:
        out = io.StringIO()
        bad = BadIds(out, listed_at_most=listed_at_most)
        self.ids = [one for ids in read_ids(file, column, bad) for one in ids.to_pylist()]
        self.entries = [json.loads(line) for line in out.getvalue().splitlines()]
        self.bad = sorted((entry["line"], entry["reason"]) for entry in self.entries)
        self.total_bad = bad.total
        self.by_reason = dict(bad.by_reason)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Read]:
    def reading(name: str, content: bytes | str, column: str = "voiceId") -> Read:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        (file,) = find([str(path)], spool=tmp_path)
        return Read(file, column)

    return reading


def zst(text: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(text)


# Lines of text


def test_text_has_an_id_a_line_with_comments_and_blank_lines_between(
    read: Callable[..., Read],
) -> None:
    found = read("a.txt", f"# tonight\n{A}\n\n  {B}  \n   # more\n \t \n{C}")
    assert sorted(found.ids) == sorted([A, B, C])
    assert found.bad == []


@pytest.mark.parametrize(
    "content",
    [
        f"\ufeff{A}\r\n{B}\r\n",
        f"\ufeff{A}\n{B}",
        f"{A}\r\n\r\n{B}\r",
        f"\t{A} \n{B}\u3000\n",
        f"#\ufeff\n{A}\n{B}\n",
    ],
)
def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(
    read: Callable[..., Read], content: str
) -> None:
    found = read("a.txt", content)
    assert sorted(found.ids) == sorted([A, B])
    assert found.bad == []


def test_what_shows_as_nothing_around_an_id_is_white_space_and_so_are_quotes(
    read: Callable[..., Read],
) -> None:
    around = ["\ufeff", "\u200b", "\u200e", "\u2060", "\u00a0", "\u202a", '"', "'", "\u3000"]
    ids = [f"{number:019}" for number in range(2 * len(around))]
    lines = [f"{one}{ids[n]}" for n, one in enumerate(around) if one not in "\"'"]
    lines += [f"{one}{ids[len(around) + n]}{one}" for n, one in enumerate(around)]
    found = read("a.txt", "\n".join([*lines, "\u200b", "\ufeff# no line"]))
    assert sorted(found.ids) == [one for one in ids if one not in ids[6:8]]
    assert found.bad == []


@pytest.mark.parametrize(
    "word",
    [
        "voiceId",
        "VOICE_ID",
        "NULL",
        "null",
        "None",
        "nan",
        "-----",
        "-",
        "-1",
        "(3 rows)",
        "Total: 3",
        "Total",
    ],
)
def test_words_that_stand_where_an_id_should_are_bad_lines_in_every_form(
    read: Callable[..., Read], word: str
) -> None:
    contents = {
        "a.txt": f"{A}\n{word}\n{B}\n",
        "a.csv": f"voiceId,x\n{A},1\n{word},2\n{B},3\n",
        "a.tsv": f"{A}\n{word}\n{B}\n",
        "b.csv": f'call,voice id\n"x\ny",{A}\n2,"{word}"\n3,{B}\n',
        "a.jsonl": f'{{"voiceId":"{A}"}}\n{{"voiceId":"{word}"}}\n{{"voiceId":"{B}"}}\n',
        "a.parquet": parquet({"voiceId": pa.array([A, word, B])}),
    }
    for name, content in contents.items():
        found = read(name, content)
        assert (name, found.ids, len(found.bad)) == (name, [A, B], 1)
        reason = "placeholder" if word[0] != "(" and ":" not in word else "forbidden_character"
        assert found.bad[0][1] == reason


def test_a_header_that_comes_again_is_a_bad_line_whatever_the_column_is_called(
    read: Callable[..., Read],
) -> None:
    found = read("a.csv", f"Reference\n{A}\nReference\n{B}\n")
    assert (found.ids, found.bad) == ([A, B], [(3, "placeholder")])
    found = read("a.txt", f"Call_Ref\n{A}\n", column="callRef")
    assert (found.ids, found.bad) == ([A], [(1, "placeholder")])


def test_ids_of_letters_are_ids(read: Callable[..., Read]) -> None:
    ids = ["a-b_C", "x" * 64, "-a", "_1", "nulls", "Totally", "e3b0c442", "NULL0", "voiceId1"]
    found = read("a.txt", "\n".join(ids))
    assert (sorted(found.ids), found.bad) == (sorted(ids), [])


def test_bad_lines_of_text_are_told_by_line_and_reason(read: Callable[..., Read]) -> None:
    lines = [A.encode(), b"12 34", b"a/b", b"..", "😀".encode(), b"\xff\xfe1", b"1\x002", b"x" * 65]
    found = read("a.txt", b"# head\n" + b"\n".join(lines) + b"\n" + B.encode())
    assert found.ids == [A, B]
    assert found.bad == [
        (3, "forbidden_character"),
        (4, "forbidden_character"),
        (5, "forbidden_character"),
        (6, "forbidden_character"),
        (7, "not_utf8"),
        (8, "nul_byte"),
        (9, "too_long"),
    ]


def test_a_bad_line_is_listed_without_what_a_terminal_obeys(read: Callable[..., Read]) -> None:
    found = read("a.txt", b"\x1b[2Jhello \xff\n")
    (entry,) = found.entries
    assert entry["excerpt"] == "\\x1b[2Jhello \\xff"
    assert entry["file"].endswith("a.txt")


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
@pytest.mark.parametrize("megabytes", [2, 10, 20])
def test_a_line_of_megabytes_is_one_bad_line(
    read: Callable[..., Read], name: str, megabytes: int
) -> None:
    head = {"a.txt": "", "a.csv": "voiceId,x\n", "a.jsonl": ""}[name]
    line = {"a.txt": "{}", "a.csv": "{},", "a.jsonl": '{{"voiceId": "{}"}}'}[name]
    texts = [line.format(one) for one in (A, "9" * (megabytes << 20), B)]
    found = read(name, head + "\n".join(texts) + "\n")
    assert found.ids == [A, B]
    assert found.bad == [(2 + bool(head), "too_long")]
    assert len(found.entries[0]["excerpt"]) <= 80


def test_a_file_without_any_line_end_is_one_bad_line(read: Callable[..., Read]) -> None:
    assert read("a.txt", b"1" * (30 << 20)).bad == [(1, "too_long")]
    endless = b"voiceId,x\n" + b"1" * (16 << 20) + b"2" * 100
    assert read("a.csv", endless).bad == [(2, "too_long")]


def test_lines_across_the_borders_of_blocks_are_whole(read: Callable[..., Read]) -> None:
    ids = [f"{number:020}" for number in range(1_000_000)]
    ids[500_000] = "bad line"
    found = read("a.txt", "\n".join(ids))
    del ids[500_000]
    assert found.ids == ids
    assert found.bad == [(500_001, "forbidden_character")]


@settings(deadline=None)
@given(
    chunk=st.integers(1, 7),
    text=st.lists(st.sampled_from([b"1", b"22", b"\n", b"\r\n", b" ", b"/", b"7" * 12])).map(
        b"".join
    ),
)
def test_where_blocks_are_cut_changes_nothing(chunk: int, text: bytes) -> None:
    pieces = [text[at : at + chunk] for at in range(0, len(text), chunk)]
    assert b"".join(blocks._whole_lines(iter(pieces))) == text
    assert all(piece.endswith(b"\n") for piece in list(blocks._whole_lines(iter(pieces)))[:-1])


@settings(deadline=None)
@given(st.lists(st.binary(max_size=80).filter(lambda line: b"\n" not in line)))
def test_text_gives_what_cleaning_line_by_line_gives(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    content = b"#\n" + b"\n".join(lines)
    path = tmp_path_factory.mktemp("any") / "a.txt"
    path.write_bytes(content)
    found = Read(IdFile(str(path), "txt"))
    texts = [line.decode("utf-8", "surrogateescape") for line in lines]
    good = [one for text in texts if (one := clean(text)) is not None]
    # A line of U+FEFF alone shows as nothing, so it is blank.
    shown = ["".join(char for char in text if char not in INVISIBLE).lstrip() for text in texts]
    passed_over = [text for text in shown if text[:1] in ("", "#")]
    assert sorted(found.ids) == sorted(good)
    assert found.total_bad == len(lines) - len(good) - len(passed_over)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gzip.compress(b"1\n", mtime=0), "gzip data. Add .gz"),
        (zst(b"1\n"), "zstd data. Add .zst"),
        (b"PAR1xxxx", "Add .parquet"),
        (b"PK\x03\x04", "ZIP archive"),
        ("1\n2\n3\n4\n".encode("utf-16-le"), "UTF-16LE without a mark"),
    ],
)
def test_a_text_file_that_is_something_else_is_refused(
    read: Callable[..., Read], content: bytes, says: str
) -> None:
    with pytest.raises(SourceError, match=says) as refused:
        read("a.txt", content)
    assert "a.txt" in str(refused.value)


# Packed


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zst)])
def test_packed_text_may_have_several_frames(
    read: Callable[..., Read], suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    content = pack(f"{A}\n{B[:7]}".encode()) + pack(b"") + pack(f"{B[7:]}\n{C}".encode())
    assert read("a.txt" + suffix, content).ids == [A, B, C]


@pytest.mark.parametrize("zeros", [1, 511, 3 << 20])
def test_zeros_behind_a_member_of_gzip_are_no_part_of_it(
    read: Callable[..., Read], zeros: int
) -> None:
    padded = gzip.compress(f"{A}\n{B[:7]}".encode()) + bytes(zeros)
    assert read("a.txt.gz", padded + gzip.compress(f"{B[7:]}\n".encode()) + bytes(zeros)).ids == [
        A,
        B,
    ]
    with pytest.raises(SourceError, match=r"a\.txt\.gz: isn't, or isn't only"):
        read("a.txt.gz", padded + b"xy")
    with pytest.raises(SourceError, match=r"a\.txt\.gz: .* gzip data"):
        read("a.txt.gz", bytes(zeros))


@pytest.mark.parametrize("cut", [1, 8, 9, 12, 15])
def test_gzip_that_is_cut_anywhere_is_torn(read: Callable[..., Read], cut: int) -> None:
    content = gzip.compress(f"{A}\n{B}\n".encode())
    for before in (b"", content, content + bytes(9)):
        with pytest.raises(SourceError, match=r"a\.csv\.gz: ends in the middle of its gzip data"):
            read("a.csv.gz", before + content[:-cut])
        with pytest.raises(SourceError, match=r"a\.csv\.gz: ends in the middle of its gzip data"):
            read("a.csv.gz", before + content[:cut])


def test_a_damaged_byte_of_gzip_is_found(read: Callable[..., Read]) -> None:
    content = bytearray(gzip.compress("".join(f"{n * 7919:020}\n" for n in range(999)).encode()))
    content[-6] ^= 1
    with pytest.raises(SourceError, match=r"a\.txt\.gz: isn't, or isn't only, gzip data"):
        read("a.txt.gz", bytes(content))


def test_very_many_members_of_gzip_are_one_text(read: Callable[..., Read]) -> None:
    ids = [f"{number:020}" for number in range(3_000)]
    found = read("a.txt.gz", b"".join(gzip.compress(f"{one}\n".encode()) for one in ids))
    assert (found.ids, found.bad) == (ids, [])


@pytest.mark.parametrize("blank", ["\n", "\t  \r\n"])
@pytest.mark.parametrize(
    ("name", "head", "row", "bad_row"),
    [
        ("a.txt", "", "{}\n", "a b\n"),
        ("a.csv", "voiceId,x\n", "{},1\n", "a b,1\n"),
        ("b.csv", "voiceId,x\n", '"{}","1\n2"\n', "a b,1\n"),
        ("c.csv", "voiceId\n", "{}\n", "a b\n"),
        ("a.jsonl", "", '{{"voiceId":"{}"}}\n', '{{"voiceId":"a b"}}\n'.format()),
    ],
)
def test_millions_of_blank_lines_cost_nothing_and_are_counted(
    read: Callable[..., Read], name: str, head: str, row: str, bad_row: str, blank: str
) -> None:
    # More than a block of each form, so that whole blocks are blank and others partly.
    many = blank * ((18 << 20) // len(blank))
    content = head + row.format(A) + many + row.format(B) + bad_row + blank * 3 + row.format(C)
    found = read(name + ".gz", gzip.compress(content.encode(), 1))
    assert found.ids == [A, B, C]
    line = content[: content.index("a b")].count("\n") + 1
    assert found.bad == [(line, "forbidden_character")]


def test_line_ends_count_in_the_size_of_a_record(read: Callable[..., Read]) -> None:
    content = 'voiceId,x\n{},"open{}closed"\n{},1\n'
    assert read("a.csv", content.format(A, "\n" * 60_000, B)).ids == [A, B]
    found = read("a.csv", content.format(A, "\n" * 70_000, B))
    assert (found.ids, [line for line, _ in found.bad]) == ([B], [2, 70_002])


def test_a_record_that_blank_blocks_interrupt_is_given_up(read: Callable[..., Read]) -> None:
    content = f'voiceId,x\n{A},1\n{B},"open' + "\n" * (9 << 20) + f'closed"\n{C},1\n'
    found = read("a.csv", content)
    assert (found.ids[0], found.ids[-1], len(found.ids)) == (A, C, 2)
    assert [line for line, _ in found.bad] == [3, 3 + (9 << 20)]


def test_a_record_does_not_go_on_behind_a_whole_block_of_blank_lines(
    read: Callable[..., Read],
) -> None:
    # The quote is opened at the end of the first block, the second is blank, and the third begins
    # with the line that would close it.
    block = 4 << 20
    rows = "voiceId,x\n" + f"{C},{'x' * 70_000}\n" * 59
    start = f"{A},1\n" + f'{B},"open\n'
    filler = f"{C},{'x' * (block - 600 - len(rows) - len(start) - len(C) - 2)}\n"
    content = rows + filler + start
    content += "\n" * (2 * block - len(content)) + f'closed"\n{A},1\n'
    found = read("a.csv", content)
    assert found.ids == [C] * 60 + [A, A]
    assert [line for line, _ in found.bad] == [63, content[: 2 * block].count("\n") + 1]


def test_bad_lines_that_are_the_same_are_counted_and_listed_each(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(f"{A}\n" + "a b\n" * 200_000 + "x y\n" * 5 + f"{B}\n")
    found = Read(IdFile(str(path), "txt"), listed_at_most=70_000)
    assert (sorted(found.ids), found.total_bad) == (sorted([A, B]), 200_005)
    # Lists are filled line by line and end between two portions at most.
    assert found.bad[:3] == [(n, "forbidden_character") for n in (2, 3, 4)]
    assert len(found.entries) == 70_000
    assert found.by_reason == {"forbidden_character": 200_005}


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".zst", zst)])
def test_packed_text_that_is_torn_or_none_is_refused(
    read: Callable[..., Read], suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    content = pack("".join(f"{n * 7919:020}\n" for n in range(10_000)).encode())
    with pytest.raises(SourceError, match="ends in the middle"):
        read("a.txt" + suffix, content[:-10])
    with pytest.raises(SourceError, match="isn't, or isn't only"):
        read("a.txt" + suffix, f"{A}\n")
    with pytest.raises(SourceError, match="isn't, or isn't only"):
        read("a.txt" + suffix, content + b"more\n")


@pytest.mark.parametrize(
    "name", ["a.txt", "a.csv", "a.tsv", "a.jsonl", "a.parquet", "a.txt.gz", "a.csv.zst"]
)
def test_an_empty_file_of_any_form_holds_no_line(read: Callable[..., Read], name: str) -> None:
    found = read(name, b"")
    assert (found.ids, found.bad) == ([], [])


# CSV


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", f"voiceId,callee\n{A},1\n{B},2\n"),
        ("a.csv", f"callee,voiceId\n1,{A}\n2,{B}"),
        ("a.csv", f"\ufeffcallee,VOICEID\r\n1,{A}\r\n2,{B}\r\n"),
        ("a.csv", f'"callee","voiceId"\n"1","{A}"\n"2","{B}"\n'),
        ("a.csv", f'voiceId,note\n{A},"a, b\nc ""d"""\n{B},\n'),
        ("a.csv", f"callee , voiceId \n1, {A} \n\n2,{B}\n"),
        ("a.csv", f"\n\nvoiceId;cost\n{A};1,5\n{B};2,5\n"),
        ("a.csv", f"callee,voice_id\n1,{A}\n2,{B}\n"),
        ("a.csv", f"callee,Voice ID\n1,{A}\n2,{B}\n"),
        ("a.csv", f"callee,\u200bvoiceId\u00a0\n1,{A}\n2,{B}\n"),
        ("a.csv", f"callee\tvoiceId\n1,0\t{A}\n2\t{B}\n"),
        ("a.csv", f"callee|voiceId\n1|{A}\n2|{B}\n"),
        ("a.csv", f'callee|voiceId\n"1|2"|{A}\n2|"{B}"\n'),
        ("a.csv", f"| voice_id | callee |\n| {A} | 1 |\n| {B} | 2 |\n"),
        ("a.csv", f"cost, net;voiceId\n1,5;{A}\n2,5;{B}\n"),
        ("a.tsv", f"callee,voiceId\n1,{A}\n2,{B}\n"),
        ("a.csv", f"sep=;\nvoiceId;cost\n{A};1,5\n{B};2,5\n"),
        ("a.csv", f"sep=,\r\ncallee,voiceId\r\n1,{A}\r\n2,{B}\r\n"),
        ("a.csv", f'\ufeff"sep=|"\n\nx|voiceId\n1|{A}\n2|{B}\n'),
        ("a.csv", f"sep=\t\nx\tvoiceId\n1\t{A}\n2\t{B}\n"),
        ("a.csv", f"callee,voiceId\n1,'{A}'\n2,\u200e{B}\ufeff\n"),
        ("a.tsv", f"callee\tvoiceId\n1,0\t{A}\n2\t{B}\n"),
        ("a.csv", f"id\n{A}\n{B}\n"),
        ("a.csv", f"{A}\n{B}\n"),
        ("a.csv", f'"{A}"\n"{B}"\n'),
        ("a.csv", f"voiceId\n{A}\n\n{B}\n\n"),
    ],
)
def test_csv_ids_are_found_by_their_column(
    read: Callable[..., Read], name: str, content: str
) -> None:
    found = read(name, content)
    assert (sorted(found.ids), found.bad) == (sorted([A, B]), [])


def test_short_long_and_empty_rows_of_csv_are_bad_lines(read: Callable[..., Read]) -> None:
    found = read("a.csv", f"callee,voiceId\n1,{A}\n2\n3,\n4,{B},5\n6,a/b\n7,{C}\n8")
    assert found.ids == [A, C]
    assert found.bad == [
        (3, "torn_row"),
        (4, "empty"),
        (5, "torn_row"),
        (6, "forbidden_character"),
        (8, "torn_row"),
    ]


def test_a_row_with_a_nul_in_any_of_its_cells_gives_no_id(read: Callable[..., Read]) -> None:
    """It may be the end of a line that was cut, or half of two: its id is nobody's word."""
    found = read("a.csv", f"x,voiceId\n1,{A}\n2\0,{B}\n\0,{B}\n")
    assert found.ids == [A]
    assert found.bad == [(3, "nul_byte"), (4, "nul_byte")]


def test_bad_rows_between_quoted_ones_have_their_own_lines(read: Callable[..., Read]) -> None:
    found = read("a.csv", f'voiceId,x\n"{A}","1\n2"\nshort\n"a b",\n1\0,\n"{B}",""\n\n,\n')
    assert found.ids == [A, B]
    assert found.bad == [
        (4, "torn_row"),
        (5, "forbidden_character"),
        (6, "nul_byte"),
        (9, "empty"),
    ]


@settings(deadline=None)
@given(
    notes=st.lists(st.text('a",\n #', max_size=6), min_size=1),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n"]),
    first=st.booleans(),
)
def test_what_a_csv_writer_wrote_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    notes: list[str],
    quoting: Literal[0, 1, 2],
    end: str,
    first: bool,
) -> None:
    ids = [f"{number:020}" for number in range(len(notes))]
    path = tmp_path_factory.mktemp("any") / "a.csv"
    with path.open("w", newline="") as out:
        writer = csv.writer(out, quoting=quoting, lineterminator=end)
        for one, note in zip(["voiceId", *ids], ["note", *notes], strict=True):
            writer.writerow([one, note] if first else [note, one])
    found = Read(IdFile(str(path), "csv"))
    assert (sorted(found.ids), found.bad) == (ids, [])


@pytest.mark.parametrize("torn", [f'"{C},1', f'{C},"1', f'{C},1"', f'x"y,"{C}', f'"{C}"x,1'])
def test_a_quote_that_is_never_closed_costs_one_line(read: Callable[..., Read], torn: str) -> None:
    found = read("a.csv", f"voiceId,x\n{A},1\n{torn}\n{B},2\n")
    assert found.ids == [A, B]
    assert found.bad == [(3, "torn_row")]


def test_two_stray_quotes_do_not_swallow_what_is_between(read: Callable[..., Read]) -> None:
    found = read("a.csv", f'voiceId,x\n{C}"c,1\n{A},1\n{B},2\n{C}"f,2\n')
    assert found.ids == [A, B]
    assert found.bad == [(2, "torn_row"), (5, "torn_row")]


def rows_between_quotes(distance: int, opened: str, closed: str) -> tuple[str, list[str]]:
    """A table of 20,000 rows with a stray quote, and another `distance` rows later."""
    ids = [f"22030311133810{number:05}" for number in range(20_000)]
    rows = [f"{one},1" for one in ids]
    at, end = 100, 100 + distance
    rows[at], rows[end] = opened.format(ids[at]), closed.format(ids[end])
    return "voiceId,x\n" + "\n".join(rows), ids[:at] + ids[at + 1 : end] + ids[end + 1 :]


@pytest.mark.parametrize("distance", [2, 2_000, 4_500, 9_000])
@pytest.mark.parametrize(
    ("opened", "closed"),
    [('"{},1', '{},1"'), ('{},"1', '{},1"'), ('"{},1', '{}",1'), ('{},"1', '{}"')],
)
def test_two_stray_quotes_never_swallow_an_id_without_a_bad_line(
    read: Callable[..., Read], distance: int, opened: str, closed: str
) -> None:
    content, whole = rows_between_quotes(distance, opened, closed)
    found = read("a.csv", content)
    assert found.ids == whole
    assert found.bad == [(102, "torn_row"), (102 + distance, "torn_row")]


def test_a_cell_of_many_lines_is_a_cell(read: Callable[..., Read]) -> None:
    note = 'Hello,\ncall me,please\n+8613812345678,now\n""quoted"",x\n\nbye'
    rows = "".join(f'{one},"{note}"\n' for one in (A, B, C))
    assert read("a.csv", "voiceId,note\n" + rows).ids == [A, B, C]
    long = "x,y\n" * 16_000
    assert read("a.csv", f'voiceId,note\n{A},"{long}"\n{C},1\n').ids == [A, C]


def test_a_quote_before_a_million_blank_lines_costs_one_line(read: Callable[..., Read]) -> None:
    found = read("a.csv", f'voiceId,x\n{A},1\n{B},"2' + "\n" * 1_000_000 + f"{C},3\n")
    assert (found.ids, found.bad) == ([A, C], [(3, "torn_row")])


def test_an_open_quote_does_not_swallow_a_long_file(read: Callable[..., Read]) -> None:
    ids = [f"{number:020}" for number in range(400_000)]
    rows = [f"{one},1" for one in ids]
    rows[10] = f'"{ids[10]},1'
    found = read("a.csv", "voiceId,x\n" + "\n".join(rows))
    assert found.ids == ids[:10] + ids[11:]
    assert found.bad == [(12, "torn_row")]


def test_quoted_rows_across_the_borders_of_blocks_are_whole(read: Callable[..., Read]) -> None:
    ids = [f"{number:020}" for number in range(300_000)]
    found = read("a.csv", "note,voiceId\n" + "".join(f'"a\n""b""","{one}"\n' for one in ids))
    assert (found.ids, found.bad) == (ids, [])


def test_another_column_of_csv_may_be_in_another_encoding(read: Callable[..., Read]) -> None:
    content = f"voiceId,name\n{A},Müller\n".encode("latin-1") + b"\xe9,x\n"
    found = read("a.csv", content)
    assert found.ids == [A]
    assert found.bad == [(3, "not_utf8")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("callee,id\n1,2\n", r"no column 'voiceId'\. It has: callee, id\. .*--column"),
        ("voiceId,voiceId\n1,2\n", "2 columns are named"),
        ("VoiceId,VOICEID\n1,2\n", "2 columns are named 'voiceId': 'VoiceId' and 'VOICEID'"),
        ("voiceId,x,voice_id\n1,2,3\n", "'voiceId' and 'voice_id'"),
        ("voice id;Voice__ID\n1;2\n", "'voice id' and 'Voice__ID'"),
        ('"voiceId\n1\n', "isn't a header"),
        ("\x1b[2J,x\n1,2\n", r"\\x1b\[2J"),
    ],
)
def test_csv_without_the_column_is_refused_with_the_columns_there_are(
    read: Callable[..., Read], content: str, says: str
) -> None:
    with pytest.raises(SourceError, match=says) as refused:
        read("a.csv", content)
    assert str(refused.value).isprintable()


def test_csv_without_a_header_is_refused_without_showing_a_number(
    read: Callable[..., Read],
) -> None:
    with pytest.raises(SourceError, match="Put a header above") as refused:
        read("a.csv", f"{A},8613812345678\n")
    assert "86138" not in str(refused.value)


# JSON lines


@pytest.mark.parametrize(
    "content",
    [
        f'{{"voiceId": "{A}"}}\n{{"x": [1, {{}}], "voiceId": "{B}"}}\n',
        f'\ufeff{{"voiceId":"{A}"}}\r\n\r\n{{"voiceId":"{B}"}}\r\n',
        f'{{"voiceId": {A}}}\n{{"voiceId": {B}}}',
        f'{{"VOICEID": "{A}"}}\n{{"VOICEID": " {B} "}}',
        f'{{"x": "1", "voice_id": "{A}"}}\n{{"voice_id": "{B[:-1]}\\u0039"}}',
        f'{{"Voice ID": "{A}"}}\n{{"Voice ID": "\u2060{B}\ufeff"}}',
    ],
)
def test_json_ids_are_texts_or_whole_numbers_with_all_their_digits(
    read: Callable[..., Read], content: str
) -> None:
    found = read("a.jsonl", content)
    assert (found.ids, found.bad) == ([A, B], [])


def test_bad_lines_of_json_have_their_reasons(read: Callable[..., Read]) -> None:
    lines = [
        '{"callee": "1"}',
        f'{{"voiceId": "{A}"}}',
        '{"voiceId": 1.5}',
        '{"voiceId": 22e17}',
        '{"voiceId": null}',
        '{"voiceId": ""}',
        '{"voiceId": true}',
        '{"voiceId": ["1"]}',
        '{"voiceId": "1"',
        "[1]",
        '"1"',
        "1",
        '{"voiceId": "a/b"}',
        '{"voiceId": "\\ud800"}',
    ]
    content = "\n".join(lines).encode() + b'\n{"voiceId": "\xff"}\n{"voiceId": "\0"}\n'
    found = read("a.jsonl", content)
    assert found.ids == [A]
    assert [reason for _, reason in found.bad] == [
        "no_field",
        "not_a_whole_number",
        "not_a_whole_number",
        "empty",
        "empty",
        "not_text",
        "not_text",
        "not_json",
        "not_json",
        "not_json",
        "not_json",
        "forbidden_character",
        "not_json",
        "not_utf8",
        "nul_byte",
    ]


@pytest.mark.parametrize("content", [f"{A}\n{B}\n", f'"{A}"\n', "[]\n", "voiceId,x\n1,2\n"])
def test_a_file_without_any_json_object_is_not_json_lines(
    read: Callable[..., Read], content: str
) -> None:
    with pytest.raises(SourceError, match="no line of it is a JSON object"):
        read("a.jsonl", content)


def test_json_with_two_such_fields_is_refused_with_both(read: Callable[..., Read]) -> None:
    with pytest.raises(SourceError, match=r"a\.jsonl: 2 columns .*: 'VOICEID' and 'voice_id'"):
        read("a.jsonl", f'{{"x": 1}}\n{{"VOICEID": "x", "voice_id": "{A}"}}\n')


def test_json_without_the_field_is_refused_with_the_fields_there_are(
    read: Callable[..., Read],
) -> None:
    with pytest.raises(SourceError, match="It has: id, callee"):
        read("a.jsonl", '{"id": "1", "callee": "2"}\n{"id": "3"}\n')
    with pytest.raises(SourceError, match=r"It has: id\."):
        read("a.jsonl", '{"id": "1"}\n')


# Parquet


def parquet(columns: dict[str, pa.Array], **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.large_binary(),
        pa.dictionary(pa.int32(), pa.string()),
    ],
    ids=str,
)
def test_parquet_text_of_any_kind_is_read(read: Callable[..., Read], kind: pa.DataType) -> None:
    column = pa.array([A, B, None, "a b"]).cast(kind)
    found = read("a.parquet", parquet({"callee": pa.array("1234"), "VoiceID": column}))
    assert found.ids == [A, B]
    assert found.bad == [(3, "empty"), (4, "forbidden_character")]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([2203031113381000002], pa.int64()),
        ([2203031113381000002], pa.uint64()),
        ([18446744073709551615], pa.uint64()),
        ([7], pa.int8()),
        ([Decimal(A)], pa.decimal128(19, 0)),
        ([Decimal(B)], pa.decimal256(40, 0)),
    ],
    ids=str,
)
def test_parquet_whole_numbers_keep_their_digits(
    read: Callable[..., Read], values: Sequence[object], kind: pa.DataType
) -> None:
    found = read("a.parquet", parquet({"voiceId": pa.array(values, kind)}))
    assert found.ids == [str(value) for value in values]


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (pa.array([1.0, 2.0]), "lost digits"),
        (pa.array([1.0, 2.0], pa.float32()), "lost digits"),
        (pa.array([Decimal("1.5")]), "lost digits"),
        (pa.array([True]), "not text"),
        (pa.array([["1"]]), "not text"),
        (pa.array([0], pa.timestamp("ms")), "not text"),
    ],
    ids=str,
)
def test_a_parquet_column_that_is_no_text_is_refused(
    read: Callable[..., Read], column: pa.Array, says: str
) -> None:
    with pytest.raises(SourceError, match=says):
        read("a.parquet", parquet({"voiceId": column}))


def test_parquet_without_the_column_is_refused_with_the_columns_there_are(
    read: Callable[..., Read],
) -> None:
    with pytest.raises(SourceError, match="It has: a, b"):
        read("a.parquet", parquet({"a": pa.array(["1"]), "b": pa.array(["2"])}))


def test_a_parquet_file_with_one_column_needs_no_name(read: Callable[..., Read]) -> None:
    assert read("a.parquet", parquet({"voice_id": pa.array([A])})).ids == [A]


def test_a_bad_value_of_a_large_parquet_file_is_told_with_its_row(
    read: Callable[..., Read],
) -> None:
    rows = 300_000
    ids = pa.array([f"{number:019}" for number in range(rows - 1)] + ["no id at all"])
    found = read("a.parquet", parquet({"voiceId": ids}))
    assert found.bad == [(rows, "forbidden_character")]
    assert len(found.ids) == rows - 1


def test_a_parquet_file_that_is_torn_or_none_is_refused(read: Callable[..., Read]) -> None:
    whole = parquet({"voiceId": pa.array([A, B])})
    for content in (b"1\n2\n", whole[:-10], whole[:20], b"PAR1"):
        with pytest.raises(SourceError, match=r"a\.parquet.*isn't a Parquet file"):
            read("a.parquet", content)


def test_a_parquet_file_with_a_broken_page_is_refused(read: Callable[..., Read]) -> None:
    ids = pa.array([f"{n * 7919:020}" for n in range(10_000)])
    whole = bytearray(parquet({"voiceId": ids}, compression="zstd", use_dictionary=False))
    whole[100:5000] = b"\xff" * 4900
    with pytest.raises(SourceError, match="isn't a Parquet file that can be read"):
        read("a.parquet", bytes(whole))


# All of them


def test_all_forms_hold_the_same_ids(tmp_path: Path, read: Callable[..., Read]) -> None:
    ids = [f"{number * 7919:020}" for number in range(70_000)]
    text = "\n".join(ids).encode()
    table = ("x,voiceId\n" + "".join(f"1,{one}\n" for one in ids)).encode()
    json_lines = "".join(f'{{"voiceId": "{one}"}}\n' for one in ids).encode()
    contents = {
        "a.txt": text,
        "a.txt.gz": gzip.compress(text),
        "a.txt.zst": zst(text),
        "a.csv": table,
        "a.csv.gz": gzip.compress(table),
        "b.csv": table.replace(b"1,", b'"1",'),
        "a.tsv": table.replace(b",", b"\t"),
        "a.jsonl": json_lines,
        "a.ndjson.zst": zst(json_lines),
        "a.parquet": parquet({"voiceId": pa.array(ids)}, row_group_size=1000),
        "b.parquet": parquet({"voiceId": pa.array(ids).cast(pa.decimal128(38, 0))}),
    }
    for name, content in contents.items():
        found = read(name, content)
        expected = [str(int(one)) for one in ids] if name == "b.parquet" else ids
        assert (name, found.bad, found.ids == expected) == (name, [], True)


def test_at_most_so_many_bad_lines_are_listed_but_all_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("a b\n" * 100)
    found = Read(IdFile(str(path), "txt"), listed_at_most=10)
    assert len(found.entries) == 10
    assert found.total_bad == 100
