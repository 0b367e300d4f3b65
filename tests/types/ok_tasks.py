"""What a type checker must accept, and what it must know: `assert_type` is checked by mypy and by pyright."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar, assert_type

from openqueue import (
    AttemptFailed,
    Batch,
    CallNext,
    Context,
    Control,
    Exponential,
    Fixed,
    GiveUp,
    Rate,
    Run,
    RunFinished,
    RunInfo,
    RunStarted,
    Snooze,
    SyncClient,
    Task,
    connect_sync,
    enqueue,
    enqueue_many,
    enqueue_many_sync,
    enqueue_sync,
    middleware,
    subscribe,
    task,
    worker_lifespan,
)
from openqueue.tasks.enqueuer import Item
from openqueue.tasks.lifespans import State

P = ParamSpec("P")
R = TypeVar("R")


@task
async def send_mail(to: str, subject: str = "hello") -> str:
    return f"{to} {subject}"


@task(
    name="mail.count",
    queue="mail",
    priority=-10,
    max_attempts=3,
    backoff=Exponential(base="1s", factor=2, cap="1h"),
    timeout="30s",
    deadline=timedelta(hours=1),
    tags=["mail"],
    meta={"team": "post"},
    retry_on=OSError,
    give_up_on=(ValueError, KeyError),
    aliases=["count"],
    concurrency=5,
    rate="100/1m",
    burst=20,
)
def count(words: list[str]) -> int:
    return len(words)


@task(backoff=Fixed("5s"))
async def first(ctx: Context, path: str) -> dict[str, int]:
    ctx.log.info("reading", path=path)
    ctx.progress({"read": 1})
    if ctx.attempt > 2:
        raise Snooze("5m")
    child = await ctx.enqueue(send_mail, path, subject="read")
    assert_type(child, Run[str])
    by_name = await ctx.enqueue("mail.count", {"words": []}, delay="5m")
    assert_type(by_name, Run[Any])
    return {}


@task(backoff=lambda attempt, error: attempt * 2)
def last(path: str, *, ctx: Context = Context.injected) -> None:
    while not ctx.cancelled:
        ctx.enqueue_sync(send_mail, path)
        raise GiveUp("enough")


@task
async def summary(rows: list[Any], *, ctx: Context = Context.injected) -> dict[str, Any]:
    return {"rows": len(rows)}


@task
async def anything(value: Any) -> bool:
    return bool(value)


@task
async def any_object(value: object) -> bool:
    return bool(value)


@task()
async def nothing() -> None: ...


@middleware
async def timed(ctx: Context, call_next: CallNext) -> Any:
    assert_type(ctx.state, State)
    return await call_next()


@worker_lifespan
async def pool() -> AsyncIterator[dict[str, Any]]:
    yield {"pool": 1}


@worker_lifespan
@asynccontextmanager
async def quiet() -> AsyncIterator[None]:
    yield


@task(concurrency_key=lambda number: f"n{number}", key_concurrency=2, on_failure="block")
def limited(number: int) -> int:
    return number


@task(concurrency_key="printer")
def printed(number: int) -> int:
    return number


@task(executor="process", middleware=[timed])
def outside(ctx: Context, number: int) -> int:
    return number


@dataclass
class Doc:
    number: int


@task(batch=Batch(size=100, wait="200ms"))
async def index(docs: list[Doc]) -> list[str | Exception]:
    return [GiveUp("empty") if doc.number < 0 else "indexed" for doc in docs]


@task(batch=Batch(10), queue="mail", timeout="1m")
def count_all(ctx: Context, texts: list[str]) -> list[int]:
    for item in ctx.items:
        item.progress({"attempt": item.attempt})
    return [len(text) for text in texts]


@task(batch=Batch(10, wait=timedelta(seconds=1)))
async def store(docs: list[Doc], *, ctx: Context = Context.injected) -> None: ...


@task(batch=Batch(10))
async def look_up(numbers: Sequence[int]) -> list[Doc | Exception | None]:
    return [Doc(number) if number else None for number in numbers]


def told(event: RunStarted | RunFinished) -> None: ...


async def failed(event: AttemptFailed) -> None: ...


assert_type(subscribe(RunStarted, lambda event: assert_type(event, RunStarted)), Callable[[], None])
subscribe(RunStarted, told)
subscribe(RunStarted | RunFinished, told)
subscribe(AttemptFailed, failed)


async def use_batches() -> None:
    assert_type(await index.enqueue(Doc(1)), Run[str])
    assert_type(await (await index.enqueue(Doc(1))).result(), str)
    assert_type(await count_all.options(delay="5m").enqueue("text"), Run[int])
    assert_type(await store.enqueue(Doc(1)), Run[None])
    assert_type(index.item(Doc(1)), Item[str])
    assert_type(await enqueue_many(index.item(Doc(n)) for n in range(3)), list[Run[Any]])
    assert_type(await look_up.enqueue(1), Run[Doc | None])
    await store([Doc(1)])
    count_all(Context.injected, ["a"])


async def use() -> None:
    run = await send_mail.enqueue("a@b.c", subject="Hello")
    assert_type(run, Run[str])
    assert_type(await run.result(timeout="10s"), str)
    assert_type(await count.enqueue(words=["a"]), Run[int])
    assert_type(await first.enqueue("file"), Run[dict[str, int]])
    assert_type(await last.enqueue("file"), Run[None])
    assert_type(await nothing.enqueue(), Run[None])
    await anything.enqueue(value=1)
    await any_object.enqueue(value=1)

    later = send_mail.options(
        delay="5m", key="welcome:42", key_mode="skip", meta={"tenant": 42}, tags=["vip"], connection=object()
    )
    assert_type(await later.enqueue("a@b.c"), Run[str])
    await send_mail.options(unique="args", idempotency="a", idempotency_ttl="1h", group="g").enqueue("a")
    await send_mail.options(key="a", key_mode="merge", concurrency_key="c").enqueue("a")
    await send_mail.options(run_at=datetime.now(UTC), deadline="1h", priority=-1, max_attempts=1).enqueue("a")

    assert_type(count.item(["a"]), Item[int])
    assert_type(send_mail.options(queue="slow").item("a@b.c"), Item[str])

    assert_type(await enqueue(count.item(["a"])), Run[int])
    assert_type(await (await enqueue(count.item(["a"]))).result(timeout=timedelta(seconds=5)), int)
    assert_type(await enqueue("mail.count", {"words": []}, delay="5m"), Run[Any])
    assert_type(await enqueue_many([count.item([]), later.item("a@b.c", subject="b")]), list[Run[Any]])
    assert_type(await enqueue_many(send_mail.item(to) for to in ("a", "b")), list[Run[Any]])
    assert_type(await run.info(), RunInfo)
    assert_type(await run.status(), str)
    assert_type(await run.cancel(), str)

    assert_type(await send_mail("a@b.c"), str)
    assert_type(count(["a"]), int)
    assert_type(await first(Context.injected, path="x"), dict[str, int])
    assert_type(last.name, str)


def use_without_await() -> None:
    run = send_mail.enqueue_sync("a@b.c", subject="Hello")
    assert_type(run, Run[str])
    assert_type(run.result_sync(timeout="10s"), str)
    assert_type(run.status_sync(), str)
    assert_type(run.cancel_sync("no need"), str)
    assert_type(count.options(delay="5m", connection=object()).enqueue_sync(words=["a"]), Run[int])
    assert_type(first.enqueue_sync("file"), Run[dict[str, int]])
    assert_type(enqueue_sync(count.item(["a"])), Run[int])
    assert_type(enqueue_sync("mail.count", {"words": []}, delay="5m"), Run[Any])
    assert_type(enqueue_many_sync([count.item([])], connection=object()), list[Run[Any]])
    with connect_sync("postgresql://") as client:
        assert_type(client, SyncClient)
        assert_type(client.enqueue(send_mail.item("a")), Run[str])
        assert_type(client.enqueue("mail.count", {"words": []}), Run[Any])
        assert_type(client.get(run.id), RunInfo)
        client.controls.limit(task="a", concurrency=None, rate=Rate.of("5/s"), burst=3)
        client.controls.pause(group=("mail", "a"), until=timedelta(hours=1), reason="why")
        client.controls.fairness("mail", "weighted", weights={"gold": 2, "a": None})
        assert_type(client.controls.list(), Sequence[Control])


def takes_any(job: Task[..., Any]) -> None: ...


def takes_this(job: Task[[str], str]) -> None: ...


def takes_like(job: Task[P, R]) -> Callable[P, Item[R]]:
    return job.item


takes_any(send_mail)
takes_any(count)
takes_this(send_mail)  # pyright: ignore[reportArgumentType]  # to pyright, other parameters are another type
assert_type(takes_like(send_mail)("a@b.c", subject="b"), Item[str])
assert_type(takes_like(first)("file"), Item[dict[str, int]])


def of_any(rows: list[Any]) -> None:
    """Any in a signature takes nothing away from the rest of it."""
    for row in rows:
        assert_type(last.item(row), Item[None])
        assert_type(summary.item(row), Item[dict[str, Any]])
        assert_type(summary.options(queue="slow").item(row), Item[dict[str, Any]])
