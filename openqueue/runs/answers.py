"""What the database answers when something was to be done to a run, and what is raised for it."""

from __future__ import annotations

from uuid import UUID

from openqueue.errors import RunNotFound, UnexpectedState

__all__ = ["found", "moved", "not_found"]


def found(run_id: UUID, answer: str) -> str:
    """The answer. Raises RunNotFound."""
    if answer == "unknown":
        raise not_found(run_id)
    return answer


def moved(run_id: UUID, answer: str) -> str:
    """The answer. Raises UnexpectedState if it runs or has ended, RunNotFound."""
    if answer in ("running", "finished"):
        remedy = "wait for its end, or cancel it" if answer == "running" else "retry it instead"
        raise UnexpectedState(f"run {run_id} is {answer}: {remedy}.", run_id=run_id, status=answer)
    return found(run_id, answer)


def not_found(run_id: UUID) -> RunNotFound:
    """The error for a run that is not there."""
    return RunNotFound(f"There is no run {run_id}; it may have been pruned.", run_id=run_id)
