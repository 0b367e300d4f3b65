"""The worker's end of the socket to its parent: it obeys, reports how it is, and notices when that is gone.

Each direction has a thread of its own, so that it works while a task blocks the event loop.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

from openqueue.events import Events
from openqueue.fleet.words import Failure, Word
from openqueue.telemetry.health import Facts
from openqueue.telemetry.tally import Tally
from openqueue.worker.events import ServiceRecovered, ServiceStumbled, WorkerDraining, WorkerStarted
from openqueue.worker.processes.frames import packed, read_sync
from openqueue.worker.stopping import Stopping

__all__ = ["REPORT_EVERY", "Link"]

REPORT_EVERY: Final = 0.5
"""Seconds between two reports; one that tells of a change does not wait for that."""

_CHANGES = (WorkerStarted, WorkerDraining, ServiceStumbled, ServiceRecovered)


class Link:
    """Made from the descriptor that the parent has passed on."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._socket = socket.socket(fileno=descriptor)
        self._stream = self._socket.makefile("rb")
        self._sending = threading.Lock()
        self._beginning = threading.Lock()
        self._stopping: Stopping | None = None
        self._changed = threading.Event()

    def hello(self) -> dict[str, Any] | None:
        """What to do, said first; None: the parent is gone already. From here on orders are obeyed."""
        first = read_sync(self._stream)
        if first is None:
            return None
        told: dict[str, Any] = pickle.loads(first[1])  # noqa: S301  it comes from the parent
        threading.Thread(target=self._listen, name="openqueue-orders", daemon=True).start()
        return told

    def begin(
        self, stopping: Stopping, facts: Callable[[], Facts], bus: Events, tally: Tally | None = None
    ) -> None:
        """The worker is there: it is stopped in good order now; its `facts`, and its tally, are reported."""
        with self._beginning:
            self._stopping = stopping
        for kind in _CHANGES:
            bus.subscribe(kind, lambda _: self._changed.set())
        threading.Thread(
            target=self._report, args=(facts, tally), name="openqueue-report", daemon=True
        ).start()

    def fail(self, failure: Failure) -> None:
        """Say why the process ends."""
        self._send(Word.FAILED, asdict(failure))

    def _listen(self) -> None:
        while (frame := read_sync(self._stream)) is not None:
            self._obey(Word(frame[0]))
        self._obey(Word.STOP)  # nobody else will say it

    def _obey(self, word: Word) -> None:
        with self._beginning:
            if self._stopping is None:
                os.kill(os.getpid(), signal.SIGTERM)  # nothing was begun: it ends as any process does
                return
        if word is Word.STOP:
            self._stopping.ask()
        else:
            self._stopping.leave()

    def _report(self, facts: Callable[[], Facts], tally: Tally | None) -> None:
        told: dict[str, Any] = {}
        while self._send(Word.FACTS, asdict(facts())):
            if tally is not None and (counted := tally.plain()) != told:
                told = counted
                self._send(Word.TALLY, told)
            self._changed.wait(REPORT_EVERY)
            self._changed.clear()

    def _send(self, word: Word, what: dict[str, Any]) -> bool:
        with suppress(OSError), self._sending:
            self._socket.sendall(packed(word, json.dumps(what)))
            return True
        return False
