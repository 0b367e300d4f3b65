"""Elects the one worker of a namespace that does what must be done once: its duties run while it leads.

Who leads holds a session advisory lock on the listening session, and renews a row (theory above
`sql/engine/leader.sql`). A process that is killed loses the lock with its session; one that is frozen lets
the row run out, and whoever finds that ends its session. Where there is no listening session, behind a
pooler, the row alone decides. Two may believe to lead for a moment, as a frozen one that goes on: every
duty must bear that.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from openqueue.cluster.events import DutyFailed, LeaderElected, LeaderLost
from openqueue.db.faults import FROM_ASYNCPG, mapped
from openqueue.db.listener import Listener
from openqueue.db.pool import Database
from openqueue.errors import OpenQueueError
from openqueue.events import Emit
from openqueue.service import Service, running

__all__ = ["Leader"]

CALL_TIMEOUT: Final = 5.0

AT_LEAST: Final = 0.05
AT_MOST: Final = 0.9
"""Seconds, and a share of the lease, between looks while another one leads."""

ALONE: Final = 2.0
"""So many times as long is the lease while no other worker is known, to whom a lapse would matter; not where
the row alone decides, so that who comes after a death waits no longer for it."""

SPARE: Final = 0.45
"""Share of the lease that is left when it is renewed while no other worker is known."""

AFTER_FAILURE: Final = 0.5
"""Seconds until the next try when the database could not be asked, varied by a half."""


class Leader:
    """Leads a namespace if no other worker does, and runs `duties` meanwhile.

    `lease` and `renew` are seconds: for how long it leads unless it renews, and how often it does. While
    another one leads it looks when that one's lease may have run out, and at once when told. `alone` says
    whether no other worker is known: then the lease is longer, and seldom renewed. `renew_in` is the pause
    that follows the last renewal.
    """

    def __init__(
        self,
        database: Database,
        listener: Listener,
        worker: UUID,
        namespace: str,
        emit: Emit,
        *,
        duties: Sequence[Service],
        alone: Callable[[], bool] = lambda: False,
        lease: float = 10.0,
        renew: float = 3.0,
    ) -> None:
        self._database = database
        self._listener = listener
        self._worker = worker
        self._namespace = namespace
        self._emit = emit
        self._duties = tuple(duties)
        self._alone = alone
        self._lease = lease
        self._renew = renew
        self._until = 0.0
        self.renew_in = renew
        self._told = asyncio.Event()
        self._failing = False
        self._asking = False
        self.leads = False

    async def run(self) -> None:
        """Lead whenever nobody else does, until cancelled; then another one can lead at once."""
        deaf = self._listener.subscribe(self._hear), self._listener.on_connected(self._told.set)
        try:
            while True:
                again_in = await self._tried()
                if again_in is None:
                    await self._lead()
                else:
                    await self._wait(again_in)
        finally:
            for unsubscribe in deaf:
                unsubscribe()
            await self._resign()

    async def once(self) -> float | None:
        """Lead, or go on leading: None; else the seconds after which another one's lease may be over."""
        self._told.clear()
        self._asking = True  # should it be cancelled now, it may lead without knowing
        asked, (lease, pause) = time.monotonic(), self._terms()
        row = await self._ask(lease)
        self._asking = False
        if not row["leads"]:
            return min(max(float(row["again_in"]), AT_LEAST), AT_MOST * self._lease)
        self._until, self.renew_in = asked + lease, pause
        if not self.leads:
            self.leads = True
            self._emit(LeaderElected(self._worker, self._namespace, row["ended"]))
        return None

    async def _tried(self) -> float | None:
        try:
            again_in = await self.once()
        except OpenQueueError as error:
            if not self._failing:
                self._emit(DutyFailed("leader", str(error)))
            self._failing = True
            return AFTER_FAILURE * random.uniform(0.5, 1.5)
        self._failing = False
        return again_in

    async def _lead(self) -> None:
        """Do the duties for as long as the lease is renewed."""
        async with running(*self._duties):
            reason = await self._kept()
        self.leads = False
        self._emit(LeaderLost(self._worker, self._namespace, reason))

    async def _kept(self) -> str:
        """Renew the lease until that fails; answers why."""
        pause = self.renew_in
        while True:
            await self._wait(min(pause, self._until - time.monotonic()))
            if time.monotonic() >= self._until:
                return "its lease ran out before it was renewed"
            failed = self._failing
            if (again_in := await self._tried()) is None:
                pause = self.renew_in
            elif not self._failing:
                return "another worker leads"
            else:
                pause = again_in if failed else 0.0

    def _terms(self) -> tuple[float, float]:
        """For how many seconds to lead, and after how many to renew that."""
        if not self._alone():
            return self._lease, self._renew
        lease = self._lease * (ALONE if self._listener.connected else 1.0)
        return lease, max(self._renew, (1 - SPARE) * lease)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0.0)):
                await self._told.wait()

    async def _ask(self, lease: float) -> Any:
        asked = self._namespace, self._worker, timedelta(seconds=lease)
        if not self._listener.connected:
            return await self._database.fetchrow("lead", *asked, False)
        return await self._on_session("lead", *asked, True)

    async def _on_session(self, statement: str, *arguments: Any) -> Any:
        """On the listening session, to which the lock belongs."""
        try:
            async with asyncio.timeout(CALL_TIMEOUT), self._listener.session() as connection:
                return await connection.fetchrow(self._database.statements[statement], *arguments)
        except (TimeoutError, *FROM_ASYNCPG) as error:
            raise mapped(
                error, str(self._listener.target.place), doing=statement, seconds=CALL_TIMEOUT
            ) from error

    async def _resign(self) -> None:
        if not (self.leads or self._asking):
            return
        self.leads = False
        with suppress(OpenQueueError):  # then the lease runs out
            if self._listener.connected:
                await self._on_session("resign", self._namespace, self._worker)
            else:
                await self._database.fetchval("resign", self._namespace, self._worker, timeout=2.0)

    def _hear(self, payload: str) -> None:
        """A notification of the schema's channel."""
        if '"leader"' in payload and not self.leads:
            told = json.loads(payload)
            if "leader" in told and told.get("namespace") == self._namespace:
                self._told.set()
