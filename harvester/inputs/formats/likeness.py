"""What a file that gives no ids looks like, and the command that makes a list of ids of it.

Only for the message with which such a file is refused: nothing is read by what is found here.  The
message shows a file's form and never a piece of it, which might be somebody's phone number.
"""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import PurePath

from harvester.inputs.discover import Form, IdFile
from harvester.inputs.formats.id_column import places
from harvester.inputs.voice_id import excerpt, trimmed

HEAD_BYTES = 1 << 16

_LINES = 200
_DELIMITERS = ",;\t|"
_SIGNS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}
_ROUNDED = re.compile(
    r"[0-9][.,][0-9]+E\+?[0-9]{2}|[0-9]{12,}[.,]0+|[0-9]{1,3}(?:[,. ][0-9]{3}){4,}", re.IGNORECASE
)
_RULE = re.compile(r"[|+]?\s*[-=]{2,}[-=\s|+]*")
_LONG_NUMBER = re.compile("[0-9]{16,64}")
"""An id, and no phone number, which has 15 digits at most."""
_IS_JSON = "import json,sys;[print(json.dumps(one)) for one in json.load(sys.stdin)]"


def likeness(file: IdFile, head: bytes, column: str) -> str | None:
    """What `file` looks like by its first bytes, and what to do; None if it looks like nothing.

    `head`: unpacked, at most HEAD_BYTES.
    """
    text = head.decode("utf-8", "replace").lstrip("\ufeff")
    lines = [line for line in text.splitlines()[:_LINES] if line.strip()]
    if not lines:
        return None
    looks: tuple[Callable[[_Look], str | None], ...] = (
        _markup,
        _json,
        _old_mac,
        _client_table,
        _rounded,
        _formula,
        _apostrophe,
        _title,
        _more_cells,
        _table,
        _loose,
        _binary,
    )
    look = _Look(file, text, lines, column)
    return next((found for one in looks if (found := one(look))), None)


class _Look:
    """The start of a file."""

    def __init__(self, file: IdFile, text: str, lines: Sequence[str], column: str) -> None:
        self.file = file
        self.form: Form = file.form
        self.text = text
        self.lines = lines
        self.column = column

    @property
    def header(self) -> str:
        """The first line, but for one that says how the others are cut."""
        told = self.lines[0].strip('"').lower().startswith("sep=")
        return self.lines[1] if told and len(self.lines) > 1 else self.lines[0]

    def share(self, found: Callable[[str], object]) -> float:
        """The share of lines, but for a header, that are so."""
        rows = self.lines[1:] or self.lines
        return sum(1 for line in rows if found(line)) / len(rows)

    def command(self, command: str, *, ending: str | None = None) -> str:
        """The whole of a command that reads the file and writes another beside it."""
        return converting(self.file, command, ending=ending)


def converting(file: IdFile, command: str, *, ending: str | None = None) -> str:
    """A command line that makes of `file`, by a command, another file beside it.

    What came through a pipe is to go through the command on its way, into a file: any command that
    reads ids takes that.
    """
    if file.copy_of is not None:
        unpack = {None: "", "gzip": "zcat | ", "zstd": "zstdcat | "}[file.compression]
        return f"… | {unpack}{command} > ids.new.{ending or file.form}"
    path = file.path
    stem = PurePath(path).name.split(".")[0] or "ids"
    new = str(PurePath(path).with_name(f"{stem}.new.{ending or file.form}"))
    name, new = (shlex.quote(excerpt(one) if _odd(one) else one) for one in (path, new))
    if file.compression is None:
        return f"{command} < {name} > {new}"
    unpack = {"gzip": "zcat", "zstd": "zstdcat"}[file.compression]
    return f"{unpack} {name} | {command} > {new}"


def _odd(path: str) -> bool:
    return not path.isprintable()


def _markup(look: _Look) -> str | None:
    start = look.text.lstrip()[:200].lower()
    if start.startswith("<?xml") and "<html" not in start:
        return "It is XML. Export it again as CSV, with the ids as text."
    if start.startswith("<"):
        return (
            "It is a web page (HTML), whatever its name: so are the .xls files of some exports. "
            "Export it again as CSV, with the ids as text."
        )
    return None


def _json(look: _Look) -> str | None:
    start = look.text.lstrip()
    if start.startswith("["):
        ending = "jsonl" if start[1:].lstrip().startswith("{") else "txt"
        command = look.command(f"python3 -c '{_IS_JSON}'", ending=ending)
        return f"It is a JSON array. Make a line of each element: {command}"
    if start.startswith("{") and look.form != "jsonl":
        return "It holds JSON objects. If there is one on each line, name it .jsonl."
    if start.startswith("{") and re.fullmatch(r"\{\s*", look.lines[0]):
        return (
            "It is JSON over several lines, and JSON lines has an object on each. Write it again "
            "so (json.dumps without indent)."
        )
    return None


def _old_mac(look: _Look) -> str | None:
    text = look.text.replace("\r\n", "\n")
    if text.count("\r") <= 2 * text.count("\n"):
        return None
    # In hexadecimal, as no shell changes it.
    command = look.command(r"tr '\015' '\012'")
    return f"Its lines end with CR alone, as on old Macs. Convert it: {command}"


def _client_table(look: _Look) -> str | None:
    framed = sum(line.lstrip().startswith(("|", "+-")) for line in look.lines[:5])
    ruled = any(_RULE.fullmatch(line) for line in look.lines[:5])
    if not (ruled or (framed > 1 and look.form == "txt")):
        return None
    return (
        "It is a table as a database client draws it. Export it without a frame: "
        "psql -At -c QUERY, or mysql -N -B -e QUERY, into a .txt file."
    )


def _rounded(look: _Look) -> str | None:
    if look.share(_has_rounded) < 0.5:
        return None
    return (
        "Its ids are numbers as a spreadsheet writes them: their last digits are lost, and nothing "
        "brings them back. Export them again from where they came, as text, without a spreadsheet."
    )


def _has_rounded(line: str) -> bool:
    cells = [cell for delimiter in _DELIMITERS for cell in _cut(line, delimiter)]
    return any(_ROUNDED.fullmatch(trimmed(cell)) for cell in (line, *cells))


def _formula(look: _Look) -> str | None:
    if look.share(re.compile(r'="').search) < 0.5:
        return None
    command = look.command("""sed -E 's/"?="+([^",;]*)"+/\\1/g'""")
    return f'Its ids are formulas of a spreadsheet (="…"). Convert it: {command}'


def _apostrophe(look: _Look) -> str | None:
    if look.share(re.compile(r"(?:^|[,;\t|\"])\s*'[0-9A-Za-z_-]+(?![0-9A-Za-z_'-])").search) < 0.5:
        return None
    command = look.command("""tr -d "'\"""")
    return f"Its ids have an apostrophe before them, the spreadsheet's mark of text. {_to(command)}"


def _to(command: str) -> str:
    return f"Convert it: {command}"


def _title(look: _Look) -> str | None:
    """Whether the header stands below something else."""
    if look.form not in ("csv", "tsv"):
        return None
    for number, line in enumerate(look.text.splitlines()[:20], 1):
        if any(places(_cut(line, delimiter), look.column) for delimiter in _DELIMITERS):
            if line == look.header:
                return None
            command = look.command(f"tail -n +{number}")
            return f"Its header stands in line {number}, below a title. {_to(command)}"
    return None


def _more_cells(look: _Look) -> str | None:
    if look.form not in ("csv", "tsv") or len(look.lines) < 2:
        return None
    delimiter = max(_DELIMITERS, key=look.lines[0].count)
    if delimiter not in look.lines[0]:
        delimiter = max(_DELIMITERS, key=look.lines[1].count)
    width = len(_cut(look.lines[0], delimiter))
    rows = [_cut(line, delimiter) for line in look.lines[1:]]
    more = [row for row in rows if len(row) == width + 1]
    if 2 * len(more) < len(rows):
        return None
    sign = _SIGNS[delimiter]
    if all(not row[-1].strip() for row in more):
        end = r"\t" if delimiter == "\t" else f"[{delimiter}]"
        command = look.command(f"sed -E 's/{end}\\r?$//'")
        return f"Its rows end with a {sign} more than the header has. {_to(command)}"
    return (
        f"Its rows have a {sign} more than the header has. Put the name that is missing into the "
        "header, or quotes around the cells that hold one."
    )


def _table(look: _Look) -> str | None:
    """Whether lines of text are the rows of a table."""
    if look.form != "txt":
        return None
    delimiter = max(_DELIMITERS, key=lambda one: sum(one in line for line in look.lines))
    if look.share(lambda line: delimiter in line) < 0.5:
        return None
    sign = _SIGNS[delimiter]
    if places(_cut(look.lines[0], delimiter), look.column):
        command = look.command("cat", ending="csv")
        return f"It is a table with a {sign} between its cells. Name it .csv: {command}"
    if look.share(lambda line: len(_LONG_NUMBER.findall(line)) > 1) >= 0.5:
        # One column of it would be one id of each line, and the others would be lost unseen.
        return None
    for place, cell in enumerate(_cut(look.lines[-1], delimiter), 1):
        if _LONG_NUMBER.fullmatch(trimmed(cell)):
            command = look.command(f"cut -d {shlex.quote(delimiter)} -f {place}")
            if delimiter == "\t":
                command = look.command(f"cut -f {place}")
            return f"It is a table with a {sign} between its cells. Take the ids out: {command}"
    if look.share(_LONG_NUMBER.search) >= 0.5:
        return None
    return f"It is a table with a {sign} between its cells. Give it a header, and name it .csv."


def _loose(look: _Look) -> str | None:
    """Whether ids stand among other text, or several on a line."""
    if look.form != "txt" or look.share(_LONG_NUMBER.search) < 0.5:
        return None
    command = look.command(f"grep -aoE '{_LONG_NUMBER.pattern}'")
    return f"Its ids stand among other text, or several on a line. Take them out: {command}"


def _binary(look: _Look) -> str | None:
    odd = sum(1 for char in look.text if not (char.isprintable() or char.isspace()))
    odd += look.text.count("\ufffd")
    if 10 * odd < len(look.text):
        return None
    return (
        "It is no text: compressed, encrypted, or of a program of its own. Unpack it or export it "
        "as CSV."
    )


def _cut(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return line.split(delimiter)
