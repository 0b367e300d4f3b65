"""The shapes of `--json`: what programs rely on, as the manual says it. Fields are only ever added."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

import openqueue
from openqueue.cli import run_list
from openqueue.runs.client import Client
from tests.support.command import Command

RUN = (
    "id namespace task queue priority status input output error progress meta tags key attempt max_attempts"
    " worker created_at run_at started_at finished_at deadline"
)
EVENT = "at event attempt number worker data"
ATTEMPT = "number counted outcome final worker started_at finished_at error"
ERROR = "type message traceback causes retryable"
ANSWER = "id answer error"
RECENT = (
    "completed failed retried snoozed cancelled released per_minute waited_p50 waited_p95 waited_p99"
    " ran_p50 ran_p95 ran_p99"
)
CONTROL = (
    "kind name queue concurrency used rate burst fairness ageing weight paused paused_until reason"
    " concurrency_from rate_from fairness_from ageing_from weight_from"
)
SHAPES = {
    "runs list": RUN,
    "runs count": "count exact searched_to",
    "runs show": f"{RUN} attempts events",
    "runs watch": f"run task {EVENT}",
    "runs cancel": ANSWER,
    "runs retry": ANSWER,
    "enqueue": "id task outcome",
    "queues": "queue queued blocked running scheduled retrying oldest_ready_at oldest_age capped workers"
    f" {RECENT} concurrency used rate burst fairness ageing paused paused_until reason",
    "tasks": "task pool queue priority max_attempts options input_schema description version seen_at"
    f" {RECENT}",
    "workers": "id namespace name host pid version state queues concurrency running"
    " started_at beat_at beat_age rss cpu runs",
    "keys": "key used blocked control",
    "keys show": "key used blocked control",
    "keys limit": CONTROL,
    "audit": "id at action actor reason runs details",
    "metrics": "name kind labels help",
    "config": "key value source place",
    "top": "at place namespace queues workers failures failed totals leader paused capped",
    "doctor": "worst findings checks",
    "health": "asked schema state ok faults",
    "migrate --check": "schema state migration wanted usable pending changed missing",
    "migrate": "schema state migration wanted usable done",
}
"""The keys of each document, or of each of its parts where it is an array."""


def keys(document: Any) -> set[str]:
    parts = document if isinstance(document, list) else [document]
    assert parts, "a list without anything shows nothing"
    return {key for part in parts for key in part}


def sql(oq: Command, statement: str, *values: object) -> None:
    async def execute() -> None:
        connection = await asyncpg.connect(oq.url)
        try:
            await connection.execute(statement, *values)
        finally:
            await connection.close()

    asyncio.run(execute())


def test_every_document_has_exactly_the_keys_that_are_promised(oq: Command) -> None:
    oq.work()
    oq("enqueue", "post.fail", '{"why": "it rains"}')
    oq.work()
    run = oq("runs", "list", "--json").json[0]
    oq("enqueue", "post.send", '{"to": "a@b.c"}')
    sql(oq, "SELECT openqueue.register_worker($1, 'default', 'w', 'h', 1, 'v', NULL, 1)", uuid4())
    lines = {name: name.split() for name in SHAPES}
    lines |= {
        name: [*lines[name], run["id"]] for name in ("runs show", "runs watch", "runs retry", "runs cancel")
    }
    lines["enqueue"] += ["post.send", '{"to": "a@b.c"}']
    lines["keys show"] += ["account 7"]
    lines["keys limit"] += ["account 7", "--concurrency", "2"]
    oq(*lines["keys limit"])
    for name, line in lines.items():
        answer = oq(*line, "--json")
        documents = list(map(json.loads, answer.out.splitlines())) if name == "runs watch" else answer.json
        assert keys(documents) == set(SHAPES[name].split()), name
    shown = oq("runs", "show", run["id"], "--json").json
    assert keys(shown["attempts"]) == set(ATTEMPT.split())
    assert keys(shown["events"]) == set(EVENT.split())
    assert keys(shown["attempts"][0]["error"]) == set(ERROR.split())


def test_the_manual_says_the_same() -> None:
    file = Path(openqueue.__file__).parent.parent / "docs" / "cli.md"
    if not file.exists():
        pytest.skip("an installed package has no docs")
    table = next(rows for rows in _tables(file.read_text()) if rows[0][1] == "document")
    told = {
        command: set(re.findall(r"\w+", text)) for commands, text in table for command in commands.split(", ")
    }
    for name, shape in SHAPES.items():
        wanted = set(shape.split()) - (set(RUN.split()) if name == "runs show" else set())
        assert wanted <= told[name], name


def _tables(text: str) -> list[list[list[str]]]:
    found = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    split = [[row.strip("|").replace("`", "").split("|") for row in one.splitlines()] for one in found]
    return [[[cell.strip() for cell in row] for row in one] for one in split]


def test_a_long_list_is_printed_page_by_page_while_it_is_read(
    oq: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sql(oq, "SELECT openqueue.add_job('a.b') FROM generate_series(1, 12)")
    monkeypatch.setattr(run_list, "PAGE", 5)
    printed_before: list[int] = []
    real = Client.find_runs

    async def spied(self: Client, chosen: Any = None) -> Any:
        printed_before.append(printed_before_now())
        return await real(self, chosen)

    so_far: list[str] = []

    def printed_before_now() -> int:
        so_far.append(capsys.readouterr().out)
        return "".join(so_far).count('"id"')

    monkeypatch.setattr(Client, "find_runs", spied)
    answer = oq("runs", "list", "--json", "--limit", "1000000")
    whole = json.loads("".join(so_far) + answer.out)
    assert printed_before == [0, 5, 10]
    assert len({run["id"] for run in whole}) == 12
    so_far.clear()
    assert len(json.loads(oq("runs", "list", "--json", "--limit", "5").out or "".join(so_far))) == 5
