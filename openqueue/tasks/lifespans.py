"""What lives as long as a worker does, and that its tasks use: a pool of connections, a model, a client.

Declared in a module that the worker imports. They are opened one after the other before the worker takes in
work, and closed in the opposite order once nothing runs any longer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from inspect import isasyncgenfunction
from types import TracebackType
from typing import Any, Self, TypeVar

from openqueue.errors import ConfigError, InvalidOption

__all__ = [
    "Lifespan",
    "Lifespans",
    "State",
    "check_lifespans",
    "declared_lifespans",
    "living",
    "worker_lifespan",
]

Yielded = Mapping[str, Any] | None
Lifespan = Callable[[], AsyncIterator[Yielded]] | Callable[[], AbstractAsyncContextManager[Yielded]]
"""A function without arguments with one `yield`: of nothing, or of a dict that tasks find in `ctx.state`."""

L = TypeVar("L", bound=Lifespan)

_declared: list[Lifespan] = []


def worker_lifespan(function: L, /) -> L:
    """Run this around the life of every worker that this process opens from now on.

    ``@worker_lifespan async def pool(): async with make_pool() as pool: yield {"pool": pool}``, and in
    tasks `ctx.state.pool`. They begin in the order of their declaration and end in the opposite one; one that
    fails stops the start. (`openqueue.lifespan` is something else: a client for web applications.)
    Raises InvalidOption for what is no such function.
    """
    check_lifespans([function], "worker_lifespan")
    if not any(_place(one) == _place(function) for one in _declared):
        _declared.append(function)
    return function


def declared_lifespans() -> tuple[Lifespan, ...]:
    """Those declared in this process so far, in order."""
    return tuple(_declared)


def check_lifespans(given: Iterable[Any], option: str) -> tuple[Lifespan, ...]:
    """Refuse what cannot be one, where it is written. Raises InvalidOption."""
    found = tuple(given)
    for one in found:
        if not (isasyncgenfunction(one) or isasyncgenfunction(getattr(one, "__wrapped__", None))):
            raise InvalidOption(
                f"{option}: {one!r} is no lifespan. Write `async def name():` with one `yield` in it.",
                option=option,
            )
    return found


class State(Mapping[str, Any]):
    """What the lifespans of a worker yield, by attribute or by key: `ctx.state.pool`."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values = dict(values or {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            there = f"There are: {', '.join(self)}." if self._values else "None yields anything here."
            raise AttributeError(f"ctx.state.{name}: no worker_lifespan yields it. {there}") from None

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"State({', '.join(self)})"


class Lifespans:
    """Those of one worker, which are open within the block; what they yield goes into `state`."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._stack = AsyncExitStack()
        self._open: dict[str, str] = {}
        self._entered: list[Lifespan] = []

    async def enter(self, lifespans: Iterable[Lifespan]) -> None:
        """Open those that are not open yet. Raises ConfigError, which names the one that failed."""
        for one in lifespans:
            if one not in self._entered:
                self._entered.append(one)
                await self._enter(one)

    async def _enter(self, lifespan: Lifespan) -> None:
        name = _name(lifespan)
        made: Any = asynccontextmanager(lifespan) if isasyncgenfunction(lifespan) else lifespan
        try:
            yielded = await self._stack.enter_async_context(made())
        except Exception as error:
            raise ConfigError(
                f"the worker_lifespan {name} failed, so the worker does not start:"
                f" {type(error).__name__}: {error}"
            ) from error
        if yielded is None:
            return
        if not isinstance(yielded, Mapping) or not all(isinstance(key, str) for key in yielded):
            raise ConfigError(
                f"the worker_lifespan {name} must yield a dict by names, or nothing: not {yielded!r:.200}."
            )
        for key, value in yielded.items():
            if key in self._open:
                raise ConfigError(
                    f"two worker_lifespans yield {key!r}: {self._open[key]} and {name}. Rename one of them."
                )
            self._open[key] = name
            self._state._values[key] = value

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, trace)


@asynccontextmanager
async def living(lifespans: Iterable[Lifespan], state: State) -> AsyncIterator[None]:
    """Within the block they are open, and `state` has what they yield. Raises ConfigError."""
    async with Lifespans(state) as opened:
        await opened.enter(lifespans)
        yield


def _name(lifespan: Lifespan) -> str:
    return f"{getattr(lifespan, '__module__', '?')}.{getattr(lifespan, '__qualname__', lifespan)}"


def _place(lifespan: Any) -> object:
    """One function of one file, however often it is imported, is one lifespan; a closure is its own."""
    inner = getattr(lifespan, "__wrapped__", lifespan)
    return inner if inner.__closure__ else inner.__code__
