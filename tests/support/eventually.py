"""Waiting for what must become true."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def eventually(
    look: Callable[[], T] | Callable[[], Awaitable[T]],
    *,
    timeout: float = 10.0,
    every: float = 0.01,
    what: str = "",
) -> T:
    """The first answer of `look` that is true. Fails, saying the last one, when there is none in time."""
    deadline = time.monotonic() + timeout
    while True:
        found = look()
        answer: T = await found if inspect.isawaitable(found) else found  # type: ignore[assignment]
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what or look}; last seen: {answer!r}"
        await asyncio.sleep(every)
