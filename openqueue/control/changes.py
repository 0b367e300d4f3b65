"""One thing that is said: of what, and what. Checked here, so that what is wrong is named as it was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Final

from openqueue.codec import encode
from openqueue.durations import Duration, is_number
from openqueue.errors import InvalidOption, shown
from openqueue.rates import RateWords, parse_rate
from openqueue.tasks.checks import check_choice, check_lasting, check_moment, check_text, check_whole

__all__ = [
    "FAIRNESS",
    "KEPT",
    "MOST",
    "Change",
    "Kept",
    "check_queue",
    "check_weights",
    "limited",
    "paused",
    "resumed",
    "scope",
    "shared",
]

FAIRNESS: Final = ("strict", "round_robin", "weighted")
MOST: Final = 1_000_000_000

Scope = tuple[str, str, str]
"""Kind, name, and the queue of a group."""


class Kept(Enum):
    """What was not given stays as it is."""

    KEPT = "kept"

    def __repr__(self) -> str:
        return "KEPT"


KEPT: Final = Kept.KEPT


@dataclass(frozen=True, slots=True)
class Change:
    """What is said anew of a scope; a value of None is taken back. `pause`: seconds until a pause ends."""

    kind: str
    name: str
    queue: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    pause: float | None = None

    def row(self) -> tuple[str, str, str, str, float | None]:
        """Its place in the columns of `set_controls`."""
        return self.kind, self.name, self.queue, encode(dict(self.values), what="control"), self.pause

    def item(self) -> dict[str, Any]:
        """The same for `publish_controls`."""
        return {"kind": self.kind, "name": self.name, "queue": self.queue, "change": dict(self.values)}


def scope(
    *,
    queue: str | None = None,
    task: str | None = None,
    key: str | None = None,
    group: Sequence[str] | None = None,
    everything: bool = False,
) -> Scope:
    """The one that was named. Raises InvalidOption unless it is exactly one."""
    given = {"queue": queue, "task": task, "key": key, "group": group}
    named = {name: value for name, value in given.items() if value is not None}
    if len(named) + bool(everything) != 1:
        both = " and ".join([*named, *(["everything"] if everything else [])])
        raise InvalidOption(
            f"{both or 'queue'}: say of one thing at a time what is meant: queue= or task=, for example.",
            option=next(iter(named), "queue"),
        )
    if everything:
        return "all", "", ""
    ((kind, value),) = named.items()
    if kind == "queue":
        return kind, check_queue(value, kind), ""
    if kind != "group":
        return kind, check_text(value, kind), ""
    pair: Any = value
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise InvalidOption(
            f"group: {shown(value)} must be its queue and itself, such as ('mail', 'customer 42').",
            option="group",
        )
    return "group", check_text(pair[1], "group[1]"), check_queue(pair[0], "group[0]")


def paused(one: Scope, until: Duration | datetime | None, reason: str | None) -> Change:
    """Nothing more begins of it."""
    values: dict[str, Any] = {"reason": None if reason is None else check_text(reason, "reason")}
    if until is None:
        return Change(*one, {**values, "paused_until": "infinity"})
    if isinstance(until, datetime):
        return Change(*one, {**values, "paused_until": check_moment(until, "until").isoformat()})
    return Change(*one, values, check_lasting(until, "until").total_seconds())


def resumed(one: Scope) -> Change:
    """Its pause is over."""
    return Change(*one, {"paused_until": None, "reason": None})


def limited(
    one: Scope, concurrency: int | Kept | None, rate: RateWords | Kept | None, burst: int | None
) -> Change:
    """So many at once, so many in a period. Raises InvalidOption if it says nothing."""
    values: dict[str, Any] = {}
    if not isinstance(concurrency, Kept):
        values["concurrency"] = (
            None if concurrency is None else check_whole(0, MOST)(concurrency, "concurrency")
        )
    if not isinstance(rate, Kept):
        found = None if rate is None else parse_rate(rate, field="rate")
        values["rate"] = found and found.count
        values["period"] = found and f"{found.period.total_seconds():f} s"
        values["burst"] = None
    if burst is not None:
        if values.get("rate") is None:
            raise InvalidOption(
                "burst: belongs to a rate: give both, such as rate='100/1m', burst=20.", option="burst"
            )
        values["burst"] = check_whole(1, MOST)(burst, "burst")
    if not values:
        raise InvalidOption(
            "concurrency: nothing is said. Give concurrency= or rate=; None takes one back.",
            option="concurrency",
        )
    return Change(*one, values)


def shared(
    queue: str,
    fairness: str | Kept | None,
    weights: Mapping[str, float | None] | None,
    ageing: Duration | Kept | None,
) -> list[Change]:
    """How a queue's jobs take turns: of the queue itself, and of its groups."""
    queue = check_queue(queue, "queue")
    values: dict[str, Any] = {}
    if not isinstance(fairness, Kept):
        values["fairness"] = None if fairness is None else check_choice(*FAIRNESS)(fairness, "fairness")
    if not isinstance(ageing, Kept):
        found = None if ageing is None else check_lasting(ageing, "ageing")
        values["ageing"] = found and f"{found.total_seconds():f} s"
    changes = [Change("queue", queue, "", values)] if values else []
    changes += [
        Change("group", group, queue, {"weight": weight})
        for group, weight in check_weights(weights or {}).items()
    ]
    if not changes:
        raise InvalidOption(
            "fairness: nothing is said. Give 'strict', 'round_robin' or 'weighted', weights= or ageing=.",
            option="fairness",
        )
    return changes


def check_queue(value: Any, option: str) -> str:
    """The name of one queue."""
    if check_text(value, option) == "*":
        raise InvalidOption(
            f"{option}: '*' is no queue. Say which one; everything=True (--all) pauses them together.",
            option=option,
        )
    return str(value)


def check_weights(weights: Any, option: str = "weights") -> dict[str, float | None]:
    """Weights of groups, 0.001 to 1000; None takes one back."""
    if not isinstance(weights, Mapping):
        raise InvalidOption(
            f"{option}: {shown(weights)} must be a dict, such as {{'gold': 3}}.", option=option
        )
    for group, weight in weights.items():
        check_text(group, option)
        if weight is not None and not (is_number(weight) and 0.001 <= weight <= 1000):
            raise InvalidOption(
                f"{option}[{group!r}]: {shown(weight)} is not a weight: give 0.001 to 1000.",
                option=f"{option}[{group!r}]",
            )
    return dict(weights)
