"""`openqueue migrate --uninstall`: say what goes, have the schema's name typed, and remove it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from openqueue.cli.output import say, show_json
from openqueue.cli.session import run_async
from openqueue.errors import InvalidOption

if TYPE_CHECKING:
    from openqueue.db.uninstall import Installed, Removed

__all__ = ["uninstall"]


def uninstall(url: str, schema: str, *, roles: bool, yes: bool, force: bool, as_json: bool) -> None:
    """Remove the schema at that URL, once it is certain that it is meant."""
    removed = run_async(_uninstall(url, schema, roles=roles, yes=yes, force=force))
    if as_json:
        show_json({"schema": schema, "removed": True, "roles": removed.roles, "kept": removed.kept})
        return
    print(f"Removed schema {schema!r}.")
    for name in removed.roles:
        print(f"Removed role {name}.")
    for reason in removed.kept:
        print(f"Kept role {reason}")


async def _uninstall(url: str, schema: str, *, roles: bool, yes: bool, force: bool) -> Removed:
    from openqueue.db import migrations, uninstall

    async with migrations.connected(url) as connection:
        found = await uninstall.installed(connection, schema)
        uninstall.refuse_live(found, schema, force=force)
        _tell(found, schema, roles=roles)
        if not yes:
            _ask(schema)
        return await uninstall.uninstall(connection, schema, force=force, roles=roles)


def _tell(found: Installed, schema: str, *, roles: bool) -> None:
    say(f"This removes schema {schema!r} with every run, result and schedule in it, from {found.place}.")
    for thing in found.dependents:
        say(f"With it goes: {thing}.")
    if found.roles:
        verb = "are removed, too" if roles else "stay (--roles removes them, too)"
        say(f"The roles {', '.join(found.roles)} {verb}.")


def _ask(schema: str) -> None:
    """Have the schema's name typed. Raises InvalidOption where nobody can, or another one was."""
    if not sys.stdin.isatty():
        raise InvalidOption("--uninstall: nobody is here to confirm it. Add --yes.", option="--uninstall")
    say("To go on type the name of the schema:")
    if sys.stdin.readline().rstrip("\n") != schema:
        raise InvalidOption("--uninstall: that is not its name. Nothing was removed.", option="--uninstall")
