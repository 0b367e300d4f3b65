import logging

from openqueue import Context, task

log = logging.getLogger(__name__)


def charge(customer: str, cents: int) -> None:
    """Code that knows nothing of queues: it logs as it always did."""
    log.info("charging %s", customer, extra={"cents": cents})
    if cents > 100_000:
        log.warning("a large sum", extra={"cents": cents})


@task(max_attempts=1)
async def bill(customer: str, cents: int, *, ctx: Context = Context.injected) -> str:
    try:
        charge(customer, cents)
        if customer == "nobody":
            raise LookupError("there is no such customer, token=abc123")
    except LookupError:
        log.exception("not charged")
        raise
    ctx.log.info("charged", receipt=f"{customer}-{cents}")
    return f"{customer}-{cents}"


@task(capture_logs="warning")
async def remind(customer: str) -> None:
    """Only what is a warning at least is kept."""
    log.info("reminding %s", customer)
