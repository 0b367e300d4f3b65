"""What is done around every attempt: timing, logging, context variables, connections, refusals.

A middleware is called in the worker's event loop, with the attempt's Context and a function that goes on: to
the next middleware, and in the end to the task. What it returns is the attempt's result and what it raises
is the attempt's error, whichever kind of task it is.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from openqueue.errors import InvalidOption, shown

if TYPE_CHECKING:
    from openqueue.tasks.context import Context

__all__ = ["CallNext", "Middleware", "check_middleware", "declared_middleware", "in_order", "middleware"]


class CallNext(Protocol):
    """Goes on, to the next middleware and in the end to the task; answers with what it returned.

    Of a task in a process that is what JSON knows of it. May be called again, for another try.
    """

    def __call__(self) -> Awaitable[Any]: ...


if TYPE_CHECKING:
    Middleware = Callable[[Context, CallNext], Awaitable[Any]]
    M = TypeVar("M", bound=Middleware)
else:
    Middleware = Callable[..., Awaitable[Any]]
    M = TypeVar("M")

_declared: list[Middleware] = []


def middleware(function: M, /) -> M:
    """Put this around every attempt of the workers that this process opens from now on.

    ``@middleware async def timed(ctx: Context, call_next: CallNext) -> Any: return await call_next()``. The
    first one declared is the outermost; then come those of `Worker(middleware=[...])`, then those of
    `@task(middleware=[...])`. Raises InvalidOption for what is no coroutine function of two arguments.
    """
    (checked,) = check_middleware([function], "middleware")
    if not any(_is_same(checked, one) for one in _declared):
        _declared.append(checked)
    return function


def declared_middleware() -> tuple[Middleware, ...]:
    """Those declared in this process so far, outermost first."""
    return tuple(_declared)


def check_middleware(given: Any, option: str) -> tuple[Middleware, ...]:
    """Refuse what cannot be called as a middleware, where it is written. Raises InvalidOption."""
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise InvalidOption(f"{option}: must be a list of middleware, not {shown(given)}.", option=option)
    found = tuple(given)
    for one in found:
        if not (iscoroutinefunction(one) or iscoroutinefunction(getattr(one, "__call__", None))):  # noqa: B004
            raise InvalidOption(
                f"{option}: {one!r} is no middleware. Write `async def name(ctx, call_next):` and return"
                " `await call_next()`.",
                option=option,
            )
    return found


def in_order(around: Iterable[Middleware], context: Context, call: CallNext) -> CallNext:
    """The call with everything around it; the first is the outermost."""
    for one in reversed([*around]):
        call = partial(one, context, call)
    return call


def _is_same(new: Middleware, old: Middleware) -> bool:
    """Whether it is the same function of the same file, imported under two names (as tasks may be)."""
    codes = [getattr(one, "__code__", one) for one in (new, old)]
    names = [getattr(one, "__module__", "") for one in (new, old)]
    same_place = codes[0] == codes[1] and names[0] != names[1]
    return new is old or (same_place and all(name in sys.modules for name in names))
