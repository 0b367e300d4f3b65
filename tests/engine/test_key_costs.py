"""A batch with keys costs in proportion to its jobs, whether their keys are new, known, or all the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.engine.calls import Engine
from tests.engine.test_plans import touched

FEW, MANY = 100, 800

BATCHES: dict[str, Callable[[int], dict[str, Any]]] = {
    "new keys": lambda n: {"keys": [f"{n} {i}" for i in range(n)]},
    "known keys": lambda n: {"keys": [f"known {i}" for i in range(n)]},
    "known keys, keep_time": lambda n: {
        "keys": [f"known {i}" for i in range(n)],
        "key_modes": ["keep_time"] * n,
    },
    "known keys, merge": lambda n: {"keys": [f"known {i}" for i in range(n)], "key_modes": ["merge"] * n},
    "known keys, skip": lambda n: {"keys": [f"known {i}" for i in range(n)], "key_modes": ["skip"] * n},
    "one key": lambda n: {"keys": [f"one {n}"] * n},
    "one key, merge": lambda n: {"keys": [f"one {n}"] * n, "key_modes": ["merge"] * n},
    "new idempotency keys": lambda n: {"idempotency_keys": [f"{n} {i}" for i in range(n)]},
    "known idempotency keys": lambda n: {"idempotency_keys": [f"known {i}" for i in range(n)]},
    "one idempotency key": lambda n: {"idempotency_keys": [f"one {n}"] * n},
    "concurrency keys": lambda n: {"concurrency_keys": [f"c {i}" for i in range(n)]},
}


async def add(engine: Engine, count: int, columns: dict[str, Any]) -> list[Any]:
    given = "".join(f", {name} => ${at}::text[]" for at, name in enumerate(columns, 2))
    return await engine.sql(
        f"SELECT * FROM add_batch('{{t}}', $1::text[]::jsonb[]{given})",
        ['{"a": [1]}'] * count,
        *columns.values(),
    )


@pytest.mark.parametrize("kind", BATCHES)
async def test_a_batch_with_keys_costs_in_proportion_to_its_jobs(engine: Engine, kind: str) -> None:
    known = [f"known {i}" for i in range(MANY)]
    await add(engine, MANY, {"keys": known, "idempotency_keys": known})
    found = {}
    for count in (FEW, MANY):
        found[count] = await touched(engine, partial(add, engine, count, BATCHES[kind](count)))
        await engine.db.execute("VACUUM openqueue.jobs, openqueue.run_requests, openqueue.idempotency")
    assert found[MANY] <= found[FEW] * (MANY / FEW) * 1.5 + 100, found


async def test_of_many_equal_keys_in_a_batch_each_mode_does_its_part(engine: Engine) -> None:
    """As one after the other would: the row is written twice all the same."""
    modes = ["merge", "merge", "skip", "keep_time", "merge", "replace", "merge", "merge", "skip"]
    one_by_one = [
        await engine.add_one(job_key="a", job_key_mode=mode, payload={"n": [n], "mode": mode}, tags=[mode])
        for n, mode in enumerate(modes)
    ]
    rows = await engine.sql(
        "SELECT * FROM add_batch('{t}', $1::text[]::jsonb[], keys => array_fill('b'::text, ARRAY[9]),"
        " key_modes => $2, tags => $3::text[]::jsonb[])",
        [json.dumps({"n": [n], "mode": mode}) for n, mode in enumerate(modes)],
        modes,
        [json.dumps([mode]) for mode in modes],
    )
    assert len({*one_by_one}) == len({row["id"] for row in rows}) == 1
    assert [row["outcome"] for row in rows] == [
        "existing" if mode == "skip" else "replaced" if n else "added" for n, mode in enumerate(modes)
    ]
    runs = [await engine.run(run) for run in (one_by_one[0], rows[0]["id"])]
    assert runs[1]["input"] == {"n": [5, 6, 7], "mode": "merge"}
    assert [(run["input"], run["tags"]) for run in runs] == [
        ({"n": [5, 6, 7], "mode": "merge"}, ["merge"])
    ] * 2
    assert [row["id"] for row in await engine.claim()] == [one_by_one[0], rows[0]["id"]]
