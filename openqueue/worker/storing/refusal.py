"""What to do with outcomes of which the database refuses a value: find which, and say so instead of it."""

from __future__ import annotations

from dataclasses import dataclass

from openqueue.errors import OpenQueueError
from openqueue.runs.outcomes import Outcome, describe_error
from openqueue.worker.storing.busy import Ended

__all__ = ["Refusal", "divided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal(Outcome):
    """An attempt that failed since its outcome cannot be stored."""

    instead_of: Outcome


def divided(part: list[Ended], error: OpenQueueError) -> list[list[Ended]]:
    """What to try instead, last first: the halves; for one alone, why it is refused; then nothing."""
    if len(part) > 1:
        middle = len(part) // 2
        return [part[middle:], part[:middle]]
    job, outcome = part[0]
    if isinstance(outcome, Refusal):
        return []
    reason = describe_error(error, retryable=False)
    return [[(job, Refusal("failed", error=reason, instead_of=outcome))]]
