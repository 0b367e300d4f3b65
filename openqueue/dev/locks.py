"""Kernel locks on files: gone with the process that holds them, however it ends."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["FileLock"]


class FileLock:
    """A `flock` on `path`, which is made when missing and readable by its owner only.

    Each object is a holder of its own, also inside one process. As a context manager it is exclusive.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def take(self, *, shared: bool = False) -> None:
        """Wait until the lock is ours."""
        fcntl.flock(self._opened(), fcntl.LOCK_SH if shared else fcntl.LOCK_EX)

    def try_take(self) -> bool:
        """Take the lock for ourselves alone if it is free now; on False nothing is held."""
        try:
            fcntl.flock(self._opened(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            return False
        return True

    def is_free(self) -> bool:
        """Tell whether nobody holds it."""
        free = self.try_take()
        self.release()
        return free

    def wait_until_free(self, seconds: float) -> bool:
        """Wait for whoever holds it to go, for at most `seconds`; False when it is still held."""
        deadline = time.monotonic() + seconds
        while not self.is_free():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def release(self) -> None:
        """Let go; safe to repeat."""
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            self.forget()

    def forget(self) -> None:
        """Close our descriptor only: after a fork the lock belongs to the parent as well."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _opened(self) -> int:
        if self._fd is None:
            self._fd = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        return self._fd

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.release()
