"""Which statements read and nothing else, by DuckDB's own parser.

Theory of operation.  What isn't known to read is refused.  A statement's kind is not enough: since
DuckDB 2.0 a SELECT may carry a COPY or a DELETE in its WITH, which runs with it.  So the parsed
statement is looked through: every query in it must be of a kind that reads, and every function that
makes a table must be one that makes it of nothing but its arguments (`query` would run a text that
nobody has looked at, `read_csv` a file).  The settings of `asking` are a second wall: no file but
those of the data set can be opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import duckdb
import msgspec

from harvester.errors import UsageError

_READING = frozenset(
    {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE", "STATEMENT_NODE"}
)
_TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "json_each", "json_tree"})
_COMMENT = r"(?:\s|--[^\n]*\n|/\*.*?\*/)"
_EXPLAIN = re.compile(
    rf"{_COMMENT}*EXPLAIN{_COMMENT}+(?:ANALYZE{_COMMENT}+)?", re.IGNORECASE | re.DOTALL
)
_ONLY = (
    "only statements that read can be run here: SELECT, WITH, FROM, VALUES, DESCRIBE, SUMMARIZE, "
    "SHOW and EXPLAIN. Nothing of the output, no file and no setting can be changed"
)


def refuse_writing(database: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Raise UsageError unless `statement` is one that only reads; duckdb.Error if it is no SQL."""
    found = database.extract_statements(statement)
    if len(found) != 1:
        raise UsageError(f"{len(found)} statements where one was expected.", code="usage.query")
    kind = found[0].type
    if kind == duckdb.StatementType.EXPLAIN:
        explained = _EXPLAIN.sub("", statement, count=1)
        if explained == statement:
            raise UsageError(f"{_ONLY}.", code="usage.query")
        statement = explained
        kind = database.extract_statements(statement)[0].type
    if kind != duckdb.StatementType.SELECT:
        raise UsageError(f"{_named(kind)}: {_ONLY}.", code="usage.query")
    _look_through(database, statement)


def _look_through(database: duckdb.DuckDBPyConnection, statement: str) -> None:
    ((json_text,),) = database.execute("SELECT json_serialize_sql(?)", [statement]).fetchall()
    parsed = msgspec.json.decode(json_text)
    if parsed.get("error"):
        raise UsageError(
            f"{parsed.get('error_message', 'it can not be looked through')}: {_ONLY}.",
            code="usage.query",
        )
    for node in _objects(parsed):
        kind = node.get("type")
        if isinstance(kind, str) and kind.endswith("_NODE") and kind not in _READING:
            raise UsageError(
                f"{kind.removesuffix('_NODE').split('_')[0]}: {_ONLY}.", code="usage.query"
            )
        if kind == "TABLE_FUNCTION":
            name = str(_function(node))
            if name.lower() not in _TABLE_FUNCTIONS:
                raise UsageError(
                    f"the table function {name} can't be used here: {_ONLY}. A file of yours is "
                    "named with --table NAME=FILE.",
                    code="usage.query",
                )


def _function(node: dict[str, object]) -> object:
    function = node.get("function")
    return function.get("function_name") if isinstance(function, dict) else None


def _objects(value: object) -> Iterator[dict[str, object]]:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case dict() as found:
                yield found
                waiting += found.values()
            case list() as found:
                waiting += found
            case _:
                pass


def _named(kind: duckdb.StatementType) -> str:
    return str(kind).rpartition(".")[2]
