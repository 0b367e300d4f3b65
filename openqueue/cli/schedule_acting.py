"""What the commands of `openqueue schedule` do, once their words are found to be in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import typer

from openqueue.cli.exits import FAILED
from openqueue.cli.output import say, show_json
from openqueue.cli.schedule_page import show_coming, told
from openqueue.cli.session import client
from openqueue.errors import UnknownTask

if TYPE_CHECKING:
    from openqueue.runs.client import Client
    from openqueue.scheduler.client import Schedules
    from openqueue.scheduler.handle import Schedule
    from openqueue.settings import Settings

__all__ = ["act_schedule", "keep_schedule", "remove_schedule", "trigger_schedule"]


async def keep_schedule(
    settings: Settings, store: Callable[[Schedules], Awaitable[Schedule]], *, as_json: bool
) -> None:
    """Add or update one, and tell when it runs next."""
    async with client(settings) as opened:
        try:
            made = await store(opened.schedules)
        except UnknownTask as error:
            said = str(error).replace("pass allow_unknown=True", "say --allow-unknown")
            raise UnknownTask(said, task=error.task) from None
        info = await made.info()
    if as_json:
        show_json({"outcome": made.outcome, **told(info)})
    else:
        print(f"{info.key}: {made.outcome}")
        show_coming(info)


async def act_schedule(
    settings: Settings, key: str, act: Callable[[Client], Awaitable[None]], *, as_json: bool
) -> None:
    """Pause or resume one, and tell how it is then."""
    async with client(settings) as opened:
        await act(opened)
        info = await opened.schedules.get(key)
    if as_json:
        show_json(told(info))
    else:
        print(f"{info.key}: {info.status}")
        show_coming(info)


async def trigger_schedule(settings: Settings, key: str, *, as_json: bool) -> None:
    """Fire one by hand, and tell its run."""
    async with client(settings) as opened:
        answer = await opened.schedules.trigger(key)
    if as_json:
        show_json({"outcome": answer.outcome, "id": answer.run and answer.run.id})
    elif answer.run is not None:
        print(answer.run.id)
    elif answer.outcome == "waiting":
        say("A run of it goes on: this one waits for its end (overlap queue).")
    else:
        say("Not fired: a run of it goes on, or one waits already (its overlap policy).")
    if answer.outcome == "overlap":
        raise typer.Exit(FAILED)


async def remove_schedule(settings: Settings, key: str, *, as_json: bool) -> None:
    """Remove one, and tell if it will come back."""
    async with client(settings) as opened:
        info = await opened.schedules.get(key)
        await opened.schedules.remove(key)
    if as_json:
        show_json({"key": key, "removed": True})
    else:
        print(f"{key}: removed")
    if info.source == "declarative":
        say("The code declares it: it comes back when a worker starts. Take it out there, or pause it.")
