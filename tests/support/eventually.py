"""Waiting for what must become true."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

PATIENCE = 120.0
"""Seconds that a test waits for what must come. It is no promise of anybody's: a busy machine takes long."""


async def eventually(
    look: Callable[[], Any], *, timeout: float = PATIENCE, every: float = 0.01, what: str = ""
) -> Any:
    """The first answer of `look` that is true. Fails, saying the last one, when there is none in time."""
    deadline = time.monotonic() + timeout
    while True:
        answer = look()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what or look}; last seen: {answer!r}"
        await asyncio.sleep(every)
