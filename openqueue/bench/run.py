"""A whole benchmark: look at the server, put away what killed ones left, run the scenarios one by one."""

from __future__ import annotations

from collections.abc import Callable

from openqueue.bench.report import Options, Report, Result
from openqueue.bench.scenarios import Run, measure
from openqueue.bench.schemas import remove_abandoned, temporary_schema
from openqueue.bench.server import look_at, this_machine
from openqueue.clients import url_of
from openqueue.db.pool import Database
from openqueue.settings import Settings

__all__ = ["bench"]

Tell = Callable[[str], None]
Begin = Callable[[str], Callable[[float], None]]
"""Called with the name of a scenario that begins; answers what is called with its progress."""


async def bench(settings: Settings, options: Options, *, tell: Tell, begin: Begin) -> Report:
    """Measure, and leave nothing behind.

    Raises ConnectionFailed without the right to make a schema, and OpenQueueError when the database does not
    have what was enqueued.
    """
    url = settings.session_url.get_secret_value() if settings.session_url else url_of(settings)
    pooled = settings.pooler == "transaction"
    async with Database(url_of(settings), application="openqueue bench", pooled=pooled) as database:
        server = await look_at(database)
    await remove_abandoned(url, tell)
    results: list[Result] = []
    for name in options.scenarios:
        async with temporary_schema(url, tell) as schema:
            own = settings.model_copy(update={"schema_name": schema})
            progress = begin(name)
            results.append(await measure(name, Run(own, options, progress)))
            progress(1.0)
    return Report(this_machine(), server, options, tuple(results))
