"""The page on security is true: its statements run, and its table says what each role may."""

from __future__ import annotations

from pathlib import Path

import asyncpg

from openqueue.db.migrations import migrate
from openqueue.settings import load_settings
from tests.support.own_server import OwnServer
from tests.support.transcript import blocks, tables

PAGE = Path(__file__).resolve().parents[2] / "docs" / "security.md"

NEEDS = {
    "enqueue": ("add_job", "add_jobs", "add_batch", "add_one"),
    "state": ("find_run", "find_events", "await_runs"),
    "names": ("task_names", "task_inputs"),
    "claim": ("claim_jobs", "finish_jobs", "log_runs", "rescue", "lead", "ensure_partitions", "fire_ticks"),
    "cancel": ("cancel_run",),
    "list": ("find_runs", "find_attempts", "SELECT workers", "SELECT queue_stats", "SELECT runs"),
    "retry": (
        "retry_run",
        "promote_run",
        "edit_run",
        "act_on_runs",
        "INSERT audit",
        "set_control",
        "pause_queue",
    ),
    "schedules": (
        "add_schedule",
        "update_schedule",
        "remove_schedule",
        "run_schedule_now",
        "backfill_schedule",
    ),
    "change": ("prune", "DELETE runs", "DELETE attempts", "UPDATE run_requests"),
    "migrate": ("create_roles", "grant_rights", "TRUNCATE jobs"),
}
"""By the first word of a line of the table: functions to be called, and rights on tables."""


async def test_the_statements_run_and_the_table_says_who_may_what(own_server: OwnServer) -> None:
    await migrate(own_server.dsn(), roles=True)
    connection = await asyncpg.connect(own_server.dsn())
    try:
        for block in blocks(PAGE):
            if block.language == "sql":
                await connection.execute(block.text)
        rows = tables(PAGE)[""]
        assert {row[0].split()[0].rstrip(",:") for row in rows} == set(NEEDS)
        for what, *may in rows:
            for role, said in zip(("enqueue", "worker", "admin"), may, strict=False):
                held = {
                    await has(connection, f"openqueue_{role}", one)
                    for one in NEEDS[what.split()[0].rstrip(",:")]
                }
                assert held == {said == "yes"}, (what, role)
    finally:
        await connection.close(timeout=60)


async def has(connection: asyncpg.Connection, role: str, right: str) -> bool:
    kind, _, name = right.rpartition(" ")
    if kind:
        return bool(
            await connection.fetchval(
                "SELECT has_table_privilege($1, $2, $3)", role, f"openqueue.{name}", kind
            )
        )
    call = """SELECT bool_and(has_function_privilege($1, p.oid, 'EXECUTE')) FROM pg_proc p
        WHERE p.pronamespace = 'openqueue'::regnamespace AND p.proname = $2"""
    found = await connection.fetchval(call, role, name)
    assert found is not None, name
    return bool(found)


def test_health_is_served_on_loopback_unless_an_address_is_given() -> None:
    assert load_settings().health is None
    for said in ("on", "9464", True):
        found = load_settings(health=said).health
        assert found is not None
        assert found.host == "127.0.0.1"
    chosen = load_settings(health="0.0.0.0:9464").health
    assert chosen is not None
    assert chosen.host == "0.0.0.0"
