"""What a file that gives no ids looks like: half of its lines decide, at its start alone."""

from __future__ import annotations

import pytest

from harvester.inputs.discover import Form, IdFile
from harvester.inputs.formats.likeness import likeness

ID = "2203031113381000007"


def told(text: str, form: Form = "txt") -> str:
    return likeness(IdFile(f"a.{form}", form), text.encode(), "voiceId") or ""


KINDS = {
    "formula": (f'="{ID}"', "formulas of a spreadsheet"),
    "apostrophe": (f"'{ID}", "apostrophe before them"),
    "rounded": ("2,20303E+18", "their last digits are lost"),
    "among text": (f"call {ID} done", "among other text"),
}


@pytest.mark.parametrize(("line", "says"), KINDS.values(), ids=list(KINDS))
def test_half_of_the_lines_below_the_first_decide(line: str, says: str) -> None:
    assert says in told(f"first\n{line}\nother\n")
    assert says in told(f"first\n\n{line}\n\nother\n"), "blank lines do not count"
    assert says not in told(f"first\n{line}\nother\nother\n")
    assert says in told(line), "of a single line it is that one"


@pytest.mark.parametrize(("number", "is_seen"), [(2, True), (20, True), (21, False)])
def test_a_header_is_looked_for_in_the_first_20_lines(number: int, is_seen: bool) -> None:
    text = "\n".join(["a title"] * (number - 1) + ["voiceId,x", f"{ID},1"])
    assert (f"in line {number}, below a title" in told(text, "csv")) is is_seen


def test_a_header_in_its_place_stands_below_no_title() -> None:
    assert "title" not in told(f"voiceId,x\n{ID},1\n", "csv")
    assert "title" not in told(f"sep=;\nvoiceId;x\n{ID};1\n", "csv")


@pytest.mark.parametrize(
    ("rows", "is_told"), [(["1,2,", "1,2"], True), (["1,2,", "1,2", "1,2"], False)]
)
def test_half_of_the_rows_may_have_a_comma_more(rows: list[str], is_told: bool) -> None:
    assert ("comma more" in told("\n".join(["a,b", *rows]), "csv")) is is_told


def test_a_cell_more_that_holds_something_is_no_mere_comma() -> None:
    assert "missing into the header" in told("a,b\n1,2,3\n", "csv")
    assert "end with a comma more" in told("a,b\n1,2,\n", "csv")


@pytest.mark.parametrize(("text", "is_told"), [("a\rb\rc\nd", False), ("a\rb\rc\rd\ne", True)])
def test_lines_of_old_macs_are_more_than_two_to_each_other_end(text: str, is_told: bool) -> None:
    assert ("old Macs" in told(text)) is is_told


@pytest.mark.parametrize(
    ("lines", "is_told"),
    [
        (["| a |", "| 1 |"], True),
        (["| a |", "1"], False),
        (["a"] * 4 + ["-----"], True),
        (["a"] * 5 + ["-----"], False),
    ],
)
def test_a_table_of_a_database_client_is_known_by_its_frame(
    lines: list[str], is_told: bool
) -> None:
    assert ("database client draws" in told("\n".join(lines))) is is_told


@pytest.mark.parametrize(("odd", "is_told"), [(9, False), (10, True)])
def test_a_tenth_of_odd_characters_makes_a_file_no_text(odd: int, is_told: bool) -> None:
    text = "\x01" * odd + "x" * (100 - odd)
    assert ("It is no text" in told(text)) is is_told


def test_a_table_in_a_text_file_is_told_with_the_place_of_its_ids() -> None:
    assert "cut -d , -f 2" in told(f"x,{ID}\ny,{ID}\n")
    assert "cut -f 1" in told(f"{ID}\tx\n{ID}\ty\n")
    assert "Give it a header" in told("x;1\ny;2\n")


def test_nothing_but_blank_lines_looks_like_nothing() -> None:
    assert told("\n \n") == ""
    assert told("") == ""


def test_the_command_writes_beside_the_file_and_never_over_it() -> None:
    said = likeness(IdFile("/in/a b.txt", "txt"), b"a\rb\rc\r", "voiceId") or ""
    assert "< '/in/a b.txt' > '/in/a b.new.txt'" in said
    packed = likeness(IdFile("/in/a.txt.gz", "txt", "gzip"), b"a\rb\rc\r", "voiceId") or ""
    assert packed.endswith("zcat /in/a.txt.gz | tr '\\015' '\\012' > /in/a.new.txt")
    piped = likeness(IdFile("/s/1.txt", "txt", copy_of="stdin"), b"a\rb\rc\r", "voiceId") or ""
    assert piped.endswith("… | tr '\\015' '\\012' > ids.new.txt")


@pytest.mark.parametrize(
    ("text", "form", "says"),
    [
        ('<?xml version="1.0"?><a/>', "txt", "It is XML"),
        ('<?xml version="1.0"?><HTML>', "txt", "It is a web page"),
        ("\n <!doctype html>", "csv", "It is a web page"),
        ('[ {"voiceId": "1"} ]', "json", "> a.new.jsonl"),
        ('["1"]', "json", "> a.new.txt"),
        ('{"voiceId": "1"}', "txt", "name it .jsonl"),
        ('{\n "voiceId": "1"\n}', "jsonl", "JSON over several lines"),
        (f"voiceId,x\n{ID},1\n", "txt", "Name it .csv: cat < a.txt > a.new.csv"),
        (f"x,call {ID}\ny,call {ID}\n", "txt", "among other text"),
        (f"x,y\nx,call {ID}\nx,y\n", "txt", "among other text"),
        (f"{ID},{ID}\n{ID},{ID}\n", "txt", "several on a line"),
        ("a;b\n1;2;\n", "csv", "s/[;]\\r?$//"),
        ("a\n1;\n2;\n", "csv", "end with a semicolon more"),
        ("a\tb\n1\t2\t\n", "tsv", "s/\\t\\r?$//"),
        ("call 1234567890123456 x", "txt", "among other text"),
        ("a\na\na\n| a |\n| 1 |", "txt", "database client draws"),
    ],
)
def test_what_it_looks_like_and_what_to_do(text: str, form: str, says: str) -> None:
    file = IdFile(f"a.{form}", "txt" if form == "json" else form)  # type: ignore[arg-type]
    assert says in (likeness(file, text.encode(), "voiceId") or "")


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ('{"voiceId": "1"}', "jsonl"),
        ("a,b", "csv"),
        ("sep=;", "csv"),
        ("call 123456789012345 x", "txt"),
        ("a,b\n1,2\n", "csv"),
    ],
)
def test_what_looks_like_nothing(text: str, form: Form) -> None:
    assert told(text, form) == ""


@pytest.mark.parametrize(("odd", "is_told"), [(9, False), (10, True)])
def test_bytes_that_are_no_utf_8_are_odd_characters(odd: int, is_told: bool) -> None:
    said = likeness(IdFile("a.txt", "txt"), b"\xff" * odd + b"x" * (100 - odd), "voiceId") or ""
    assert ("It is no text" in said) is is_told


def test_a_name_that_a_terminal_would_obey_is_not_shown_and_one_without_a_stem_gets_one() -> None:
    said = likeness(IdFile("/in/a\x1b[2J.txt", "txt"), b"a\rb\rc\r", "voiceId") or ""
    assert said.isprintable()
    said = likeness(IdFile("/in/.ids", "txt"), b"a\rb\rc\r", "voiceId") or ""
    assert said.endswith("> /in/ids.new.txt")
