"""A job that is part of your transaction: it exists if the transaction commits, and not otherwise."""

import asyncio
import os

import asyncpg

from openqueue import RunNotFound
from tasks.orders import thank


async def main() -> None:
    connection = await asyncpg.connect(os.environ["OPENQUEUE_DATABASE_URL"])
    await connection.execute("CREATE TEMPORARY TABLE orders (id integer PRIMARY KEY, customer text)")

    async with connection.transaction():
        await connection.execute("INSERT INTO orders VALUES (1, 'Ada')")
        run = await thank.options(connection=connection).enqueue(order=1, customer="Ada")
    print("committed:", await run.result(timeout="30s"))

    try:
        async with connection.transaction():
            await connection.execute("INSERT INTO orders VALUES (2, 'Bob')")
            run = await thank.options(connection=connection).enqueue(order=2, customer="Bob")
            raise RuntimeError("the payment was refused")
    except RuntimeError as error:
        print("rolled back:", error)

    print("orders:", await connection.fetchval("SELECT count(*) FROM orders"))
    try:
        await run.status()
    except RunNotFound:
        print("and nobody thanks Bob: there is no such run")
    await connection.close()


asyncio.run(main())
