"""What the load asked for, and what it was told: the one side that the checker compares."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

__all__ = ["Answer", "Asked", "Journal"]

Answer = Literal["asked", "accepted", "unknown", "rolled back"]


@dataclass(slots=True)
class Asked:
    """One run that somebody wanted, known by a token that no other has.

    kind      which of the tasks
    answer    'accepted': the enqueue, and the transaction around it, was answered; 'rolled back': its
              transaction was; 'unknown': the answer was lost, so it may be there or not; 'asked': on its way
    run       its id, as answered or as brought along
    ends      how it has to end
    ordered   the serial key that it belongs to, and its place there
    meddled   somebody has since asked that it be cancelled, run again or at another time
    """

    token: str
    kind: str
    ends: str = "completed"
    answer: Answer = "asked"
    run: UUID | None = None
    ordered: tuple[str, int] | None = None
    meddled: bool = False


@dataclass(slots=True)
class Journal:
    """Everything that was asked, by token. `pruned`: what has ended may be gone."""

    asked: dict[str, Asked] = field(default_factory=dict)
    pruned: bool = False

    def note(self, one: Asked) -> Asked:
        """Put it down before it is sent."""
        assert one.token not in self.asked
        self.asked[one.token] = one
        return one

    def accepted(self) -> list[Asked]:
        """What was promised."""
        return [one for one in self.asked.values() if one.answer == "accepted"]
