"""What a Django project says of its database, as openqueue's settings want it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

from openqueue.errors import ConfigError

__all__ = ["database_alias", "project_settings", "url_from"]

ALIAS: Final = "database_alias"
"""The one key of OPENQUEUE that is not a setting of openqueue: which entry of DATABASES it is."""

_PASSED_ON: Final = (
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslpassword",
    "target_session_attrs",
    "connect_timeout",
    "passfile",
    "service",
    "options",
)


def project_settings() -> dict[str, Any]:
    """The dict OPENQUEUE of the project, and the URL of its database, read anew each time.

    So what a test runner makes of DATABASES counts too. Raises ConfigError for a database that is not
    PostgreSQL.
    """
    given = _given()
    given.pop(ALIAS, None)
    if "database_url" not in given and (url := _url_of(database_alias())) is not None:
        given["database_url"] = url
    given.setdefault("dirs", ())
    return given


def database_alias() -> str:
    """The entry of DATABASES that openqueue is in."""
    return str(_given().get(ALIAS, "default"))


def url_from(settings: Mapping[str, Any]) -> str:
    """The URL of an entry of DATABASES, with the OPTIONS that the driver knows."""
    user = quote(settings.get("USER") or "", safe="")
    password = settings.get("PASSWORD") or ""
    account = f"{user}:{quote(password, safe='')}@" if password else f"{user}@" if user else ""
    host, port = settings.get("HOST") or "", str(settings.get("PORT") or "")
    options = settings.get("OPTIONS") or {}
    query = {name: str(options[name]) for name in _PASSED_ON if name in options}
    place = ""
    if host.startswith("/"):
        query |= {"host": host, **({"port": port} if port else {})}
    else:
        bracketed = f"[{host}]" if ":" in host else host
        place = f"{bracketed}:{port}" if port else bracketed
    name = quote(settings.get("NAME") or "", safe="")
    return f"postgresql://{account}{place}/{name}" + (
        f"?{urlencode(query, quote_via=quote)}" if query else ""
    )


def _given() -> dict[str, Any]:
    from django.conf import settings

    return {str(key).lower(): value for key, value in getattr(settings, "OPENQUEUE", {}).items()}


def _url_of(alias: str) -> str | None:
    from django.db import connections

    if alias not in connections:
        raise ConfigError(f"OPENQUEUE[{ALIAS!r}]: there is no {alias!r} in DATABASES.")
    connection = connections[alias]
    if connection.vendor != "postgresql":
        if alias == "default":  # there may be another one, by a variable or a file
            return None
        raise ConfigError(f"DATABASES[{alias!r}] is {connection.vendor}; openqueue needs PostgreSQL.")
    return url_from(connection.settings_dict)
