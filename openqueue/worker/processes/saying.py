"""How a process of tasks speaks to its worker: in whole frames, in order, each for its own attempt."""

from __future__ import annotations

import socket
import threading
from collections import deque
from typing import Any

from openqueue.codec import encode
from openqueue.worker.processes.frames import Kind, packed

__all__ = ["Saying", "Voice"]


class Saying:
    """What leaves the process, from any thread.

    Whoever speaks while its own thread is sending (a signal handler that logs, a finaliser) leaves the frame
    to the one that it has interrupted: it waits for nothing.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.lock = threading.RLock()
        self._connection = connection
        self._frames: deque[bytes] = deque()
        self._sends = False

    def send(self, kind: Kind, data: str = "") -> None:
        """Send a frame, after those before it."""
        self._frames.append(packed(kind, data))
        with self.lock:
            if self._sends:
                return
            self._sends = True
            try:
                while self._frames:
                    self._connection.sendall(self._frames.popleft())
            finally:
                self._sends = False


class Voice:
    """What one attempt says. Once it is over nothing more is sent, whoever it has left running."""

    def __init__(self, saying: Saying) -> None:
        self._saying = saying
        self._over = False

    def log(self, level: str, message: str, fields: dict[str, Any]) -> None:
        """A line of its log."""
        self._say(Kind.LOG, encode([level, message, fields]))

    def progress(self, patch: Any) -> None:
        """A patch of its progress. Raises NotSerializable."""
        self._say(Kind.PROGRESS, encode(patch, what="progress"))

    def end(self) -> None:
        """The attempt is over."""
        with self._saying.lock:
            self._over = True

    def _say(self, kind: Kind, data: str) -> None:
        with self._saying.lock:
            if not self._over:
                self._saying.send(kind, data)
