from openqueue import Context, task


@task(cron="@monthly", timezone="Europe/Berlin", overlap="skip")
async def close_month(*, ctx: Context) -> str:
    return f"closed the month before {ctx.tick.at:%Y-%m}" if ctx.tick else "closed by hand"


@task
async def daily(kind: str, *, ctx: Context) -> str:
    assert ctx.tick is not None
    how = "later" if ctx.tick.backfill else "by hand" if ctx.tick.manual else "on time"
    return f"{kind} report of {ctx.tick.at:%Y-%m-%d %H:%M} UTC, {how}"
