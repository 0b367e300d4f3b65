"""A worker process for tests: as `openqueue worker` runs one, but telling every event as JSON.

python -m tests.support.worker_main [--once] MODULE…
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import json
import signal
import sys

from openqueue.app import run_worker
from openqueue.cli.session import run_async
from openqueue.events import Event, Events
from openqueue.settings import load_settings
from openqueue.tasks.registry import Registry


def tell(event: Event) -> None:
    line = {"event": type(event).__name__, **dataclasses.asdict(event)}
    sys.stdout.write(json.dumps(line, default=str) + "\n")
    sys.stdout.flush()


def show_tasks(number: int, frame: object) -> None:
    """SIGUSR1: where every asyncio task stands, on standard error."""
    for task in asyncio.all_tasks():
        task.print_stack()


def main() -> int:
    signal.signal(signal.SIGUSR1, show_tasks)
    modules = [one for one in sys.argv[1:] if not one.startswith("--")]
    for module in modules:
        importlib.import_module(module)
    bus = Events()
    bus.subscribe(None, tell)
    return run_async(
        run_worker(load_settings(), once="--once" in sys.argv, registry=Registry.collect(modules), bus=bus)
    )


if __name__ == "__main__":
    sys.exit(main())
