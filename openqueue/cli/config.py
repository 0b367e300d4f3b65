"""`openqueue config`: which settings are in force, and where each of them stands."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import typer

from openqueue.cli.options import AsJson, DatabaseUrl, Namespace, Schema, examples
from openqueue.cli.output import Column, show_json, show_table
from openqueue.cli.session import FLAGS, settings_of
from openqueue.durations import format_duration
from openqueue.errors import ConfigError
from openqueue.redaction import MASK

if TYPE_CHECKING:
    from openqueue.settings import Origin, Settings

__all__ = ["group", "without_password"]

group = typer.Typer(add_completion=False)

_URLS = ("database_url", "listen_dsn")
_SECRET = re.compile(r"([?&][^=&]*(?:pass|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)


@group.command(
    "config", epilog=examples("openqueue config", "openqueue config --json | jq '.[] | select(.place)'")
)
def config(
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Show which settings are in force, and where each comes from.

    That is a flag, a variable, a file with its line, or the default. Passwords are not shown.
    """
    given = {"database_url": database_url, "schema_name": schema, "namespace": namespace}
    found = _origins(settings_of(**given), {key for key, value in given.items() if value is not None})
    if as_json:
        show_json(found)
    else:
        show_table(found, _COLUMNS, empty="")


def _origins(settings: Settings, given: set[str]) -> list[Origin]:
    from openqueue.settings import origins

    return [
        _of_dev(one) if one.key == "database_url" else _masked(one)
        for one in origins(settings, {key: FLAGS[key] for key in given})
    ]


def _of_dev(one: Origin) -> Origin:
    """Without a URL, commands use the server that `openqueue dev` runs in this directory, if it does."""
    from openqueue.dev.embedded import running_server

    if one.value is None and (url := running_server()):
        return replace(one, value=url, source="dev", place="openqueue dev, which runs here")
    return _masked(one)


def _masked(one: Origin) -> Origin:
    return replace(one, value=without_password(one.value)) if one.key in _URLS and one.value else one


def without_password(url: str) -> str:
    """A URL as it may be shown. Rather too much is masked than too little; of a faulty one, all."""
    from openqueue.db.target import Target

    try:
        Target.of(url)
    except ConfigError:
        scheme, found, _ = url.partition("://")
        return f"{scheme}://{MASK}" if found and scheme in ("postgresql", "postgres") else MASK
    scheme, _, rest = _SECRET.sub(rf"\g<1>{MASK}", url).partition("://")
    login, at, place = rest.rpartition("@")
    user, colon, password = login.partition(":")
    return f"{scheme}://{user}{colon}{MASK if password else ''}{at}{place}"


def _value(one: Origin) -> str:
    value: Any = one.value
    if value is None or value == []:
        return "-"
    if isinstance(value, float):
        return format_duration(timedelta(seconds=value))
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_COLUMNS: tuple[Column[Origin], ...] = (
    Column("SETTING", lambda one: one.key),
    Column("VALUE", _value, least=10, rank=1),
    Column("FROM", lambda one: one.place or one.source, least=7, rank=2),
)
