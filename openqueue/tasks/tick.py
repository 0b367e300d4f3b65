"""The tick of a schedule that a run belongs to, as its task sees it: `ctx.tick`.

It travels with the run in its meta, under a name of its own, so that whoever reads the run sees it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["TICK", "Tick", "without_tick"]

TICK: Final = "openqueue.tick"
"""Where in a run's meta its tick is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One time of a schedule.

    schedule    the schedule's key
    at          the time it was scheduled for, in UTC; the run may start later
    previous    the scheduled time before that, if there was one
    number      how manyth run of the schedule this is; None for one that is not on the schedule's time
    catch_up    whether the tick was missed and is made up for
    backfill    whether it was asked for afterwards, for a range of time
    manual      whether somebody fired the schedule by hand; then `at` is when
    """

    schedule: str
    at: datetime
    previous: datetime | None = None
    number: int | None = None
    catch_up: bool = False
    backfill: bool = False
    manual: bool = False

    @classmethod
    def of(cls, told: Any) -> Tick | None:
        """What was stored with the run; None for what is no tick, as meta is everybody's."""
        try:
            return cls(
                schedule=str(told["schedule"]),
                at=_moment(told["at"]),
                previous=_moment(told["previous"]) if told.get("previous") else None,
                number=None if told.get("number") is None else int(told["number"]),
                catch_up=bool(told.get("catch_up")),
                backfill=bool(told.get("backfill")),
                manual=bool(told.get("manual")),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            return None


def without_tick(meta: Mapping[str, Any] | None) -> tuple[Tick | None, Mapping[str, Any]]:
    """The tick in a run's meta, and what else is in it."""
    if not meta or TICK not in meta:
        return None, meta or {}
    tick = Tick.of(meta[TICK])
    if tick is None:
        return None, meta
    return tick, {name: value for name, value in meta.items() if name != TICK}


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
