"""What type checkers make of the public API, as mypy --strict sees it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TYPES = ROOT / "tests" / "types"


def errors_of(file: str) -> dict[int, list[str]]:
    """Line → error codes, as mypy finds them."""
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", str(TYPES / file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = re.findall(rf"{re.escape(file)}:(\d+): error: .*\[([a-z-]+)\]", done.stdout)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    codes: dict[int, list[str]] = {}
    for line, code in sorted(found):
        codes.setdefault(int(line), []).append(code)
    return codes


def marked(file: str) -> dict[int, list[str]]:
    """Line → error codes, as the file's marks expect them."""
    lines = (TYPES / file).read_text().splitlines()
    marks = ((number, line.partition("  # E: ")[2]) for number, line in enumerate(lines, start=1))
    return {number: sorted(codes.split()) for number, codes in marks if codes}


def test_mypy_knows_the_arguments_and_results_of_tasks() -> None:
    assert errors_of("ok_tasks.py") == {}


def test_mypy_refuses_wrong_arguments_options_and_results() -> None:
    assert errors_of("bad_tasks.py") == marked("bad_tasks.py")
