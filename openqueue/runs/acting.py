"""Acting on runs by hand, one or all that a filter chooses: who did it and why is noted (`audit`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from openqueue.codec import decode, encode
from openqueue.db.pool import Database
from openqueue.errors import InvalidOption, did_you_mean
from openqueue.runs.catalogue import Catalogue
from openqueue.runs.filter import RunFilter
from openqueue.runs.history import find_ids
from openqueue.runs.states import STATUSES
from openqueue.tasks.checks import check_object, check_text, check_uuid, check_whole
from openqueue.tasks.enqueuer import Item

__all__ = ["ACTIONS", "DONE", "Acted", "Acting", "Action", "AuditEntry"]

Action = Literal["cancel", "retry", "promote", "move", "prioritize", "rerun", "delete"]
ACTIONS: Final = ("cancel", "retry", "promote", "move", "prioritize", "rerun", "delete")
DONE: Final = frozenset({"cancelled", "cancelling", "ready", "moved", "added", "deleted"})
"""The answers that mean that something was done."""

BATCH: Final = 200
"""Runs in one transaction."""


@dataclass(slots=True)
class Acted:
    """What was done. `answers` counts them; `made` are the runs that a rerun has made, now or before."""

    done: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    made: list[UUID] = field(default_factory=list)

    @property
    def seen(self) -> int:
        """How many runs were looked at."""
        return self.answers.total()


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Who did what to which runs, when and why."""

    id: int
    at: datetime
    action: str
    actor: str
    reason: str | None
    runs: tuple[UUID, ...]
    details: Mapping[str, Any]


class Acting:
    """Cancel, retry, promote, move, prioritize, rerun or delete runs; `client.acting`."""

    def __init__(self, database: Database, namespace: str) -> None:
        self._database = database
        self._namespace = namespace
        self._catalogue = Catalogue(database, namespace)

    async def act(
        self,
        action: Action,
        what: RunFilter | Iterable[UUID],
        *,
        reason: str | None = None,
        actor: str | None = None,
        expected: Sequence[str] | None = None,
        queue: str | None = None,
        priority: int | None = None,
        input: Mapping[str, Any] | None = None,  # noqa: A002  as in RunInfo
        once: str | None = None,
        progress: Callable[[Acted], None] | None = None,
    ) -> Acted:
        """Do it to these runs, or to all that the filter chooses (its `limit` is not looked at).

        In batches of 200, each a transaction; `progress` is called after each. If it is interrupted, the same
        call goes on: what was done is not chosen any more, or doing it again changes nothing. A `rerun` makes
        new runs each time, unless it has a name (`once`): by one name a run is run again once, and what it
        made is not; the answer is 'repeated'. Only to runs that are in one of the `expected` statuses, if
        given. `queue` is where to move, `priority` which to set, `input` that of the new run (rerun). `actor`
        is who is said to do it, by default the database's user. Raises InvalidOption, and InvalidArguments
        before a batch in which is a run whose task would not take the `input`, by what its workers have
        published.
        """
        options = checked(
            action,
            reason=reason,
            actor=actor,
            expected=expected,
            queue=queue,
            priority=priority,
            input=input,
            once=once,
        )
        more = (reason, actor, None if expected is None else list(expected), encode(options, what="options"))
        acted = Acted()
        async for ids in self._batches(what):
            if input is not None:
                await self._check_input(ids, input)
            rows = await self._database.fetch("act_on_runs", action, ids, *more, self._namespace)
            acted.answers.update(row["outcome"] for row in rows)
            acted.done += sum(row["outcome"] in DONE for row in rows)
            acted.made += [row["made"] for row in rows if row["made"] is not None]
            if progress is not None:
                progress(acted)
        return acted

    async def check_input(self, what: RunFilter, input: Mapping[str, Any]) -> None:  # noqa: A002  as in RunInfo
        """Raise InvalidArguments as a rerun of the first runs that the filter chooses would."""
        async for ids in self._batches(what):
            await self._check_input(ids, input)
            return

    async def audit(
        self, run: UUID | None = None, *, before: int | None = None, limit: int = 50
    ) -> Sequence[AuditEntry]:
        """What was done by hand, newest first; to one run, or to any. `before`: the id of the last one."""
        check_whole(1, 10_000)(limit, "limit")
        one = None if run is None else check_uuid(run, "run")
        rows = await self._database.fetch("audit", self._namespace, one, before, limit)
        return [
            AuditEntry(**{**dict(row), "runs": tuple(row["runs"]), "details": decode(row["details"])})
            for row in rows
        ]

    async def _check_input(self, ids: Sequence[UUID], given: Mapping[str, Any]) -> None:
        for row in await self._database.fetch("tasks_of_runs", self._namespace, ids):
            await self._catalogue.check(Item.named(row["task"], given), allow_unknown=True)

    async def _batches(self, what: RunFilter | Iterable[UUID]) -> Any:
        if not isinstance(what, RunFilter):
            if isinstance(what, str | UUID):
                raise InvalidOption(f"what: {what!r} must be a list of ids, or a RunFilter.", option="what")
            ids = [check_uuid(one, "what") for one in what]
            for start in range(0, len(ids), BATCH):
                yield ids[start : start + BATCH]
            return
        chosen = replace(what, limit=BATCH)
        while True:
            found, cursor, _ = await find_ids(self._database, self._namespace, chosen)
            if found:
                yield found
            if cursor is None:
                return
            chosen = replace(chosen, before=None, after=cursor)


def checked(
    action: str,
    *,
    reason: str | None = None,
    actor: str | None = None,
    expected: Sequence[str] | None = None,
    queue: str | None = None,
    priority: int | None = None,
    input: Mapping[str, Any] | None = None,  # noqa: A002  as in RunInfo
    once: str | None = None,
) -> dict[str, Any]:
    """What the action needs besides, as SQL has it.

    Raises InvalidOption for what it lacks, does not take, or is not what it should be.
    """
    for name, text in {"reason": reason, "actor": actor}.items():
        if text is not None:
            check_text(text, name)
    known = [state.status for state in STATUSES]
    for status in expected or ():
        if status not in known:
            raise InvalidOption(
                f"expected: there is no status {status!r}.{did_you_mean(status, known)}", option="expected"
            )
    return _options(action, queue, priority, input, once)


def _options(
    action: str,
    queue: str | None,
    priority: int | None,
    given: Mapping[str, Any] | None,
    once: str | None,
) -> dict[str, Any]:
    if action not in ACTIONS:
        raise InvalidOption(f"action: {action!r} is not one of {', '.join(ACTIONS)}.", option="action")
    values = {"queue": queue, "priority": priority, "input": given}
    needs = {"move": "queue", "prioritize": "priority", "rerun": "input"}.get(action)
    for name, value in values.items():
        if (value is None) == (name == needs):
            said = f"{action} needs it" if name == needs else f"{action} does not take it"
            raise InvalidOption(f"{name}: {said}.", option=name)
    if once is not None:
        check_text(once, "once")
        if action != "rerun":
            raise InvalidOption(f"once: {action} does not take it.", option="once")
    if queue is not None:
        check_text(queue, "queue")
    if priority is not None:
        check_whole(-32768, 32767)(priority, "priority")
    if given is not None:
        check_object(given, "input")
    return {name: value for name, value in {**values, "once": once}.items() if value is not None}
