"""The states of a run, all in one table.

An unfinished run is a row of `jobs`, whose one-letter state is stored; a finished one is a row of
`attempts` marked final, whose outcome is its status. People see the status; `queued` hides the
difference between a job that nobody has and one that a worker has claimed ahead of starting it.

    scheduled ──due──▶ queued ──claimed──▶ running ──┬─▶ completed · failed · cancelled · expired
        ▲                ▲                           │
        │                └── released, worker lost ──┤
        └── snoozed                    retrying ◀────┘ failed, to be tried again
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["ENDED", "LIVE", "STATUSES", "State"]


@dataclass(frozen=True, slots=True)
class State:
    """One status; `stored` are the letters of `jobs.state` that mean it, none for a finished run."""

    status: str
    stored: tuple[str, ...]
    meaning: str


STATUSES: Final = (
    State("scheduled", ("s",), "waits for its time"),
    State("queued", ("q", "c"), "ready, waits for a free place in a worker"),
    State("blocked", ("b",), "ready, waits for a limit, a rate or a pause to let it through"),
    State("running", ("r",), "an attempt runs"),
    State("retrying", ("t",), "failed, waits for its next attempt"),
    State("completed", (), "returned a result"),
    State("failed", (), "failed for good"),
    State("cancelled", (), "was cancelled"),
    State("expired", (), "was not started by its deadline"),
)

LIVE: Final = {state.status: state.stored for state in STATUSES if state.stored}
ENDED: Final = frozenset(state.status for state in STATUSES if not state.stored)
