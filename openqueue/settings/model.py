"""The settings themselves: every key, its type, its default."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from openqueue.errors import ConfigError
from openqueue.settings.sources import Source, every_source
from openqueue.settings.values import (
    Address,
    choice,
    duration,
    read_address,
    read_names,
    read_queues,
    read_size,
    read_text,
    read_url,
    whole,
)

__all__ = ["Settings", "load_settings"]

Url = Annotated[SecretStr, BeforeValidator(read_url)]
Text = Annotated[str, BeforeValidator(read_text)]
Names = Annotated[tuple[str, ...], BeforeValidator(read_names)]
Count = Annotated[int, BeforeValidator(whole(1, 100_000))]
Size = Annotated[int, BeforeValidator(read_size)]
Span = Annotated[timedelta, BeforeValidator(duration(allow_zero=False))]
Format = Literal["auto", "console", "json"]
Level = Literal["debug", "info", "warning", "error"]


class Settings(BaseSettings):
    """Everything that can be configured, checked and immutable. Made by `load_settings`.

    database_url       PostgreSQL, as postgresql://user:password@host:5432/database
    listen_dsn         another way to the same database, for LISTEN and leadership, where database_url
                       goes through a pooler in transaction mode; None: the same way
    schema_name        (key: schema) the schema that holds the engine; fixed once migrated
    namespace          keeps environments or tenants within a schema apart
    dirs, modules      where tasks are found: directories, and modules by import name
    concurrency        async tasks at a time in a process
    threads            sync tasks at a time in a process
    task_processes     those with executor="process" at a time, each in a process of its own
    queues             queues to work on, each with its own bound or None; None: all queues
    name               the worker's name in lists; None: host and process id
    grace              how long running tasks may take to end at shutdown
    poll_interval      the latest that an idle worker looks for work, whatever else fails
    heartbeat          how often a worker says that it lives
    lease              how long a worker that lives may say nothing, before its jobs are given to others
    pool_size          connections that everything in a process shares
    statement_timeout  the longest that a statement may take
    health             where /live and /ready are served; None: nowhere
    log_format         console, json, or auto: console on a terminal and JSON elsewhere
    log_level          debug, info, warning, error
    max_input          bytes of JSON that a run may be given
    max_output         bytes of JSON that a run may give back
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True
    )

    database_url: Url | None = None
    listen_dsn: Url | None = None
    schema_name: Text = Field("openqueue", alias="schema")
    namespace: Text = "default"
    dirs: Names = ("tasks",)
    modules: Names = ()
    concurrency: Count = 100
    threads: Count = 16
    task_processes: Count = 4
    queues: Annotated[Mapping[str, int | None] | None, BeforeValidator(read_queues)] = None
    name: Text | None = None
    grace: Annotated[timedelta, BeforeValidator(duration())] = timedelta(seconds=30)
    poll_interval: Span = timedelta(seconds=2)
    heartbeat: Span = timedelta(seconds=5)
    lease: Span = timedelta(seconds=60)
    pool_size: Count = 4
    statement_timeout: Span = timedelta(seconds=10)
    health: Annotated[Address | None, BeforeValidator(read_address)] = None
    log_format: Annotated[Format, BeforeValidator(choice("auto", "console", "json"))] = "auto"
    log_level: Annotated[Level, BeforeValidator(choice("debug", "info", "warning", "error"))] = "info"
    max_input: Size = 1024 * 1024
    max_output: Size = 1024 * 1024

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_others: Any,
        **_named: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Ours instead of the library's: they name the place of a fault and refuse unknown keys."""
        return (init_settings, *every_source(settings_cls))


def load_settings(**flags: Any) -> Settings:
    """Read the settings from everywhere; `flags` win over all, those that are None were not given.

    Raises ConfigError, which names the place, the key, the value (never a secret) and what is allowed.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise ConfigError(_explain(error, given)) from None  # the cause may show a secret


def _explain(error: ValidationError, flags: Mapping[str, Any]) -> str:
    sources = every_source(Settings)
    faults = error.errors(include_url=False, include_input=False)
    return "\n".join(_sentence(str(fault["loc"][0]), fault, flags, sources) for fault in faults)


def _sentence(key: str, fault: Any, flags: Mapping[str, Any], sources: tuple[Source, ...]) -> str:
    where = "" if key in flags else next((f"{one.place(key)}: " for one in sources if key in one.given()), "")
    reason = fault.get("ctx", {}).get("error", fault["msg"])
    return f"{where}{key}: {reason}"
