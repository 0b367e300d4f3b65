"""Django's connections around tasks: as it does around a request, those too old or broken are closed."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

__all__ = ["in_order"]


def in_order(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with `close_old_connections` before and after, in the thread that has the connections."""
    return _async(function) if iscoroutinefunction(function) else _sync(function)


def _sync(function: Callable[..., Any]) -> Callable[..., Any]:
    from django.db import close_old_connections

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        close_old_connections()
        try:
            return function(*args, **kwargs)
        finally:
            close_old_connections()

    return call


def _async(function: Callable[..., Any]) -> Callable[..., Any]:
    """Django's asynchronous queries run in one thread, that of `sync_to_async`."""
    from asgiref.sync import sync_to_async
    from django.db import close_old_connections

    close = sync_to_async(close_old_connections)

    @wraps(function)
    async def call(*args: Any, **kwargs: Any) -> Any:
        await close()
        try:
            return await function(*args, **kwargs)
        finally:
            await close()

    return call
