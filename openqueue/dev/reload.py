"""A process that is started again whenever a source file changes.

It is stopped as an operator would stop it (SIGTERM, and once more on a second signal), and it ends by itself
when we are killed, because its standard input is a pipe that only we hold open.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

__all__ = ["Supervisor", "can_watch", "changes"]

IGNORED = (".openqueue",)

Tell = Callable[[str], None]


class Supervisor:
    """Keeps one process running until a signal comes; `changed` yields what has changed, or is None.

    A process that ends by itself is started again after the next change; without `changed` that is the end.
    """

    def __init__(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        changed: AsyncIterator[Sequence[str]] | None,
        tell: Tell,
    ) -> None:
        self._command = command
        self._env = env
        self._changed = changed
        self._tell = tell
        self._process: asyncio.subprocess.Process | None = None
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Run until SIGINT or SIGTERM; answers the last exit code."""
        with self._signals():
            while True:
                code = await self._once()
                if code is not None:
                    return code

    async def _once(self) -> int | None:
        """One life of the process; None: start it again."""
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command, env=self._env, stdin=asyncio.subprocess.PIPE, start_new_session=True
        )
        ended = asyncio.create_task(process.wait())
        change = asyncio.create_task(self._next_change())
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((ended, change, stopped), return_when=asyncio.FIRST_COMPLETED)
            if ended.done() and not stopped.done() and self._changed is not None:
                self._tell(f"The worker has ended (exit code {process.returncode}): waiting for a change.")
                await asyncio.wait((change, stopped), return_when=asyncio.FIRST_COMPLETED)
            if change.done() and not stopped.done():
                self._tell(f"{', '.join(change.result())} changed: starting the worker again.")
                self._terminate()
                await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
            code = await ended
            return code if stopped.done() or self._changed is None else None
        finally:
            for one in (change, stopped):
                one.cancel()

    async def _next_change(self) -> Sequence[str]:
        if self._changed is None:
            await asyncio.Event().wait()
        assert self._changed is not None
        return await anext(self._changed)

    def _terminate(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """A signal to us stops the process; so does every further one, in its own way."""
        loop = asyncio.get_running_loop()

        def heard() -> None:
            self._stop.set()
            self._terminate()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, heard)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def can_watch() -> bool:
    """Whether changes can be noticed (the extra `reload`)."""
    return find_spec("watchfiles") is not None


async def changes(root: Path) -> AsyncIterator[Sequence[str]]:
    """Yield the Python files below `root` that changed, as paths from there, each time some did.

    So does a new directory that has some: they may have been written before it could be watched.
    """
    from watchfiles import Change, DefaultFilter, awatch

    passes = DefaultFilter(ignore_paths=[root / name for name in IGNORED])

    def counts(change: Change, path: str) -> bool:
        if not passes(change, path):
            return False
        return path.endswith(".py") or (change is Change.added and any(Path(path).glob("*.py")))

    async for found in awatch(root, watch_filter=counts):
        yield sorted({str(Path(path).relative_to(root)) for _, path in found})
