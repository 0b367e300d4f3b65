"""`openqueue worker --processes N`: the parent of N workers, and what each of them is started with."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

from openqueue.cli.exits import exit_code
from openqueue.cli.output import say
from openqueue.cli.serving import exposed
from openqueue.cli.session import run_async
from openqueue.errors import ConfigError, ConnectionFailed

if TYPE_CHECKING:
    from openqueue.events import Events
    from openqueue.fleet.fleet import Fleet, Process
    from openqueue.fleet.link import Link
    from openqueue.fleet.words import Failure
    from openqueue.settings import Settings
    from openqueue.telemetry.tally import Sums

__all__ = ["run_fleet", "worker_main"]


def run_fleet(settings: Settings, *, once: bool) -> int:
    """Run the parent until all its workers have ended; answers the exit code."""
    from openqueue.events import Events
    from openqueue.telemetry.logs import Logs
    from openqueue.telemetry.rendering import configure_logging

    if os.name != "posix":
        raise ConfigError(
            f"processes: {settings.processes} need a POSIX system, since each is passed a socket."
            " Start as many workers yourself, each with its own `openqueue worker`."
        )
    configure_logging(settings.log_format, settings.log_level)
    bus = Events()
    Logs(logging.getLevelName(settings.log_level.upper())).subscribe(bus)
    return run_async(_run(settings, bus, once=once))


async def _run(settings: Settings, bus: Events, *, once: bool) -> int:
    from openqueue.clients import open_client
    from openqueue.fleet.fleet import Fleet
    from openqueue.telemetry.health import HealthServer
    from openqueue.telemetry.measures import Measures
    from openqueue.telemetry.tally import Sums

    sums, own = Sums(), Measures()
    if settings.metrics:
        own.subscribe(bus)
    name = settings.name or f"{socket.gethostname()}:{os.getpid()}"
    fleet = Fleet(
        name,
        settings.processes,
        _starter(settings, sums, once=once),
        bus.emit,
        grace=settings.grace.total_seconds(),
        refused=_say_refused,
        once=once,
    )
    with ExitStack() as stack:
        if settings.endpoint:
            pages = (
                exposed(settings, fleet.facts, lambda: sums.total(own.tally)) if settings.metrics else None
            )
            stack.enter_context(HealthServer(*settings.endpoint, fleet.facts, pages))
        async with open_client(settings):  # what no worker could do is said once
            pass
        with _signals(fleet):
            return await fleet.run()


def _starter(settings: Settings, sums: Sums, *, once: bool) -> Callable[[str], Any]:
    """How a worker of a name is started: with our settings, whatever stands in a file by then."""
    from openqueue.fleet.process import WorkerProcess
    from openqueue.tasks.surrounding import preparations

    async def start(name: str) -> Process:
        own = settings.model_copy(update={"name": name, "health": None, "processes": 1})
        hello = {"argv": sys.argv, "preparations": preparations(), "settings": own, "once": once}
        return await WorkerProcess.start(
            name, (worker_main.__module__, worker_main.__name__), hello, sums.hear
        )

    return start


@contextmanager
def _signals(fleet: Fleet) -> Iterator[None]:
    """Within the block the first signal stops the workers in good order, the next one at once."""
    import asyncio

    loop = asyncio.get_running_loop()
    answers = chain([fleet.stop], repeat(fleet.leave))

    def hear() -> None:
        next(answers)()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, hear)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _say_refused(failure: Failure) -> None:
    for one in failure.said:
        say(f"Error: {one}")


def worker_main(descriptor: int) -> None:
    """What a process of a worker does, from its beginning to its end."""
    from openqueue.cli.main import ending
    from openqueue.fleet.link import Link

    link = Link(descriptor)
    hello = link.hello()
    if hello is None:
        return
    sys.argv[:] = hello["argv"]
    ending(lambda: _work(link, hello), lambda errors: _fail(link, errors))


def _work(link: Link, hello: dict[str, Any]) -> None:
    from importlib import import_module

    from openqueue.cli.working import run_one

    for module, function, arguments in hello["preparations"]:
        getattr(import_module(module), function)(*arguments)
    sys.exit(run_one(hello["settings"], once=hello["once"], link=link))


def _fail(link: Link, errors: Sequence[Exception]) -> None:
    from openqueue.fleet.words import Failure

    heals = isinstance(errors[0], ConnectionFailed | TimeoutError)
    link.fail(Failure(exit_code(errors[0]), tuple(map(str, errors)), heals))
