"""The house measures: printed as a report, asserted with room to spare."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.project import PACKAGE, name_of, parse, python_files

LONGEST_FUNCTION, MOST_FUNCTIONS, LONGEST_FILE, DEEPEST = 60, 35, 400, 4
SHARE_OF_MOST = 0.9
FILES = python_files("src", "tests", "scripts", "scenes/src", "scenes/tests")
Function = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = (ast.For, ast.AsyncFor, ast.While, ast.If, ast.With, ast.AsyncWith, ast.Try, ast.Match)
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError|stub|dummy|placeholder)\b|for now")
CHECKS = re.compile(r"assert|check|expect|raises|warns")


def functions(path: Path) -> Iterator[Function]:
    yield from (node for node in ast.walk(parse(path)) if isinstance(node, Function))


def length(function: Function) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def depth(node: ast.AST) -> int:
    """Blocks inside one another below `node`; `elif` counts as its `if`, a function inside as a new start."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.Lambda | ast.ClassDef):
            continue
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        deepest = max(deepest, depth(child) + (isinstance(child, BLOCKS) and not is_elif))
    return deepest


def where(path: Path, function: Function) -> str:
    return f"{name_of(path)}:{function.lineno} {function.name}"


def test_functions_are_short() -> None:
    sizes = {where(path, function): length(function) for path in FILES for function in functions(path)}
    share = sum(size < MOST_FUNCTIONS for size in sizes.values()) / len(sizes)
    longest = sorted(sizes, key=lambda name: -sizes[name])[:5]
    print(
        f"{len(sizes)} functions, median {statistics.median(sizes.values())} lines, {share:.1%} under {MOST_FUNCTIONS}"
    )
    print(*(f"{sizes[name]:>4} {name}" for name in longest), sep="\n")
    assert share >= SHARE_OF_MOST
    assert [name for name, size in sizes.items() if size > LONGEST_FUNCTION] == []


def test_blocks_are_shallow() -> None:
    depths = {where(path, function): depth(function) for path in FILES for function in functions(path)}
    print(*(f"{deep} deep: {name}" for name, deep in depths.items() if deep == DEEPEST), sep="\n")
    assert [name for name, deep in depths.items() if deep > DEEPEST] == []


def test_files_are_short() -> None:
    sizes = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    print(*(f"{sizes[name]:>4} {name}" for name in sorted(sizes, key=lambda name: -sizes[name])[:5]), sep="\n")
    assert [name for name, size in sizes.items() if size >= LONGEST_FILE] == []


def test_public_functions_are_typed_and_modules_described() -> None:
    modules = [path for path in PACKAGE.rglob("*.py")]
    untyped = [
        where(path, function)
        for path in modules
        for function in functions(path)
        if not function.name.startswith("_")
        and (function.returns is None or any(_is_untyped(argument) for argument in function.args.args))
    ]
    assert untyped == []
    assert [
        name_of(path) for path in modules if not ast.get_docstring(parse(path)) and path.name != "__main__.py"
    ] == []


def _is_untyped(argument: ast.arg) -> bool:
    return argument.annotation is None and argument.arg not in {"self", "cls"}


def test_nothing_is_left_unfinished() -> None:
    found = [
        f"{name_of(path)}:{number} {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert found == []


def test_every_test_checks_something() -> None:
    idle = [
        where(path, function)
        for path in python_files("tests")
        for function in functions(path)
        if function.name.startswith("test_") and not any(_checks(node) for node in ast.walk(function))
    ]
    assert idle == []


def _checks(node: ast.AST) -> bool:
    return isinstance(node, ast.Assert) or (isinstance(node, ast.Call) and bool(CHECKS.search(ast.unparse(node.func))))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("pass", 0),
        ("for x in y:\n  if x: pass", 2),
        ("if a: pass\nelif b: pass\nelse: pass", 1),
        ("with a:\n  def inner():\n    if b: pass", 1),
    ],
)
def test_depth(body: str, expected: int) -> None:
    assert depth(ast.parse(body)) == expected
