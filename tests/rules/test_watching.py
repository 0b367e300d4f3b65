"""Tests share one server: what shows all its sessions is asked for those of the test's own database."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
VIEWS = "pg_stat_activity", "pg_locks"
NARROWED = "current_database()", "pid = pg_backend_pid()", "pid = $1"


def pieces(path: Path) -> Iterator[tuple[str, str]]:
    """The functions and other statements of a file, with their texts."""
    text = path.read_text()
    lines = text.splitlines()
    for node in ast.parse(text).body:
        yield f"{path.relative_to(TESTS)}:{node.lineno}", "\n".join(lines[node.lineno - 1 : node.end_lineno])


@pytest.mark.parametrize("view", VIEWS)
def test_sessions_are_counted_and_ended_in_the_tests_own_database_only(view: str) -> None:
    files = [path for path in sorted(TESTS.rglob("*.py")) if path != Path(__file__).resolve()]
    looks = [piece for path in files for piece in pieces(path) if view in piece[1]]
    assert looks
    assert [place for place, text in looks if not any(how in text for how in NARROWED)] == []


def test_roles_of_the_shared_server_are_named_after_the_test() -> None:
    """Roles and databases belong to the whole server: a name that is written out is met by another test."""
    made = re.compile(r'CREATE (?:ROLE|USER|DATABASE) "?(\S)')
    own = {"bench/meter.py", "service/test_embedded.py"}  # on servers of their own
    written = [
        f"{path.relative_to(TESTS)}: {found[0]}"
        for path in sorted(TESTS.rglob("*.py"))
        if str(path.relative_to(TESTS)) not in own and path != Path(__file__).resolve()
        for found in made.finditer(path.read_text())
        if found[1] != "{"
    ]
    assert written == []
