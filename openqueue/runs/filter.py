"""Which runs are meant: what may be asked of them, checked when it is said."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from openqueue.errors import InvalidOption, did_you_mean
from openqueue.runs.states import ENDED, STATUSES
from openqueue.tasks.checks import check_object, check_uuid

__all__ = ["SORTS", "RunFilter", "Sort"]

Sort = Literal["created", "finished"]
SORTS: Final = ("created", "finished")

_ID: Final = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"
_CURSOR: Final = {"created": re.compile(_ID), "finished": re.compile(rf"-?[0-9]{{1,18}}~{_ID}")}

_TIMES: Final = {
    "since": "created_from",
    "until": "created_before",
    "started_since": "started_from",
    "started_until": "started_before",
    "finished_since": "finished_from",
    "finished_until": "finished_before",
}
"""Fields of a filter that are times, and what SQL calls them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs; all that is given must hold. Checked when made: raises InvalidOption.

    status          any of these
    meta            contained in the run's meta, nested too
    tags            any of these
    since, until    created from, created before; the same of `started_…` and `finished_…`
    schedule        of the ticks of the schedule of this key, those fired by hand and afterwards too
    worker          ended by this worker (with status 'running': what it has now): its id, or the name of
                    one that lives
    key             enqueued with this key
    error           ended with an error of this type: 'TimeoutError'
    text            the error has this in its type, message or traceback; needs a time from which
    sort            'created' or 'finished'; by itself 'finished' for a finished time, and for what a worker
                    has ended
    oldest_first    the other way round
    before          only runs older than this one: the last of the page before, if the newest come first
    after           only what comes behind this cursor of a page, in its order
    limit           1 … 10,000
    """

    task: str | None = None
    queue: str | None = None
    status: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    started_since: datetime | None = None
    started_until: datetime | None = None
    finished_since: datetime | None = None
    finished_until: datetime | None = None
    schedule: str | None = None
    worker: str | None = None
    key: str | None = None
    error: str | None = None
    text: str | None = None
    sort: Sort | None = None
    oldest_first: bool = False
    before: UUID | None = None
    after: str | None = None
    limit: int = 50

    def __post_init__(self) -> None:
        self._check_words()
        self._check_times()
        self._check_place()

    @property
    def order(self) -> Sort:
        """By which time the runs come."""
        ended = self.finished_since or self.finished_until or (self.worker and not self._unfinished)
        return self.sort or ("finished" if ended else "created")

    @property
    def _unfinished(self) -> list[str]:
        return [status for status in self.status if status not in ENDED]

    def words(self) -> dict[str, Any]:
        """The filter as SQL has it; times as text."""
        said: dict[str, Any] = {
            "task": [self.task] if self.task is not None else None,
            "queue": [self.queue] if self.queue is not None else None,
            "status": list(self.status) or None,
            "schedule": self.schedule,
            "worker": self.worker,
            "key": self.key,
            "meta": dict(self.meta) or None,
            "tags": list(self.tags) or None,
            "error_type": self.error,
            "error_text": self.text,
        }
        for name, word in _TIMES.items():
            moment: datetime | None = getattr(self, name)
            said[word] = None if moment is None else moment.isoformat()
        return {word: value for word, value in said.items() if value is not None}

    def _check_words(self) -> None:
        for name in ("status", "tags"):
            if isinstance(word := getattr(self, name), str):
                raise InvalidOption(f"{name}: {word!r} must be a tuple: ({word!r},).", option=name)
        check_object(self.meta, "meta")
        known = [state.status for state in STATUSES]
        for status in self.status:
            if status not in known:
                near = did_you_mean(status, known) or f" Known are {', '.join(known)}."
                raise InvalidOption(f"status: there is no status {status!r}.{near}", option="status")
        if not 1 <= self.limit <= 10_000:
            raise InvalidOption(f"limit: {self.limit} is not between 1 and 10,000.", option="limit")
        unfinished = self._unfinished
        if unfinished and (self.error is not None or self.text is not None or self.order == "finished"):
            option = "error" if self.error is not None else "text" if self.text is not None else "sort"
            what = "sorted by their end" if option == "sort" else "have an error"
            raise InvalidOption(
                f"{option}: only runs that have ended {what if option != 'sort' else 'can be ' + what};"
                f" leave out status {unfinished[0]!r}.",
                option=option,
            )

    def _check_times(self) -> None:
        for name in _TIMES:
            moment: Any = getattr(self, name)
            if moment is not None and not isinstance(moment, datetime):
                raise InvalidOption(
                    f"{name}: {moment!r} must be a datetime, with its time zone.", option=name
                )
            if moment is not None and moment.tzinfo is None:
                raise InvalidOption(f"{name}: the time {moment} has no time zone; give one.", option=name)
        for low, high in zip(list(_TIMES)[::2], list(_TIMES)[1::2], strict=True):
            first, last = getattr(self, low), getattr(self, high)
            if first is not None and last is not None and first >= last:
                raise InvalidOption(
                    f"{high}: {last} is not after {low}, {first}: nothing lies between.", option=high
                )
        started = self.started_since or self.started_until
        late = started or self.finished_since or self.finished_until
        if late and self.oldest_first and self.order == "created" and not self.since:
            raise InvalidOption(
                "oldest_first: how long before its"
                f" {'start' if started else 'end'} a run was created cannot be known."
                " Give since, or sort by 'finished'.",
                option="oldest_first",
            )
        if self.text is not None and not (self.since or self.started_since or self.finished_since):
            raise InvalidOption(
                "text: errors are searched only within a time. Give since, or finished_since.",
                option="text",
            )

    def _check_place(self) -> None:
        if self.sort not in (None, *SORTS):
            raise InvalidOption(f"sort: {self.sort!r} is not created or finished.", option="sort")
        if self.after is not None and not _CURSOR[self.order].fullmatch(self.after):
            raise InvalidOption(
                f"after: {self.after!r} is not a cursor of a list by the time of"
                f" {'creation' if self.order == 'created' else 'the end'}; take the one that its page shows.",
                option="after",
            )
        if self.before is None:
            return
        check_uuid(self.before, "before")
        if self.after is not None or self.order != "created" or self.oldest_first:
            raise InvalidOption(
                "before: an id is a place only where the newest come first, by creation. Give after=, the"
                " cursor of the page before.",
                option="before",
            )
