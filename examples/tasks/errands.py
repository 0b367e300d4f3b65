from datetime import UTC, datetime

from openqueue import Context, GiveUp, Snooze, task


@task(backoff="200ms", max_attempts=5, retry_on=OSError)
async def fetch(ctx: Context, url: str) -> str:
    """Fails twice, as networks do. Only an OSError is retried; any other exception is final at once."""
    if ctx.attempt < 3:
        raise ConnectionError(f"{url} does not answer")
    return f"{url} answered at attempt {ctx.attempt}"


@task
async def wait_for(ctx: Context, moment: datetime) -> str:
    """Comes again until it is time. A snooze is not an attempt: nothing failed."""
    if datetime.now(UTC) < moment:
        raise Snooze("300ms")
    return f"it is time, at attempt {ctx.attempt}"


@task
async def deliver(address: str) -> None:
    """Some things do not get better by trying again."""
    raise GiveUp(f"there is no {address}")
