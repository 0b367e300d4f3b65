"""asyncpg connections keep the contract, those of a pool too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest

import openqueue
from openqueue.errors import InvalidOption
from tests.support.drivers import AUTOCOMMIT, CONTRACT, Given, check, job, stored


def given_of(connection: Any) -> Given:
    open_now: list[Any] = []

    async def begun() -> None:
        open_now.append(connection.transaction())
        await open_now[-1].start()

    async def execute(sql: str) -> None:
        await connection.execute(sql)

    async def commit() -> None:
        await open_now.pop().commit()
        await begun()

    async def rollback() -> None:
        await open_now.pop().rollback()
        await begun()

    given = Given(connection, execute, commit, rollback, connection.close)
    given.begun = begun  # type: ignore[attr-defined]
    return given


@asynccontextmanager
async def of_connection(dsn: str) -> AsyncIterator[Given]:
    connection = await asyncpg.connect(dsn)
    given = given_of(connection)
    await given.begun()  # type: ignore[attr-defined]
    yield given
    await connection.close()


@asynccontextmanager
async def of_pool(dsn: str) -> AsyncIterator[Given]:
    async with asyncpg.create_pool(dsn, min_size=0, max_size=1) as pool, pool.acquire() as connection:
        given = given_of(connection)
        await given.begun()  # type: ignore[attr-defined]
        yield given
        with suppress(asyncpg.InterfaceError):  # it was closed
            await connection.execute("ROLLBACK")


@pytest.mark.parametrize("opener", [of_connection, of_pool], ids=lambda one: one.__name__)
@pytest.mark.parametrize("promise", CONTRACT, ids=lambda one: one.__name__)
async def test_asyncpg(promise: Any, opener: Any, dsn: str) -> None:
    await check(promise, opener, dsn)


@asynccontextmanager
async def of_autocommit(dsn: str) -> AsyncIterator[Given]:
    connection = await asyncpg.connect(dsn)
    yield given_of(connection)
    await connection.close()


@pytest.mark.parametrize("promise", AUTOCOMMIT, ids=lambda one: one.__name__)
async def test_asyncpg_in_autocommit(promise: Any, dsn: str) -> None:
    await check(promise, of_autocommit, dsn)


@asynccontextmanager
async def of_the_pool(dsn: str) -> AsyncIterator[Given]:
    async with asyncpg.create_pool(dsn, min_size=0, max_size=2) as pool:
        yield given_of(pool)


@pytest.mark.parametrize("promise", AUTOCOMMIT[:2], ids=lambda one: one.__name__)
async def test_a_pool_of_asyncpg(promise: Any, dsn: str) -> None:
    await check(promise, of_the_pool, dsn)


async def test_outside_a_transaction_it_is_stored_at_once(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    async with openqueue.connect(dsn):
        await job.options(connection=connection).enqueue(1)
    assert stored(dsn) == 1
    await connection.close()


async def test_code_that_cannot_await_is_told_to(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    with (
        openqueue.connect_sync(dsn),
        pytest.raises(InvalidOption, match=r"asyncpg.* event loop only: `await .*takes a psycopg Connection"),
    ):
        job.options(connection=connection).enqueue_sync(1)
    await connection.close()


async def test_of_several_on_a_pool_the_refused_one_is_named(dsn: str) -> None:
    bad = job.options(id="01890000-0000-7000-8000-000000000000").item(1)
    async with openqueue.connect(dsn), asyncpg.create_pool(dsn, min_size=0) as pool:
        with pytest.raises(InvalidOption, match=r"items\[1\]: id"):
            await openqueue.enqueue_many([job.item(0), bad], connection=pool)
