"""What a type checker must refuse: a line that ends in `# E: codes` has exactly these errors."""

from __future__ import annotations

from openqueue import Context, task


@task
async def send_mail(to: str, subject: str = "hello") -> str:
    return f"{to} {subject}"


@task(queue="mail")
def count(words: list[str]) -> int:
    return len(words)


@task
async def first(ctx: Context, path: str) -> None: ...


@task(queu="mail")  # E: call-overload untyped-decorator
async def misspelt() -> None: ...


@task(priority="high")  # E: call-overload untyped-decorator
async def mistyped() -> None: ...


@task(cron="0 2 * * *")  # E: call-overload untyped-decorator
async def not_yet() -> None: ...


async def use() -> None:
    await send_mail.enqueue(1)  # E: arg-type
    await send_mail.enqueue()  # E: call-arg
    await send_mail.enqueue("a", "b", "c")  # E: call-arg
    await send_mail.enqueue("a", subjekt="b")  # E: call-arg
    await count.enqueue(words="a")  # E: arg-type
    await first.enqueue(Context.injected, "a")  # E: arg-type call-arg
    await first.enqueue(path=b"a")  # E: arg-type

    number: int = await (await send_mail.enqueue("a")).result()  # E: assignment
    text: str = await (await count.enqueue(["a"])).result()  # E: assignment

    send_mail.enqueue_sync(1)  # E: arg-type
    send_mail.enqueue_sync("a", subjekt="b")  # E: call-arg
    count.options(delay="5m").enqueue_sync("a")  # E: arg-type
    wrong: int = send_mail.enqueue_sync("a").result_sync()  # E: assignment

    send_mail.options(dleay="5m")  # E: call-arg
    send_mail.options(delay=object())  # E: arg-type
    send_mail.options(key="a", key_mode="merge")  # E: arg-type
    await send_mail.options(delay="5m").enqueue(1)  # E: arg-type
    send_mail.item(to=1)  # E: arg-type

    other: int = await send_mail("a")  # E: assignment
    count("a")  # E: arg-type
