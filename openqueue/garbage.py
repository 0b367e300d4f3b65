"""How seldom a worker's process looks for garbage that refers to itself.

Python counts what was allocated and not yet freed, and after 700 of it looks at what is young, now and then
at everything. A worker with 1,000 places keeps thousands of jobs in memory, each of some ten objects, so it
always is about to look, and everything is large: half of its time went into that (tasks of 1 ms, 1,000 at a
time: 20 k jobs/s; so 28 to 33 k). What is in no cycle, as nearly all that a worker makes, is freed at once
all the same.
"""

from __future__ import annotations

import gc
from typing import Final

__all__ = ["collect_seldom"]

THRESHOLDS: Final = (10_000, 20, 10)
"""New objects after which the young are looked at, such looks before one at older, and these before all."""

STARTED: Final = gc.get_threshold()
"""As Python, or whoever started this process, has set them; a task module comes later."""


def collect_seldom() -> None:
    """Leave what is there by now, modules above all, out of every look, and look after 10,000 new objects.

    For a process that is a worker's own, its tasks imported. Thresholds that a task module has set stay. See
    `gc.freeze` in Python's manual.
    """
    gc.collect()
    gc.freeze()
    if gc.get_threshold() == STARTED:
        gc.set_threshold(*THRESHOLDS)
