"""Mistakes in Python: what is enqueued, how tasks are declared, and where the database is (scenario E8)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import asyncpg
import pytest

import openqueue
from openqueue import task
from openqueue.errors import (
    ConfigError,
    ConnectionFailed,
    InvalidArguments,
    InvalidOption,
    InvalidTask,
    NotSerializable,
    OpenQueueError,
    SchemaError,
    TooLarge,
    UnknownTask,
)
from openqueue.tasks.registry import Registry
from tests.story.mistakes import Mistake, check

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
OLD_ID = UUID("01700000-0000-7000-8000-000000000000")


@task(name="shop.ship")
async def ship(order: int, fast: bool = False) -> int:
    return order


@task(name="shop.keep")
async def keep(value: object) -> object:
    return value


def circle() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


def method() -> object:
    class Shop:
        def ship(self, order: int) -> None: ...

    return task(Shop.ship)


def yields() -> object:
    def pages(start: int) -> Any:
        yield start

    return task(pages)


def any_number() -> object:
    def add(*numbers: int) -> None: ...

    return task(add)


def two_of_one_name() -> object:
    @task(name="shop.ship")
    def other(order: int) -> None: ...

    return Registry([ship, other])


def no_such_type() -> None:
    def bill(of: Customer) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    task(bill).arguments.check()


def undecorated(**options: Any) -> object:
    def bill(of: int) -> None: ...

    return task(**options)(bill)


ENQUEUE = [
    Mistake("an argument is missing", lambda _: ship.enqueue(), InvalidArguments, "ship", "is missing", "`order`"),  # type: ignore[call-arg]
    Mistake("too many arguments", lambda _: ship.enqueue(1, True, 3), InvalidArguments, "ship", "by position", "(order, fast)"),  # type: ignore[call-arg]
    Mistake("an argument of the wrong type", lambda _: ship.enqueue("x"), InvalidArguments, "`order`", "should be a valid", "integer"),  # type: ignore[arg-type]
    Mistake("an argument misspelt", lambda _: ship.enqueue(1, fats=True), InvalidArguments, "ship", "there is no argument", "`fats`"),  # type: ignore[call-arg]
    Mistake("a value without a JSON form", lambda _: keep.enqueue(object()), NotSerializable, "input.value", "have no JSON form", "Pass text, numbers"),
    Mistake("a value that contains itself", lambda _: keep.enqueue(circle()), NotSerializable, "input.value[0]", "refers back to a value that contains it", "Pass an id"),
    Mistake("NaN", lambda _: keep.enqueue(math.nan), NotSerializable, "input.value", "JSON has no such number", "Pass None"),
    Mistake("NUL", lambda _: keep.enqueue("a\0b"), NotSerializable, "input.value", "contains NUL", "Take it out"),
    Mistake("a huge input", lambda _: keep.enqueue("x" * 2**21), TooLarge, "input.value", "more than the 1 MiB", "pass a reference"),
    Mistake("an option misspelt", lambda _: ship.options(qeue="x"), InvalidOption, "qeue", "has no such option", "Did you mean 'queue'"),  # type: ignore[call-arg]
    Mistake("a negative delay", lambda _: ship.options(delay=-1), InvalidOption, "delay: -1", "is negative", "Write '30s'"),
    Mistake("a time without a zone", lambda _: ship.options(run_at=datetime(2030, 1, 1)), InvalidOption, "run_at", "has no time zone", "datetime.now(timezone.utc)"),  # noqa: DTZ001
    Mistake("a deadline before its time", lambda _: ship.options(deadline=LONG_AGO, delay="1h").enqueue(1), InvalidOption, "deadline 2020-01-01", "when the run is due", "give a later deadline"),
    Mistake("an empty queue name", lambda _: ship.options(queue="").enqueue(1), InvalidOption, "queue", "must not be empty", "queue"),
    Mistake("an unknown task", lambda oq: oq.enqueue("shop.shipp", {}), UnknownTask, "'shop.shipp'", "No worker has published a task named", "allow_unknown=True"),
    Mistake("a task in place of an item", lambda oq: oq.enqueue(ship, 1), InvalidOption, "shop.ship", "is not an item", "`task.item(...)`"),
    Mistake("a function in place of an item", lambda oq: oq.enqueue(print), InvalidOption, "print", "is not an item", "`task.item(...)`"),
    Mistake("the id of a run that is none", lambda oq: oq.get("42"), InvalidOption, "run_id: '42'", "must be a UUID", "UUID"),
    Mistake("an option as others call it", lambda _: ship.options(countdown=5), InvalidOption, "countdown", "has no such option", "Here it is 'delay'"),  # type: ignore[call-arg]
    Mistake("arguments in a list", lambda oq: oq.enqueue("shop.ship", [1]), InvalidArguments, "shop.ship", "must be a dict", "by name"),
    Mistake("a call that blocks, in the loop", lambda _: ship.enqueue_sync(1), OpenQueueError, "event loop", "A call that blocks cannot be made", "await task.enqueue"),
    Mistake("a connection of something else", lambda _: ship.options(connection=object()).enqueue(1), InvalidOption, "connection", "is not supported", "Pass an asyncpg Connection"),
]  # fmt: skip

DECLARE = [
    Mistake("a method as a task", method, InvalidTask, "ship", "is a method", "Move it out of its class"),
    Mistake("a generator as a task", yields, InvalidTask, "pages", "yields: a task returns one value", "Return a list"),
    Mistake("a lambda as a task", lambda: task(lambda order: order), InvalidTask, "lambda", "has no name that a worker could find it by", "Write a `def`"),
    Mistake("*args", any_number, InvalidTask, "`*numbers: ", "takes any number of arguments", "take a list"),
    Mistake("a name in place of options", lambda: task("mail"), InvalidTask, "'mail'", "is not a function", "queue='mail'"),  # type: ignore[call-overload]
    Mistake("an option of a task misspelt", lambda: undecorated(qeue="x"), InvalidOption, "qeue", "has no such option", "Did you mean 'queue'?"),
    Mistake("no attempts at all", lambda: undecorated(max_attempts=0), InvalidOption, "max_attempts: 0", "is out of range", "1 to 32767"),
    Mistake("two tasks of one name", two_of_one_name, InvalidTask, "'shop.ship'", "two tasks are called", "Rename one"),
    Mistake("an annotation that is unknown at run time", no_such_type, InvalidTask, "'Customer'", "is unknown when the program runs", "Import it"),
]  # fmt: skip


def to(dsn: str, **parts: str) -> str:
    """The same server, with something else in the URL."""
    return urlunsplit(urlsplit(dsn)._replace(**parts))


@asynccontextmanager
async def refusing(fields: bytes) -> AsyncIterator[str]:
    """A server that refuses whoever comes; its URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"E" + (4 + len(fields)).to_bytes(4) + fields)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"postgresql://me:hunter2@127.0.0.1:{server.sockets[0].getsockname()[1]}/shop?sslmode=disable"


async def wrong_password(_: str) -> None:
    fields = b'SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user "me"\0\0'
    async with refusing(fields) as url:
        await connected(url)


async def connected(url: str, **settings: Any) -> None:
    async with openqueue.connect(url, **settings) as oq:
        await oq.enqueue(ship.item(1))


async def after(dsn: str, *statements: str) -> None:
    """Connect once these have been executed."""
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
    await connected(dsn)


async def without_rights(dsn: str) -> None:
    parts = urlsplit(dsn)
    role = f"guest_{parts.path[-12:]}"
    owner = await asyncpg.connect(dsn)
    try:
        await owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'hunter2'")
        place = parts.netloc.rpartition("@")[2]
        await connected(to(dsn, netloc=f"{role}:hunter2@{place}"))
    finally:
        await owner.execute(f"DROP ROLE {role}")
        await owner.close()


async def closed_sync(dsn: str) -> None:
    with openqueue.connect_sync(dsn) as oq:
        pass
    await asyncio.to_thread(oq.enqueue, ship.item(1))


async def closed(dsn: str) -> None:
    async with openqueue.connect(dsn) as oq:
        pass
    await oq.enqueue(ship.item(1))


async def wrong_clock(dsn: str) -> None:
    async with openqueue.connect(dsn) as oq:
        await oq.enqueue("shop.ship", {"order": 1}, allow_unknown=True, id=OLD_ID)


FAR_AHEAD = "INSERT INTO openqueue.migrations (number, name, checksum) VALUES (9999, '9999_later', 'x')"

CONNECT = [
    Mistake("no database", lambda _: ship.enqueue(1), ConfigError, "OPENQUEUE_DATABASE_URL", "There is no database", "openqueue dev"),
    Mistake("a wrong password", wrong_password, ConnectionFailed, "as user 'me'", "the password was refused", "Check the password"),
    Mistake("a wrong port", lambda _: connected("postgresql://me:hunter2@127.0.0.1:1/shop"), ConnectionFailed, "127.0.0.1:1", "Cannot reach", "are host and port right?"),
    Mistake("a wrong host", lambda _: connected("postgresql://me:hunter2@nohost.invalid/shop"), ConnectionFailed, "nohost.invalid", "Cannot reach", "are host and port right?"),
    Mistake("a wrong database", lambda dsn: connected(to(dsn, path="/nowhere")), ConnectionFailed, "'nowhere'", "there is no such database", "Create it"),
    Mistake("a URL of another database", lambda _: connected("mysql://me:hunter2@host/shop"), ConfigError, "database_url", "begins with 'mysql://'", "Write postgresql://"),
    Mistake("a URL that is none", lambda _: connected("localhost"), ConfigError, "database_url", "is not a URL", "Write postgresql://"),
    Mistake("no schema", lambda dsn: connected(dsn, schema_name="nowhere"), SchemaError, "'nowhere'", "does not exist yet", "openqueue migrate"),
    Mistake("an old schema", lambda dsn: after(dsn, "DELETE FROM openqueue.migrations WHERE number > 1"), SchemaError, "'openqueue'", "is too old", "openqueue migrate"),
    Mistake("no rights", without_rights, ConnectionFailed, "as user 'guest_", "A right is missing", "have the right granted"),
    Mistake("a read-only database", lambda dsn: connected(f"{dsn}{'&' if '?' in dsn else '?'}options=-cdefault_transaction_read_only%3Don"), ConnectionFailed, "Cannot use database", "it is read-only", "Give the URL of the primary"),
    Mistake("a setting misspelt", lambda dsn: connected(dsn, concurency=3), ConfigError, "concurency", "there is no such setting", "Did you mean 'concurrency'?"),
    Mistake("a client that is closed", closed, ConnectionFailed, "client", "The client is closed", "open another"),
    Mistake("a client without await that is closed", closed_sync, ConnectionFailed, "client", "The client is closed", "open another"),
    Mistake("a clock that is off", wrong_clock, InvalidOption, "id", "the clock of the database says", "leave the id out"),
]  # fmt: skip

ROWS = [*ENQUEUE, *DECLARE, *CONNECT]


async def done(made: Any) -> None:
    if hasattr(made, "__await__"):
        await made


@pytest.mark.parametrize("mistake", ENQUEUE, ids=str)
async def test_a_mistake_in_what_is_enqueued_is_answered_and_nothing_is_stored(
    mistake: Mistake, dsn: str, db: asyncpg.Connection
) -> None:
    assert callable(mistake.made)
    assert isinstance(mistake.ends, type)
    async with openqueue.connect(dsn) as oq:
        with pytest.raises(mistake.ends) as caught:
            await done(mistake.made(oq))
    check(str(caught.value), mistake)
    assert await db.fetchval("SELECT count(*) FROM openqueue.runs") == 0


@pytest.mark.parametrize("mistake", DECLARE, ids=str)
def test_a_mistake_in_a_declaration_is_answered(mistake: Mistake) -> None:
    assert callable(mistake.made)
    assert isinstance(mistake.ends, type)
    with pytest.raises(mistake.ends) as caught:
        mistake.made()
    check(str(caught.value), mistake)


@pytest.mark.parametrize("mistake", CONNECT, ids=str)
async def test_a_mistake_about_the_database_is_answered_without_the_password(
    mistake: Mistake, dsn: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert callable(mistake.made)
    assert isinstance(mistake.ends, type)
    with pytest.raises(mistake.ends) as caught:
        await done(mistake.made(dsn))
    check(str(caught.value), mistake)


@pytest.mark.filterwarnings("default::RuntimeWarning")
def test_an_enqueue_that_is_not_awaited_is_warned_of_with_the_name_of_the_task() -> None:
    for forgotten in (ship.enqueue, ship.options(delay="1m").enqueue):
        with pytest.warns(RuntimeWarning, match=r"'shop\.ship\.enqueue' was never awaited"):
            forgotten(1)  # type: ignore[unused-coroutine]
