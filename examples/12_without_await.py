"""The whole client without an event loop, in threads: programs, web workers, notebooks."""

import os
from concurrent.futures import ThreadPoolExecutor

import psycopg

import openqueue
from tasks.orders import thank

dsn = os.environ["OPENQUEUE_DATABASE_URL"]

with openqueue.connect_sync(dsn) as oq:
    with ThreadPoolExecutor(4) as threads:
        runs = list(threads.map(lambda order: oq.enqueue(thank.item(order, "Ada")), range(8)))
    print(sum("thank you" in run.result_sync(timeout="30s") for run in runs), "customers thanked")

    with psycopg.connect(dsn) as connection:
        run = thank.options(delay="1h", connection=connection).enqueue_sync(order=9, customer="Bob")
    print("Bob's is", run.status_sync())
    print("then it is", oq.cancel(run.id))
