"""The engine's calls with short names, on one connection, as a worker of any language makes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from openqueue.db.statements import Statements
from openqueue.worker.intake.lanes import Lanes, Plan

Connection = Any
Row = Any
NOTHING_TOLD = (None, None, 0, "default", None)
"""What a beat says of its process and of what has ended, if it says nothing."""

NOTHING = Plan([], [], [], [], sweep=False)


class Engine:
    """One worker's view of the engine; `namespace` is where it works, `worker` who it says it is."""

    def __init__(self, db: Connection, *, namespace: str = "default", schema: str = "openqueue") -> None:
        self.db = db
        self.namespace = namespace
        self.schema = schema
        self.worker = uuid4()
        self.statements = Statements(schema)
        self.claim_number = 0
        self.position: dict[str, Any] = {}

    async def call(self, name: str, *arguments: Any) -> list[Row]:
        """A named statement of sql/queries."""
        rows: list[Row] = await self.db.fetch(self.statements[name], *arguments)
        return rows

    async def value(self, name: str, *arguments: Any) -> Any:
        """The first column of a named statement's first row."""
        return await self.db.fetchval(self.statements[name], *arguments)

    async def sql(self, text: str, *arguments: Any) -> list[Row]:
        """Any statement, its functions and relations found without the schema's name."""
        await self.db.execute(
            "SELECT set_config('search_path', quote_ident($1), false)".replace("$1", _literal(self.schema))
        )
        rows: list[Row] = await self.db.fetch(text, *arguments)
        return rows

    async def add(self, count: int = 1, *, task: str = "t", **options: Any) -> list[UUID]:
        """Enqueue jobs of one task; options are add_job's."""
        return [await self.add_one(task=task, **options) for _ in range(count)]

    async def add_one(self, *, task: str = "t", payload: Any = None, **options: Any) -> UUID:
        """Enqueue one; options are add_job's, namespace is the engine's."""
        options = {"namespace": self.namespace, **options}
        given = [name for name in options if options[name] is not None]
        types = {
            "meta": "text::jsonb",
            "run_at": "timestamptz",
            "deadline": "timestamptz",
            "tags": "text[]",
            "priority": "integer",
            "max_attempts": "integer",
        }
        named = "".join(
            f", {name} => ${place}::{types.get(name, 'text')}" for place, name in enumerate(given, 3)
        )
        values = [json.dumps(options[name]) if name == "meta" else options[name] for name in given]
        found: UUID = await self.db.fetchval(
            f"SELECT {_ident(self.schema)}.add_job($1::text, $2::text::jsonb{named})",
            task,
            json.dumps(payload or {}),
            *values,
        )
        return found

    async def bulk(
        self, count: int, *, task: str = "t", queue: str = "default", priority: int = 0
    ) -> list[UUID]:
        """Enqueue many in one statement."""
        (row,) = await self.call(
            "add_same", task, ["{}"] * count, self.namespace, queue, priority, 25, 1048576
        )
        return list(row["ids"])

    async def claim(
        self,
        most: int = 1000,
        *,
        plan: Plan = NOTHING,
        starting: int | None = None,
        tasks: Sequence[str] | None = None,
        queues: dict[str, int | None] | None = None,
        promote: bool = True,
    ) -> list[Row]:
        """Claim; the rows of jobs. Where reading ended is in `position` afterwards."""
        self.claim_number += 1
        *rows, last = await self.call(
            "claim_jobs",
            self.worker,
            self.claim_number,
            most,
            starting,
            list(tasks) if tasks is not None else None,
            list(queues) if queues is not None else None,
            list(queues.values()) if queues is not None else None,
            plan.queues,
            plan.priorities,
            plan.cursors,
            plan.uptos,
            "",
            promote,
            None,
            self.namespace,
        )
        self.position = json.loads(last["input"])
        return rows

    async def claim_lane(
        self,
        most: int = 16,
        *,
        queue: str = "default",
        priority: int = 0,
        cursor: int = 0,
        starting: int = 1000,
        tasks: Sequence[str] = ("t",),
    ) -> list[Row]:
        """Claim from one lane."""
        self.claim_number += 1
        return await self.call(
            "claim_lane",
            self.worker,
            self.claim_number,
            most,
            starting,
            list(tasks),
            queue,
            priority,
            cursor,
            self.namespace,
        )

    async def claim_by(self, lanes: Lanes, plan: Plan, most: int = 1000, **how: Any) -> list[Row]:
        """Claim by a plan of `lanes`, which learn from the answer."""
        rows = await self.claim(most, plan=plan, **how)
        lanes.learn(plan, rows, self.position, 0.001)
        return rows

    async def finish(
        self,
        ids: Sequence[UUID | None],
        outcomes: Sequence[str] | str = "completed",
        *,
        claims: Sequence[int] | None = None,
        outputs: Sequence[Any] | None = None,
        errors: Sequence[Any] | None = None,
        delays: Sequence[float | None] | None = None,
        closed: Sequence[int] | None = None,
    ) -> list[str]:
        """Finish jobs, of the newest claim unless told otherwise; one verdict each."""
        verdicts: list[str] = await self.value(
            "finish_jobs",
            self.worker,
            list(ids),
            list(claims or [self.claim_number]),
            [outcomes] if isinstance(outcomes, str) else list(outcomes),
            _texts(outputs),
            _texts(errors),
            list(delays) if delays is not None else None,
            None,
            None,
            list(closed) if closed is not None else None,
            False,
        )
        return verdicts

    async def run_once(self, outcome: str = "completed", **how: Any) -> list[UUID]:
        """Claim what is ready and finish all of it with one outcome."""
        ids = [row["id"] for row in await self.claim()]
        if ids:
            await self.finish(ids, [outcome] * len(ids), **{k: [v] * len(ids) for k, v in how.items()})
        return ids

    async def status(self, run: UUID) -> str:
        """A run's status as people read it."""
        return str((await self.run(run))["status"])

    async def run(self, run: UUID) -> dict[str, Any]:
        """A run as people read it."""
        (row,) = await self.call("run_info", run)
        return {
            name: json.loads(value)
            if name in ("input", "output", "error", "progress", "meta") and value
            else value
            for name, value in dict(row).items()
        }

    async def events(self, run: UUID) -> list[str]:
        """The names of what happened to a run, in order."""
        return [row["event"] for row in await self.call("run_events", run)]


async def blocked(db: Connection, pid: int) -> None:
    """Return once the backend `pid` waits for a lock."""
    asked = "SELECT cardinality(pg_blocking_pids($1)) > 0"
    while not await db.fetchval(asked, pid):
        pass


async def connect(dsn: str) -> Connection:
    """A connection that the test closes."""
    return await asyncpg.connect(dsn)


def _texts(values: Sequence[Any] | None) -> list[str | None] | None:
    return None if values is None else [None if value is None else json.dumps(value) for value in values]


def _ident(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
