"""What others call by name is as it was: the schema's public functions and views."""

from __future__ import annotations

import asyncpg

from tests.support.sql_contract import FILE, contract


def test_the_public_face_of_the_schema_changes_only_on_purpose(dsn: str) -> None:
    """Is the change compatible? See tests/support/sql_contract.py; then run it with `python -m`."""
    assert contract(dsn).splitlines() == FILE.read_text().splitlines()


async def test_every_public_function_of_this_contract_has_an_example(db: asyncpg.Connection) -> None:
    found = await db.fetch(
        """SELECT p.proname::text AS name, d.description
        FROM pg_proc p JOIN pg_description d ON d.objoid = p.oid
        WHERE p.pronamespace = 'openqueue'::regnamespace AND p.proname <> ALL ($1)""",
        [
            *("await_run", "await_runs", "ensure_partitions", "id_floor", "id_time", "new_id", "promote_run"),
            *(
                "retry_run",
                "beat_worker",
                "claim_jobs",
                "claim_lane",
                "finish_jobs",
                "log_runs",
                "release_jobs",
            ),
            *("rescue", "set_bells", "start_jobs"),
        ],
    )
    assert len(found) > 15
    assert [row["name"] for row in found if " Example: SELECT " not in row["description"]] == []


async def test_no_argument_of_a_public_function_is_without_a_name(db: asyncpg.Connection) -> None:
    found = await db.fetch(
        """SELECT p.proname FROM pg_proc p JOIN pg_description d ON d.objoid = p.oid
        WHERE p.pronamespace = 'openqueue'::regnamespace AND p.pronargs > 0
          AND (p.proargnames IS NULL OR '' = ANY (p.proargnames))"""
    )
    assert found == []
