"""The page for those who come with SQL is true: its snippets run in psql, its functions are there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import asyncpg

from openqueue.dev.account import server_account
from openqueue.dev.binaries import find_binaries
from tests.support.transcript import blocks, environment, tables

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sql.md"


def psql(dsn: str, text: str) -> str:
    program = shutil.which("psql") or str(find_binaries(server_account()).directory / "psql")
    done = subprocess.run(
        [program, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", dsn],
        input=text,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_every_snippet_runs_and_does_what_is_said(dsn: str, db: asyncpg.Connection) -> None:
    texts = [block.text for block in blocks(PAGE) if block.language == "sql"]
    printed = [psql(dsn, text).splitlines() for text in texts]
    assert len(texts) >= 8
    enqueue, many, waiting, watched, worked, looked, shipped, watch = printed
    assert len(enqueue) == 1
    assert many == ["3"]
    assert [line.rpartition("|")[2] for line in waiting] == ["edited", "rescheduled", "failed", "cancelled"]
    assert watched[0] == "orders.thank|queued|0|"
    assert watched[-2] == "default|2|0|0"
    assert re.fullmatch(r"default\|2\|0\|20.*\|f", watched[-1])
    assert [line for line in worked if line in ("t|t", "applied", "0")] == ["t|t", "applied", "0"]
    assert looked == ["0", "0"]
    assert shipped[-1] == "applied"
    assert watch[1:] == ['orders.ship|{"id": 1}', "orders.ship|public.orders|{insert,update}", "t"]
    assert await db.fetchval("SELECT status FROM orders") == "paid"


async def test_the_table_names_functions_that_exist_and_the_page_all_that_are_meant(
    db: asyncpg.Connection,
) -> None:
    listed = {name for row in tables(PAGE)["function"] for name in re.findall(r"\w+", row[0])}
    text = PAGE.read_text()
    called = set(re.findall(r"openqueue\.(\w+)\(", text))
    told = await db.fetch(
        """SELECT DISTINCT p.proname::text FROM pg_proc p JOIN pg_description d ON d.objoid = p.oid
        WHERE p.pronamespace = 'openqueue'::regnamespace"""
    )
    assert listed | called <= {row["proname"] for row in told}
    assert {"complete_job", "get_job", "add_trigger"} <= listed
