"""What a task needs to be enqueued: an item to hand over, and somebody who takes it.

`runs.client` implements `Enqueuer`. Who it is, is asked in this order: `current`, which the worker
sets while a task runs and `using` sets in a block; else the process-wide default, which opens a client
from the settings when it is first needed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from openqueue.codec import encode
from openqueue.errors import InvalidArguments, InvalidOption
from openqueue.forks import finish_imports_before_forks
from openqueue.tasks.checks import check_text
from openqueue.tasks.options import NO_OPTIONS, EnqueueOptions

if TYPE_CHECKING:
    from openqueue.runs.model import Run
    from openqueue.tasks.task import Task

__all__ = [
    "Enqueuer",
    "Item",
    "Provider",
    "SyncEnqueuer",
    "current",
    "current_sync",
    "enqueuer",
    "set_default",
    "set_default_sync",
    "sync_enqueuer",
    "using",
]

R = TypeVar("R")


@dataclass(slots=True)
class Item(Generic[R]):
    """One run to be: what is run (a task, or the name of one), its input as JSON text, its options.

    `concurrency_key` is what the task makes of the input; the options may say otherwise.
    """

    what: Task[..., R] | str
    input: str
    options: EnqueueOptions = NO_OPTIONS
    concurrency_key: str | None = None

    @property
    def task(self) -> str:
        """The task's name, as it is now: the settings that are read with the first client may change it."""
        return self.what if isinstance(self.what, str) else self.what.name

    @property
    def declared(self) -> Task[..., R] | None:
        """The task where it is known in this process; its options win over the catalogue's."""
        return None if isinstance(self.what, str) else self.what

    @staticmethod
    def named(task: str, payload: Mapping[str, Any] | None = None, /, **options: Any) -> Item[Any]:
        """An item for a task known by name only; `payload` has its arguments by name, not validated here.

        Raises InvalidOption, InvalidArguments (not an object) or NotSerializable.
        """
        check_text(task, "task")
        if payload is not None and not isinstance(payload, Mapping):
            raise InvalidArguments(
                f"{task}: the input must be a dict with the arguments by name, not {type(payload).__name__}.",
                field="input",
            )
        try:
            chosen = EnqueueOptions.of(**options)
        except InvalidOption as error:
            if error.option not in options or hasattr(NO_OPTIONS, error.option):
                raise
            told = f"{error} Arguments go in a dict: {{{error.option!r}: ...}}."
            raise InvalidOption(told, option=error.option) from None
        return Item(task, encode(payload or {}, what="input"), chosen)


class Enqueuer(Protocol):
    """Takes items and answers with runs."""

    async def enqueue(self, item: Item[R], /, *, connection: object | None = None) -> Run[R]:
        """Enqueue one, in the transaction of the caller's `connection` if given."""
        ...

    async def enqueue_many(
        self, items: Iterable[Item[Any]], *, connection: object | None = None
    ) -> list[Run[Any]]:
        """Enqueue all in one statement; the runs are in the order of the items."""
        ...


class SyncEnqueuer(Protocol):
    """The same for code that cannot await; a connection is then one of a synchronous driver."""

    def enqueue(self, item: Item[R], /, *, connection: object | None = None) -> Run[R]:
        """Enqueue one, in the transaction of the caller's `connection` if given."""
        ...

    def enqueue_many(self, items: Iterable[Item[Any]], *, connection: object | None = None) -> list[Run[Any]]:
        """Enqueue all in one statement; the runs are in the order of the items."""
        ...


Provider = Callable[[], Awaitable[Enqueuer]]

current: ContextVar[Enqueuer | None] = ContextVar("openqueue_enqueuer", default=None)
"""Who takes items here and now; None: the default."""

current_sync: ContextVar[SyncEnqueuer | None] = ContextVar("openqueue_sync_enqueuer", default=None)
"""Who takes those of code that cannot await; set together with `current`."""

_default: Provider | None = None
_default_sync: SyncEnqueuer | None = None


async def enqueuer() -> Enqueuer:
    """Who takes items now."""
    here = current.get()
    if here is not None:
        return here
    return await (_default or _from_settings())()


def set_default(provider: Provider | None) -> Provider | None:
    """Make `provider` the process-wide default (None: a client from the settings); returns the one before."""
    global _default
    before, _default = _default, provider
    return before


def sync_enqueuer() -> SyncEnqueuer:
    """Who takes the items of code that cannot await."""
    return current_sync.get() or _default_sync or _sync_from_settings()


def set_default_sync(taker: SyncEnqueuer | None) -> SyncEnqueuer | None:
    """As `set_default`, for code that cannot await."""
    global _default_sync
    before, _default_sync = _default_sync, taker
    return before


@contextmanager
def using(taker: Enqueuer, sync: SyncEnqueuer | None = None) -> Iterator[None]:
    """Within the block, and in tasks started there, hand items to `taker`, or to `sync` without await."""
    tokens = current.set(taker), current_sync.set(sync)
    try:
        yield
    finally:
        current.reset(tokens[0])
        current_sync.reset(tokens[1])


def _from_settings() -> Provider:
    """The default client: the one place where a lower room asks a higher one, by its name."""
    provider: Provider = import_module("openqueue.clients").default_enqueuer
    return provider


def _sync_from_settings() -> SyncEnqueuer:
    taker: SyncEnqueuer = import_module("openqueue.clients").default_sync_client
    return taker


finish_imports_before_forks()  # who takes items is imported by the first call, in whatever thread that is
