"""What is rare is gathered from whole stretches of the history: all of it, in order, not reading the rest."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from openqueue.runs.filter import RunFilter
from tests.engine.calls import Engine
from tests.engine.test_plans import touched
from tests.engine.test_search import searched
from tests.support.history import add_month

RUNS = """
    WITH made AS (
        SELECT i, (left(id_floor(now() - $4::interval - (20000 - i) * $1::interval)::text, 24) || lpad(to_hex(i), 12, '0'))::uuid AS id,
            now() - $4::interval - (20000 - i) * $1::interval AS at, i % 997 = 5 OR i BETWEEN $2 AND $3 AS rare FROM generate_series(1, 20000) i
    ), asked AS (
        INSERT INTO run_requests (id, run_at, priority, max_attempts, namespace, task, queue, input, meta, tags)
        SELECT id, at, 0, 25, CASE i % 4985 WHEN 5 THEN 'other' ELSE 'default' END, CASE WHEN rare THEN 'rare' ELSE 't' END, 'default', '{}',
            jsonb_build_object('n', i, 'kind', CASE WHEN rare THEN 1 ELSE 2 END), ARRAY[CASE WHEN rare THEN 'rare' ELSE 'usual' END] FROM made
    )
    INSERT INTO attempts (run_id, finished_at, attempt, counted, final, outcome)
    SELECT id, at + (i % 11) * interval '90 ms', 1, 1, true, CASE i % 2 WHEN 0 THEN 'failed' ELSE 'completed' END FROM made"""  # noqa: E501  a table of runs

RARE = "SELECT id FROM runs WHERE namespace = 'default' AND task = 'rare' ORDER BY {column} {way}, id {way}"


async def fill(
    engine: Engine, apart: timedelta, first: int = 0, last: int = -1, ago: timedelta = timedelta(0)
) -> None:
    await engine.sql(RUNS, apart, first, last, ago)
    await engine.sql("ANALYZE run_requests")
    await engine.sql(
        """SELECT brin_summarize_new_values(c.oid) FROM pg_class c JOIN pg_am a ON a.oid = c.relam
        WHERE a.amname = 'brin' AND c.relkind = 'i' AND relnamespace = 'openqueue'::regnamespace"""
    )


@pytest.mark.parametrize("how", [{"task": "rare"}, {"meta": {"kind": 1}}, {"tags": ("rare",)}], ids=str)
async def test_all_that_is_rare_is_found_in_order(engine: Engine, how: dict[str, Any]) -> None:
    await fill(engine, timedelta(milliseconds=150))
    for sort, column in (("created", "created_at"), ("finished", "finished_at")):
        for oldest, way in ((True, "ASC"), (False, "DESC")):
            wanted = [row["id"] for row in await engine.sql(RARE.format(column=column, way=way))]
            assert len(wanted) == 16
            chosen = RunFilter(**how, sort=sort, oldest_first=oldest)  # type: ignore[arg-type]
            assert await searched(engine, chosen, 7) == wanted, (sort, way)
    chosen = RunFilter(**how, status=("failed",))
    failed = await engine.sql(
        "SELECT id FROM runs WHERE task = 'rare' AND status = 'failed' ORDER BY id DESC"
    )
    rare = {row["id"] for row in await engine.sql(RARE.format(column="id", way="ASC"))}
    assert await searched(engine, chosen, 3) == [row["id"] for row in failed if row["id"] in rare]

    async def search() -> None:
        await engine.sql(
            "SELECT * FROM search_runs('default', $1::text::jsonb, patience => 1e9)",
            json.dumps(chosen.words()),
        )

    await search()
    if "task" not in how:  # one in a thousand: every range of pages has one
        # A machine that stands still for a moment makes it walk, which is right, but not what is meant here.
        assert any([await touched(engine, search) < 12_000 for _ in range(10)])


@pytest.mark.parametrize("way", ["newest", "oldest"])
async def test_a_time_in_which_nothing_was_asked_for_does_not_count_as_searched(
    engine: Engine, way: str
) -> None:
    """By it the walk would seem to get on better than what is gathered, which reads next to nothing."""
    quiet = timedelta(days=20)
    await add_month(engine.db, datetime.now(UTC) - quiet)
    await add_month(engine.db, datetime.now(UTC) - quiet - timedelta(hours=1))
    await fill(engine, timedelta(milliseconds=150), ago=quiet)
    (row,) = await engine.sql("SELECT now() - 2 * $1::interval AS since", quiet)
    chosen = RunFilter(meta={"kind": 1}, oldest_first=way == "oldest", since=row["since"])

    walked = []
    for _ in range(10):  # one of them will not be held up just there
        (page,) = await engine.sql(
            "SELECT * FROM search_runs('default', $1::text::jsonb, newest_first => $2, patience => 1e9)",
            json.dumps(chosen.words()),
            not chosen.oldest_first,
        )
        assert (len(page["ids"]), page["complete"]) == (16, True)
        walked.append(page["walked"])
    assert min(walked) < 3_000


async def test_more_of_them_than_fit_into_a_set_are_walked_by_their_end(engine: Engine) -> None:
    """One stretch more, and there may be twice as many as are sorted at once."""
    await fill(engine, timedelta(seconds=8), 4_751, 11_150)
    wanted = await engine.sql(
        "SELECT id FROM runs WHERE namespace = 'default' AND task = 'rare' AND status = 'failed'"
        " ORDER BY finished_at DESC, id DESC"
    )
    chosen = RunFilter(task="rare", status=("failed",), sort="finished")
    assert await searched(engine, chosen, 1_000) == [row["id"] for row in wanted]


async def test_thousands_of_one_moment_are_walked_like_any_others(engine: Engine) -> None:
    """They are too many for a stretch, however short it is."""
    await fill(engine, timedelta(microseconds=50), 5_000, 12_000)
    wanted = [row["id"] for row in await engine.sql(RARE.format(column="id", way="DESC"))]
    assert len(wanted) > 7_000
    assert await searched(engine, RunFilter(task="rare"), 2_000) == wanted
