"""One worker of a namespace leads; whatever becomes of it, another one does soon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from openqueue.cluster.events import LeaderElected, LeaderLost
from openqueue.cluster.leader import Leader
from openqueue.db.listener import Listener
from openqueue.db.pool import Database
from openqueue.events import Event
from openqueue.service import running
from tests.support.eventually import eventually

LONG = 3600.0


class Duty:
    """Says whether it is being done."""

    def __init__(self) -> None:
        self.doing = 0

    async def run(self) -> None:
        self.doing += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.doing -= 1


class Candidate:
    """A leader to be, with sessions of its own."""

    def __init__(self, dsn: str, *, pooled: bool = False, lease: float = LONG, renew: float = 1.0) -> None:
        self.told: list[Event] = []
        self.alone = False
        self.duty = Duty()
        self.worker = uuid4()
        self.listener = Listener(dsn, pooled=pooled)
        self.database = Database(dsn, pooled=pooled)
        self.leader = Leader(
            self.database,
            self.listener,
            self.worker,
            "default",
            self.told.append,
            duties=[self.duty],
            alone=lambda: self.alone,
            lease=lease,
            renew=renew,
        )
        self._stack = AsyncExitStack()

    @property
    def leads(self) -> bool:
        return self.leader.leads and self.duty.doing == 1

    def heard(self, kind: type[Event]) -> list[Event]:
        return [one for one in self.told if isinstance(one, kind)]

    async def start(self) -> None:
        await self._stack.enter_async_context(self.database)
        await self._stack.enter_async_context(running(self.listener))
        if not self.listener.target.pooled:
            async with asyncio.timeout(60):
                await self.listener.wait_connected()
        await self._stack.enter_async_context(running(self.leader))

    async def stop(self) -> None:
        await self._stack.aclose()


@pytest.fixture
async def candidates(dsn: str) -> AsyncIterator[Any]:
    """Makes candidates, and stops them."""
    made: list[Candidate] = []

    async def make(**options: Any) -> Candidate:
        one = Candidate(dsn, **options)
        made.append(one)
        await one.start()
        return one

    yield make
    for one in made:
        await one.stop()


async def test_one_of_many_leads(candidates: Any, db: asyncpg.Connection) -> None:
    every = await asyncio.gather(*(candidates() for _ in range(5)))
    (leader,) = await eventually(lambda: [one for one in every if one.leads], what="a leader")
    for one in every:
        again_in = await one.leader.once()
        assert (again_in is None) == (one is leader)
    assert sum(len(one.heard(LeaderElected)) for one in every) == 1
    row: Any = await db.fetchrow("SELECT * FROM openqueue.leader")
    assert row["holder"] == leader.worker
    held = "SELECT openqueue.holds_leader_lock('default', $1)"
    assert await db.fetchval(held, row["pid"])


async def test_who_stops_in_good_order_is_followed_at_once(candidates: Any) -> None:
    """The lease is an hour: nobody waits for it."""
    first = await candidates()
    await eventually(lambda: first.leads)
    second = await candidates()
    await first.stop()
    assert first.duty.doing == 0
    await eventually(lambda: second.leads, what="the second leads")
    assert first.heard(LeaderLost) == [], "it was told to stop"


async def test_a_leader_whose_session_is_gone_is_followed_before_its_lease_is_over(
    candidates: Any, db: asyncpg.Connection
) -> None:
    """As after a SIGKILL: the lock is free, so the row does not count."""
    gone = uuid4()
    await db.execute("SELECT openqueue.lead('default', $1, interval '1 hour')", gone)
    await db.execute("SELECT pg_advisory_unlock_all()")
    one = await candidates()
    await eventually(lambda: one.leads, what="it leads")


async def test_the_session_of_a_frozen_leader_is_ended(candidates: Any, dsn: str) -> None:
    """As after a SIGSTOP: the lock is held, and nobody renews."""
    frozen: Any = await asyncpg.connect(dsn)
    pid = await frozen.fetchval("SELECT pg_backend_pid()")
    await frozen.execute("SELECT openqueue.lead('default', $1, interval '300 milliseconds')", uuid4())
    one = await candidates()
    await eventually(lambda: one.leads, what="it leads")
    (elected,) = one.heard(LeaderElected)
    assert elected == LeaderElected(one.worker, "default", pid)
    await eventually(frozen.is_closed, what="the frozen session has ended")


async def test_a_leader_that_is_not_overdue_cannot_be_ended(db: asyncpg.Connection, dsn: str) -> None:
    leader: Any = await asyncpg.connect(dsn)
    try:
        await leader.execute("SELECT openqueue.lead('default', $1, interval '1 hour')", uuid4())
        await db.execute("SELECT openqueue.end_leader('default')")
        assert await leader.fetchval("SELECT openqueue.holds_leader_lock('default')")
        row: Any = await db.fetchrow("SELECT * FROM openqueue.lead('default', $1)", uuid4())
        assert not row["leads"]
        assert 3000 < row["again_in"] <= 3600
    finally:
        await leader.close()


async def test_a_leader_that_loses_its_session_leads_on_or_says_that_it_does_not(
    candidates: Any, db: asyncpg.Connection
) -> None:
    first = await candidates(lease=10.0, renew=0.2)
    await eventually(lambda: first.leads)
    pid = await db.fetchval("SELECT pid FROM openqueue.leader")
    await db.execute("SELECT pg_terminate_backend($1)", pid)

    async def leads_anew() -> bool:
        row: Any = await db.fetchrow("SELECT * FROM openqueue.leader")
        return row is not None and row["pid"] not in (None, pid)

    await eventually(leads_anew, what="it holds the lock with another session")
    await eventually(lambda: first.leads)


async def test_of_two_that_believe_to_lead_one_is_told_otherwise(
    candidates: Any, db: asyncpg.Connection
) -> None:
    first = await candidates(lease=10.0, renew=0.1)
    await eventually(lambda: first.leads)
    other = uuid4()
    await db.execute(
        "UPDATE openqueue.leader SET holder = $1, pid = NULL, expires_at = now() + interval '1 hour'", other
    )
    await eventually(lambda: first.heard(LeaderLost), what="it leads no longer")
    assert first.duty.doing == 0
    assert await db.fetchval("SELECT holder FROM openqueue.leader") == other
    assert await db.fetchval("SELECT pg_try_advisory_lock(openqueue.leader_key('default'))"), "it let go"


async def test_behind_a_pooler_the_row_alone_decides(candidates: Any, db: asyncpg.Connection) -> None:
    first = await candidates(pooled=True, lease=10.0)
    await eventually(lambda: first.leads)
    second = await candidates(pooled=True, lease=10.0)
    third = await candidates(lease=10.0)
    assert await second.leader.once() is not None
    assert await third.leader.once() is not None
    assert await db.fetchval("SELECT pid FROM openqueue.leader") is None
    await first.stop()
    await eventually(lambda: second.leads or third.leads, what="another one leads")
    assert not (second.leads and third.leads)


LEFT = "SELECT extract(epoch FROM expires_at - clock_timestamp())::float8 FROM openqueue.leader"


@pytest.mark.parametrize(("pooled", "alone", "least", "most"), [(False, 15, 11, 20), (True, 9, 5.5, 10)])
async def test_who_is_alone_renews_seldom_and_as_all_do_once_it_is_not(
    candidates: Any, db: asyncpg.Connection, pooled: bool, alone: float, least: float, most: float
) -> None:
    """With a longer lease where a lock tells of its death."""
    one = await candidates(pooled=pooled, lease=10.0)
    await eventually(lambda: one.leads)
    one.alone = True
    assert await one.leader.once() is None
    assert alone < await db.fetchval(LEFT) <= most
    assert one.leader.renew_in == pytest.approx(least)
    one.alone = False
    assert await one.leader.once() is None
    assert await db.fetchval(LEFT) <= 10
    assert one.leader.renew_in == 1.0


async def test_each_namespace_has_a_leader_of_its_own(db: asyncpg.Connection) -> None:
    for namespace in ("a", "b"):
        row: Any = await db.fetchrow("SELECT * FROM openqueue.lead($1, $2)", namespace, uuid4())
        assert row["leads"]
