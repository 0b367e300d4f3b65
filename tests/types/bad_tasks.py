"""What type checkers must refuse: a line has exactly the errors of its mark, `# E: of mypy | of pyright`."""

from __future__ import annotations

from openqueue import (
    Batch,
    Context,
    connect,
    connect_sync,
    enqueue,
    enqueue_many,
    enqueue_many_sync,
    enqueue_sync,
    task,
)


@task
async def send_mail(to: str, subject: str = "hello") -> str:
    return f"{to} {subject}"


@task(queue="mail")
def count(words: list[str]) -> int:
    return len(words)


@task
async def first(ctx: Context, path: str) -> None:
    await ctx.enqueue(send_mail, 1)  # E: call-overload | ArgumentType CallIssue
    await ctx.enqueue(send_mail, subjekt="b")  # E: call-overload | CallIssue
    await ctx.enqueue(send_mail)  # E: call-overload | CallIssue
    ctx.enqueue_sync(count.options(queue="slow"), "a")  # E: call-overload | ArgumentType CallIssue
    number: int = await (await ctx.enqueue(send_mail, "a")).result()  # E: assignment | AssignmentType
    ctx.progress(1)  # E: arg-type | ArgumentType
    ctx.attempts  # E: attr-defined | AttributeAccessIssue


@task(queu="mail")  # E: call-overload untyped-decorator | CallIssue
async def misspelt() -> None: ...


@task(priority="high")  # E: call-overload untyped-decorator | ArgumentType
async def mistyped() -> None: ...


@task(on_failure="wait")  # E: call-overload untyped-decorator | ArgumentType
async def misjudged() -> None: ...


@task(rate=100)  # E: call-overload untyped-decorator | ArgumentType
async def mislimited() -> None: ...


@task(batch=3)  # E: call-overload untyped-decorator | ArgumentType CallIssue
async def not_yet() -> None: ...


@task(batch=Batch(10))
async def index(words: list[str]) -> list[int | Exception]:
    return [len(word) for word in words]


@task(batch=(10, "1s"))  # E: call-overload untyped-decorator | ArgumentType
async def paired(words: list[str]) -> list[int]:
    return []


@task(batch=Batch(10))  # E: arg-type | ArgumentType CallIssue
async def not_a_list(word: str) -> list[int]:
    return []


@task(batch=Batch(10))  # E: arg-type | ArgumentType CallIssue
async def two_lists(words: list[str], numbers: list[int]) -> None: ...


@task(batch=Batch(10))  # E: arg-type | ArgumentType CallIssue
async def one_answer(words: list[str]) -> int:
    return 1


async def use_batches() -> None:
    await index.enqueue(["a"])  # E: arg-type | ArgumentType
    await index.enqueue(1)  # E: arg-type | ArgumentType
    await index.enqueue()  # E: call-arg | CallIssue
    await index.enqueue("a", "b")  # E: call-arg | CallIssue
    await index.options(delay="5m").enqueue(1)  # E: arg-type | ArgumentType
    answer: str = await (await index.enqueue("a")).result()  # E: assignment | AssignmentType
    await index("a")  # E: arg-type | ArgumentType


Batch(size="10")  # E: arg-type | ArgumentType
Batch(10, wait=object())  # E: arg-type | ArgumentType


async def use() -> None:
    await send_mail.enqueue(1)  # E: arg-type | ArgumentType
    await send_mail.enqueue()  # E: call-arg | CallIssue
    await send_mail.enqueue("a", "b", "c")  # E: call-arg | CallIssue
    await send_mail.enqueue("a", subjekt="b")  # E: call-arg | CallIssue
    await count.enqueue(words="a")  # E: arg-type | ArgumentType
    await first.enqueue(Context.injected, "a")  # E: arg-type call-arg | CallIssue
    await first.enqueue(path=b"a")  # E: arg-type | ArgumentType

    number: int = await (await send_mail.enqueue("a")).result()  # E: assignment | AssignmentType
    text: str = await (await count.enqueue(["a"])).result()  # E: assignment | AssignmentType

    send_mail.enqueue_sync(1)  # E: arg-type | ArgumentType
    send_mail.enqueue_sync("a", subjekt="b")  # E: call-arg | CallIssue
    count.options(delay="5m").enqueue_sync("a")  # E: arg-type | ArgumentType
    wrong: int = send_mail.enqueue_sync("a").result_sync()  # E: assignment | AssignmentType

    send_mail.options(dleay="5m")  # E: call-arg | CallIssue
    send_mail.options(delay=object())  # E: arg-type | ArgumentType
    send_mail.options(key="a", key_mode="debounce")  # E: arg-type | ArgumentType
    send_mail.options(unique=True)  # E: arg-type | ArgumentType
    await send_mail.options(delay="5m").enqueue(1)  # E: arg-type | ArgumentType
    send_mail.item(to=1)  # E: arg-type | ArgumentType

    async with connect() as oq:
        await oq.controls.limit(queue=1, concurrency=5)  # E: arg-type | ArgumentType
        await oq.controls.fairness("mail", "fair")  # E: arg-type | ArgumentType
        await oq.controls.pause("mail")  # E: call-arg | CallIssue

    await enqueue(send_mail)  # E: call-overload | ArgumentType CallIssue
    await enqueue(send_mail.item())  # E: call-arg | CallIssue
    await enqueue("mail.send", ["a"])  # E: call-overload | ArgumentType
    number = await (await enqueue(send_mail.item("a"))).result()  # E: assignment | AssignmentType
    await enqueue_many([send_mail.item("a"), count.item("a")])  # E: arg-type | ArgumentType
    await enqueue_many([send_mail])  # E: list-item | ArgumentType
    await enqueue_many(send_mail.item("a"))  # E: arg-type | ArgumentType
    await (await send_mail.enqueue("a")).result(timeout=object())  # E: arg-type | ArgumentType
    (await send_mail.enqueue("a")).outcome = "lost"  # E: assignment | AttributeAccessIssue
    enqueue_sync(count)  # E: call-overload | ArgumentType CallIssue
    wrong = enqueue_sync(send_mail.item("a")).result_sync()  # E: assignment | AssignmentType
    enqueue_many_sync([count.item(["a"]), "count"])  # E: list-item | ArgumentType
    with connect_sync("postgresql://") as client:
        client.enqueue(count.item(1))  # E: arg-type | ArgumentType
        wrong = client.enqueue(send_mail.item("a")).result_sync()  # E: assignment | AssignmentType
        client.enqueue_many([send_mail.options(queue="slow")])  # E: list-item | ArgumentType

    other: int = await send_mail("a")  # E: assignment | AssignmentType
    count("a")  # E: arg-type | ArgumentType
