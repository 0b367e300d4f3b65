"""O6: lists of runs read a bounded part of the history, whatever is looked for, in whichever order.

What is asserted is how much a page reads, and that nothing is read from its beginning to its end; the times
are printed (`make measure WHAT=finding` has them without the suite around it).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from tests.bench.finding import deep, measured, variants
from tests.support.many_runs import fill_history

SIZES = [pytest.param(20_000, id="gate"), pytest.param(10_000_000, id="full", marks=pytest.mark.scale)]
MOST = 200_000
"""Rows and index entries that a page may touch: some ten for each of the 20,000 that it walks at most."""

READ = """
    SELECT
        sum(pg_stat_get_xact_tuples_returned(oid) + pg_stat_get_xact_tuples_fetched(oid))::bigint AS touched,
        COALESCE(sum(pg_stat_get_xact_numscans(oid)) FILTER (WHERE relkind = 'r'
            AND relname ~ '^(run_requests|attempts|run_log|schedule_ticks)'), 0)::bigint AS scans
    FROM pg_class WHERE relnamespace = 'openqueue'::regnamespace AND relkind IN ('r', 'i')"""


@pytest.mark.parametrize("runs", SIZES)
@pytest.mark.timeout(3600)
async def test_no_page_reads_the_history_from_one_end_to_the_other(db: Any, runs: int) -> None:
    now = datetime.now(UTC)
    await fill_history(db, runs, until=now, chunks=20 if runs < 100_000 else 300)
    too_much: dict[str, tuple[int, int]] = {}
    assert isinstance(db, asyncpg.Connection)
    for name, chosen in variants(now):
        for place, one in (("", chosen), (" | deep", deep(chosen, now)))[: 1 if runs < 100_000 else 2]:
            async with db.transaction():
                before = await db.fetchrow(READ)
                ms, found, more = await measured(db, one, times=1)
                after = await db.fetchrow(READ)
            assert before is not None
            assert after is not None
            touched, scans = (int(after[key] - before[key]) for key in ("touched", "scans"))
            print(f"{name + place:60} {ms:7.1f} ms {touched:7} rows {found:3} {'more' if more else ''}")
            if touched > MOST or scans > 0:
                too_much[name + place] = (touched, scans)
    assert too_much == {}
