"""SQLAlchemy's sessions and connections keep the contract, on each driver, with await and without."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from inspect import isawaitable
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

import openqueue
from openqueue.errors import ConnectionFailed, InvalidOption
from openqueue.runs.loops import running_loop
from tests.support.drivers import AUTOCOMMIT, CONTRACT, Given, ask, check, check_in_place, job, stored


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "t"
    n: Mapped[int] = mapped_column(primary_key=True)


def engine_of(dsn: str, driver: str = "psycopg") -> Engine:
    return create_engine(dsn.replace("postgresql:", f"postgresql+{driver}:"), poolclass=NullPool)


def async_engine_of(dsn: str, driver: str) -> AsyncEngine:
    return create_async_engine(dsn.replace("postgresql:", f"postgresql+{driver}:"), poolclass=NullPool)


def given_of(connection: Any) -> Given:
    async def execute(sql: str) -> None:
        connection.execute(text(sql))

    async def commit() -> None:
        connection.commit()

    async def rollback() -> None:
        connection.rollback()

    async def close() -> None:
        connection.close()

    return Given(connection, execute, commit, rollback, close, errors=(SQLAlchemyError,))


def given_of_async(connection: Any) -> Given:
    async def execute(sql: str) -> None:
        await connection.execute(text(sql))

    return Given(
        connection,
        execute,
        connection.commit,
        connection.rollback,
        connection.close,
        errors=(SQLAlchemyError,),
    )


def with_session(driver: str) -> Any:
    @asynccontextmanager
    async def opener(dsn: str) -> AsyncIterator[Given]:
        with Session(engine_of(dsn, driver), close_resets_only=False) as session:
            yield given_of(session)

    return opener


def with_connection(driver: str) -> Any:
    @asynccontextmanager
    async def opener(dsn: str) -> AsyncIterator[Given]:
        with engine_of(dsn, driver).connect() as connection:
            yield given_of(connection)

    return opener


def with_async_session(driver: str) -> Any:
    @asynccontextmanager
    async def opener(dsn: str) -> AsyncIterator[Given]:
        async with AsyncSession(async_engine_of(dsn, driver), close_resets_only=False) as session:
            yield given_of_async(session)

    return opener


def with_async_connection(driver: str) -> Any:
    @asynccontextmanager
    async def opener(dsn: str) -> AsyncIterator[Given]:
        async with async_engine_of(dsn, driver).connect() as connection:
            yield given_of_async(connection)

    return opener


Makes = Callable[[str], Callable[[str], AbstractAsyncContextManager[Given]]]
SYNC: list[tuple[Makes, str]] = [
    (with_session, "psycopg"),
    (with_connection, "psycopg"),
    (with_session, "psycopg2"),
]
ASYNC: list[tuple[Makes, str]] = [
    (with_async_session, "asyncpg"),
    (with_async_session, "psycopg"),
    (with_async_connection, "asyncpg"),
    (with_async_connection, "psycopg"),
]


def name_of(given: Any) -> str:
    return given.__name__ if callable(given) else str(given)


@pytest.mark.parametrize(("makes", "driver"), [*ASYNC, SYNC[0]], ids=name_of)
@pytest.mark.parametrize("promise", CONTRACT, ids=name_of)
async def test_sqlalchemy(promise: Any, makes: Makes, driver: str, dsn: str) -> None:
    await check(promise, makes(driver), dsn)


@pytest.mark.parametrize(("makes", "driver"), SYNC, ids=name_of)
@pytest.mark.parametrize("promise", CONTRACT, ids=name_of)
def test_sqlalchemy_without_await(promise: Any, makes: Makes, driver: str, dsn: str) -> None:
    check_in_place(promise, makes(driver), dsn)


def in_autocommit(makes: Makes, driver: str) -> Any:
    """The opener, with an engine in AUTOCOMMIT."""

    @asynccontextmanager
    async def opener(dsn: str) -> AsyncIterator[Given]:
        async with makes(driver)(dsn) as given:
            options = {"isolation_level": "AUTOCOMMIT"}
            found = given.connection
            if hasattr(found, "get_bind"):
                found = found.connection(execution_options=options)
            else:
                found = found.execution_options(**options)
            if isawaitable(found):
                await found
            yield given

    return opener


@pytest.mark.parametrize(("makes", "driver"), [*ASYNC, SYNC[0]], ids=name_of)
@pytest.mark.parametrize("promise", AUTOCOMMIT, ids=name_of)
async def test_sqlalchemy_in_autocommit(promise: Any, makes: Makes, driver: str, dsn: str) -> None:
    await check(promise, in_autocommit(makes, driver), dsn)


@pytest.mark.parametrize(("makes", "driver"), SYNC, ids=name_of)
@pytest.mark.parametrize("promise", AUTOCOMMIT, ids=name_of)
def test_sqlalchemy_in_autocommit_without_await(promise: Any, makes: Makes, driver: str, dsn: str) -> None:
    check_in_place(promise, in_autocommit(makes, driver), dsn)


@pytest.fixture
def table(dsn: str) -> str:
    ask(dsn, "CREATE TABLE t (n int PRIMARY KEY)")
    return dsn


def test_the_job_goes_with_the_objects_of_a_session(table: str) -> None:
    with openqueue.connect_sync(table):
        with Session(engine_of(table)) as session, session.begin():
            session.add(Row(n=1))
            job.options(connection=session).enqueue_sync(1)
        assert (stored(table), ask(table, "SELECT n FROM t")) == (1, [(1,)])
        with suppress(DBAPIError), Session(engine_of(table)) as session, session.begin():
            job.options(connection=session).enqueue_sync(2)
            session.add(Row(n=1))  # refused when it is flushed, at the commit
        assert (stored(table), ask(table, "SELECT n FROM t")) == (1, [(1,)])


async def test_the_job_goes_with_the_objects_of_an_async_session(table: str) -> None:
    async with openqueue.connect(table):
        async with AsyncSession(async_engine_of(table, "asyncpg")) as session, session.begin():
            session.add(Row(n=1))
            await job.options(connection=session).enqueue(1)
            assert stored(table) == 0
        assert (stored(table), ask(table, "SELECT n FROM t")) == (1, [(1,)])


def test_a_savepoint_that_is_rolled_back_takes_its_job_with_it(table: str) -> None:
    with openqueue.connect_sync(table), Session(engine_of(table)) as session, session.begin():
        job.options(connection=session).enqueue_sync(1)
        with suppress(ZeroDivisionError), session.begin_nested():
            job.options(connection=session).enqueue_sync(2)
            raise ZeroDivisionError
    assert stored(table) == 1


def test_scoped_sessions_are_taken(table: str) -> None:
    session = scoped_session(sessionmaker(engine_of(table)))
    with openqueue.connect_sync(table):
        job.options(connection=session).enqueue_sync(1)
        assert stored(table) == 0
        session.commit()
    assert stored(table) == 1
    session.remove()


async def test_async_scoped_sessions_are_taken(table: str) -> None:
    session = async_scoped_session(async_sessionmaker(async_engine_of(table, "asyncpg")), running_loop)
    async with openqueue.connect(table):
        await job.options(connection=session).enqueue(1)
        assert stored(table) == 0
        await session.commit()
    assert stored(table) == 1
    await session.remove()


def test_with_autocommit_it_is_stored_at_once(table: str) -> None:
    engine = engine_of(table).execution_options(isolation_level="AUTOCOMMIT")
    with openqueue.connect_sync(table), engine.connect() as connection:
        job.options(connection=connection).enqueue_sync(1)
        assert stored(table) == 1


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_the_inside_of_an_async_session_is_taken_where_it_can_wait(table: str, driver: str) -> None:
    def inside(session: Session) -> None:
        job.options(connection=session).enqueue_sync(1)

    async with openqueue.connect(table), AsyncSession(async_engine_of(table, driver)) as session:
        await session.run_sync(inside)
        assert stored(table) == 0
        with pytest.raises(InvalidOption, match=r"Pass the AsyncSession"):
            job.options(connection=session.sync_session).enqueue_sync(1)
        await session.commit()
    assert stored(table) == 1


async def test_a_session_whose_flush_failed_is_said_to_have(table: str) -> None:
    ask(table, "INSERT INTO t VALUES (1)")
    with openqueue.connect_sync(table), Session(engine_of(table)) as session:
        session.add(Row(n=1))
        with pytest.raises(DBAPIError):
            session.flush()
        with pytest.raises(ConnectionFailed, match=r"already failed.*Roll it back"):
            job.options(connection=session).enqueue_sync(1)


async def test_code_that_cannot_await_is_told_to(table: str) -> None:
    async with AsyncSession(async_engine_of(table, "asyncpg")) as session:
        with (
            openqueue.connect_sync(table),
            pytest.raises(InvalidOption, match=r"AsyncSession works in its event loop only"),
        ):
            job.options(connection=session).enqueue_sync(1)


def test_engines_and_other_databases_are_refused_with_the_remedy(table: str) -> None:
    with openqueue.connect_sync(table):
        with pytest.raises(InvalidOption, match=r"Engine has no transaction\. Pass a session or connection"):
            job.options(connection=engine_of(table)).enqueue_sync(1)
        with (
            Session(create_engine("sqlite://")) as session,
            pytest.raises(InvalidOption, match=r"on sqlite\+pysqlite.*psycopg, asyncpg and psycopg2"),
        ):
            job.options(connection=session).enqueue_sync(1)
        with Session() as session, pytest.raises(InvalidOption, match="Pass the connection"):
            job.options(connection=session).enqueue_sync(1)
