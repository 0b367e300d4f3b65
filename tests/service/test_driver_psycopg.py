"""psycopg connections keep the contract, with await and without."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg.rows import namedtuple_row
from psycopg.types.uuid import UUIDLoader

import openqueue
from openqueue.db.connections import adapt
from openqueue.errors import ConnectionFailed, InvalidOption
from tests.support.drivers import AUTOCOMMIT, CONTRACT, Given, check, check_in_place, job, stored


@asynccontextmanager
async def of_connection(dsn: str, *, autocommit: bool = False) -> AsyncIterator[Given]:
    connection = psycopg.connect(dsn, autocommit=autocommit)

    async def execute(sql: str) -> None:
        connection.execute(sql.encode())

    async def commit() -> None:
        connection.commit()

    async def rollback() -> None:
        connection.rollback()

    async def close() -> None:
        connection.close()

    yield Given(connection, execute, commit, rollback, close)
    connection.close()


@asynccontextmanager
async def of_async_connection(dsn: str, *, autocommit: bool = False) -> AsyncIterator[Given]:
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=autocommit)

    async def execute(sql: str) -> None:
        await connection.execute(sql.encode())

    yield Given(connection, execute, connection.commit, connection.rollback, connection.close)
    await connection.close()


@pytest.mark.parametrize("opener", [of_connection, of_async_connection], ids=lambda one: one.__name__)
@pytest.mark.parametrize("promise", CONTRACT, ids=lambda one: one.__name__)
async def test_psycopg(promise: Any, opener: Any, dsn: str) -> None:
    await check(promise, opener, dsn)


@pytest.mark.parametrize("promise", CONTRACT, ids=lambda one: one.__name__)
def test_psycopg_without_await(promise: Any, dsn: str) -> None:
    check_in_place(promise, of_connection, dsn)


@pytest.mark.parametrize("opener", [of_connection, of_async_connection], ids=lambda one: one.__name__)
@pytest.mark.parametrize("promise", AUTOCOMMIT, ids=lambda one: one.__name__)
async def test_psycopg_in_autocommit(promise: Any, opener: Any, dsn: str) -> None:
    await check(promise, partial(opener, autocommit=True), dsn)


@pytest.mark.parametrize("promise", AUTOCOMMIT, ids=lambda one: one.__name__)
def test_psycopg_in_autocommit_without_await(promise: Any, dsn: str) -> None:
    check_in_place(promise, partial(of_connection, autocommit=True), dsn)


def test_with_autocommit_it_is_stored_at_once_or_with_the_block(dsn: str) -> None:
    with openqueue.connect_sync(dsn), psycopg.connect(dsn, autocommit=True) as connection:
        job.options(connection=connection).enqueue_sync(1)
        assert stored(dsn) == 1
        with connection.transaction(force_rollback=True):
            job.options(connection=connection).enqueue_sync(2)
        assert stored(dsn) == 1
        with connection.transaction():
            job.options(connection=connection).enqueue_sync(2)
        assert stored(dsn) == 2


class AsText(UUIDLoader):
    def load(self, data: Any) -> Any:
        return f"text {super().load(data)}"


def test_what_the_application_set_on_its_connection_does_not_touch_ours(dsn: str) -> None:
    with openqueue.connect_sync(dsn) as client:
        for factory in (psycopg.RawCursor, psycopg.ClientCursor, psycopg.ServerCursor):
            with psycopg.connect(dsn, row_factory=namedtuple_row) as connection:
                connection.cursor_factory = factory  # type: ignore[assignment]
                connection.adapters.register_loader("uuid", AsText)
                run = job.options(connection=connection).enqueue_sync(1)
                connection.commit()
                assert client.get(run.id).status == "queued"
                own = psycopg.Cursor(connection).execute("SELECT gen_random_uuid()").fetchone()
                assert own is not None
                assert own[0].startswith("text ")


async def test_a_statement_ends_within_its_time_and_the_connection_survives(empty_dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(empty_dsn, autocommit=True) as connection:
        with pytest.raises(ConnectionFailed, match=r"within 0\.1 s"):
            await adapt(connection, timeout=0.1).fetch("SELECT pg_sleep(60)")
        assert (await adapt(connection).fetch("SELECT $1::int + $1 AS two, '%' AS percent", 1)) == [
            {"two": 2, "percent": "%"}
        ]


async def test_code_that_cannot_await_is_told_to(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        with (
            openqueue.connect_sync(dsn),
            pytest.raises(InvalidOption, match=r"psycopg.*AsyncConnection works in its event loop only"),
        ):
            job.options(connection=connection).enqueue_sync(1)


def test_a_cursor_is_refused_naming_what_is_taken(dsn: str) -> None:
    with (
        openqueue.connect_sync(dsn),
        psycopg.connect(dsn) as connection,
        pytest.raises(
            InvalidOption, match=r"psycopg.Cursor is not supported\. Pass .* a psycopg 3 Connection"
        ),
    ):
        job.options(connection=connection.cursor()).enqueue_sync(1)
