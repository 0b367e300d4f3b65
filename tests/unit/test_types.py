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

Errors = dict[int, set[str]]
"""Line → codes of the errors in it."""


def run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def of_mypy(file: str) -> Errors:
    said = run("mypy", "--no-error-summary", "--hide-error-context", str(TYPES / file))
    found: Errors = defaultdict(set)
    for line, code in re.findall(rf"{re.escape(file)}:(\d+): error: .*\[([a-z-]+)\]", said):
        found[int(line)].add(code)
    return found


def of_pyright(file: str) -> Errors:
    """As pyproject.toml sets it up; basedpyright is pyright as a package of Python, with its node."""
    said = run(
        "basedpyright",
        "--outputjson",
        "--project",
        str(ROOT),
        "--pythonpath",
        sys.executable,
        str(TYPES / file),
    )
    report = json.loads(said)
    assert report["summary"]["filesAnalyzed"] == 1
    found: Errors = defaultdict(set)
    for one in report["generalDiagnostics"]:
        assert "import" not in one.get("rule", "").lower(), one["message"]
        found[one["range"]["start"]["line"] + 1].add(one.get("rule", one["severity"]))
    return found


def marked(file: str, checker: Callable[[str], Errors]) -> Errors:
    """What the file's marks expect: `# E: codes of mypy | rules of pyright, without "report"`."""
    found: Errors = {}
    for number, line in enumerate((TYPES / file).read_text().splitlines(), start=1):
        mypy, _, pyright = line.partition("  # E: ")[2].partition(" | ")
        if mypy:
            found[number] = set(mypy.split())
            if checker is of_pyright:
                found[number] = {f"report{rule}" for rule in pyright.split()}
    return found


CHECKERS = pytest.mark.parametrize("checker", [of_mypy, of_pyright], ids=["mypy", "pyright"])


@CHECKERS
def test_a_type_checker_knows_the_arguments_and_results_of_tasks(checker: Callable[[str], Errors]) -> None:
    assert checker("ok_tasks.py") == {}


@CHECKERS
def test_a_type_checker_refuses_wrong_arguments_options_and_results(checker: Callable[[str], Errors]) -> None:
    expected = marked("bad_tasks.py", checker)
    assert len(expected) > 40
    assert checker("bad_tasks.py") == expected
