"""docs/when-it-stops.md has every ending of the code: exit codes, messages, reasons, findings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from harvester import errors
from harvester.analysis.verify import id_states
from harvester.cli.ui import event_text, exit_codes
from harvester.client import judge, refusal_text
from harvester.pipeline.run import summary
from tests.unit.test_docs import ROOT, coded, page, rows, section

PAGE = page("when-it-stops")
README = (ROOT / "README.md").read_text()
PACKAGE = ROOT / "harvester"
TREES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
    # What the stand-in vendor says of its own options says all there is to say.
    if "simulator" not in path.parts
}
CODES = {
    name: kind.exit_code
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.HarvesterError)
}
BASES: dict[str, str] = {}
for _tree in TREES.values():
    for _node in ast.walk(_tree):
        if isinstance(_node, ast.ClassDef):
            for _base in _node.bases:
                if isinstance(_base, ast.Name) and _base.id in CODES:
                    CODES.setdefault(_node.name, CODES[_base.id])
                    BASES.setdefault(_node.name, _base.id)

# The code that an error has where nothing is said at the place that raises it.
DEFAULT_CODES = {
    name: kind.code
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.HarvesterError)
}
DISK_CODES = {*errors._DISK_CODES.values(), errors.disk_code(OSError())}
DENIED_CODES = {
    refusal_text.refusal_code(what) for what in (*refusal_text._REFUSALS, "http_404", "http_403")
}
# The end of a run that no error ended.
CODES_OF_ENDS = {code: name for code, name in summary.END_CODES.items() if name}

# A place that hands on what another process said, which has a place of its own.
HANDED_ON = {"spoken['source']", "spoken['store']"}
# Made of parts; what it can be made of has tests of its own below.
MADE_OF_PARTS = {
    "pipeline/engine/fetcher.py",
    "pipeline/listing/asker.py",
    "inputs/formats/blocks.py",
    "storage/disk.py",
}


def text_of(node: ast.expr | None, texts: dict[str, ast.expr]) -> str | None:
    """A message as it stands in the code, … for what is filled in; None if it is none.

    `texts`: the module's own constants, which are filled in.
    """
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(text_of(one, texts) or "…" for one in values)
        case ast.FormattedValue(value=ast.Name(id=name)) if name in texts:
            return text_of(texts[name], texts)
        case _:
            return None


def _constants(tree: ast.AST) -> Iterator[str]:
    """The codes that are handed to `_give_up(what, code)`, or go in a `"code"` of a dict."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="_give_up"), args=[_, ast.Constant(value=str(code))]
            ):
                yield code
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    match key, value:
                        case ast.Constant(value="code"), ast.Constant(value=str(code)):
                            yield code
                        case _:
                            pass
            case _:
                pass


def codes_of(call: ast.Call, tree: ast.Module) -> frozenset[str]:
    """What `code` of the error may be that `call` makes."""
    assert isinstance(call.func, ast.Name)
    for keyword in call.keywords:
        if keyword.arg == "code":
            match keyword.value:
                case ast.Constant(value=str(code)):
                    return frozenset({code})
                case ast.Call(func=ast.Name(id="disk_code")):
                    return frozenset(DISK_CODES)
                case ast.Call(func=ast.Name(id="refusal_code")):
                    return frozenset(DENIED_CODES)
                case ast.Name(id="code"):
                    return frozenset(_constants(tree))
            raise AssertionError(ast.unparse(call))
    name = call.func.id
    return frozenset({DEFAULT_CODES.get(name) or DEFAULT_CODES[BASES[name]]})


def _functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    return {one.name: one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)}


_REFUSED = _functions(TREES["client/refusal_text.py"])


def messages() -> Iterator[tuple[str, int, str, frozenset[str]]]:
    """(file, exit code, message, codes) of every place in the code that makes an error."""
    for file, tree in TREES.items():
        functions = _REFUSED | _functions(tree)
        texts = {
            target.id: one.value
            for one in tree.body
            if isinstance(one, ast.Assign)
            for target in one.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name(id=name), args=[message, *_]) if name in CODES:
                    for text in _texts(message, functions, texts):
                        yield file, CODES[name], text, codes_of(node, tree)
                case _:
                    pass


def _texts(
    node: ast.expr, functions: dict[str, ast.FunctionDef], texts: dict[str, ast.expr]
) -> list[str]:
    match node:
        case ast.Name(id=name) if name in texts:
            return _texts(texts[name], functions, texts)
        case ast.Call(func=ast.Name(id=name)) if name in functions:
            returned = [one for one in ast.walk(functions[name]) if isinstance(one, ast.Return)]
            return [text for one in returned if (text := text_of(one.value, texts)) is not None]
    text = text_of(node, texts)
    if text is None:
        assert ast.unparse(node) in HANDED_ON, ast.unparse(node)
        return []
    return [text]


FOUND = set(messages())
MESSAGES = sorted({(file, code, text) for file, code, text, _ in FOUND})


def first_sentence(message: str) -> str:
    return re.split(r"\. |, for example ", message, maxsplit=1)[0].rstrip(".")


def pattern(message: str) -> str:
    """A regular expression for the first sentence of `message`, whatever is filled in."""
    pieces = [one for one in first_sentence(message).replace("`", "").split("…") if one.strip()]
    return r"[^|]*".join(re.escape(one.strip()) for one in pieces)


def messages_of(code: int) -> str:
    """The part of the page for the messages of an exit code."""
    headings = re.findall(r"(?m)^### .+$", section(PAGE, "## Messages"))
    theirs = [one for one in headings if one.endswith(f"({code})")]
    return section(PAGE, (theirs or headings)[0]).replace("`", "").replace(r"\|", "|")


def test_there_are_messages() -> None:
    assert len(MESSAGES) > 100


@pytest.mark.parametrize(
    ("file", "code", "message"),
    [one for one in MESSAGES if one[0] not in MADE_OF_PARTS],
    ids=lambda value: str(value)[:60],
)
def test_every_message_is_documented_under_its_exit_code(
    file: str, code: int, message: str
) -> None:
    assert _says_enough(pattern(message)), f"{file}: needs a test of its own"
    assert re.search(rf"(?m)^\| [^|]*{pattern(message)}", messages_of(code)), message


def _told() -> Iterator[str]:
    """The messages of the page, but for those whose words come from elsewhere in the code."""
    for cells in rows(section(PAGE, "## Messages").replace("`", "")):
        made_of_parts = (
            *(f"{what}:" for what in refusal_text._REFUSALS),
            *(
                "http ",
                "(no message)",
                "writing …",
                "moving the old",
                "…: ends in the middle",
                "the vendor answers",
            ),
        )
        if not cells[0].startswith(made_of_parts):
            yield cells[0]


@pytest.mark.parametrize("told", list(_told()))
def test_every_message_of_the_page_is_one_of_the_code(told: str) -> None:
    patterns = {pattern(message) for _, _, message in MESSAGES}
    assert any(re.search(rf"^[^|]*{one}", told) for one in patterns if _says_enough(one))


class Told(NamedTuple):
    """A row of the page: a message with its codes."""

    exit_codes: set[int]
    message: str
    codes: set[str]


def told_codes(exit_code: int) -> Iterator[Told]:
    """The rows of the page under an exit code."""
    headings = re.findall(r"(?m)^### .+$", section(PAGE, "## Messages"))
    theirs = [one for one in headings if one.endswith(f"({exit_code})")]
    for cells in rows(section(PAGE, (theirs or headings)[0])):
        exits, place = {exit_code}, 1
        if re.fullmatch(r"[\d, ]+", cells[1]):
            exits, place = {int(one) for one in cells[1].split(", ")}, 2
        if exit_code in exits:
            message = cells[0].replace("`", "").replace(r"\|", "|")
            yield Told(exits, message, set(coded(cells[place])))


EXIT_CODES = sorted({code for _, code, _ in MESSAGES})


@pytest.mark.parametrize("exit_code", EXIT_CODES)
def test_every_code_stands_beside_its_message_under_its_exit_code(exit_code: int) -> None:
    told = list(told_codes(exit_code))
    everywhere = {code for row in told for code in row.codes}
    for file, code, message, codes in FOUND:
        if code == exit_code:
            assert codes <= everywhere, (file, message, codes - everywhere)
        if code == exit_code and file not in MADE_OF_PARTS and _says_enough(pattern(message)):
            beside = [row for row in told if re.search(f"^[^|]*{pattern(message)}", row.message)]
            assert any(codes & row.codes for row in beside), (file, message, codes, beside)


def made_codes(exit_code: int) -> set[str]:
    """The codes that an error, or an end, with this exit code may have."""
    made = {one for _, code, _, codes in FOUND if code == exit_code for one in codes}
    # What is raised without a message of its own.
    made |= {code for name, code in DEFAULT_CODES.items() if CODES[name] == exit_code}
    if exit_code in CODES_OF_ENDS:
        made.add(CODES_OF_ENDS[exit_code])
    if exit_code == 6:
        made |= set(_constants(TREES["inputs/worklist/build_child.py"]))
    return made


@pytest.mark.parametrize("exit_code", EXIT_CODES)
def test_every_code_of_the_page_is_one_of_the_code(exit_code: int) -> None:
    for row in told_codes(exit_code):
        assert row.codes, row.message
        made = {code for one in row.exit_codes for code in made_codes(one)}
        assert row.codes <= made, (row.message, row.codes - made)


@pytest.mark.parametrize("exit_code", sorted(CODES_OF_ENDS))
def test_the_code_of_an_end_without_an_error_is_documented(exit_code: int) -> None:
    assert f"`{CODES_OF_ENDS[exit_code]}`" in CODES_TOLD[exit_code][0]


def test_the_code_of_a_killed_run_is_documented() -> None:
    assert f"`{summary.KILLED}`" in section(PAGE, "## Exit codes")


LOW = list(TREES)
TOO_WIDE = {"StoreError", "ConfigError", "SourceError", "VendorRefused", "VendorUnavailable"}


@pytest.mark.parametrize("file", LOW)
def test_every_place_that_raises_says_which_trouble_it_is(file: str) -> None:
    for node in ast.walk(TREES[file]):
        match node:
            case ast.Call(func=ast.Name(id=name), keywords=keywords) if name in TOO_WIDE:
                assert "code" in {keyword.arg for keyword in keywords}, ast.unparse(node)
            case _:
                pass


def _says_enough(found: str) -> bool:
    """Whether a pattern would not be found anywhere."""
    return len(re.sub(r"\W", "", found)) > 7


def test_both_troubles_of_a_packed_file_are_documented() -> None:
    found = re.findall(
        r'"([^"]+)" if torn else "([^"]+)"', (PACKAGE / "inputs/formats/blocks.py").read_text()
    )
    assert len(found) == 1
    for state in found[0]:
        assert f"…: {state} … data (…)." in messages_of(2)
    assert "isn't text but …." in messages_of(2)


def test_every_step_of_the_disk_is_documented() -> None:
    doings = set()
    for tree in TREES.values():
        for node in ast.walk(tree):
            match node:
                case ast.Call(
                    func=ast.Name(id="_explained" | "explained" | "store_error"),
                    args=[ast.Constant(value=str(doing)), *_],
                ):
                    doings.add(doing)
                case _:
                    pass
    assert {"writing", "moving a part to"} <= doings
    for doing in doings:
        assert f"{doing} …: …" in messages_of(6)


def test_every_refusal_is_documented() -> None:
    table = messages_of(4)
    for what in refusal_text._REFUSALS:
        told = refusal_text.refusal_message(what).partition("): ")[2].partition(". ")[0]
        assert f"| {what}: {told}. |" in table
    for code in sorted(judge._FORBIDDEN | judge._WRONG_ADDRESS):
        told = refusal_text.refusal_message(f"http_{code}").partition("): ")[2].partition(". ")[0]
        (row,) = [line for line in table.splitlines() if line.startswith("| http") and told in line]
        assert str(code) in row
    assert {code for _, code, _ in MESSAGES if code == 4}
    ids = "to 20 ids in a row and to ids from elsewhere in the list"
    assert f"a status that is unknown here (…), {ids}: …" in table


def test_every_way_to_give_up_on_the_vendor_is_documented() -> None:
    found = re.findall(
        r'_give_up\(\s*"(.+)", "(.+)"\s*\)',
        (PACKAGE / "pipeline" / "limits" / "outage_gate.py").read_text(),
    )
    assert len(found) == 2
    for what, code in found:
        told = f"| the vendor has been {what} for over … s. | 5 | `{code}` |"
        assert told in section(PAGE, "## Messages")


CODES_TOLD = {int(cells[0]): cells[1:] for cells in rows(section(PAGE, "## Exit codes"))}


def test_every_exit_code_is_documented_and_no_other() -> None:
    assert sorted(CODES_TOLD) == sorted({*CODES.values(), *exit_codes._ENDINGS, 0, 3})
    assert sorted(CODES_TOLD) == sorted(exit_codes._ENDINGS)


def test_the_readme_names_every_exit_code_and_no_other() -> None:
    told = [cells[0] for cells in rows(section(README, "## When it stops"))]
    assert sorted(int(code) for cell in told for code in cell.split(", ")) == sorted(CODES_TOLD)


def test_the_order_of_exit_codes_is_that_of_the_code() -> None:
    told = re.search(r"If several apply, the code is the first of (.+?)\.", PAGE)
    assert told
    assert [int(number) for number in re.findall(r"\d+", told[1])] == list(errors._PRECEDENCE)


@pytest.mark.parametrize("code", sorted(exit_codes._ENDINGS))
def test_what_an_exit_code_asks_for_is_what_a_run_says(code: int) -> None:
    said, told = exit_codes.ending(code).next, CODES_TOLD[code][1]
    for word in ("same command again", "harvester status", "harvester export dead", "report"):
        assert (word in said.lower()) == (word in told.lower()), word


def test_every_saying_of_a_run_is_documented() -> None:
    part = section(PAGE, "## On the way").replace("`", "")
    for event, saying in event_text._SAYINGS.items():
        if event != "library_message":
            told = re.sub(r"{\w+}", "…", saying)
            assert f"| {told} |" in part, event


def test_every_reason_of_a_dead_letter_is_documented_and_no_other() -> None:
    found = set(judge._DEAD.values())
    for tree in TREES.values():
        for node in ast.walk(tree):
            match node:
                case ast.Call(
                    func=ast.Name(id="Dead" | "Died"), args=[ast.Constant(value=str(reason)), *_]
                ):
                    found.add(reason)
                case _:
                    pass
    told = [coded(cells[0])[0] for cells in rows(section(PAGE, "## Why an id is dead"))]
    assert sorted(told) == sorted(found)


def _kinds() -> Iterator[tuple[str, str]]:
    """(severity, kind) of every finding of `verify`."""
    for tree in TREES.values():
        for node in ast.walk(tree):
            match node:
                case ast.Call(
                    func=ast.Name(id="damage" | "note" | "Fault" as severity),
                    args=[ast.Constant(value=str(kind)), *_],
                ):
                    yield ("note" if severity == "note" else "damage"), kind
                case _:
                    pass
    source = Path(id_states.__file__).read_text()
    for kind in re.findall(r'return "(\w+)", f"', source):
        yield "damage", kind


@pytest.mark.parametrize("severity", ["damage", "note"])
def test_every_finding_of_verify_is_documented_and_no_other(severity: str) -> None:
    part = section(PAGE, "## What `verify` finds")
    damage, note = part.split("| note | is |")
    table = damage if severity == "damage" else f"| note | is |{note}"
    told = [kind for cells in rows(table) for kind in coded(cells[0])]
    assert len(told) == len(set(told))
    assert set(told) == {kind for one, kind in _kinds() if one == severity}
