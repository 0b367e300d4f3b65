"""A list of any length: printed while it is read, with one page of it in memory."""

from __future__ import annotations

import io
import signal
import tracemalloc
from typing import Any

import asyncpg
import pytest

from openqueue.cli import run_list
from openqueue.runs.client import Client
from tests.support.command import Command

PAGE = 50
RUNS = 20 * PAGE
FILL = """
    SELECT openqueue.add_jobs(ARRAY(
        SELECT jsonb_build_object('task', 'a.b', 'payload', jsonb_build_object('text', repeat('x', $2)))
        FROM generate_series(1, $1::integer)))"""


class Sink(io.StringIO):
    """Counts what is written, and keeps nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = 0

    def write(self, text: str) -> int:
        self.lines += text.count("\n")
        return len(text)


def list_into(sink: Sink, oq: Command, *flags: str) -> None:
    """`runs list`, in small pages."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sys.stdout", sink)
        patched.setattr(run_list, "PAGE", PAGE)
        assert oq("runs", "list", *flags).code == 0


async def fill(oq: Command, runs: int, length: int) -> None:
    assert oq.url is not None
    connection = await asyncpg.connect(oq.url)
    try:
        await connection.execute(FILL, runs, length)
    finally:
        await connection.close()


@pytest.fixture
def filled(oq: Command) -> Command:
    import asyncio

    asyncio.run(fill(oq, RUNS, 4000))
    return oq


def test_each_page_is_printed_before_the_next_is_read(
    filled: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, printed = Sink(), list[int]()
    read = Client.find_runs

    async def noting(client: Client, *given: Any) -> Any:
        printed.append(sink.lines)
        return await read(client, *given)

    monkeypatch.setattr(Client, "find_runs", noting)
    list_into(sink, filled, "--limit", str(4 * PAGE))
    assert printed == [0, *(1 + page * PAGE for page in range(1, 4))]


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["table", "json"])
def test_a_list_twenty_times_as_long_needs_no_more_memory(filled: Command, form: list[str]) -> None:
    sink = Sink()

    def peak(runs: int) -> int:
        tracemalloc.start()
        try:
            list_into(sink, filled, "--limit", str(runs), *form)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(PAGE)  # what is imported and kept, once
    page, everything = peak(PAGE), peak(RUNS)
    assert sink.lines > RUNS
    assert everything < 2.5 * page, "of a page, and of the one that is being read"


def test_a_reader_that_has_seen_enough_ends_a_long_list_in_silence(filled: Command) -> None:
    process = filled.start("runs", "list", "--limit", str(RUNS), "--json")
    assert process.stdout is not None
    assert process.stdout.readline() == "[\n"
    process.stdout.close()
    assert process.wait(240) == -signal.SIGPIPE
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
