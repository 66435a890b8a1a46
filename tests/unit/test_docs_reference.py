"""The reference pages say what the code has: every command, option, setting, column and field."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import pyarrow as pa
import pytest
import typer
from typer.testing import CliRunner

from harvester.analysis.audit.rules import RULES
from harvester.analysis.query.export_rows import schema_of
from harvester.cli.main import _GROUPS, application
from harvester.config import ENV_PREFIX, SECRET_NAMES, Config
from harvester.dataset import footer
from harvester.dataset.group_record import GROUP_RECORD
from harvester.inputs.voice_id import Reason
from harvester.pipeline.run import state_snapshot
from harvester.pipeline.run.control_totals import Difference
from harvester.pipeline.run.summary import Summary
from harvester.simulator.billing import MISCHIEF
from harvester.simulator.faults import FAULTS
from harvester.simulator.habits import HABITS
from tests.unit.test_architecture import PLAN
from tests.unit.test_configs import DEFAULTS
from tests.unit.test_docs import DOCS, ROOT, coded, page, rows, section

COMMANDS_PAGE = page("commands")
README = (ROOT / "README.md").read_text()
SHARED = "## Options that several commands share"


def _commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from _commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


ROOT_COMMAND = typer.main.get_command(application())
COMMANDS = dict(_commands(ROOT_COMMAND, "harvester"))


def options_of(command: Any) -> set[str]:
    options = [param for param in command.params if param.param_type_name == "option"]
    found = {name for param in options for name in (*param.opts, *param.secondary_opts)}
    return found - {"-h", "--help"}


def shared_of(text: str) -> set[str]:
    found = re.search(r"(?m)^Shared: (.+)$", text)
    return {name for name in coded(found[1] if found else "") if _is_option(name)}


def listed(text: str) -> set[str]:
    """The options of the tables' first cells."""
    return {name for cells in rows(text) for name in coded(cells[0]) if name.startswith("-")}


def _is_option(name: str) -> bool:
    # `--format jsonl` is a remark, not an option's name.
    return name.startswith("-") and " " not in name


def of(name: str) -> str:
    return section(COMMANDS_PAGE, f"### `{name}`")


def test_every_command_has_a_section_and_no_other_has() -> None:
    assert sorted(re.findall(r"(?m)^### `(.+)`$", COMMANDS_PAGE)) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_is_documented_and_no_other(name: str) -> None:
    text = of(name)
    assert shared_of(text) | listed(text) == options_of(COMMANDS[name])
    assert not shared_of(text) & listed(text)


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_shares_is_explained_once(name: str) -> None:
    assert shared_of(of(name)) <= listed(section(COMMANDS_PAGE, SHARED))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_of_a_command_is_documented(name: str) -> None:
    for param in COMMANDS[name].params:
        if param.param_type_name == "argument":
            choices = [] if param.metavar else param.type.choices
            for word in choices or [param.metavar.strip("[]")]:
                assert str(word) in of(name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_an_example(name: str) -> None:
    whole = (DOCS / "commands.md").read_text()
    assert re.search(rf"(?m)^(\w+=\S+ )?{name}\b.*$", section(whole, f"### `{name}`"))


def test_the_readme_names_every_command_and_no_other() -> None:
    named = [cells[1] for cells in rows(section(README, "## Commands"))]
    words = {re.sub(r"\W.*", "", cell.removeprefix("`harvester ")) for cell in named}
    assert len(words) == len(named)
    assert words == {name.split()[1] for name in COMMANDS}


def test_the_help_the_page_and_the_readme_have_the_same_groups() -> None:
    of_page = {}
    for title in re.findall(r"(?m)^## (.+)$", COMMANDS_PAGE)[1:]:
        named = re.findall(r"(?m)^### `harvester (\w+)", section(COMMANDS_PAGE, f"## {title}"))
        of_page[title] = list(dict.fromkeys(named))
    assert of_page == {title: list(commands) for title, commands in _GROUPS.items()}
    of_readme: dict[str, list[str]] = {}
    title = ""
    for cells in rows(section(README, "## Commands")):
        title = cells[0] or title
        of_readme.setdefault(title, []).append(
            cells[1].removeprefix("`harvester ").split()[0].strip("`")
        )
    assert of_readme == of_page


def test_the_help_shows_each_command_in_its_group_on_a_line_of_80() -> None:
    shown = CliRunner().invoke(application("run"), ["--help"], terminal_width=80).output
    assert "Commands:" not in shown
    at = {line: number for number, line in enumerate(shown.splitlines())}
    for title, commands in _GROUPS.items():
        begins = at[f"{title}:"] + 1
        lines = shown.splitlines()[begins : begins + len(commands)]
        assert [line.split(maxsplit=1) for line in lines] == [
            [name, says] for name, says in commands.items()
        ]
        assert all(len(line) <= 80 for line in lines)


def test_options_of_the_program_itself_are_documented() -> None:
    before = COMMANDS_PAGE.split(SHARED)[0]
    assert listed(before) == options_of(ROOT_COMMAND) | {"-h", "--help"}


def test_defaults_of_the_stand_in_vendor_are_those_of_the_code() -> None:
    told = {coded(cells[0])[0]: cells[2] for cells in rows(of("harvester simulate")) if cells[2:]}
    for param in COMMANDS["harvester simulate"].params:
        if param.opts[0] not in told or param.default is None:
            continue
        if isinstance(param.default, bool):
            chosen = param.opts if param.default else param.secondary_opts
            assert told[param.opts[0]] == f"`{chosen[0]}`"
        elif isinstance(param.default, str):
            assert told[param.opts[0]] == param.default
        else:
            assert told[param.opts[0]] == f"{param.default:g}"


def test_every_fault_of_the_stand_in_vendor_is_documented() -> None:
    assert named_in("fault") == list(FAULTS)


def test_every_fault_of_its_billing_is_documented() -> None:
    assert named_in("billing") == list(MISCHIEF)


def test_every_habit_of_its_list_is_documented() -> None:
    assert named_in("list") == list(HABITS)


def named_in(kind: str) -> list[str]:
    """The names in the table of a kind of faults."""
    table = of("harvester simulate").split(f"| {kind} | is |")[1].split("\n\n")[0]
    return [name for cells in rows(f"| {kind} | is |{table}") for name in coded(cells[0])]


SETTINGS = {
    f"{heading}.{coded(cells[0])[0]}": cells[1:]
    for heading in re.findall(r"(?m)^## \[(\w+)\]$", page("configuration"))
    for cells in rows(section(page("configuration"), f"## [{heading}]"))
}
"""section.key -> (what it is, default, environment, meaning)."""


def test_every_setting_is_documented_and_no_other() -> None:
    assert list(SETTINGS) == list(DEFAULTS)


@pytest.mark.parametrize("key", DEFAULTS)
class TestSetting:
    def test_default_is_that_of_the_code(self, key: str) -> None:
        assert SETTINGS[key][1] == f"`{DEFAULTS[key]}`"

    def test_variable_is_that_of_the_code(self, key: str) -> None:
        assert SETTINGS[key][2] == f"`{ENV_PREFIX}{key.replace('.', '__').upper()}`"

    def test_type_is_that_of_the_code(self, key: str) -> None:
        assert _words(_hint(key)) <= set(re.findall(r'[\w"]+', SETTINGS[key][0]))

    def test_unit_is_told(self, key: str) -> None:
        for suffix, unit in (("per_s", "a second"), ("_s", "seconds"), ("_bytes", "bytes")):
            if key.endswith(suffix):
                assert unit in SETTINGS[key][0]
                return

    def test_meaning_is_told(self, key: str) -> None:
        assert len(SETTINGS[key][3]) > 15


def _hint(key: str) -> Any:
    name, field = key.split(".")
    return get_type_hints(get_type_hints(Config)[name], include_extras=True)[field]


def _words(kind: Any) -> set[str]:
    """The words by which the page has to name a type, bounds of numbers included."""
    if get_origin(kind) is Annotated:
        bounds = [meta for meta in kind.__metadata__ if isinstance(meta, msgspec.Meta)]
        told = {f"{n}" for meta in bounds for n in (meta.gt, meta.ge, meta.le) if n is not None}
        return _words(get_args(kind)[0]) | told
    if get_origin(kind) is Literal:
        return {f'"{value}"' for value in get_args(kind)}
    if get_origin(kind) is tuple:
        return {"list"}
    if get_origin(kind) in (types.UnionType, typing.Union):
        return set().union(*(_words(one) for one in get_args(kind) if one is not types.NoneType))
    return {str: {"text"}, float: {"number"}, int: {"whole", "number"}, bool: {"true", "false"}}[
        kind
    ]


def test_every_secret_is_documented_and_no_other() -> None:
    told = [
        name
        for cells in rows(section(page("configuration"), "## Key and secret"))
        for name in coded(cells[0])
    ]
    assert sorted(told) == sorted(f"{ENV_PREFIX}{name}" for name in SECRET_NAMES)


def test_every_package_is_on_the_page() -> None:
    folders = {
        ".".join(file.parent.relative_to(ROOT / "harvester").parts)
        for file in (ROOT / "harvester").rglob("__init__.py")
    }
    alone = {name for name in PLAN["packages"] if "." not in name and not name.startswith("__")}
    told = [coded(cells[0])[0] for cells in rows(section(page("architecture"), "## The packages"))]
    assert len(told) == len(set(told))
    assert set(told) == (folders | alone) - {"", "pipeline"}


def test_every_rule_of_the_audit_is_documented_with_its_tolerance() -> None:
    told = {coded(cells[0])[0]: cells[2] for cells in rows(page("audit")) if len(cells) == 3}
    assert list(told.items()) == [(rule.name, rule.tolerance) for rule in RULES]


SCHEMA_PAGE = page("schema")


def columns_of(text: str) -> list[tuple[str, str]]:
    return [(coded(cells[0])[0], cells[1]) for cells in rows(text)]


def told(of_code: pa.Schema) -> list[tuple[str, str]]:
    return [
        (field.name, f"{field.type}{'' if field.nullable else ', never null'}") for field in of_code
    ]


def test_every_column_of_the_data_set_is_documented_with_its_type() -> None:
    data_set = section(SCHEMA_PAGE, "## The data set").split("### Footers")[0]
    assert columns_of(data_set) == told(GROUP_RECORD.schema)


def test_the_page_says_of_every_column_what_the_kind_says_of_it() -> None:
    data_set = section(SCHEMA_PAGE, "## The data set").split("### Footers")[0]
    said = {coded(cells[0])[0]: cells[2] for cells in rows(data_set)}
    assert said == {column.name: column.meaning for column in GROUP_RECORD.columns}
    for column in GROUP_RECORD.columns:
        if column.field is not None and column.reads is not None:
            assert re.search(rf"\b{column.field}\b", column.meaning), column.name
    assert f"`{GROUP_RECORD.usage.other_cost}`" in said[GROUP_RECORD.usage.cost]


def test_every_key_of_a_files_footer_is_documented() -> None:
    keys = [value for name, value in vars(footer).items() if name.startswith("FOOTER_")]
    footers = section(SCHEMA_PAGE, "### Footers")
    assert sorted(coded(cells[0])[0] for cells in rows(footers)) == sorted(keys)
    assert f"the version of the columns: {GROUP_RECORD.version} |" in footers


@pytest.mark.parametrize("what", ["dead", "open"])
def test_every_column_of_an_export_is_documented(what: str) -> None:
    text = section(SCHEMA_PAGE, "## What `export` writes").split(f"`export {what}`:")[1]
    assert columns_of(text.split("`export ")[0]) == told(schema_of(what))


def test_every_column_of_a_runs_snapshot_is_documented() -> None:
    assert columns_of(section(SCHEMA_PAGE, "## state.parquet")) == told(state_snapshot.SCHEMA)


def test_every_reason_of_a_bad_line_is_documented() -> None:
    reasons = [coded(cells[0])[0] for cells in rows(section(SCHEMA_PAGE, "## bad_ids.jsonl"))]
    assert reasons == list(get_args(Reason))


def _fields(struct: type[msgspec.Struct], path: str = "") -> Iterator[str]:
    hints = get_type_hints(struct)
    for field in msgspec.structs.fields(struct):
        yield f"{path}{field.encode_name}"
        kinds = (hints[field.name], *get_args(hints[field.name]))
        for kind in kinds:
            if (
                isinstance(kind, type)
                and issubclass(kind, msgspec.Struct)
                and kind is not Difference
            ):
                yield from _fields(kind, f"{path}{field.encode_name}.")


def test_every_field_of_a_summary_is_documented() -> None:
    text = section(SCHEMA_PAGE, "## summary.json")
    assert [coded(cells[0])[0] for cells in rows(text)] == list(_fields(Summary))
    differences = next(cells for cells in rows(text) if cells[0] == "`differences`")
    assert coded(differences[1]) == [field.name for field in msgspec.structs.fields(Difference)]
