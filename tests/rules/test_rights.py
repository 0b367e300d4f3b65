"""Which functions run with the owner's rights, with which search path, and who may call what."""

from __future__ import annotations

import asyncpg

OWN = "p.pronamespace = 'openqueue'::regnamespace"

WITH_OWNERS_RIGHTS = {
    *("add_batch", "add_jobs", "add_one", "add_same"),
    *("find_run", "find_events", "await_run", "await_runs", "task_names", "task_inputs"),
    *("ensure_partitions", "publish_controls", "end_leader", "prune_batch"),
    *("log_full", "replace_patch"),
}
"""Each is a door into what its callers may not touch: a function is added here after it was read as one."""

INLINED = {
    *("new_id", "new_ids", "id_time", "id_floor", "nobody", "task_defaults", "governed", "scope_of"),
    *("rate_steps", "rate_room", "rate_next", "rate_opens", "rate_due", "gates_of", "known_lanes"),
    *("first_turn", "turn_step", "turns_key", "slots_key", "unpublished"),
}
"""SQL that becomes part of the statement around it, and so has no settings of its own. None of them runs with
the owner's rights but inside a function that has: by that one's path."""


async def test_every_function_has_a_search_path_of_its_own(db: asyncpg.Connection) -> None:
    """pg_temp last: or a temporary type named text would be taken for text."""
    loose = await db.fetch(
        f"""SELECT p.proname FROM pg_proc p WHERE {OWN} AND p.prokind <> 'a'
          AND 'search_path=pg_catalog, pg_temp' <> ALL (COALESCE(p.proconfig, '{{}}'))"""
    )
    assert {row[0] for row in loose} <= INLINED
    written = await db.fetch(
        f"""SELECT p.proname FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
        WHERE {OWN} AND p.proname = ANY ($1::text[]) AND (p.prosecdef OR l.lanname <> 'sql')""",
        sorted(INLINED - {"new_id"}),
    )
    assert written == []


async def test_none_but_those_meant_to_runs_with_its_owners_rights(db: asyncpg.Connection) -> None:
    found = await db.fetch(f"SELECT p.proname FROM pg_proc p WHERE {OWN} AND p.prosecdef")
    assert {row[0] for row in found} == WITH_OWNERS_RIGHTS


async def test_what_runs_with_its_owners_rights_builds_no_statement_from_what_it_is_given(
    db: asyncpg.Connection,
) -> None:
    """That of partitions is made of the schema's name and of months, all quoted."""
    found = await db.fetch(
        f"""SELECT p.proname, p.pronargs, p.proargtypes::regtype[]::text[] AS takes FROM pg_proc p
        WHERE {OWN} AND p.prosecdef AND p.prosrc ~* '\\mEXECUTE\\M'"""
    )
    assert [(row["proname"], row["takes"]) for row in found] == [("ensure_partitions", ["integer"])]


async def test_nobody_may_call_a_function_who_was_not_given_the_right(db: asyncpg.Connection) -> None:
    found = await db.fetch(
        f"""SELECT p.oid::regprocedure::text FROM pg_proc p WHERE {OWN}
          AND (p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0))"""
    )
    assert found == []


async def test_what_the_rights_name_is_there(db: asyncpg.Connection) -> None:
    """Or a function that was renamed would lose its right without a word."""
    source = await db.fetchval("SELECT prosrc FROM pg_proc WHERE oid = 'openqueue.rights_of'::regproc")
    named = await db.fetch(
        """SELECT DISTINCT n.name FROM regexp_matches($1, '''\\{([a-z_,]+)\\}''', 'g') AS m,
             string_to_table(m[1], ',') AS n (name)""",
        source,
    )
    there = await db.fetch(
        f"""SELECT p.proname::text FROM pg_proc p WHERE {OWN}
        UNION SELECT relname FROM pg_class WHERE relnamespace = 'openqueue'::regnamespace"""
    )
    names = {row[0] for row in named}
    assert {"add_job", "set_control", "create_roles", "migrations", "attempts"} <= names
    assert names - {row[0] for row in there} == set()
