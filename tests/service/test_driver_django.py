"""Django's connections keep the contract; on_commit, atomic and async views do as they should."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import django
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, connection, connections, transaction
from psycopg.conninfo import conninfo_to_dict

import openqueue
from openqueue.errors import ConnectionFailed, InvalidOption
from tests.support.drivers import AUTOCOMMIT, CONTRACT, Given, ask, check_in_place, job, stored

POSTGRESQL = "django.db.backends.postgresql"


@pytest.fixture(scope="module", autouse=True)
def _configured() -> None:
    databases = {"default": {"ENGINE": POSTGRESQL}, "lite": {"ENGINE": "django.db.backends.sqlite3"}}
    settings.configure(DATABASES=databases, USE_TZ=True, DEBUG=True)  # so that statements are logged, too
    django.setup()


@pytest.fixture(params=[False, True], ids=["merged", "bound"])
def shop(dsn: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The test's database as Django's default; parameters merged into the text, or bound by the server."""
    parts = conninfo_to_dict(dsn)
    made = connections.settings["default"]
    made.update(NAME=parts["dbname"], HOST=parts["host"], PORT=parts["port"], USER=parts["user"])
    made["OPTIONS"] = {"server_side_binding": request.param}
    with suppress(AttributeError):  # there is none yet
        del connections["default"]
    yield dsn
    connection.close()


@asynccontextmanager
async def opener(dsn: str, *, autocommit: bool = False) -> AsyncIterator[Given]:
    connection.set_autocommit(autocommit)

    async def execute(sql: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)

    async def commit() -> None:
        connection.commit()

    async def rollback() -> None:
        connection.rollback()

    async def close() -> None:
        connection.connection.close()

    yield Given(connection, execute, commit, rollback, close, errors=(DatabaseError,))
    connection.close()


@pytest.mark.parametrize("promise", CONTRACT, ids=lambda one: one.__name__)
def test_django(promise: Any, shop: str) -> None:
    check_in_place(promise, opener, shop)


@pytest.mark.parametrize("promise", AUTOCOMMIT, ids=lambda one: one.__name__)
def test_django_in_autocommit(promise: Any, shop: str) -> None:
    check_in_place(promise, partial(opener, autocommit=True), shop)


def test_a_large_batch_is_part_of_the_atomic_block(shop: str) -> None:
    with openqueue.connect_sync(shop, statement_timeout="2m"):
        with suppress(ZeroDivisionError), transaction.atomic():
            openqueue.enqueue_many_sync(map(job.item, range(20_001)), connection=connection)
            raise ZeroDivisionError
        assert stored(shop) == 0


def test_the_job_goes_with_the_atomic_block(shop: str) -> None:
    with openqueue.connect_sync(shop):
        with transaction.atomic():
            job.options(connection=connection).enqueue_sync(1)
            with suppress(ZeroDivisionError), transaction.atomic():
                job.options(connection=connections["default"]).enqueue_sync(2)
                raise ZeroDivisionError
            assert stored(shop) == 0
        assert stored(shop) == 1
        with suppress(ZeroDivisionError), transaction.atomic():
            job.options(connection=connection).enqueue_sync(3)
            raise ZeroDivisionError
        assert stored(shop) == 1


@pytest.mark.parametrize("given", [None, connection], ids=["own", "given"])
def test_a_job_may_be_enqueued_on_commit(shop: str, given: object) -> None:
    with openqueue.connect_sync(shop):
        with transaction.atomic():
            transaction.on_commit(lambda: job.options(connection=given).enqueue_sync(1))
            assert stored(shop) == 0
        assert stored(shop) == 1
        with suppress(ZeroDivisionError), transaction.atomic():
            transaction.on_commit(lambda: job.options(connection=given).enqueue_sync(1))
            raise ZeroDivisionError
        assert stored(shop) == 1


def test_outside_of_atomic_it_is_stored_at_once(shop: str) -> None:
    with openqueue.connect_sync(shop):
        job.options(connection=connection).enqueue_sync(1)
        assert stored(shop) == 1


def test_a_block_that_is_to_be_rolled_back_says_so(shop: str) -> None:
    with openqueue.connect_sync(shop), transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(ConnectionFailed, match=r"already failed.*Roll it back"):
            job.options(connection=connection).enqueue_sync(1)
    assert stored(shop) == 0


def test_a_generator_of_items_may_read_from_the_connection(shop: str) -> None:
    ask(shop, "CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2)")

    def items() -> Iterator[Any]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT n FROM t")
            yield from (job.item(n) for (n,) in cursor.fetchall())

    with openqueue.connect_sync(shop) as client:
        assert len(client.enqueue_many(items(), connection=connection)) == 2
        assert len(client.enqueue_many(items())) == 2
    assert stored(shop) == 4


async def test_an_async_view_enqueues_where_its_transaction_is(shop: str) -> None:
    @transaction.atomic
    def order() -> None:
        job.options(connection=connection).enqueue_sync(1)

    async with openqueue.connect(shop):
        await sync_to_async(order)()
        assert stored(shop) == 1
        with pytest.raises(InvalidOption, match="sync_to_async"):
            await job.options(connection=connection).enqueue(1)
        await sync_to_async(connections.close_all)()  # those of its thread


def test_another_database_is_refused(shop: str) -> None:
    with (
        openqueue.connect_sync(shop),
        pytest.raises(InvalidOption, match=r"'lite' is on sqlite\. Jobs are kept in PostgreSQL"),
    ):
        job.options(connection=connections["lite"]).enqueue_sync(1)
