"""All the small changes that can be made in a module."""

from __future__ import annotations

import ast
import difflib
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

FLIPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.BitAnd: ast.BitOr}
SHORT = 8  # what is shorter says nothing without its line


class Mutant(NamedTuple):
    """A module with one change. The name stays the same when lines are added elsewhere."""

    name: str
    source: str
    diff: str


def mutants(module: str, source: str) -> Iterator[Mutant]:
    """Return all mutants of a module, in the order of its lines."""
    names: Counter[str] = Counter()
    for place, node in nodes(ast.parse(source)):
        for text in changes(node):
            old = ast.get_source_segment(source, node) or ""
            if " ".join(text.split()) == " ".join(old.split()):
                continue
            name = f"{module} {place}: {' '.join(old.split())[:90]} -> {' '.join(text.split())[:90]}"
            if len(old) < SHORT:
                name += f" in {source.splitlines()[node.lineno - 1].split('  # ')[0].strip()}"
            names[name] += 1
            if names[name] > 1:
                name += f" ({names[name]})"
            changed = replaced(source, node, text)
            diff = difflib.unified_diff(source.splitlines(), changed.splitlines(), n=0, lineterm="")
            yield Mutant(name, changed, "\n".join(list(diff)[2:]))


def nodes(tree: ast.AST, place: str = "") -> Iterator[tuple[str, ast.expr | ast.stmt | ast.ExceptHandler]]:
    """Return what may be changed, with the function or class that it is in. Annotations and docstrings are not."""
    for field, value in ast.iter_fields(tree):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or field in ("annotation", "returns", "bases"):
                continue
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                continue
            if isinstance(child, ast.expr | ast.stmt | ast.ExceptHandler):
                yield place or "module", child
            is_place = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            inner = f"{place}.{child.name}".lstrip(".") if is_place else place
            if not isinstance(child, ast.JoinedStr | ast.Raise):  # what a message says is not looked into
                yield from nodes(child, inner)


def changes(node: ast.expr | ast.stmt | ast.ExceptHandler) -> Iterator[str]:
    """Return the texts that may take a node's place."""
    match node:
        case ast.Compare(left, [operator], [right]):
            yield f"({ast.unparse(ast.Compare(left, [FLIPPED[type(operator)]()], [right]))})"
        case ast.Compare(left, [first, *others], rights):
            yield f"({ast.unparse(ast.Compare(left, [FLIPPED[type(first)](), *others], rights))})"
            yield f"({ast.unparse(ast.Compare(left, [first, *(FLIPPED[type(each)]() for each in others)], rights))})"
        case ast.BoolOp(operator, values):
            yield f"({ast.unparse(ast.BoolOp(ast.And() if isinstance(operator, ast.Or) else ast.Or(), values))})"
        case ast.UnaryOp(ast.Not(), operand):
            yield f"({ast.unparse(operand)})"
        case ast.BinOp(left, operator, right) if type(operator) in ARITHMETIC:
            yield f"({ast.unparse(ast.BinOp(left, ARITHMETIC[type(operator)](), right))})"
        case ast.Constant(bool(value)):
            yield str(not value)
        case ast.Constant(int(value)):
            yield str(value + 1)
            yield f"({value - 1})"
        case ast.IfExp(test, body, orelse):
            yield f"({ast.unparse(ast.IfExp(test, orelse, body))})"
        case ast.Expr(ast.Constant()):  # a docstring
            pass
        case ast.Expr() | ast.Assign() | ast.AugAssign() | ast.AnnAssign(value=ast.expr()) | ast.Raise():
            yield "pass"
        case ast.Return(ast.expr() as value) if ast.unparse(value) != "None":
            yield "return None"
        case ast.Break() | ast.Continue():
            yield "pass"
        case ast.ExceptHandler(ast.Tuple(elts=[_, *_] as types), name, body):
            for left_out in types:
                kept = ast.Tuple([each for each in types if each is not left_out], ast.Load())
                yield ast.unparse(ast.ExceptHandler(kept, name, body))
        case ast.ExceptHandler(ast.expr(), name, body):
            yield ast.unparse(ast.ExceptHandler(ast.Tuple([], ast.Load()), name, body))


def replaced(source: str, node: ast.expr | ast.stmt | ast.ExceptHandler, text: str) -> str:
    """Return the source with this text in the place of a node, and as many lines as before where that can be."""
    lines = source.encode().splitlines(keepends=True)  # columns count bytes
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    first, last = lines[node.lineno - 1], lines[node.end_lineno - 1]
    text = text.replace("\n", "\n" + " " * node.col_offset)
    padding = b"\n" * max(0, node.end_lineno - node.lineno - text.count("\n"))
    is_statement = not isinstance(node, ast.expr)
    tail = last[node.end_col_offset :]
    after = tail.rstrip(b"\n") + padding + b"\n" if is_statement else tail
    middle = first[: node.col_offset] + text.encode() + after
    return b"".join([*lines[: node.lineno - 1], middle, *lines[node.end_lineno :]]).decode()
