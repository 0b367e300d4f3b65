"""The settings themselves: every key, its type, its default."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import islice
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from openqueue.durations import format_duration
from openqueue.errors import ConfigError, did_you_mean
from openqueue.settings.controls import read_controls
from openqueue.settings.retention import read_retention
from openqueue.settings.sources import Source, every_source
from openqueue.settings.values import (
    HEALTH,
    Address,
    choice,
    duration,
    read_address,
    read_flag,
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
Pooler = Literal["none", "transaction"]
Capture = Literal["off", "debug", "info", "warning", "error"]
Level = Literal["debug", "info", "warning", "error"]

_BOUNDED_BY = {"lease": ("heartbeat",)}
"""What else may be at fault when a setting is refused."""


class Settings(BaseSettings):
    """Everything that can be configured, checked and immutable. Made by `load_settings`.

    database_url       PostgreSQL, as postgresql://user:password@host:5432/database
    pooler             transaction: database_url goes through PgBouncer in transaction mode, so nothing may
                       be kept in a session; none: it goes to the server, or to a pooler in session mode
    listen_dsn         another way to the same database, past that pooler: for LISTEN, the heartbeat and
                       migrate, which need a session of their own; None: the same way
    schema_name        (key: schema) the schema that holds the engine; fixed once migrated
    namespace          keeps environments or tenants within a schema apart
    dirs, modules      where tasks are found: directories, and modules by import name
    concurrency        async tasks at a time in a process
    threads            sync tasks at a time in a process
    task_processes     those with executor="process" at a time, each in a process of its own
    processes          workers that `openqueue worker` starts, each in a process of its own; all other limits
                       are for each of them
    queues             queues to work on, each with its own bound or None; None: all queues
    controls           what holds for queues in all processes, by queue: concurrency, rate, burst, fairness,
                       ageing, weights (of groups); published by each worker that starts
    name               the worker's name in lists; None: host and process id
    grace              how long running tasks may take to end at shutdown
    poll_interval      the latest that an idle worker looks for work, whatever else fails
    heartbeat          how often a worker says that it lives
    lease              how long a worker that lives may say nothing, before its jobs are given to others;
                       at least two heartbeats
    pool_size          connections that everything in a process shares
    statement_timeout  the longest that a statement may take
    health             where /live and /ready are served; None: nowhere
    metrics            whether /metrics is served, for Prometheus; where health is, else on 127.0.0.1:9464
    tracing            whether enqueues and attempts are spans of OpenTelemetry
    log_format         console, json, or auto: console on a terminal and JSON elsewhere
    log_level          debug, info, warning, error
    capture_logs       what tasks log by the standard library is kept with their runs, from this level on
                       (after `log_level`): debug, info, warning, error, or off
    max_input          bytes of JSON that a run may be given
    max_output         bytes of JSON that a run may give back
    idempotency_ttl    how long an idempotency key is remembered, unless the enqueue says otherwise
    retention          how long finished runs are kept: all, completed, failed, cancelled, expired, by queues
                       and tasks, ticks (of schedules), whole_months; the leading worker removes the rest.
                       Empty: all is kept for ever
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True
    )

    database_url: Url | None = None
    pooler: Annotated[Pooler, BeforeValidator(choice("none", "transaction"))] = "none"
    listen_dsn: Url | None = None
    schema_name: Text = Field("openqueue", alias="schema")
    namespace: Text = "default"
    dirs: Names = ("tasks",)
    modules: Names = ()
    concurrency: Count = 100
    threads: Count = 16
    task_processes: Count = 4
    processes: Annotated[int, BeforeValidator(whole(1, 256))] = 1
    queues: Annotated[Mapping[str, int | None] | None, BeforeValidator(read_queues)] = None
    controls: Annotated[Mapping[str, Mapping[str, Any]], BeforeValidator(read_controls)] = Field({})
    name: Text | None = None
    grace: Annotated[timedelta, BeforeValidator(duration())] = timedelta(seconds=30)
    poll_interval: Span = timedelta(seconds=2)
    heartbeat: Span = timedelta(seconds=5)
    lease: Annotated[Span, Field(validate_default=True)] = timedelta(seconds=60)
    pool_size: Count = 4
    statement_timeout: Span = timedelta(seconds=10)
    health: Annotated[Address | None, BeforeValidator(read_address)] = None
    metrics: Annotated[bool, BeforeValidator(read_flag)] = False
    tracing: Annotated[bool, BeforeValidator(read_flag)] = False
    log_format: Annotated[Format, BeforeValidator(choice("auto", "console", "json"))] = "auto"
    log_level: Annotated[Level, BeforeValidator(choice("debug", "info", "warning", "error"))] = "info"
    capture_logs: Annotated[Capture, BeforeValidator(choice("off", "debug", "info", "warning", "error"))] = (
        "info"
    )
    max_input: Size = 1024 * 1024
    max_output: Size = 1024 * 1024
    idempotency_ttl: Span = timedelta(hours=24)
    retention: Annotated[Mapping[str, Any], BeforeValidator(read_retention)] = Field({})

    @property
    def session_url(self) -> SecretStr | None:
        """The database for what needs a session of its own."""
        return self.listen_dsn or self.database_url

    @property
    def endpoint(self) -> Address | None:
        """Where health and metrics are served; None: nowhere."""
        return self.health or (HEALTH if self.metrics else None)

    @field_validator("lease")
    @classmethod
    def _lasts_two_beats(cls, lease: timedelta, info: ValidationInfo) -> timedelta:
        beat = info.data.get("heartbeat", timedelta(0))  # not there when it was refused itself
        if lease < 2 * beat:
            raise ValueError(
                f"{format_duration(lease)} is less than twice the heartbeat ({format_duration(beat)}):"
                " one beat that is late would give the jobs of a worker that lives to others."
                " Raise lease, or lower heartbeat."
            )
        return lease

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


def load_settings(words: Mapping[str, str] | None = None, /, **flags: Any) -> Settings:
    """Read the settings from everywhere; `flags` win over all, those that are None were not given.

    `words` says what the caller calls its flags, for messages (`{"queues": "--queue"}`). Raises ConfigError,
    which names the place, the key, the value (never a secret) and what is allowed; its `option` is the first
    flag at fault.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        named = {key: (words or {}).get(key, key) for key in given}
        raise _refusal(error, named) from None  # the cause may show a secret


def _refusal(error: ValidationError, flags: Mapping[str, str]) -> ConfigError:
    sources = every_source(Settings)
    faults = [(str(one["loc"][0]), one) for one in error.errors(include_url=False, include_input=False)]
    said = "\n".join(_sentence(key, fault, flags, sources) for key, fault in faults)
    return ConfigError(said, option=next((flags[key] for key, _ in faults if key in flags), ""))


def _sentence(key: str, fault: Any, flags: Mapping[str, str], sources: tuple[Source, ...]) -> str:
    if fault["type"] == "extra_forbidden":
        known = [field.alias or name for name, field in Settings.model_fields.items()]
        return f"{flags.get(key, key)}: there is no such setting.{_near(key, known)}"
    reason = fault.get("ctx", {}).get("error", fault["msg"])
    if key in flags:
        return f"{flags[key]}: {reason}"
    at_fault = (key, *_BOUNDED_BY.get(key, ()))
    places = (one.place(other) for other in at_fault for one in sources if other in one.given())
    return ": ".join([*islice(places, 1), key, str(reason)])


def _near(key: str, known: list[str]) -> str:
    return did_you_mean(key, known) or f" There are: {', '.join(known)}."
