"""Says that the process lives, from a thread of its own: a task that blocks the event loop is not a death.

The thread has its own event loop and session, and on it holds the liveness lock. It shares a `Pulse` with
the worker: plain values that either side reads. An event loop that makes no progress for a whole lease is
said to be stuck. A session that ends is replaced at once, and while there is no server, one is looked for
often: others wait for 3 s, no longer, for the lock to be taken again. Where a pooler is the only way to the
database there is no session to hold the lock: beats alone must tell, and come often enough that no rescuer
sees a gap. So it is while an earlier session has the lock that the server does not know to be over.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from openqueue.clock import DatabaseTime
from openqueue.db.faults import mapped
from openqueue.db.statements import Statements
from openqueue.db.target import Connection, Target, connect
from openqueue.events import Emit
from openqueue.worker.storing.tally import Tally
from openqueue.worker.stumbling import Stumbling
from openqueue.worker.usage import Usage

__all__ = ["Heartbeat", "Pulse"]

CALL_TIMEOUT: Final = 5.0

WITHOUT_LOCK: Final = 1.0
"""The most seconds between beats that no lock stands behind, and between tries to connect; rescuers take 3 s
without one for a death."""

LEASE_WITHOUT_LOCK: Final = timedelta(seconds=2)
"""After a beat, so long is nobody to look for the lock that cannot be held; then those 3 s begin."""


@dataclass(slots=True)
class Pulse:
    """What beats say of the worker, and when it was last well.

    progress    monotonic seconds at which the event loop last turned
    beaten      monotonic seconds of the last beat that was stored; 0.0: none yet
    others      how many other workers there are; until a beat has told, at least one is assumed
    leaving     it says goodbye from another thread: a beat does not let it appear again
    """

    claims: Callable[[], Collection[int]]
    running: Callable[[], int]
    draining: bool = False
    progress: float = field(default_factory=time.monotonic)
    beaten: float = 0.0
    others: int = 1
    leaving: bool = False

    def state(self, lease: float) -> str:
        """running, draining, or stuck."""
        if time.monotonic() - self.progress > lease:
            return "stuck"
        return "draining" if self.draining else "running"


class Heartbeat:
    """Beats every `every` seconds until stopped.

    appearing    statements with their arguments, to appear again after having been given up
    cancelled    called in the worker's event loop with the runs to cancel
    given_up     called in the worker's event loop when others had declared this worker dead
    back         called in the worker's event loop when a session that was lost has been replaced
    tally        what ends in this worker, to be told with the beats
    clock        learns with each beat what time it is in the database
    """

    def __init__(
        self,
        target: Target,
        statements: Statements,
        worker: UUID,
        pulse: Pulse,
        emit: Emit,
        *,
        appearing: Sequence[tuple[Any, ...]],
        every: float,
        lease: float,
        timeout: float,
        cancelled: Callable[[list[UUID]], None],
        given_up: Callable[[], None],
        back: Callable[[], None] = lambda: None,
        namespace: str = "default",
        tally: Tally | None = None,
        clock: DatabaseTime | None = None,
    ) -> None:
        self._target = target
        self._statements = statements
        self._worker = worker
        self._pulse = pulse
        self._appearing = appearing
        self._every = every
        self._lease = lease
        self._timeout = timedelta(seconds=timeout)
        self._cancelled = cancelled
        self._given_up = given_up
        self._back = back
        self._namespace = namespace
        self._tally = tally or Tally()
        self._clock = clock or DatabaseTime()
        self._usage = Usage()
        self._stumbling = Stumbling("heartbeat", self._from_thread(emit), longest=WITHOUT_LOCK)
        self._home = asyncio.get_running_loop()
        self._stop: asyncio.Event | None = None
        self._awake = asyncio.Event()
        self._session: Connection | None = None
        self._locked = False
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Beat in a thread until cancelled; then stop the thread."""
        ended = self._home.create_future()
        thread = threading.Thread(target=self._live, args=(ended,), name="openqueue-heartbeat", daemon=True)
        thread.start()
        pulse = self._home.create_task(self._turn())
        try:
            await asyncio.shield(ended)
        finally:
            pulse.cancel()
            if self._loop is not None and self._stop is not None:
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._end)
            await asyncio.wait([ended], timeout=CALL_TIMEOUT)

    async def _turn(self) -> None:
        while True:
            self._pulse.progress = time.monotonic()
            await asyncio.sleep(min(1.0, self._lease / 4))

    def _live(self, ended: asyncio.Future[None]) -> None:
        """In the thread. What it dies of ends the worker: one that does not beat is taken for dead."""
        died: BaseException | None = None
        try:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                self._stop, self._awake = asyncio.Event(), asyncio.Event()
                runner.run(self._beat_until_stopped())
        except BaseException as error:  # noqa: BLE001  it is raised in the worker's event loop
            died = error
        self._call(lambda: _settle(ended, died))

    def _end(self) -> None:
        """In the thread: this was the last beat."""
        assert self._stop is not None
        self._stop.set()
        self._awake.set()

    async def _beat_until_stopped(self) -> None:
        assert self._stop is not None
        while not self._stop.is_set():
            self._awake.clear()
            before, earlier = self._session, self._pulse.beaten
            try:
                await self._once(await self._connected())
                self._stumbling.recover()
                if self._session is not before and earlier:
                    self._call(self._back)
                pause = self._every if self._locked else min(self._every, WITHOUT_LOCK)
            except Exception as error:  # noqa: BLE001  a beat that failed is followed by the next one, whatever it was
                lost, self._session = self._session, None
                if lost is not None:
                    lost.terminate()
                place = str(self._target.place)
                pause = min(self._every, self._stumbling.stumble(mapped(error, place, doing="beat_worker")))
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._awake.wait()
        if self._session is not None:
            with suppress(Exception):  # it ends with the process
                await self._session.close(timeout=1)

    async def _connected(self) -> Connection:
        """The session, with its lock if that can be had."""
        if self._session is None or self._session.is_closed():
            self._locked = False
            self._session = await connect(
                self._target, application="openqueue heartbeat", timeout=CALL_TIMEOUT
            )
            self._session.add_termination_listener(self._ended)
        if not (self._locked or self._target.pooled):
            self._locked = await self._session.fetchval(self._statements["hold_liveness"], self._worker)
        return self._session

    def _ended(self, session: object) -> None:
        """Somebody has ended a session: if it is the one in use, the next beat, over another, is due now."""
        if session is self._session:
            self._awake.set()

    async def _once(self, connection: Connection) -> None:
        pulse = self._pulse
        told = self._tally.tell()
        asked = time.monotonic()
        row = await connection.fetchrow(
            self._statements["beat_worker"],
            self._worker,
            pulse.state(self._lease),
            pulse.running(),
            [str(claim) for claim in pulse.claims()],
            self._timeout,
            *self._usage.read(),
            told[0] if told else 0,
            self._namespace,
            told[1] if told else None,
            timeout=CALL_TIMEOUT,
        )
        self._tally.arrived(told)
        if row is not None:
            self._clock.measured(row["now"], asked)
        if row is None or not row["known"]:
            if pulse.leaving:
                return
            for name, *arguments in self._appearing:
                await connection.fetch(self._statements[name], *arguments)
            self._call(self._given_up)
            return
        if not self._locked:
            await connection.fetch(self._statements["live_by_lease"], self._worker, LEASE_WITHOUT_LOCK)
        pulse.beaten = time.monotonic()
        pulse.others = row["others"]
        if row["cancels"]:
            cancels = [UUID(run) for run in row["cancels"]]
            self._call(lambda: self._cancelled(cancels))

    def _call(self, function: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the worker's loop is closed: nobody is left to be told
            self._home.call_soon_threadsafe(function)

    def _from_thread(self, emit: Emit) -> Emit:
        return lambda event: self._call(lambda: emit(event))


def _settle(ended: asyncio.Future[None], died: BaseException | None) -> None:
    if ended.done():
        return
    if died is None:
        ended.set_result(None)
    else:
        ended.set_exception(died)
