"""Tests wait for events, and as long as a busy machine needs: a time that is just enough fails by chance."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
LEAST_WAIT = 60
CLOCKS = {"monotonic", "perf_counter", "time"}
WAITS = {"eventually", "wait_for", "ended", "stop", "started"}
RESULTS = {"result", "result_sync", "timeout"}
MEANT_TO_PASS = 2
"""Seconds: who waits for no longer wants to see that the time is over."""
LEAST_BOUND = 20
"""Seconds within which something may be said to be quick, for a test that would wait for ever otherwise."""


@cache
def trees() -> dict[Path, ast.Module]:
    """Read where they are first needed: each process of the suite imports this file."""
    return {
        path: ast.parse(path.read_text())
        for path in sorted(TESTS.rglob("*.py"))
        if not {"peer", "types"} & {*path.parts}
    }


def nodes(kind: type[ast.AST]) -> Iterator[tuple[str, Any]]:
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, kind):
                yield f"{path.relative_to(TESTS)}:{getattr(node, 'lineno', 0)}", node


def number(node: ast.expr) -> float | None:
    """A number of seconds, also as "20s"."""
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, str) and re.fullmatch(r"\d+s", value):
        return float(value[:-1])
    return float(value) if isinstance(value, int | float) else None


def name_of(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def test_who_waits_for_what_must_come_waits_for_long() -> None:
    short = [
        place
        for place, call in nodes(ast.Call)
        if name_of(call) in WAITS
        for one in call.keywords
        if one.arg == "timeout" and (seconds := number(one.value)) is not None and seconds < LEAST_WAIT
    ]
    assert short == []


def test_who_waits_for_a_result_waits_for_long_or_hardly() -> None:
    between = [
        place
        for place, call in nodes(ast.Call)
        if name_of(call) in RESULTS
        for one in [*call.args[:1], *(word.value for word in call.keywords if word.arg == "timeout")]
        if (seconds := number(one)) is not None and MEANT_TO_PASS < seconds < LEAST_WAIT
    ]
    assert between == []


def test_no_test_asks_that_something_took_less_than_a_busy_machine_needs() -> None:
    asked = []
    for place, node in nodes(ast.Compare):
        took = any(isinstance(one, ast.Call) and name_of(one) in CLOCKS for one in ast.walk(node.left))
        least = number(node.comparators[0])
        if took and isinstance(node.left, ast.BinOp) and isinstance(node.ops[0], ast.Lt | ast.LtE):
            asked.append((place, least))
    assert [place for place, least in asked if least is not None and least < LEAST_BOUND] == []


def is_a_while(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Expr):
        return False
    text = ast.unparse(statement).removeprefix("await ")
    return text.startswith(("asyncio.sleep(", "time.sleep(", "sleep(")) and not text.endswith("sleep(0)")


def test_no_test_sleeps_for_a_while_and_then_asserts() -> None:
    follows = [
        f"{place}, line {after.lineno}"
        for kind in (ast.With, ast.AsyncWith, ast.For, ast.AsyncFor, ast.FunctionDef, ast.AsyncFunctionDef)
        for place, block in nodes(kind)
        for before, after in pairwise(block.body)
        if isinstance(after, ast.Assert) and is_a_while(before)
    ]
    assert follows == []
