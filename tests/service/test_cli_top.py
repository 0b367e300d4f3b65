"""`openqueue top`, on a terminal and in a pipe: what it shows, and what its keys do."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
from rich.console import Console
from rich.live import Live

import openqueue
from openqueue.cli.top_screen import Screen
from openqueue.clients import open_client
from openqueue.settings import load_settings
from tests.support.command import Command
from tests.support.eventually import PATIENCE
from tests.support.terminal import Terminal, in_terminal

SHAPE = "at place namespace queues workers failures failed totals leader paused capped"


@contextmanager
def top(oq: Command, *flags: str, columns: int = 80, rows: int = 24, **variables: str) -> Iterator[Terminal]:
    line = [sys.executable, "-m", "openqueue", "top", "--every", "200ms", *flags]
    env = {**os.environ, "PYTHONPATH": str(Path(openqueue.__file__).parent.parent), "TERM": "xterm"}
    env |= variables
    del env["COLUMNS"]
    with in_terminal(line, cwd=oq.project, env=env, columns=columns, rows=rows) as terminal:
        terminal.read_until("ready", timeout=PATIENCE)
        yield terminal


def failed(oq: Command, count: int) -> None:
    for _ in range(count):
        assert (
            oq("enqueue", "post.fail", '{"why": "it rains"}', "--queue", "mail", "--allow-unknown").code == 0
        )
    oq.work()


def test_a_pipe_gets_one_page_and_programs_all_of_it(oq: Command) -> None:
    failed(oq, 2)
    assert oq("enqueue", "post.send", '{"to": "x"}', "--queue", "mail", "--allow-unknown").code == 0
    answer = oq("top")
    assert answer.code == 0
    assert answer.out.startswith("openqueue top  default  ")
    assert "0 workers, 0/0 running   1 ready" in answer.out
    assert "GiveUp: it rains" in answer.out
    assert not answer.out.endswith("\n\n")
    document = oq("top", "--json").json
    assert set(document) == set(SHAPE.split())
    assert [(one["queue"], one["ready"], one["workers"]) for one in document["queues"]] == [("mail", 1, 0)]
    assert [one["task"] for one in document["failures"]] == ["post.fail"] * 2
    assert document["failed"] == 2
    (mail,) = document["queues"]
    assert (mail["failed"], mail["retried"]) == (2, 0)
    assert mail["per_minute"] > 0
    assert oq("top", "--json", "--namespace", "other").json["failed"] == 0
    assert document["totals"]["added"] >= 0
    assert oq("top", "--queue", "nothing", "--json").json["queues"] == []


def test_keys_choose_a_queue_and_pause_it_and_it_is_resumed(oq: Command) -> None:
    assert oq("enqueue", "post.send", '{"to": "x"}', "--queue", "mail", "--allow-unknown").code == 0
    with top(oq) as terminal:
        terminal.type("p")
        terminal.read_until("Choose a queue first", timeout=PATIENCE)
        terminal.type("\x1b[B")
        terminal.type("p")
        terminal.read_until("mail is paused: what runs goes on", timeout=PATIENCE)
        assert oq("queues", "show", "mail", "--json").json["paused"] is True
        terminal.type("p")
        terminal.read_until("mail goes on", timeout=PATIENCE)
        assert oq("queues", "show", "mail", "--json").json["paused"] is False
        terminal.type("q")
        assert terminal.process.wait(PATIENCE) == 0


def test_failed_runs_are_retried_only_after_a_yes(oq: Command) -> None:
    failed(oq, 2)
    assert oq("enqueue", "post.send", '{"to": "x"}', "--queue", "mail", "--allow-unknown").code == 0
    with top(oq) as terminal:
        terminal.type("j")
        terminal.type("r")
        terminal.read_until("Retry the newest failed runs of mail", timeout=PATIENCE)
        terminal.type("n")
        terminal.read_until("Nothing was retried", timeout=PATIENCE)
        assert len(oq("runs", "list", "--status", "failed", "--json").json) == 2
        terminal.type("r")
        terminal.read_until("Retry the newest failed runs of mail", timeout=PATIENCE)
        terminal.type("y")
        terminal.read_until("2 runs of mail go again", timeout=PATIENCE)
    assert oq("runs", "list", "--status", "failed", "--json").json == []


def test_a_filter_is_typed_and_the_page_stands_still_when_told(oq: Command) -> None:
    for queue in ("mail", "reports"):
        assert oq("enqueue", "post.send", '{"to": "x"}', "--queue", queue, "--allow-unknown").code == 0
    with top(oq, columns=60, rows=16) as terminal:
        terminal.type("/")
        terminal.read_until("queues with:", timeout=PATIENCE)
        for key in "rep":
            terminal.type(key)
        terminal.type("\r")
        terminal.read_until(r"\[queues with rep\]|queues with rep", timeout=PATIENCE)
        terminal.type(" ")
        terminal.read_until("frozen", timeout=PATIENCE)
        terminal.type("\x03")
        terminal.process.wait(PATIENCE)


def test_a_database_that_goes_away_is_told_and_waited_for(oq: Command) -> None:
    """Its tables are out of reach for a while: what was seen last stays, with a remark."""

    async def sql(text: str) -> None:
        connection = await asyncpg.connect(oq.url)
        try:
            await connection.execute(text)
        finally:
            await connection.close()

    with top(oq) as terminal:
        asyncio.run(sql("ALTER TABLE openqueue.jobs RENAME TO gone"))
        terminal.read_until("The database does not answer", timeout=PATIENCE)
        asyncio.run(sql("ALTER TABLE openqueue.gone RENAME TO jobs"))
        terminal.type("/x")  # typed keys show that it goes on
        terminal.read_until("queues with: x", timeout=PATIENCE)


def test_keys_are_obeyed_while_the_database_does_not_answer(oq: Command) -> None:
    assert oq("enqueue", "post.send", '{"to": "x"}', "--queue", "mail", "--allow-unknown").code == 0
    with asyncio.Runner() as runner, top(oq, OPENQUEUE_STATEMENT_TIMEOUT="1h") as terminal:
        terminal.type("j")
        holder = runner.run(asyncpg.connect(oq.url))
        runner.run(holder.execute("BEGIN; LOCK TABLE openqueue.jobs, openqueue.audit"))
        terminal.read_until("has not answered for [0-9]+ s", timeout=PATIENCE)
        terminal.type("p")  # which looks again once it is done
        terminal.type("p")
        terminal.read_until("Not yet", timeout=PATIENCE)
        terminal.type("/x")
        terminal.read_until("queues with: x", timeout=PATIENCE)
        terminal.type("\rq")
        runner.run(holder.close())
        assert terminal.process.wait(PATIENCE) == 0


async def test_what_a_key_has_begun_and_went_wrong_unforeseen_ends_it_with_that_error(dsn: str) -> None:
    async def ask() -> str:
        raise ZeroDivisionError

    settings = load_settings(database_url=dsn)
    async with open_client(settings) as client:
        with Live(console=Console(file=io.StringIO()), auto_refresh=False) as live:
            screen = Screen(client, settings, "", live)
            screen._act(ask())
            with pytest.raises(ZeroDivisionError):
                async with asyncio.timeout(PATIENCE):
                    await screen.run(asyncio.Queue(), every=60.0)
