"""The tree is the table of contents, files are short, and SQL lives in sql/."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.rules.source import PACKAGE, ROOT, Module, modules

TOP = {
    *(".ci", ".dockerignore", ".git", ".gitignore", ".zensical.toml"),
    *(
        "CHANGELOG.md",
        "Dockerfile",
        "LICENSE",
        "Makefile",
        "README.md",
        "pyproject.toml",
        "requirements.lock",
    ),
    *("docs", "examples", "openqueue", "sql", "tests"),
}
LONGEST = 300
# A file that is longer for a reason, with the reason.
LONGER: dict[str, str] = {}

STATEMENT = re.compile(
    r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|MERGE|WITH|VALUES|CREATE|ALTER|DROP|TRUNCATE|GRANT|REVOKE"
    r"|CALL|COPY|DO|LISTEN|UNLISTEN|NOTIFY|LOCK|SET|RESET|SHOW|BEGIN|COMMIT|ROLLBACK|SAVEPOINT|PREPARE|EXPLAIN)"
    r"(\s(?!(on|for|of|is|was)\b)|;)"
)
VAGUE = {"util", "utils", "helper", "helpers", "manager", "managers", "handler", "handlers", "common", "misc"}

MODULES = modules()


def ignored() -> list[str]:
    lines = (ROOT / ".gitignore").read_text().splitlines()
    return [line.strip("/") for line in lines if line and not line.startswith("#")]


def texts(module: Module) -> Iterator[tuple[int, str]]:
    """The string constants of a module, docstrings left out."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(module.tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


def test_the_top_of_the_tree_holds_nothing_but_its_table_of_contents() -> None:
    there = {path.name for path in ROOT.iterdir()}
    strangers = {name for name in there - TOP if not any(fnmatch(name, pattern) for pattern in ignored())}
    assert strangers == set()


@pytest.mark.parametrize("module", MODULES.values(), ids=lambda module: module.name)
def test_no_sql_is_written_in_python(module: Module) -> None:
    found = [
        f"{module.path.relative_to(ROOT)}:{line} {text[:60]!r}"
        for line, text in texts(module)
        if STATEMENT.match(text)
    ]
    assert found == []


def test_what_is_taken_for_sql_would_be_found() -> None:
    assert STATEMENT.match("\n  SELECT 1")
    assert STATEMENT.match("LISTEN ")
    assert STATEMENT.match("BEGIN;")
    assert not STATEMENT.match("LISTEN on the channel")
    assert not STATEMENT.match("Set the variable")
    assert not STATEMENT.match("SELECTED")


def test_files_are_short_unless_a_reason_is_listed() -> None:
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "examples").rglob("*.py"), *(ROOT / "sql").rglob("*.sql")]
    long = {str(path.relative_to(ROOT)) for path in files if len(path.read_text().splitlines()) > LONGEST}
    assert len(files) > 50
    assert long <= set(LONGER)
    assert {path for path in LONGER if not (ROOT / path).exists()} == set()


def test_functions_are_short() -> None:
    """Nine of ten under 40 lines, none over 60. Signatures do not count: a command's is a list of options."""
    sizes = sorted(
        (node.body[-1].end_lineno - node.body[0].lineno + 1, f"{module.name}:{node.name}")
        for module in MODULES.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.body[-1].end_lineno
    )
    assert sizes[len(sizes) // 2][0] <= 9
    assert sizes[len(sizes) * 9 // 10][0] < 40
    assert [size for size in sizes if size[0] > 60] == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    words = {path: set(re.split(r"[_.]", path.stem)) for path in PACKAGE.rglob("*.py")}
    assert [str(path) for path, parts in words.items() if parts & VAGUE] == []


def test_a_rooms_door_holds_no_code() -> None:
    """Only the theory and `__all__`; the front door, which imports late, is the exception."""
    for path in PACKAGE.glob("*/__init__.py"):
        _, *rest = ast.parse(path.read_text()).body
        code = [
            node
            for node in rest
            if not isinstance(node, ast.Import | ast.ImportFrom | ast.Assign | ast.AnnAssign)
        ]
        assert code == [], path


def test_every_module_says_what_it_is() -> None:
    assert [name for name, module in MODULES.items() if not ast.get_docstring(module.tree)] == []


def test_no_path_of_a_machine_is_in_the_project() -> None:
    suspicious = re.compile(r"/(work|root|home/\w+|Users/\w+)/")
    kinds = {".py", ".sql", ".md", ".toml", ".sh", ".html"}
    rooms = [ROOT / name for name in TOP - {".git"}]
    files = [path for room in rooms for path in (room.rglob("*") if room.is_dir() else [room])]
    mine = Path(__file__)
    named = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in files
        if path.is_file() and (path.suffix in kinds or path.parent == ROOT) and path != mine
        if (match := suspicious.search(path.read_text(errors="replace")))
    ]
    assert named == []
