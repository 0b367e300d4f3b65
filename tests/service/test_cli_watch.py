"""`runs watch` and `queues`: what happens now, told as it happens."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import IO, Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from rich.cells import cell_len

from openqueue.cli.queue_list import workers_of
from openqueue.cli.watch import Teller
from openqueue.db.pool import Database
from openqueue.runs.filter import RunFilter
from openqueue.runs.model import RunEvent
from openqueue.runs.watching import Watch
from tests.support.command import Command

RUN = UUID("01981f00-5a5e-7c6e-9f0a-0123456789ab")
NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


def add(oq: Command, task: str, payload: str = "{}", *flags: str) -> str:
    return oq("enqueue", task, payload, "--allow-unknown", *flags).out.strip()


def events(lines: str) -> list[tuple[str, str]]:
    told = [json.loads(line) for line in lines.splitlines()]
    return [(one["run"], one["event"]) for one in told if one["event"] not in ("log", "progress")]


@contextmanager
def watching(
    oq: Command, *arguments: str, first: str = "", says: str = "Watching"
) -> Iterator[subprocess.Popen[str]]:
    """`runs watch`, once it says that it watches, after what it says `first`; it is gone afterwards."""
    process = oq.start("runs", "watch", *arguments)
    try:
        assert process.stderr is not None
        for line in filter(None, (first, says)):
            assert line in process.stderr.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def test_one_run_is_told_from_its_beginning_to_its_end_and_the_code_says_how_it_ended(oq: Command) -> None:
    sent = add(oq, "post.send", '{"to": "a@b.c"}')
    failed = add(oq, "post.fail", '{"why": "it rains"}')
    cancelled = add(oq, "post.wait")
    oq("runs", "cancel", cancelled)
    with oq.start("runs", "watch", sent, "--json") as watch:
        oq.work()
        out, err = watch.communicate(timeout=240)
    assert watch.returncode == 0, err
    assert events(out) == [(sent, "enqueued"), (sent, "started"), (sent, "completed")]
    page = oq("runs", "watch", sent)
    assert (page.code, page.err) == (0, "")
    assert "info: sending  to=a@b.c" in page.out
    answer = oq("runs", "watch", failed)
    assert answer.code == 1
    assert answer.err.startswith(f"Error: Run {failed} of post.fail failed: ")
    assert oq("runs", "watch", cancelled).code == 6


def test_a_run_that_nobody_can_run_is_watched_with_the_reason(oq: Command) -> None:
    waiting = add(oq, "post.send", '{"to": "a@b.c"}')
    with watching(oq, waiting, says="No worker is alive") as process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=240)
    assert (process.returncode, err) == (130, "")
    assert "enqueued" in out


@asynccontextmanager
async def nobody_let_in(server: str, url: str) -> AsyncIterator[None]:
    """Within the block the database takes no sessions, and those that were there have ended."""
    outside, inside = await asyncpg.connect(server), await asyncpg.connect(url)
    name = await inside.fetchval("SELECT current_database()")
    try:
        await outside.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        try:
            await inside.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            yield
        finally:
            await outside.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    finally:
        await inside.close()
        await outside.close()


def read_until(stream: IO[str] | None, text: str) -> None:
    assert stream is not None
    while text not in (said := stream.readline()):
        assert said, f"it has ended, and did not say {text!r}"


@pytest.mark.parametrize("one", [True, False])
async def test_a_database_that_is_away_for_a_while_is_waited_for(
    oq: Command, server_dsn: str, dsn: str, db: asyncpg.Connection, one: bool
) -> None:
    run = await db.fetchval("SELECT openqueue.add_job('a.b')")
    with oq.start("runs", "watch", *([str(run)] if one else ["--task", "a.b"]), "--json") as process:
        try:
            read_until(process.stdout if one else process.stderr, "enqueued" if one else "Watching")
            async with nobody_let_in(server_dsn, dsn):
                read_until(process.stderr, "It is asked again until it answers")
            read_until(process.stderr, "The database answers again")
            again = await asyncpg.connect(dsn)
            await again.execute("SELECT openqueue.cancel_run($1)", run)
            await again.close()
            read_until(process.stdout, "cancelled")
            if one:
                assert process.wait(240) == 6
        finally:
            process.kill()


async def test_who_enqueues_and_watches_waits_for_the_database_too(
    oq: Command, server_dsn: str, dsn: str
) -> None:
    with oq.start("enqueue", "a.b", "--allow-unknown", "--watch", "--json") as process:
        try:
            read_until(process.stderr, "enqueued")
            async with nobody_let_in(server_dsn, dsn):
                read_until(process.stderr, "It is asked again until it answers")
            read_until(process.stderr, "The database answers again")
            again = await asyncpg.connect(dsn)
            await again.execute("SELECT openqueue.cancel_run(id) FROM openqueue.runs")
            await again.close()
            out, err = process.communicate(timeout=240)
        finally:
            process.kill()
    assert (process.returncode, json.loads(out)["status"]) == (6, "cancelled")
    assert err.count("  cancelled ") == 1
    assert "  enqueued " not in err


async def test_the_time_that_it_waits_goes_on_while_the_database_is_away(
    oq: Command, server_dsn: str, dsn: str
) -> None:
    with oq.start("enqueue", "a.b", "--allow-unknown", "--watch", "--timeout", "3s") as process:
        try:
            read_until(process.stderr, "enqueued")
            async with nobody_let_in(server_dsn, dsn):
                read_until(process.stderr, "It is asked again until it answers")
                _, err = process.communicate(timeout=240)
        finally:
            process.kill()
    assert process.returncode == 8, err
    assert "while the database is away" in err


async def test_who_follows_a_log_waits_for_the_database_too(
    oq: Command, server_dsn: str, dsn: str, db: asyncpg.Connection
) -> None:
    run = await db.fetchval("SELECT openqueue.add_job('a.b')")
    line = (
        "INSERT INTO openqueue.run_log (run_id, at, attempt, kind, data)"
        " SELECT $1, now(), 1, 'log', jsonb_build_object('level', 'info', 'message', $2::text)"
    )
    await db.execute(line, run, "before")
    with oq.start("runs", "logs", str(run), "--follow") as process:
        try:
            read_until(process.stdout, "before")
            async with nobody_let_in(server_dsn, dsn):
                read_until(process.stderr, "It is asked again until it answers")
            read_until(process.stderr, "The database answers again")
            again = await asyncpg.connect(dsn)
            await again.execute(line, run, "after")
            await again.execute("SELECT openqueue.cancel_run($1)", run)
            await again.close()
            out, err = process.communicate(timeout=240)
        finally:
            process.kill()
    assert (process.returncode, err) == (0, "")
    assert out.endswith("info: after\n")
    assert "before" not in out


def test_a_run_that_does_not_exist_is_not_watched(oq: Command) -> None:
    answer = oq("runs", "watch", str(uuid4()))
    assert answer.code == 1
    assert "There is no run" in answer.err


def test_many_are_told_of_as_they_come_and_only_those_of_the_filter(oq: Command) -> None:
    old = add(oq, "post.send", '{"to": "old"}')
    add(oq, "post.send", '{"to": "done"}', "--queue", "elsewhere")
    with watching(oq, "--json", "--queue", "mail", first="published is of queue 'mail'") as process:
        new = add(oq, "post.send", '{"to": "new"}', "--queue", "mail")
        add(oq, "post.fail", '{"why": "other queue"}')
        oq.work()
        assert process.stdout is not None
        found: list[tuple[str, str]] = []
        while (new, "completed") not in found:
            found += events(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=240)
        found += events(rest)
    assert (process.returncode, err) == (130, "")
    assert {run for run, _ in found} == {new}
    assert [event for _, event in found] == ["enqueued", "started", "completed"]
    assert old not in {run for run, _ in found}, "it was in no queue of the filter"


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="there are no pipes of this kind")
def test_a_reader_that_goes_away_ends_a_watch_that_has_nothing_to_tell(oq: Command) -> None:
    with watching(oq) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(240) == -signal.SIGPIPE
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.stdout = None


@pytest.fixture
async def database(dsn: str) -> Any:
    async with Database(dsn) as opened:
        yield opened


async def test_a_finished_run_that_is_retried_is_told_of_again_and_nothing_twice(
    database: Database, db: asyncpg.Connection
) -> None:
    run = await db.fetchval("SELECT openqueue.add_job('a.b')")
    watch = Watch(database, "default", RunFilter())
    await watch.begin()
    assert watch.followed == 1
    await db.execute("SELECT openqueue.cancel_run($1)", run)
    assert [event.event for _, event in await watch.once()] == ["cancelled"]
    assert watch.followed == 0
    assert await watch.once() == []
    await db.execute("SELECT openqueue.retry_run($1)", run)
    again = [event.event for _, event in await watch.once()]
    assert "cancelled" not in again
    assert watch.followed == 1
    await db.execute("SELECT openqueue.cancel_run($1)", run)
    assert [event.event for _, event in await watch.once()] == ["cancelled"]


async def test_a_line_that_arrives_after_what_was_done_by_hand_is_told_and_nothing_twice(
    database: Database, db: asyncpg.Connection
) -> None:
    """Lines come in batches, with the times at which they were said: before what has been told already."""
    run = await db.fetchval("SELECT openqueue.add_job('a.b')")
    watch = Watch(database, "default", RunFilter())
    await watch.begin()
    done = await db.fetchval("SELECT outcome FROM openqueue.act_on_runs('promote', ARRAY[$1::uuid])", run)
    told = [event.event for _, event in await watch.once()]
    assert (done, told) == ("ready", ["promote"])
    for kind in ("log", "progress"):
        await db.execute(
            "INSERT INTO openqueue.run_log (run_id, at, attempt, kind, data)"
            " SELECT $1, now() - interval '1 minute', 1, $2, '{}'",
            run,
            kind,
        )
        assert [event.event for _, event in await watch.once()] == [kind]
    await db.execute("SELECT openqueue.cancel_run($1)", run)
    assert [event.event for _, event in await watch.once()] == ["cancelled"]


async def test_a_run_that_begins_and_ends_between_two_looks_is_told_whole(
    database: Database, db: asyncpg.Connection
) -> None:
    watch = Watch(database, "default", RunFilter())
    await watch.begin()
    run = await db.fetchval("SELECT openqueue.add_job('a.b')")
    await db.execute("SELECT openqueue.cancel_run($1)", run)
    assert [(one.id, event.event) for one, event in await watch.once()] == [
        (run, "enqueued"),
        (run, "cancelled"),
    ]
    assert await watch.once() == []


async def test_a_run_whose_transaction_was_open_for_long_is_told_of(
    database: Database, db: asyncpg.Connection
) -> None:
    watch = Watch(database, "default", RunFilter())
    await watch.begin()
    async with db.transaction():
        run = await db.fetchval("SELECT openqueue.add_job('a.b')")
        assert await watch.once() == []
    assert [one.id for one, _ in await watch.once()] == [run]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", [40, 120])
def test_the_lines_of_a_watch_fit_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    teller = Teller(several=True)
    for number in range(2):
        data = {"level": "info", "message": "日本語のメッセージ " * 9, "fields": {"n": number}}
        teller.tell(RUN, "tasks.with_a_long_name", RunEvent(NOON, "log", 1, None, data))
    first, *others = re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue()).splitlines()
    assert max(map(cell_len, [first, *others])) <= columns
    assert all(line.endswith("…") for line in others)
    assert (first == str(RUN)) == (columns == 40)
    assert len(others) == (2 if columns == 40 else 1)


def test_queues_are_listed_with_what_waits_and_who_works_on_them(oq: Command) -> None:
    add(oq, "post.send", "{}", "--queue", "mail")
    add(oq, "post.send", "{}", "--queue", "mail", "--delay", "1h")
    add(oq, "post.send", "{}", "--queue", "受信箱")
    inbox, mail = sorted(oq("queues", "--json").json, key=lambda one: one["queue"] == "mail")
    assert (mail["queue"], mail["queued"], mail["scheduled"], mail["running"]) == ("mail", 1, 1, 0)
    assert mail["oldest_age"] >= 0
    assert mail["workers"] == 0
    assert inbox["queue"] == "受信箱"
    table = oq("queues").out.splitlines()
    titles = "QUEUE QUEUED BLOCKED RUNNING OLDEST WORKERS LIMIT RATE PAUSED FAIRNESS RETRYING SCHEDULED"
    recent = "DONE/MIN FAILED WAITED P50 P95 P99 RAN P50 P95 P99 RETRIED"
    assert table[0].split() == [*titles.split(), *recent.split()]
    assert len(table) == 3


def test_a_worker_that_names_no_queue_works_on_all() -> None:
    workers: list[dict[str, Any]] = [{"queues": None}, {"queues": ["mail"]}, {"queues": ["reports"]}]
    assert workers_of("mail", workers) == 2
    assert workers_of("other", workers) == 1
