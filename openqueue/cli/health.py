"""`openqueue health`: is all well? For containers and for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openqueue.cli.exits import FAILED
from openqueue.cli.options import AsJson, DatabaseUrl, Schema, examples
from openqueue.cli.output import show_json
from openqueue.cli.session import run_async, settings_of, with_database
from openqueue.cli.values import read_lasting
from openqueue.errors import InvalidOption

if TYPE_CHECKING:
    from openqueue.settings import Settings

__all__ = ["group"]

group = typer.Typer(add_completion=False)

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  what listens everywhere is asked here

_NOT_OURS = (
    "answers, but not as a worker of openqueue does: is this the address that `openqueue worker --health`"
    " was given?"
)


@group.command(
    "health",
    epilog=examples("openqueue health", "openqueue health --address 127.0.0.1:9464 --live"),
)
def health(
    address: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Ask the worker there; by default where the settings say."),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Ask whether it is alive, not whether it is ready.")
    ] = False,
    timeout: Annotated[str, typer.Option(metavar="DURATION", help="How long to wait for an answer.")] = "5s",
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
) -> None:
    """Say whether all is well, by the exit code too.

    Asks a worker's health endpoint where one is configured (OPENQUEUE_HEALTH), else the database.
    """
    patience = read_lasting(timeout, "--timeout").total_seconds()
    settings = settings_of(
        {"health": "--address"}, database_url=database_url, schema_name=schema, health=address
    )
    if address is not None and settings.health and not settings.health.port:
        raise InvalidOption(
            f"--address: {address!r} has port 0, which nothing can be asked at. Give the worker's port.",
            option="--address",
        )
    path = "/live" if live else "/ready"
    found = _ask(settings, path, patience) if settings.endpoint else run_async(_check_database(settings))
    if as_json:
        show_json(found)
    else:
        print("; ".join(found["faults"]) or f"{found['asked']}: well")
    if not found["ok"]:
        raise typer.Exit(FAILED)


def _ask(settings: Settings, path: str, timeout: float) -> dict[str, Any]:
    from http.client import HTTPConnection, HTTPException

    assert settings.endpoint is not None
    host, port = settings.endpoint
    connection = HTTPConnection(_ANYWHERE.get(host, host), port, timeout=timeout)
    asked = f"http://{settings.endpoint}{path}"
    try:
        connection.request("GET", path)
        found = connection.getresponse().read(65_536)
    except (OSError, HTTPException) as error:
        return {"asked": asked, "ok": False, "faults": [f"{asked} does not answer: {error}"]}
    finally:
        connection.close()
    return {"asked": asked, "ok": False, "faults": [f"{asked} {_NOT_OURS}"], **_answer(found)}


def _answer(found: bytes) -> dict[str, Any]:
    """What a worker said; nothing, if it was something else that answered."""
    try:
        answer: Any = json.loads(found)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) and {"ok", "faults"} <= answer.keys() else {}


async def _check_database(settings: Settings) -> dict[str, Any]:
    """Whether the database can be reached and its schema used; raises as every command does if not."""
    from openqueue.db.migrations import require

    url = with_database(settings).database_url
    assert url is not None
    status = await require(url.get_secret_value(), settings.schema_name)
    return {
        "asked": "database",
        "ok": True,
        "faults": [],
        "schema": status.schema,
        "state": str(status.state),
    }
