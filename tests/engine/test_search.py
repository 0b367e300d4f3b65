"""What a search finds is what a look at every run finds, in every filter and order, page by page."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from openqueue.errors import InvalidOption
from openqueue.runs.filter import RunFilter
from tests.engine.calls import Engine
from tests.engine.test_plans import touched

WORKERS = [UUID(int=n) for n in range(0x7000, 0x7003)]

HISTORY = """
    WITH made AS (
        SELECT i, (left(id_floor(now() - (720 - i) * interval '1 second')::text, 24) || lpad(to_hex(i), 12, '0'))::uuid AS id,
            now() - (720 - i) * interval '1 second' AS at FROM generate_series(1, 600) i
    ), asked AS (
        INSERT INTO run_requests (id, run_at, priority, max_attempts, namespace, task, queue, key, input, meta, tags)
        SELECT id, at, 0, 25, CASE i % 50 WHEN 49 THEN 'other' ELSE 'default' END, 't' || i % 3, 'q' || i % 2,
            CASE WHEN i % 40 = 1 THEN 'k' || i % 80 END, '{}',
            CASE i % 4 WHEN 0 THEN jsonb_build_object('tenant', i % 10, 'plan', jsonb_build_object('name', i % 7)) END,
            CASE i % 5 WHEN 0 THEN ARRAY['a', 'b' || i % 3] END FROM made
    ), live AS (
        INSERT INTO jobs (id, seq, state, gate, place, run_at, size, priority, max_attempts, namespace, queue, task, attempt)
        SELECT id, CASE WHEN s = 'q' THEN i END, s::"char", CASE WHEN s = 'b' THEN 'x' END, CASE WHEN s = 'b' THEN i END,
            at, 1, 0, 25, CASE i % 50 WHEN 49 THEN 'other' ELSE 'default' END, 'q' || i % 2, 't' || i % 3, 0
        FROM (SELECT m.*, (ARRAY['q', 's', 't', 'b'])[i / 10 % 4 + 1] AS s FROM made m) m WHERE i % 10 = 0
    )
    INSERT INTO attempts (run_id, worker, claim, started_at, finished_at, attempt, counted, final, outcome, error)
    SELECT id, CASE WHEN i % 11 > 0 THEN ($1::uuid[])[i % 3 + 1] END, i, at + interval '1 s', at + (i % 17) * interval '7 s', a, a,
        a = 1 + (i % 6 = 0)::integer AND i % 10 > 0, CASE WHEN a = 1 AND i % 6 = 0 THEN 'failed'
            ELSE (ARRAY['completed', 'failed', 'completed', 'cancelled', 'completed', 'expired', 'completed'])[i % 7 + 1] END,
        CASE WHEN i % 7 IN (1, 3, 5) THEN jsonb_build_object('type', 'E' || i % 3, 'message', 'No way to host ' || i % 13, 'traceback', 'File x') END
    FROM made CROSS JOIN LATERAL generate_series(1, 1 + (i % 6 = 0)::integer) a WHERE i % 10 > 0 OR i % 30 = 10"""  # noqa: E501  a table of runs

TICKS = """
    INSERT INTO schedule_ticks (namespace, schedule, at, fired_at, run_id)
    SELECT 'default', 'nightly', now() - n * interval '1 minute', now(), id
    FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM run_requests WHERE namespace = 'default') r WHERE n % 9 = 0"""  # noqa: E501


def minutes(now: Any, n: float) -> Any:
    return now - timedelta(minutes=n)


async def fill(engine: Engine) -> Any:
    await engine.sql(HISTORY, WORKERS)
    await engine.sql(TICKS)
    (row,) = await engine.sql("SELECT now() AS now")
    return row["now"]


async def searched(engine: Engine, chosen: RunFilter, size: int, **how: int) -> list[UUID]:
    """All that the filter chooses, by pages."""
    found: list[UUID] = []
    after = None
    while True:
        (page,) = await engine.sql(
            "SELECT * FROM"
            " search_runs('default', $1::text::jsonb, $2, $3, $4, $5, budget => $6, patience => 1e9)",
            json.dumps(chosen.words()),
            chosen.order,
            not chosen.oldest_first,
            after,
            size,
            how.get("budget", 20_000),
        )
        found += page["ids"]
        assert len(page["ids"]) <= size
        if page["complete"]:
            assert page["cursor"] is None
            return found
        assert page["searched_to"] is not None
        after = page["cursor"]


def contains(value: Any, part: Any) -> bool:
    """As `@>` has it, of objects."""
    if isinstance(part, dict):
        return isinstance(value, dict) and all(k in value and contains(value[k], v) for k, v in part.items())
    return bool(value == part)


def holds(row: dict[str, Any], chosen: RunFilter, ticks: set[UUID]) -> bool:
    """Whether a row of the view `runs` is one of those that are looked for."""
    error = row["error"] if row["status"] in ("failed", "cancelled", "expired") else None
    meta, text = row["meta"], chosen.text
    return all(
        (
            row["namespace"] == "default",
            chosen.task in (None, row["task"]),
            chosen.queue in (None, row["queue"]),
            not chosen.status or row["status"] in chosen.status,
            chosen.worker in (None, str(row["worker"])),
            chosen.key in (None, row["key"]),
            contains(meta, chosen.meta),
            not chosen.tags or bool(set(chosen.tags) & set(row["tags"])),
            chosen.schedule is None or row["id"] in ticks,
            chosen.error is None or (error is not None and error["type"] == chosen.error),
            text is None or (error is not None and text.lower() in " ".join(error.values()).lower()),
            chosen.order == "created" or row["finished_at"] is not None,
            *(
                (low is None or (row[column] is not None and row[column] >= low))
                and (high is None or (row[column] is not None and row[column] < high))
                for low, high, column in (
                    (chosen.since, chosen.until, "created_at"),
                    (chosen.started_since, chosen.started_until, "started_at"),
                    (chosen.finished_since, chosen.finished_until, "finished_at"),
                )
            ),
        )
    )


def filters(now: Any) -> list[dict[str, Any]]:
    long, short = minutes(now, 8), minutes(now, 3)
    return [
        {},
        {"task": "t1"},
        {"task": "nobody"},
        {"queue": "q1"},
        {"status": ("completed",)},
        {"status": ("failed",)},
        {"status": ("failed", "expired"), "task": "t2"},
        {"status": ("failed", "completed")},
        {"status": ("queued",)},
        {"status": ("scheduled", "retrying")},
        {"status": ("blocked", "cancelled")},
        {"status": ("running",)},
        {"schedule": "nightly"},
        {"schedule": "nightly", "status": ("failed",)},
        {"worker": str(WORKERS[1])},
        {"worker": str(WORKERS[1]), "sort": "created"},
        {"worker": str(uuid4())},
        {"worker": "nobody"},
        {"key": "k1"},
        {"key": "k1", "status": ("completed",)},
        {"meta": {"tenant": 4}},
        {"meta": {"plan": {"name": 3}}},
        {"meta": {"tenant": 4}, "tags": ("a",)},
        {"tags": ("b1", "b2")},
        {"since": long, "until": short},
        {"started_since": long, "started_until": short},
        {"finished_since": long, "finished_until": short},
        {"finished_since": short, "status": ("failed",)},
        {"finished_until": short, "sort": "created"},
        {"error": "E1"},
        {"error": "E1", "status": ("cancelled",)},
        {"text": "HOST 7", "since": long},
        {"text": "file x", "finished_since": long, "finished_until": short},
        {"task": "t1", "queue": "q0", "status": ("completed",), "tags": ("a",), "since": long},
    ]


async def test_a_search_finds_what_a_look_at_every_run_finds(engine: Engine) -> None:
    now = await fill(engine)
    rows = [dict(row) for row in await engine.sql("SELECT * FROM runs")]
    for row in rows:
        row.update(
            (name, json.loads(row[name]) if row[name] else None)
            for name in ("meta", "error")
            if not isinstance(row[name], dict)
        )
    ticks = {
        row["run_id"]
        for row in await engine.sql("SELECT run_id FROM schedule_ticks WHERE run_id IS NOT NULL")
    }
    several = 0
    for number, said in enumerate(filters(now)):
        for sort in ("created", "finished"):
            try:
                chosen = RunFilter(**{"sort": sort, "oldest_first": number % 2 == 1, **said})
            except InvalidOption:
                continue
            column = "created_at" if chosen.order == "created" else "finished_at"
            wanted = [row for row in rows if holds(row, chosen, ticks)]
            wanted.sort(key=lambda row: (row[column], row["id"]), reverse=not chosen.oldest_first)
            several += len(wanted) > 20
            found = await searched(engine, chosen, 70, budget=100)
            assert found == [row["id"] for row in wanted], chosen
    assert several > 30


async def test_a_search_reads_no_more_than_its_budget(engine: Engine) -> None:
    """Nothing is found, and nothing of it is known: the most that one page may cost."""
    await engine.sql(
        """WITH made AS (
            INSERT INTO run_requests (id, run_at, priority, max_attempts, namespace, task, queue, input, meta)
            SELECT id, now(), 0, 25, 'default', 't', 'default', '{}', jsonb_build_object('a', 1)
            FROM unnest(new_ids(30000)) id RETURNING id)
        INSERT INTO attempts
            (run_id, worker, claim, started_at, finished_at, attempt, counted, final, outcome, error)
        SELECT id, $1::uuid, 1, now(), now() - (30000 - i) * interval '10 ms', 1, 1, true,
            CASE WHEN random() < .5 THEN 'completed' ELSE 'failed' END, '{"type": "E"}'
        FROM (SELECT id, row_number() OVER () AS i FROM made) made""",
        engine.worker,
    )
    await engine.sql(
        """SELECT brin_summarize_new_values(c.oid) FROM pg_class c JOIN pg_am a ON a.oid = c.relam
        WHERE a.amname = 'brin' AND c.relkind = 'i' AND relnamespace = 'openqueue'::regnamespace"""
    )
    await engine.sql("ANALYZE run_requests")
    (row,) = await engine.sql("SELECT now() - interval '1 day' AS day")
    for said in (
        {"task": "nobody"},
        {"status": ("expired",)},
        {"status": ("failed",), "task": "nobody"},
        {"status": ("completed",), "queue": "nobody"},
        {"meta": {"a": 1}, "queue": "nobody"},
        {"meta": {"a": 2}},
        {"error": "E", "queue": "nobody"},
        {"error": "F"},
        {"text": "nothing of it", "since": row["day"]},
        {"worker": str(engine.worker), "queue": "nobody"},
        {"sort": "finished", "task": "nobody"},
        {"sort": "finished", "status": ("failed",), "task": "nobody"},
        {"finished_since": row["day"], "task": "nobody"},
    ):
        chosen = RunFilter(**said)

        async def search(chosen: RunFilter = chosen) -> None:
            await engine.sql(
                "SELECT * FROM search_runs('default', $1::text::jsonb, $2, budget => 2000, patience => 1e9)",
                json.dumps(chosen.words()),
                chosen.order,
            )

        await search()
        n = await touched(engine, search)
        print(said, n)
        assert n <= 45_000, said


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("status => '{done}'", "status has 'done'"),
        ("error_text => 'x'", "error_text is looked for only within a time"),
        ("meta => '[]'", "meta must be a JSON object"),
        ("sort => 'task'", "sort is 'task'"),
        ("most => 0", "most is 0"),
        ("error_type => 'E', status => '{running}'", "status has one of runs that have not ended"),
    ],
)
async def test_what_cannot_be_found_is_refused_by_its_name(engine: Engine, said: str, fault: str) -> None:
    with pytest.raises(Exception, match=fault):
        await engine.sql(f"SELECT * FROM find_runs({said})")


async def test_sql_finds_runs_in_its_own_words(engine: Engine) -> None:
    await fill(engine)
    found = await engine.sql(
        "SELECT status FROM"
        " find_runs(status => '{failed}', meta => '{\"tenant\": 4}', sort => 'finished', most => 3)"
    )
    assert [row["status"] for row in found] == ["failed"] * 3
    everything = await engine.sql("SELECT id FROM find_runs(most => 10000) ORDER BY id")
    assert everything == await engine.sql("SELECT id FROM runs WHERE namespace = 'default' ORDER BY id")


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("created_before => 'infinity'", 1),
        ("created_from => '-infinity'", 1),
        ("created_from => '1960-01-01'", 1),
        ("started_before => 'infinity'", 0),
        ("created_from => 'infinity'", 0),
        ("created_before => '1960-01-01'", 0),
    ],
)
async def test_a_time_that_no_run_can_have_is_a_bound_as_any_other(
    engine: Engine, said: str, found: int
) -> None:
    await engine.add()
    assert len(await engine.sql(f"SELECT FROM find_runs({said})")) == found
