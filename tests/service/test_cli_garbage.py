"""A worker's process looks for garbage seldom, and in what is new."""

from __future__ import annotations

import sys

import pytest

from openqueue.garbage import THRESHOLDS
from tests.support.command import Command

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

LOOK = """
import gc

from openqueue import task
{first}
HERE = object()


@task
def threshold() -> tuple[int, bool]:
    return gc.get_threshold()[0], gc.get_freeze_count() > 10_000  # the others are not kept by every Python
"""


@pytest.mark.parametrize(
    ("first", "kept"),
    [
        ("", THRESHOLDS[0]),
        ("gc.set_threshold(50_000, 5, 5)", 50_000),
        ("gc.set_threshold(0)", 0),
    ],
    ids=["as Python sets them", "raised by a task module", "switched off by it"],
)
def test_what_was_imported_is_left_alone_and_what_is_new_looked_at_seldom(
    oq: Command, first: str, kept: int
) -> None:
    (oq.project / "tasks" / "look.py").write_text(LOOK.format(first=first))
    run_id = oq("enqueue", "look.threshold", "{}", "--allow-unknown").out.strip()
    oq.work()
    assert oq("runs", "show", run_id, "--json").json["output"] == [kept, True]
