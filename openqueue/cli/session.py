"""What a command needs before it can do its work: the settings, a database, an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from openqueue.cli.output import say
from openqueue.errors import ConfigError, InvalidOption

if TYPE_CHECKING:
    import asyncio

    from openqueue.runs.client import Client
    from openqueue.settings import Settings

__all__ = ["FLAGS", "client", "require_database", "run_async", "settings_of", "with_database"]

T = TypeVar("T")


FLAGS = {
    "dirs": "--dir",
    "modules": "--module",
    "queues": "--queue",
    "concurrency": "--concurrency",
    "threads": "--threads",
    "task_processes": "--task-processes",
    "processes": "--processes",
    "name": "--name",
    "grace": "--grace",
    "health": "--health",
    "metrics": "--metrics",
    "log_format": "--log-format",
    "log_level": "--log-level",
    "database_url": "--database-url",
    "schema_name": "--schema",
    "namespace": "--namespace",
}
"""What the command line calls the settings."""


def settings_of(words: Mapping[str, str] | None = None, /, **given: Any) -> Settings:
    """The settings, flags first (`words`: what a command calls them, if not as all do).

    Tells of variables that set nothing. Raises InvalidOption for a flag, ConfigError for any other place.
    """
    from openqueue.settings import Settings, load_settings, unknown_variables

    for sentence in unknown_variables(Settings):
        say(f"Warning: {sentence}")
    try:
        settings = load_settings({**FLAGS, **(words or {})}, **given)
    except ConfigError as error:
        if not error.option:
            raise
        raise InvalidOption(str(error), option=error.option) from None
    _check_database_flags(given)
    return settings


def _check_database_flags(given: Mapping[str, Any]) -> None:
    """Refuse now, as a flag, what would be refused later as a setting."""
    from openqueue.db.quoting import check_schema
    from openqueue.db.target import Target

    for key, check in (("database_url", Target.of), ("schema_name", check_schema)):
        if given.get(key) is not None:
            try:
                check(given[key])
            except ConfigError as error:
                said = str(error).removeprefix("schema: ").removeprefix("database_url ")
                raise InvalidOption(f"{FLAGS[key]}: {said}", option=FLAGS[key]) from None


def with_database(settings: Settings) -> Settings:
    """The same; without a database URL, that of the server which `openqueue dev` runs in this directory.

    Raises ConfigError, with the remedies, when there is none either.
    """
    from openqueue.dev.embedded import running_server

    if settings.database_url is None and (dsn := running_server()):
        from pydantic import SecretStr

        return settings.model_copy(update={"database_url": SecretStr(dsn)})
    require_database(settings)
    return settings


def require_database(settings: Settings) -> None:
    """Raise ConfigError, with the remedies that there are here, unless a database is configured.

    That of `openqueue dev` in this directory counts while it runs.
    """
    from openqueue.clients import url_of
    from openqueue.dev.embedded import DEFAULT_DIRECTORY, is_address_of_ours, running_server, stopped_server

    url = settings.database_url and settings.database_url.get_secret_value()
    if url and not is_address_of_ours(url):
        return
    if stopped_server():
        raise ConfigError(
            f"The PostgreSQL of this directory ({DEFAULT_DIRECTORY}) is stopped: it runs as long as"
            " `openqueue dev` does. Start that in another terminal; or, for another database, set"
            " OPENQUEUE_DATABASE_URL=postgresql://user:password@host:5432/database."
        )
    if not url and running_server():
        raise ConfigError(
            "There is no database: OPENQUEUE_DATABASE_URL is not set. `openqueue dev` runs here, on a"
            f" PostgreSQL of its own ({DEFAULT_DIRECTORY}), and has a worker; for another one beside it set"
            " OPENQUEUE_DATABASE_URL to what it shows."
        )
    url_of(settings)


@asynccontextmanager
async def client(settings: Settings) -> AsyncIterator[Client]:
    """A client for one command."""
    from openqueue.clients import open_client
    from openqueue.db.events import SchemaIsNewer
    from openqueue.events import Events

    def warn(event: SchemaIsNewer) -> None:
        say(
            f"Warning: Schema {event.schema!r} (migration {event.migration}) is newer than this openqueue (it"
            f" knows {event.known}). It can be worked on; but upgrade this openqueue, too."
        )

    bus = Events()
    bus.subscribe(SchemaIsNewer, warn)
    async with open_client(with_database(settings), bus) as opened:
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
