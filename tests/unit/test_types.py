"""What type checkers make of the public API: mypy as `--strict`, pyright with its own defaults."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TYPES = ROOT / "tests" / "types"
FILES = (TYPES / "ok_tasks.py", TYPES / "bad_tasks.py")

Errors = dict[int, set[str]]
"""Line → codes of the errors in it."""

Checker = Callable[[], dict[str, Errors]]
"""Looks at all files at once; file → errors."""


def run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def of_mypy() -> dict[str, Errors]:
    said = run("mypy", "--no-error-summary", "--hide-error-context", *map(str, FILES))
    found: dict[str, Errors] = {file.name: defaultdict(set) for file in FILES}
    for file, line, code in re.findall(r"(\w+\.py):(\d+): error: .*\[([a-z-]+)\]", said):
        found[file][int(line)].add(code)
    return found


def of_pyright() -> dict[str, Errors]:
    """As pyproject.toml sets it up; basedpyright is pyright as a package of Python, with its node."""
    said = run(
        "basedpyright",
        "--outputjson",
        "--project",
        str(ROOT),
        "--pythonpath",
        sys.executable,
        *map(str, FILES),
    )
    report = json.loads(said)
    assert report["summary"]["filesAnalyzed"] == len(FILES)
    found: dict[str, Errors] = {file.name: defaultdict(set) for file in FILES}
    for one in report["generalDiagnostics"]:
        assert "import" not in one.get("rule", "").lower(), one["message"]
        lines = found[Path(one["file"]).name]
        lines[one["range"]["start"]["line"] + 1].add(one.get("rule", one["severity"]))
    return found


def marked(file: str, checker: Checker) -> Errors:
    """What the file's marks expect: `# E: codes of mypy | rules of pyright, without "report"`."""
    found: Errors = {}
    for number, line in enumerate((TYPES / file).read_text().splitlines(), start=1):
        mypy, _, pyright = line.partition("  # E: ")[2].partition(" | ")
        if mypy:
            found[number] = set(mypy.split())
            if checker is of_pyright:
                found[number] = {f"report{rule}" for rule in pyright.split()}
    return found


@pytest.mark.parametrize("checker", [of_mypy, of_pyright], ids=["mypy", "pyright"])
def test_a_type_checker_knows_the_arguments_and_results_of_tasks_and_refuses_wrong_ones(
    checker: Checker,
) -> None:
    expected = marked("bad_tasks.py", checker)
    assert len(expected) > 40
    found = checker()
    assert found["ok_tasks.py"] == {}
    assert found["bad_tasks.py"] == expected
