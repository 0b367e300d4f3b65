"""One worker in this process, whether somebody called it or a parent started it."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from openqueue.cli.serving import counting, exposed
from openqueue.cli.session import run_async
from openqueue.errors import ConfigError

if TYPE_CHECKING:
    from openqueue.fleet.link import Link
    from openqueue.settings import Settings
    from openqueue.tasks.registry import Registry
    from openqueue.worker.stopping import Stopping
    from openqueue.worker.worker import Worker

__all__ = ["run_one"]


def run_one(settings: Settings, *, once: bool, link: Link | None = None) -> int:
    """Run a worker in this process to its end; answers the exit code. `link`: to its parent, if any."""
    from openqueue.app import run_worker
    from openqueue.events import Events
    from openqueue.garbage import collect_seldom
    from openqueue.tasks.surrounding import prepare_with
    from openqueue.telemetry.health import HealthServer, facts_of
    from openqueue.telemetry.logs import Logs
    from openqueue.telemetry.rendering import configure_logging

    look = (settings.log_format, settings.log_level, None, settings.name if link else None)
    configure_logging(*look)
    registry = _tasks(settings)
    prepare_with(configure_logging.__module__, "configure_logging", *look)
    bus = Events()
    Logs(logging.getLevelName(settings.log_level.upper())).subscribe(bus)
    tally = counting(bus) if settings.metrics else None
    collect_seldom()
    with ExitStack() as stack:

        def started(running: Worker, stopping: Stopping) -> None:
            facts = facts_of(running, bus, heartbeat=settings.heartbeat.total_seconds())
            if link is not None:
                link.begin(stopping, facts, bus, tally)
            elif settings.endpoint:
                pages = exposed(settings, facts, tally.copy, own=True) if tally else None
                stack.enter_context(HealthServer(*settings.endpoint, facts, pages))

        return run_async(run_worker(settings, once=once, registry=registry, bus=bus, started=started))


def _tasks(settings: Settings) -> Registry:
    """The tasks that the settings name. Raises ConfigError where there is none: nothing would ever run."""
    from openqueue.app import discover_tasks
    from openqueue.tasks.discovery import task_files

    found = discover_tasks(settings)
    if found:
        return found
    places = []
    for one in filter(Path.is_dir, map(Path, settings.dirs)):
        files = len(list(task_files(one)))
        places.append(f"{one.absolute()} ({files or 'no'} Python file{'s' if files > 1 else ''})")
    places += [f"module {name}" for name in settings.modules]
    where = f" in {' and '.join(places)}" if places else ": no directory and no module was named"
    raise ConfigError(
        f"No task was found{where}. A task is a function under @task (`from openqueue import task`)."
        " Write one in tasks/hello.py, or say where they are with --dir or --module"
        " (in the settings: dirs, modules)."
    )
