"""What a run that has ended gives to whom waits for it: its value, or the error that says how it ended."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from openqueue.codec import decode
from openqueue.errors import RunCancelled, RunExpired, RunFailed
from openqueue.runs.model import Row
from openqueue.tasks.task import Task

__all__ = ["returned"]


def returned(run_id: UUID, row: Row, declared: Task[..., Any] | None) -> Any:
    """The result of an ended run, or the error that says how it ended."""
    status = row["status"]
    if status == "completed":
        output = row["output"] or "null"
        return decode(output) if declared is None else declared.arguments.parse_output(output)
    error = decode(row["error"]) if row["error"] else None
    said = f": {error['type']}: {error['message']}".rstrip(". ") if error else ""
    if status == "cancelled":
        raise RunCancelled(f"Run {run_id} of {row['task']} was cancelled{said}.", run_id=run_id)
    if status == "expired":
        raise RunExpired(f"Run {run_id} of {row['task']} was not started by its deadline.", run_id=run_id)
    raise RunFailed(
        f"Run {run_id} of {row['task']} failed{said}. `openqueue runs show {run_id}` has the traceback.",
        run_id=run_id,
        error=error,
    )
