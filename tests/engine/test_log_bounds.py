"""What a worker in SQL may write to a run's log is bounded, as it is for one in Python."""

from __future__ import annotations

import json
from uuid import UUID

from tests.engine.calls import Engine

FILLED = "SELECT log_run($1, $2, $3, 'line ' || i) FROM generate_series(1, $4::integer) i"


async def started(engine: Engine) -> tuple[UUID, int]:
    (run,) = await engine.add()
    (row,) = [row for row in await engine.claim() if row["id"] is not None]
    assert row["id"] == run
    return run, engine.claim_number


async def lines(engine: Engine, run: UUID) -> list[dict[str, object]]:
    rows = await engine.sql("SELECT data::text FROM run_log WHERE run_id = $1 ORDER BY n", run)
    return [json.loads(row["data"]) for row in rows]


async def test_a_thousand_lines_are_kept_and_one_says_how_many_were_dropped(engine: Engine) -> None:
    run, claim = await started(engine)
    for count in (990, 15, 3):
        await engine.sql(FILLED, engine.worker, run, claim, count)
    found = await lines(engine, run)
    assert len(found) == 1001
    assert found[999]["message"] == "line 10"
    assert found[1000]["message"] == "the log is full: lines after the 1,000th are dropped"
    assert found[1000]["fields"] == {"dropped": 8}


async def test_a_line_has_at_most_eight_kibibytes(engine: Engine) -> None:
    run, claim = await started(engine)
    for text in ("x" * 9000, "ü" * 9000, "🙂" * 9000):
        fields = json.dumps({"a": "b" * 3000})
        await engine.sql(
            "SELECT log_run($1, $2, $3, $4, 'info', $5::text::jsonb)", engine.worker, run, claim, text, fields
        )
    for one in await lines(engine, run):
        assert len(str(one["message"]).encode()) + 3000 <= 8192
        assert len(str(one["message"])) > 1000
