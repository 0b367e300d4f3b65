"""Notifications survive whatever happens to the session that hears them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest.mock import AsyncMock

import asyncpg
import pytest

from openqueue.db import listener as listener_room
from openqueue.db import target
from openqueue.db.events import ListenerConnected, ListenerLost
from openqueue.db.listener import Listener
from openqueue.db.target import Connection
from openqueue.errors import ConnectionFailed
from openqueue.events import Event
from openqueue.service import running
from tests.support.wire import Wire

CHANNEL = 'my "queue"'


class Heard:
    """What a listener told, to be waited for."""

    def __init__(self, listener: Listener) -> None:
        self.payloads: asyncio.Queue[str] = asyncio.Queue()
        self.greetings: asyncio.Queue[None] = asyncio.Queue()
        listener.subscribe(self.payloads.put_nowait)
        listener.on_connected(lambda: self.greetings.put_nowait(None))


class Events:
    """What was emitted, to be waited for."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Event] = asyncio.Queue()

    async def next(self, kind: type[Event]) -> Event:
        while not isinstance(event := await self.queue.get(), kind):
            pass
        return event


@pytest.fixture
async def other(empty_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty_dsn)
    yield connection
    await connection.close()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def make(empty_dsn: str, events: Events) -> Callable[..., Listener]:
    def made(dsn: str = empty_dsn, **options: Any) -> Listener:
        return Listener(dsn, CHANNEL, events.queue.put_nowait, application="listener under test", **options)

    return made


async def notify(connection: asyncpg.Connection, payload: str) -> None:
    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, payload)


async def kill(connection: asyncpg.Connection) -> int:
    killed: int = await connection.fetchval(
        """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
           WHERE application_name = 'listener under test' AND datname = current_database()"""
    )
    return killed


async def test_payloads_reach_every_subscriber_until_it_leaves(
    make: Callable[..., Listener], other: asyncpg.Connection
) -> None:
    listener = make()
    heard, also = Heard(listener), asyncio.Queue[str]()
    leave = listener.subscribe(also.put_nowait)
    async with running(listener):
        await listener.wait_connected()
        await notify(other, "ü one")
        assert (await heard.payloads.get(), await also.get()) == ("ü one", "ü one")
        leave()
        await notify(other, "")
        assert await heard.payloads.get() == ""
        assert also.empty()
        assert heard.payloads.empty()  # the listener's own test of its session is not among them


async def test_subscribers_are_told_of_every_connection(
    make: Callable[..., Listener], other: asyncpg.Connection, events: Events
) -> None:
    listener = make()
    heard = Heard(listener)
    async with running(listener):
        await heard.greetings.get()
        assert listener.connected
        assert await events.next(ListenerConnected) == ListenerConnected(CHANNEL, again=False)


async def test_a_terminated_session_is_replaced_at_once_and_hears_again(
    make: Callable[..., Listener], other: asyncpg.Connection, events: Events
) -> None:
    listener = make()
    heard = Heard(listener)
    async with running(listener):
        await heard.greetings.get()
        for _ in range(2):
            assert await kill(other) == 1
            lost = await events.next(ListenerLost)
            assert isinstance(lost, ListenerLost)
            assert lost.retry_in < 0.2
            await heard.greetings.get()
            assert await events.next(ListenerConnected) == ListenerConnected(CHANNEL, again=True)
            await notify(other, "after")
            assert await heard.payloads.get() == "after"


async def test_a_network_that_swallows_everything_is_noticed_and_the_session_replaced(
    make: Callable[..., Listener], other: asyncpg.Connection, events: Events
) -> None:
    async with Wire(other).laid() as wire:
        listener = make(wire.dsn, ping_every=0.05, timeout=2)
        heard = Heard(listener)
        async with running(listener):
            await heard.greetings.get()
            wire.cut = True
            lost = await events.next(ListenerLost)
            assert "No answer" in str(lost)
            assert not listener.connected
            wire.cut = False
            await heard.greetings.get()
            await notify(other, "mended")
            assert await heard.payloads.get() == "mended"
            assert wire.opened >= 2


async def test_a_session_that_hears_nothing_is_not_believed(
    make: Callable[..., Listener], other: asyncpg.Connection, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncpg.Connection, "_process_notification", lambda *_: None)  # as through a pooler
    listener = make(timeout=1)
    async with running(listener):
        assert "transaction mode" in str(await events.next(ListenerLost))
        assert not listener.connected


async def test_a_server_that_is_away_is_tried_again_with_growing_pauses(events: Events) -> None:
    class Counting:
        pauses: list[float]

        def __init__(self) -> None:
            self.pauses = []

        def monotonic(self) -> float:
            return 0.0

        async def sleep(self, seconds: float) -> None:
            self.pauses.append(seconds)
            if len(self.pauses) == 12:
                raise EndOfTest

    clock = Counting()
    listener = Listener("postgresql://me@127.0.0.1:1/shop", emit=events.queue.put_nowait, clock=clock)
    with pytest.raises(EndOfTest):
        await listener.run()
    assert clock.pauses[0] == 0
    assert all(0 < pause <= 5 for pause in clock.pauses[1:])
    assert max(clock.pauses) >= 2.5
    assert "Cannot reach" in str(await events.next(ListenerLost))
    assert events.queue.empty(), "it is told once, not with each try"


class EndOfTest(Exception):
    pass


async def test_it_tries_at_once_when_somebody_else_has_an_answer() -> None:
    class Stopped:
        def __init__(self) -> None:
            self.waits: asyncio.Queue[float] = asyncio.Queue()

        def monotonic(self) -> float:
            return 0.0

        async def sleep(self, seconds: float) -> None:
            self.waits.put_nowait(seconds)
            if seconds:
                await asyncio.Event().wait()

    clock = Stopped()
    listener = Listener("postgresql://me@127.0.0.1:1/shop", clock=clock)
    async with running(listener):
        assert await clock.waits.get() == 0
        assert await clock.waits.get() > 0, "the pause that would not end"
        listener.try_now()
        assert await clock.waits.get() > 0, "it has tried again"


async def test_a_subscriber_that_fails_is_reported_and_stops_nobody(
    make: Callable[..., Listener], other: asyncpg.Connection
) -> None:
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
    listener = make()
    listener.subscribe(int)
    heard = Heard(listener)
    async with running(listener):
        await listener.wait_connected()
        await notify(other, "not a number")
        assert await heard.payloads.get() == "not a number"
    assert isinstance(reported[0]["exception"], ValueError)


async def test_the_session_is_lent_and_is_refused_when_there_is_none(
    make: Callable[..., Listener], other: asyncpg.Connection
) -> None:
    listener = make()
    with pytest.raises(ConnectionFailed, match="not connected"):
        async with listener.session():
            pass
    async with running(listener):
        await listener.wait_connected()
        async with listener.session() as session:
            assert await session.fetchval("SELECT pg_try_advisory_lock(1)")
        assert not await other.fetchval("SELECT pg_try_advisory_lock(1)")


async def test_stopping_closes_the_session(make: Callable[..., Listener], other: asyncpg.Connection) -> None:
    listener = make()
    async with running(listener):
        await listener.wait_connected()
    assert not listener.connected
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'listener under test'"
    while await other.fetchval(sessions + " AND datname = current_database()"):
        pass


async def test_a_session_that_ends_between_two_statements_is_lost_and_not_the_worker(
    make: Callable[..., Listener], events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver has read that the server ends the session, but not yet its end: it calls that internal."""
    connect, times = target.connect, 0

    async def connects(*args: Any, **options: Any) -> asyncpg.Connection:
        nonlocal times
        times += 1
        connection = await connect(*args, **options)
        if times == 1:
            error = asyncpg.InternalClientError(
                "cannot switch to state 12; another operation (2) is in progress"
            )
            monkeypatch.setattr(Connection, "add_listener", AsyncMock(side_effect=error))
        else:
            monkeypatch.undo()
        return connection

    monkeypatch.setattr(listener_room, "connect", connects)
    async with running(make()), asyncio.timeout(60):
        assert "another operation" in str(await events.next(ListenerLost))
        await events.next(ListenerConnected)
