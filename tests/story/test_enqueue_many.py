"""Large batches: stored in parts while the next part is made, all or none, and the event loop goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from openqueue import task
from openqueue.clients import open_client
from openqueue.errors import InvalidOption, OpenQueueError, TooLarge
from openqueue.runs.client import Client
from openqueue.runs.parts import MOST_TEXT, parts
from openqueue.runs.storing import AT_ONCE
from openqueue.settings import load_settings
from openqueue.tasks.enqueuer import Item

MANY = 2 * AT_ONCE + 7


@task(name="echo")
async def echo(value: int) -> int:
    return value


@pytest.fixture
async def client(dsn: str) -> Any:
    async with open_client(load_settings(database_url=dsn)) as opened:
        yield opened


async def runs_of(db: asyncpg.Connection) -> int:
    return int(await db.fetchval("SELECT count(*) FROM openqueue.run_requests"))


async def test_items_may_come_from_a_generator_and_their_runs_are_in_its_order(
    client: Client, db: asyncpg.Connection
) -> None:
    runs = await client.enqueue_many(echo.item(n) for n in range(MANY))
    assert [run.id for run in runs] == sorted({run.id for run in runs})
    stored = await db.fetch("SELECT id, input FROM openqueue.run_requests ORDER BY id")
    assert [(row["id"], row["input"]) for row in stored] == [
        (run.id, f'{{"value": {n}}}') for n, run in enumerate(runs)
    ]
    (transactions,) = await db.fetch("SELECT count(DISTINCT xmin::text) AS n FROM openqueue.run_requests")
    assert transactions["n"] == 1


async def test_of_a_generator_that_breaks_in_the_middle_nothing_is_stored(
    client: Client, db: asyncpg.Connection
) -> None:
    def items() -> Iterator[Item[int]]:
        yield from (echo.item(n) for n in range(MANY))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await client.enqueue_many(items())
    bad: Any = [*(echo.item(n) for n in range(MANY)), "echo"]
    with pytest.raises(InvalidOption, match=rf"items\[{MANY}\]: 'echo' is not an item"):
        await client.enqueue_many(bad)
    assert await runs_of(db) == 0
    assert len(await client.enqueue_many(echo.item(n) for n in range(3))) == 3


async def test_what_the_database_refuses_in_a_later_part_undoes_the_earlier_ones(
    client: Client, db: asyncpg.Connection
) -> None:
    await db.execute(
        "ALTER TABLE openqueue.run_requests ADD CHECK (input <> jsonb_build_object('value', -1))"
    )
    items = [echo.item(n) for n in range(MANY)]
    items[AT_ONCE + 1] = echo.item(-1)
    with pytest.raises(OpenQueueError, match="violates check constraint"):
        await client.enqueue_many(items)
    assert await runs_of(db) == 0


async def test_on_the_callers_connection_nothing_is_sent_before_all_items_are_sound(
    client: Client, db: asyncpg.Connection
) -> None:
    bad: Any = [*(echo.item(n) for n in range(MANY)), None]
    async with db.transaction():
        with pytest.raises(InvalidOption):
            await client.enqueue_many(bad, connection=db)
        await client.enqueue_many((echo.item(n) for n in range(5)), connection=db)
    assert await runs_of(db) == 5


async def test_a_batch_that_is_cancelled_stores_nothing_and_leaves_the_client_usable(
    client: Client, db: asyncpg.Connection
) -> None:
    begun = asyncio.Event()

    def items() -> Iterator[Item[int]]:
        for n in range(MANY):
            if n == AT_ONCE + 500:
                begun.set()
            yield echo.item(n)

    batch = asyncio.create_task(client.enqueue_many(items()))
    await begun.wait()
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    assert await runs_of(db) == 0
    assert len(await client.enqueue_many(echo.item(n) for n in range(MANY))) == MANY


async def test_the_event_loop_goes_on_while_items_are_made() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    busy = asyncio.create_task(others())
    sizes = [len(part) async for part in parts((echo.item(n) for n in range(MANY)), AT_ONCE)]
    busy.cancel()
    assert sizes == [AT_ONCE, AT_ONCE, 7]
    assert turns >= MANY // 250


async def test_a_part_ends_early_where_its_inputs_are_large_and_late_where_items_have_options() -> None:
    huge = Item(echo, "x" * (MOST_TEXT // 2))
    assert [len(part) async for part in parts([huge] * 7, AT_ONCE)] == [3, 3, 1]
    keyed = [echo.options(key=str(n)).item(n) for n in range(MANY)]
    assert [len(part) async for part in parts(keyed, AT_ONCE)] == [MANY]


async def test_an_input_over_the_limit_is_refused_before_anything_is_stored(dsn: str, db: Any) -> None:
    @task(name="write")
    async def write(text: str) -> None: ...

    settings = load_settings(database_url=dsn, max_input=1024)
    async with open_client(settings) as client:
        with pytest.raises(TooLarge, match=r"items\[1\]\.input is 1 KiB") as caught:
            await client.enqueue_many([write.item("x"), write.item("x" * 1024)])
        assert caught.value.path == "items[1].input.text"
        with pytest.raises(TooLarge, match=rf"items\[{AT_ONCE + 3}\]\.input is 1 KiB"):
            await client.enqueue_many(
                write.item("x" * (1024 if n == AT_ONCE + 3 else 1)) for n in range(MANY)
            )
        with pytest.raises(TooLarge, match=r"^input is 1 KiB"):
            await client.enqueue(write.item("x" * 1024))
    assert await runs_of(db) == 0


async def test_what_the_database_refuses_of_one_item_names_it(client: Client, db: asyncpg.Connection) -> None:
    old = UUID("01900000-0000-7000-8000-000000000000")
    with pytest.raises(InvalidOption, match=r"^items\[1\]: id is not a UUIDv7 made within") as caught:
        await client.enqueue_many([echo.item(0), echo.options(id=old).item(1)])
    assert caught.value.option == "items[1].id"
    with pytest.raises(InvalidOption, match=r"^id is not a UUIDv7 made within") as caught:
        await client.enqueue(echo.options(id=old).item(1))
    assert caught.value.option == "id"
    assert await runs_of(db) == 0
