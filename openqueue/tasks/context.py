"""What a running task may know of its run, and say about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, ParamSpec, TypeVar, overload
from uuid import UUID

from openqueue.errors import InvalidArguments, OpenQueueError
from openqueue.tasks import enqueuer as enqueuers
from openqueue.tasks.cancellation import Cancellation
from openqueue.tasks.carrier import without_carrier
from openqueue.tasks.checks import check_object
from openqueue.tasks.enqueuer import Enqueuer, Item, SyncEnqueuer
from openqueue.tasks.lifespans import State
from openqueue.tasks.runlog import EmitLog, RunLog
from openqueue.tasks.tick import Tick, without_tick

if TYPE_CHECKING:
    from openqueue.runs.model import Run
    from openqueue.tasks.task import Configured, Task

__all__ = ["Context", "EmitProgress"]

P = ParamSpec("P")
R = TypeVar("R")

EmitProgress = Callable[[dict[str, Any]], None]
"""Called with a patch: a JSON object that can be stored."""


def _say_nothing(*said: object) -> None:
    """Where log and progress go when nobody listens."""


class Context:
    """Handed to the parameter annotated `Context`; one for each attempt.

    run_id, task, queue, namespace   which run this is
    attempt, max_attempts            this try (from 1) and how many there may be
    meta, tags                       as enqueued
    scheduled_at                     when it was due
    tick                             the schedule's tick it belongs to; None without a schedule
    carrier                          the trace of who enqueued it, as W3C headers; empty without tracing
    state                            what the worker's lifespans yield: `ctx.state.pool`
    log                              a logger whose lines are kept with the run
    cancelled                        set when the run is to stop; may be waited for, also in a thread
    """

    __slots__ = (
        "_emit_progress",
        "_enqueuer",
        "_items",
        "_log",
        "_loop",
        "_open_log",
        "_sync",
        "attempt",
        "cancelled",
        "carrier",
        "max_attempts",
        "meta",
        "namespace",
        "queue",
        "run_id",
        "scheduled_at",
        "state",
        "tags",
        "task",
        "tick",
    )

    injected: ClassVar[Context]
    """A default by which type checkers let callers leave it out: `ctx: Context = Context.injected`."""

    def __init__(
        self,
        *,
        run_id: UUID,
        task: str,
        queue: str = "default",
        namespace: str = "default",
        attempt: int = 1,
        max_attempts: int = 25,
        meta: Mapping[str, Any] | None = None,
        tags: tuple[str, ...] = (),
        scheduled_at: datetime | None = None,
        tick: Tick | None = None,
        emit_log: EmitLog = _say_nothing,
        open_log: Callable[[], RunLog] | None = None,
        emit_progress: EmitProgress = _say_nothing,
        enqueuer: Enqueuer | None = None,
        cancelled: Cancellation | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        sync: SyncEnqueuer | None = None,
        state: State | None = None,
        items: tuple[Context, ...] = (),
    ) -> None:
        """Made by the worker; `loop` or `sync` is where `enqueue_sync` lets the work be done.

        `open_log` makes the log when it is first used; else its lines go to `emit_log`.
        """
        self.run_id = run_id
        self.task = task
        self.queue = queue
        self.namespace = namespace
        self.attempt = attempt
        self.max_attempts = max_attempts
        told, rest = without_tick(meta)
        self.carrier, self.meta = without_carrier(rest)
        self.tags = tags
        self.scheduled_at = scheduled_at
        self.tick = told if tick is None else tick
        self.cancelled = Cancellation() if cancelled is None else cancelled
        self._open_log = open_log or partial(RunLog, emit_log)
        self._emit_progress = emit_progress
        self._enqueuer = enqueuer
        self._loop = loop
        self._sync = sync
        self.state = State() if state is None else state
        self._log: RunLog | None = None
        self._items = items

    @property
    def items(self) -> tuple[Context, ...]:
        """One Context for each run of the call, in order: several only where the task has `batch=`.

        Then the fields of this one are those of the first; its log lines and progress go to all of them, and
        it is `cancelled` when all of them are.
        """
        return self._items or (self,)

    @property
    def log(self) -> RunLog:
        """The run's log: `ctx.log.info("sent", to=to)`. A thousand lines of 8 KiB are kept."""
        if self._log is None:
            self._log = self._open_log()
        return self._log

    def progress(self, patch: Mapping[str, Any]) -> None:
        """Merge a JSON object into the run's `progress`, deeply. Raises InvalidOption for what is not one."""
        self._emit_progress(check_object(patch, "progress"))

    @overload
    async def enqueue(
        self, task: Task[P, R] | Configured[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Run[R]: ...
    @overload
    async def enqueue(self, item: Item[R], /) -> Run[R]: ...
    @overload
    async def enqueue(
        self, name: str, payload: Mapping[str, Any] | None = None, /, **options: Any
    ) -> Run[Any]: ...
    async def enqueue(self, what: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Enqueue a task with its arguments, an item, or by name with an input and options."""
        taker = self._enqueuer or await enqueuers.enqueuer()
        return await taker.enqueue(_item(what, args, kwargs))

    @overload
    def enqueue_sync(
        self, task: Task[P, R] | Configured[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Run[R]: ...
    @overload
    def enqueue_sync(self, item: Item[R], /) -> Run[R]: ...
    @overload
    def enqueue_sync(
        self, name: str, payload: Mapping[str, Any] | None = None, /, **options: Any
    ) -> Run[Any]: ...
    def enqueue_sync(self, what: Any, /, *args: Any, **kwargs: Any) -> Any:
        """The same from a `def` task, in a thread or a process; blocks until it is enqueued."""
        if self._sync is not None:
            return self._sync.enqueue(_item(what, args, kwargs))
        if self._loop is None or self._loop is asyncio._get_running_loop():
            raise OpenQueueError(
                "enqueue_sync is for tasks in threads. Where the event loop runs: `await ctx.enqueue(...)`."
            )
        return asyncio.run_coroutine_threadsafe(self.enqueue(what, *args, **kwargs), self._loop).result()

    def __repr__(self) -> str:
        return f"<Context of {self.task} {self.run_id}, attempt {self.attempt} of {self.max_attempts}>"


class _Injected(Context):
    """Stands for the Context to come; a function that is called directly and uses it is told so."""

    __slots__ = ()

    def __init__(self) -> None:
        """Set nothing: every field is missing."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise OpenQueueError(
            f"ctx.{name.lstrip('_')}: there is no Context: the function was called directly. Pass one."
        )

    def __repr__(self) -> str:
        return "Context.injected"


Context.injected = _Injected()


def _item(what: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Item[Any]:
    if isinstance(what, str):
        return Item.named(what, *args, **kwargs)
    if isinstance(what, Item):
        return what
    if hasattr(what, "item"):
        item: Item[Any] = what.item(*args, **kwargs)
        return item
    raise InvalidArguments(
        f"enqueue: {what!r} is not a task. Give a task and its arguments, an item, or a task's name.",
        field="task",
    )
