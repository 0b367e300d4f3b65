"""The public face of the schema: what others call by name. `python -m tests.support.sql_contract` writes it.

What is in tests/rules/sql_contract.txt may be called by programs that nobody here knows. A function stays,
with its arguments in their order, their types and defaults, and the columns that it answers; what is added
has a default. The file changes in the same commit as the functions, so that who reads it sees what it means.
"""

from __future__ import annotations

from pathlib import Path

import psycopg

__all__ = ["FILE", "contract"]

FILE = Path(__file__).resolve().parents[1] / "rules" / "sql_contract.txt"

_FACE = """
SELECT p.proname || '(' || pg_get_function_arguments(p.oid) || ') -> ' || pg_get_function_result(p.oid)
FROM pg_proc p JOIN pg_description d ON d.objoid = p.oid AND d.classoid = 'pg_proc'::regclass
WHERE p.pronamespace = 'openqueue'::regnamespace
UNION ALL
SELECT 'view ' || c.relname || '('
    || string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) || ')'
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'openqueue'::regnamespace AND c.relkind = 'v' GROUP BY c.relname
"""


def contract(dsn: str) -> str:
    """A line for each public function (those with a comment) and view."""
    with psycopg.connect(dsn) as connection:
        return "".join(sorted(f"{line}\n" for (line,) in connection.execute(_FACE)))


def main() -> None:
    """Write the file; PostgreSQL is an embedded one."""
    import asyncio

    from openqueue.db.migrations import migrate
    from tests.support.own_server import OwnServer

    with OwnServer.temporary() as server:
        asyncio.run(migrate(server.dsn()))
        FILE.write_text(contract(server.dsn()))


if __name__ == "__main__":
    main()
