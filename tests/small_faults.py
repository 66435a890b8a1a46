"""The small faults that `make mutants` puts into the code: which there are in a module's text.

A fault replaces one expression or statement by another one that is wrong by a little: a border, a
sign, a branch, a step left out.  What no test should notice is passed over: docstrings, texts,
annotations, what goes to the log below a warning, what only type checkers read.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_COUNTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
}
# Sizes of buffers and the like may be one more or less; a limit that a reader knows may not.
_LARGEST_CONSTANT = 100
# Calls that can be left out, their first argument taken as it is; a set that is written out is one
# without them as well.
_WRAPPERS = {"sorted", "reversed", "min", "max", "abs", "shield", "frozenset", "set", "round"}
# Keywords of texts, of speed and of checkers alone.
_NO_MATTER = {"strict", "name", "encoding", "help", "metavar", "daemon", "key_type"}
_LOGS = {"log", "_log", "logger", "_LOG", "LOG"}
_QUIET = {"debug", "info"}
_SQL = re.compile(r"\s*(?:SELECT|UPDATE|DELETE|WITH|WHERE|ORDER BY)\b")
# What stands for what in a statement of SQL.
_STATED = {
    r" > ": " >= ",
    r" >= ": " > ",
    r" < ": " <= ",
    r" <= ": " < ",
    r" = 0\b": " = 1",
    r" = 1\b": " = 0",
    r"\bAND\b": "OR",
    r" DESC\b": "",
    r"\bMAX\(": "MIN(",
    r"\bMIN\(": "MAX(",
    r"\bIS NOT NULL\b": "IS NULL",
    r"\bIS NULL\b": "IS NOT NULL",
    r"\bNOT (?=IN|EXISTS)": "",
    r" \+ ": " - ",
    r" ORDER BY [^)]*?(?= LIMIT|$)": "",
}


@dataclass(frozen=True)
class Fault:
    """Text `old` from byte `begin` to `end` of a file becomes `new`; `line` counts from 1."""

    line: int
    begin: int
    end: int
    old: str
    new: str

    def put_into(self, source: bytes) -> bytes:
        return source[: self.begin] + self.new.encode() + source[self.end :]


def faults_of(source: bytes) -> list[Fault]:
    """All small faults that could stand in a module, in the order of its text."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = {}
    for node, new in _changes(ast.parse(source)):
        assert isinstance(node, (ast.expr, ast.stmt))
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        begin = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        text = new if isinstance(new, str) else f"({ast.unparse(new)})"
        found[begin, end, text] = Fault(node.lineno, begin, end, ast.unparse(node), text)
    return [found[key] for key in sorted(found)]


def _changes(node: ast.AST) -> Iterator[tuple[ast.AST, ast.expr | str]]:
    """Each node that may be replaced, and what by; of what is worth a fault alone."""
    if _is_passed_over(node):
        return
    if isinstance(node, ast.stmt):
        yield from _of_statement(node)
    elif isinstance(node, ast.expr):
        yield from ((node, new) for new in _of_expression(node))
    for child in _children(node):
        yield from _changes(child)


def _is_passed_over(node: ast.AST) -> bool:
    match node:
        case ast.JoinedStr() | ast.Assert() | ast.Import() | ast.ImportFrom():
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name))) if name in _LOGS:
            return True
        case ast.Call(func=ast.Name(id="TypeVar" | "NewType" | "cast")):
            return True
        case ast.Expr(value=ast.Call(func=ast.Name(id="assert_never"))):
            return True  # nor can it be reached
        case ast.Raise(exc=ast.Call(func=ast.Name(id="AssertionError"))):
            return True
        case ast.Delete(targets=targets) if all(isinstance(one, ast.Name) for one in targets):
            return True  # it frees memory, or tells a checker that a name is not used
        case (
            ast.If(test=ast.Name(id="TYPE_CHECKING"))
            | ast.If(test=ast.Compare(left=ast.Name(id="__name__")))
        ):
            return True
        case ast.Assign(targets=[ast.Name(id=name)]) if name.startswith("__"):
            return True
        case ast.ClassDef(bases=[*_, ast.Name(id="Protocol")]):
            return True
        case _:
            return False


def _children(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from node.args.defaults
            yield from (default for default in node.args.kw_defaults if default is not None)
            yield from node.body[:-1]
            # Without what it gives back at its end no function could be used at all.
            last = node.body[-1]
            yield from _children(last) if isinstance(last, ast.Return) else [last]
        case ast.ClassDef():
            yield from node.body
        case ast.AnnAssign():
            yield from [node.value] if node.value is not None else []
        case ast.Raise():  # What it says is a text; that it is raised is looked at above.
            return
        case ast.Call():
            yield from [node.func, *node.args]
            yield from (word.value for word in node.keywords if word.arg not in _NO_MATTER)
        case ast.Subscript():
            yield from [node.value, node.slice]
        case _:
            yield from ast.iter_child_nodes(node)


def _of_statement(node: ast.stmt) -> Iterator[tuple[ast.AST, ast.expr | str]]:
    match node:
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=level))) if (
            name in _LOGS and level in _QUIET
        ):
            return
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.AugAssign() | ast.Delete():
            yield node, "pass"
        case ast.Raise() | ast.Return():
            yield node, "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()], value=value):
            if not isinstance(value, ast.Name):  # As in __init__: nothing works without it.
                yield node, "pass"
        case ast.Continue() | ast.Break():
            yield node, "pass"
        case ast.If(test=test):
            yield from ((test, new) for new in ("True", "False"))
        case ast.While(test=test) if not isinstance(test, ast.Constant):
            yield test, "False"
        case ast.For(body=[first, *_]) | ast.AsyncFor(body=[first, *_]):
            if not isinstance(first, (ast.Continue, ast.If, ast.For, ast.With, ast.Try)):
                yield first, "continue"
        case _:
            return


def _of_expression(node: ast.expr) -> Iterator[ast.expr | str]:
    match node:
        case ast.Compare(ops=[op]) if type(op) in _COMPARED:
            yield _with(node, ops=[_COMPARED[type(op)]()])
        case ast.BoolOp(op=op, values=values):
            yield _with(node, op=ast.And() if isinstance(op, ast.Or) else ast.Or())
            if len(values) > 2:
                for at in range(len(values)):
                    yield _with(node, values=values[:at] + values[at + 1 :])
            else:
                yield from values
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.BinOp(op=op, left=left, right=right) if type(op) in _COUNTED:
            if not (_is_text(left) or _is_text(right)):
                yield _with(node, op=_COUNTED[type(op)]())
        case ast.Constant(value=bool(value)):
            yield str(not value)
        case ast.Constant(value=int(number)) if number <= _LARGEST_CONSTANT:
            yield str(number + 1)
            if number > 0:
                yield str(number - 1)
        case ast.Constant(value=str(text)) if _SQL.match(text):
            yield from (repr(changed) for changed in _of_sql(text))
        case ast.IfExp(body=then, orelse=otherwise):
            yield from (then, otherwise)
        case ast.Call():
            yield from _of_call(node)
        case ast.Set(elts=items) if len(items) > 1:
            for at in range(len(items)):
                yield _with(node, elts=items[:at] + items[at + 1 :])
        case _:
            return


def _of_call(node: ast.Call) -> Iterator[ast.expr]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else None
    name = node.func.id if isinstance(node.func, ast.Name) else name
    if name in _WRAPPERS and node.args and not isinstance(node.args[0], ast.Starred | ast.Set):
        yield node.args[0]
    for word in node.keywords:
        if word.arg is not None and word.arg not in _NO_MATTER:
            yield _with(node, keywords=[other for other in node.keywords if other is not word])


def _of_sql(text: str) -> Iterator[str]:
    for pattern, new in _STATED.items():
        for found in re.finditer(pattern, text):
            yield text[: found.start()] + new + text[found.end() :]


def _with(node: ast.expr, **changed: object) -> ast.expr:
    new = copy(node)
    for name, value in changed.items():
        setattr(new, name, value)
    return new


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    )
