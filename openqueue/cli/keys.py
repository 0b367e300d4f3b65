"""`openqueue keys`: concurrency keys that are in use or spoken of, and how many of each may run at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openqueue.cli.control_page import limit_of, print_held, rate_of, show_controls
from openqueue.cli.controlling import Burst, Concurrency, RateFlag, apply, limits, naming, refuse_none
from openqueue.cli.listing import Listing
from openqueue.cli.options import AsJson, DatabaseUrl, Namespace, Schema, examples
from openqueue.cli.output import Column, console, plain, show_json, show_table
from openqueue.cli.session import client, run_async, settings_of

if TYPE_CHECKING:
    from openqueue.control.model import Control
    from openqueue.settings import Settings

__all__ = ["group"]

group = typer.Typer(
    cls=Listing, add_completion=False, help="List the concurrency keys in use. Show and limit one."
)

Row = Mapping[str, Any]
Key = Annotated[str, typer.Argument(metavar="KEY", help="The concurrency key.", show_default=False)]


@group.command("list", epilog=examples("openqueue keys list", "openqueue keys --json"))
def list_keys(
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """List the concurrency keys that are in use, or of which a limit is said at run time."""
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    found = run_async(_keys(settings))
    if as_json:
        show_json([{**row, "control": plain(row["control"]) if row["control"] else None} for row in found])
    else:
        show_table(found, _COLUMNS, empty="No concurrency key is in use, and of none a limit is said.")


@group.command("show", epilog=examples('openqueue keys show "account 7"'))
def show(
    key: Key,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Show how much of a key runs and waits, and which limit holds.

    Where none is said here, the limit is what its runs were enqueued with.
    """
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    found = [row for row in run_async(_keys(settings)) if row["key"] == key]
    row: Row = found[0] if found else {"key": key, "used": 0, "blocked": 0, "control": None}
    held: list[Control] = [row["control"]] if row["control"] else []
    if as_json:
        show_json({**row, "control": plain(held[0]) if held else None})
        return
    console().print(key, style="bold", markup=False)
    console().print(f"  {row['used']} hold a slot, {row['blocked']} blocked")
    if held:
        print()
        show_controls(held, [])


@group.command(
    "limit",
    epilog=examples(
        'openqueue keys limit "account 7" --concurrency 2',
        'openqueue keys limit "account 7" --concurrency none',
    ),
)
def limit(
    *,
    key: Key,
    concurrency: Concurrency = None,
    rate: RateFlag = None,
    burst: Burst = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Say how many runs with a key may run at once or begin in a period, in all processes.

    This goes before what they were enqueued with; none takes back what was said here.
    """
    from openqueue.control.changes import scope

    with naming():
        changes = limits(scope(key=key), concurrency, rate, burst)
    refuse_none(changes, "--concurrency", "--rate")
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    held = apply(settings, changes, "known_keys")
    print_held(held, key, otherwise="what its runs were enqueued with", as_json=as_json)


async def _keys(settings: Settings) -> list[Row]:
    async with client(settings) as opened:
        rows = await opened.database.fetch("known_keys", opened.namespace)
        held = {one.name: one for one in await opened.controls.list() if one.kind == "key"}
    return [{**row, "control": held.get(row["key"])} for row in rows]


_COLUMNS: tuple[Column[Row], ...] = (
    Column("KEY", lambda row: row["key"], least=12),
    Column("SLOTS", lambda row: str(row["used"]), rank=1, right=True),
    Column("BLOCKED", lambda row: str(row["blocked"]), rank=1, right=True),
    Column("SAID", lambda row: limit_of(row["control"]), rank=2, right=True),
    Column("RATE", lambda row: rate_of(row["control"]), rank=3),
)
