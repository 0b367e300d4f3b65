"""The roles of those who enqueue, work and operate: made, and their rights kept up to date.

What each may do is said in `sql/engine/rights.sql`.
"""

from __future__ import annotations

import asyncpg

from openqueue.db.statements import Statements
from openqueue.db.target import Connection, place_of
from openqueue.errors import ConnectionFailed

__all__ = ["grant_rights", "make_roles"]


async def make_roles(connection: Connection, own: Statements) -> tuple[str, ...]:
    """Make the roles that there are not, in this transaction; answers their names.

    Raises ConnectionFailed, with the statements for somebody who may, if the user may not make roles.
    """
    try:
        async with connection.transaction():
            rows = await connection.fetch(own["migrator_roles"])
    except asyncpg.InsufficientPrivilegeError as error:
        absent = await connection.fetch(own["migrator_absent_roles"])
        statements = "\n".join(f"    {row['statement']}" for row in absent)
        raise ConnectionFailed(
            f"No roles were made in {place_of(connection)}: {error}. The schema itself is up to date. Have "
            f"somebody who may make roles run this, then run `openqueue migrate` again:\n{statements}"
        ) from error
    return tuple(row["name"] for row in rows)


async def grant_rights(connection: Connection, own: Statements) -> None:
    """Give the roles that there are their rights, and take those that they no longer have."""
    await connection.execute(own["migrator_rights"])
