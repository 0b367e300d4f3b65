"""Many runs in one call: what is cheap for a hundred at once, and dear one by one."""

from dataclasses import dataclass

from openqueue import Batch, Context, GiveUp, Snooze, task


@dataclass
class Notice:
    to: str
    text: str


@task(batch=Batch(size=4, wait="1s"))
async def push(notices: list[Notice], *, ctx: Context = Context.injected) -> list[int | Exception]:
    """One request to the service of the phones, which answers for each."""
    ctx.log.info("one request", notices=len(notices))
    return [answer(notice) for notice in notices]


def answer(notice: Notice) -> int | Exception:
    """What the service says of one."""
    if notice.to == "nobody":
        return GiveUp("there is no such phone")
    if notice.to == "asleep":
        return Snooze("1h")
    return len(notice.text)
