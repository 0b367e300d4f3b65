"""What a command needs before it can do its work: the settings, a database, an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from openqueue.cli.output import say

if TYPE_CHECKING:
    import asyncio

    from openqueue.runs.client import Client
    from openqueue.settings import Settings

__all__ = ["client", "run_async", "settings_of", "with_database"]

T = TypeVar("T")


def settings_of(**flags: Any) -> Settings:
    """The settings, flags first. Tells of variables that set nothing. Raises ConfigError."""
    from openqueue.settings import Settings, load_settings, unknown_variables

    for sentence in unknown_variables(Settings):
        say(f"Warning: {sentence}")
    return load_settings(**flags)


def with_database(settings: Settings) -> Settings:
    """The same; without a database URL, that of the server which `openqueue dev` runs in this directory.

    Raises ConfigError, with the remedies, when there is none either.
    """
    from openqueue.app import url_of
    from openqueue.dev.embedded import running_server

    if settings.database_url is None and (dsn := running_server()):
        from pydantic import SecretStr

        return settings.model_copy(update={"database_url": SecretStr(dsn)})
    url_of(settings)
    return settings


@asynccontextmanager
async def client(settings: Settings) -> AsyncIterator[Client]:
    """A client for one command."""
    from openqueue.app import open_client

    async with open_client(with_database(settings)) as opened:
        yield opened


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run it to its end, on uvloop where there is one."""
    import asyncio

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    return uvloop.new_event_loop
