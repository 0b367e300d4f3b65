"""What must be true of a connection of any driver: one contract, and what a driver brings to keep it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock
from uuid import UUID

import psycopg
import pytest

import openqueue
from openqueue import Run, task
from openqueue.errors import ConnectionFailed, InvalidOption, OpenQueueError, SchemaError
from openqueue.runs import parts, storing
from openqueue.runs.loops import in_place
from openqueue.tasks.enqueuer import Item

__all__ = ["AUTOCOMMIT", "CONTRACT", "Given", "Opener", "check", "check_in_place", "job", "stored"]

Do = Callable[[], Awaitable[object]]
AWKWARD = "100% of %s and %(p1)s, $1 and $10, :p1 ::text \\: 'quoted' \"too\" {1,NULL} \\N ünï 🚀\n"


@task(name="job")
async def job(value: Any) -> Any:
    return value


@dataclass
class Given:
    """A connection in a transaction of its own, after `CREATE TABLE t (n int)` was committed.

    `sync` is whether it is used without await; all of it is then done in place.
    """

    connection: Any
    execute: Callable[[str], Awaitable[object]]
    commit: Do
    rollback: Do
    close: Do
    sync: bool = False
    dsn: str = ""
    errors: tuple[type[Exception], ...] = field(default=(Exception,))

    async def enqueue(self, value: Any, **options: Any) -> Run[Any]:
        made = job.options(connection=self.connection, **options)
        return made.enqueue_sync(value) if self.sync else await made.enqueue(value)

    async def enqueue_many(self, items: Iterable[Item[Any]]) -> list[Run[Any]]:
        if self.sync:
            return openqueue.enqueue_many_sync(items, connection=self.connection)
        return await openqueue.enqueue_many(items, connection=self.connection)


Opener = Callable[[str], AbstractAsyncContextManager[Given]]


def ask(dsn: str, sql: str, *args: Any) -> list[tuple[Any, ...]]:
    """What another session sees."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(sql.encode(), args or None)
        return cursor.fetchall() if cursor.description else []


def stored(dsn: str) -> int:
    """How many runs another session sees; as many must wait to be run."""
    ((runs, jobs),) = ask(
        dsn,
        "SELECT (SELECT count(*) FROM openqueue.run_requests), (SELECT count(*) FROM openqueue.jobs)",
    )
    assert runs == jobs
    return int(runs)


async def the_job_appears_with_the_commit(given: Given) -> None:
    await given.execute("INSERT INTO t VALUES (1)")
    run = await given.enqueue(1)
    assert isinstance(run.id, UUID)
    assert run.outcome == "added"
    assert stored(given.dsn) == 0
    await given.commit()
    assert stored(given.dsn) == 1
    assert ask(given.dsn, "SELECT count(*) FROM t") == [(1,)]


async def the_job_is_gone_with_the_rollback(given: Given) -> None:
    await given.execute("INSERT INTO t VALUES (1)")
    await given.enqueue(1)
    await given.rollback()
    assert stored(given.dsn) == 0
    assert ask(given.dsn, "SELECT count(*) FROM t") == [(0,)]


async def an_enqueue_may_be_the_first_statement(given: Given) -> None:
    await given.enqueue(1)
    assert stored(given.dsn) == 0
    await given.rollback()
    assert stored(given.dsn) == 0
    await given.enqueue(2)
    await given.execute("INSERT INTO t VALUES (2)")
    await given.commit()
    assert stored(given.dsn) == 1


async def many_are_part_of_the_transaction(given: Given) -> None:
    runs = await given.enqueue_many(job.item(number) for number in range(MANY))
    assert len({run.id for run in runs}) == MANY
    assert stored(given.dsn) == 0
    await given.rollback()
    assert stored(given.dsn) == 0
    await given.enqueue_many([job.options(priority=number % 3).item(number) for number in range(MANY)])
    for number in range(50):
        await given.enqueue(number)
    assert stored(given.dsn) == 0
    await given.commit()
    assert stored(given.dsn) == MANY + 50


async def every_option_arrives_as_it_was_given(given: Given) -> None:
    key = AWKWARD.strip()
    moment = datetime(2040, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    one = await given.enqueue(
        AWKWARD,
        run_at=moment,
        priority=-7,
        queue="mail",
        key=key,
        meta={"tenant": AWKWARD},
        tags=["a", "b%s"],
        deadline=moment + timedelta(days=1),
        max_attempts=3,
        idempotency=key,
        group=key,
        concurrency_key=key,
    )
    again = await given.enqueue(2, key=key, key_mode="skip")
    assert (again.id, again.outcome) == (one.id, "existing")
    again = await given.enqueue(3, idempotency=key, idempotency_ttl="1h")
    assert (again.id, again.outcome) == (one.id, "existing")
    alike = [await given.enqueue([AWKWARD], unique="args") for _ in range(2)]
    assert [run.outcome for run in alike] == ["added", "existing"]
    joined = [await given.enqueue([value], key="j", key_mode="merge") for value in (AWKWARD, 2)]
    assert [run.outcome for run in joined] == ["added", "replaced"]
    mixed = await given.enqueue_many(
        [
            job.item(None),
            job.options(delay=0.5).item(1.5),
            job.options(priority=3, tags=[]).item([]),
            Item.named("by.name", {"a": 1}, meta={}),
        ]
    )
    await given.commit()
    assert ask(
        given.dsn,
        "SELECT input ->> 'value', key, meta ->> 'tenant', tags, run_at, deadline, priority, queue,"
        " max_attempts FROM openqueue.runs WHERE id = %s",
        one.id,
    ) == [(AWKWARD, key, AWKWARD, ["a", "b%s"], moment, moment + timedelta(days=1), -7, "mail", 3)]
    assert ask(
        given.dsn,
        "SELECT group_key, concurrency_key, key_limit, keeps_slot FROM openqueue.jobs WHERE id = %s",
        one.id,
    ) == [(key, key, 1, True)]
    assert ask(given.dsn, "SELECT input FROM openqueue.runs WHERE id = %s", joined[0].id) == [
        ({"value": [AWKWARD, 2]},)
    ]
    found = dict(ask(given.dsn, "SELECT id, task || ' ' || input::text || ' ' || status FROM openqueue.runs"))
    assert [found[run.id] for run in mixed] == [
        'job {"value": null} queued',
        'job {"value": 1.5} scheduled',
        'job {"value": []} queued',
        'by.name {"a": 1} queued',
    ]


async def a_value_that_the_engine_refuses_is_named(given: Given) -> None:
    with pytest.raises(InvalidOption, match="id") as refused:
        await given.enqueue(1, id="01890000-0000-7000-8000-000000000000")
    assert refused.value.option == "id"
    await given.rollback()


async def a_transaction_that_failed_is_said_to_have(given: Given) -> None:
    await given.enqueue(1)
    with pytest.raises(given.errors):
        await given.execute("SELECT 1 / 0")
    with pytest.raises(ConnectionFailed, match=r"already failed.*Roll it back"):
        await given.enqueue(2)
    await given.rollback()
    assert stored(given.dsn) == 0


async def a_missing_schema_is_named_with_the_remedy(given: Given) -> None:
    ask(given.dsn, "ALTER SCHEMA openqueue RENAME TO elsewhere")
    with pytest.raises(SchemaError, match="openqueue migrate") as missing:
        await given.enqueue("secret")
    assert "secret" not in str(missing.value)
    await given.rollback()
    ask(given.dsn, "ALTER SCHEMA elsewhere RENAME TO openqueue")


async def a_session_that_was_ended_is_a_failed_connection(given: Given) -> None:
    await given.execute("INSERT INTO t VALUES (1)")
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    ask(given.dsn, f"{others} WHERE datname = current_database() AND state = 'idle in transaction'")
    with pytest.raises(ConnectionFailed):
        await given.enqueue(1)
    with suppress(OpenQueueError, *given.errors):
        await given.rollback()
    assert stored(given.dsn) == 0


async def a_closed_connection_is_said_to_be_so(given: Given) -> None:
    await given.close()
    with pytest.raises(ConnectionFailed, match=r"closed|given back to its pool"):
        await given.enqueue(1)


FULL = 200
"""Items in the first statement of a batch, while promises are checked; what follows is in another one."""

MANY = 3 * FULL


async def a_batch_that_fails_half_way_leaves_nothing(given: Given) -> None:
    late = job.options(id="01890000-0000-7000-8000-000000000000").item(FULL)
    with pytest.raises(InvalidOption, match=rf"items\[{FULL}\]: id"):
        await given.enqueue_many([*map(job.item, range(FULL)), late])
    assert stored(given.dsn) == 0
    await given.enqueue(1)
    assert stored(given.dsn) == 1


async def a_large_batch_is_stored_at_once(given: Given) -> None:
    runs = await given.enqueue_many(map(job.item, range(FULL + 1)))
    assert len({run.id for run in runs}) == FULL + 1 == stored(given.dsn)
    await given.enqueue(1)
    assert stored(given.dsn) == FULL + 2


async def a_transaction_begun_by_hand_goes_on(given: Given) -> None:
    await given.execute("BEGIN")
    await given.enqueue_many(map(job.item, range(FULL + 1)))
    assert stored(given.dsn) == 0
    await given.execute("ROLLBACK")
    assert stored(given.dsn) == 0


AUTOCOMMIT = [
    a_batch_that_fails_half_way_leaves_nothing,
    a_large_batch_is_stored_at_once,
    a_transaction_begun_by_hand_goes_on,
]
"""What is kept on a connection that has no transaction open, and begins none by itself."""

CONTRACT = [
    the_job_appears_with_the_commit,
    the_job_is_gone_with_the_rollback,
    an_enqueue_may_be_the_first_statement,
    many_are_part_of_the_transaction,
    every_option_arrives_as_it_was_given,
    a_value_that_the_engine_refuses_is_named,
    a_transaction_that_failed_is_said_to_have,
    a_missing_schema_is_named_with_the_remedy,
    a_session_that_was_ended_is_a_failed_connection,
    a_closed_connection_is_said_to_be_so,
]


@contextmanager
def small_statements() -> Iterator[None]:
    """A statement takes a hundredth of what it takes elsewhere: what is large needs several all the same."""
    with (
        mock.patch.object(storing, "MOST_AT_ONCE", FULL),
        mock.patch.object(parts, "MOST_WITH_OPTIONS", FULL),
    ):
        yield


async def check(promise: Callable[[Given], Awaitable[None]], opener: Opener, dsn: str) -> None:
    """See whether a driver keeps a promise, in an event loop."""
    ask(dsn, "CREATE TABLE t (n int)")
    with small_statements():
        async with openqueue.connect(dsn, statement_timeout="2m"), opener(dsn) as given:
            given.dsn = dsn
            await promise(given)


def check_in_place(promise: Callable[[Given], Awaitable[None]], opener: Opener, dsn: str) -> None:
    """The same where none runs: nothing may wait for one."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()

    async def checked() -> None:
        async with opener(dsn) as given:
            given.dsn, given.sync = dsn, True
            await promise(given)

    ask(dsn, "CREATE TABLE t (n int)")
    with small_statements(), openqueue.connect_sync(dsn, statement_timeout="2m"):
        in_place(checked())
