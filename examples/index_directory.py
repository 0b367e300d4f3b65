"""Index the files of a directory, and look at what the queue knows of it afterwards.

    python examples/index_directory.py [DIRECTORY]

One run per file, on two worker processes and a PostgreSQL that this script starts and stops itself. Some
files are "busy" at first and are tried again, one is not there, one run is for later, one is cancelled. The
tasks are in tasks/files.py. The exit code is 0 if every result is right.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
from demo.finding import files_below, mistakes
from demo.page import biggest, most_common, progress, say, size, table, timeline, took
from demo.servers import EXAMPLES, Workers, database, openqueue, workers
from tasks import files

from openqueue import Client, Run, RunInfo, connect, enqueue_many
from openqueue.runs.history import RunFilter

LONGEST = 100  # seconds; then something is wrong
DELAY = timedelta(seconds=3)


@dataclass
class Extras:
    """The runs that are not part of the bulk."""

    later: Run[bool]
    missing: Run[files.File]
    watching: Run[None]


async def run(dsn: str, directory: Path, paths: list[str], processes: Workers) -> list[str]:
    """Do the work, print what came of it, and return what is wrong with it."""
    started = time.time()
    async with asyncio.timeout(LONGEST), connect(dsn) as client:  # tasks are now enqueued through this client
        own = await asyncpg.connect(dsn)
        extras = await enqueue_extras(directory, Path(paths[0]))
        seconds = await index(own, paths, processes)
        runs = await client.list_runs(RunFilter(task="files.index", status=("completed",), limit=10_000))
        await own.close()
        total = sum(one.output["size"] for one in runs)
        say(
            f"indexed {len(runs):,} files in {seconds:.1f} s: {len(runs) / seconds:,.0f} files/s,"
            f" {size(total / seconds)}/s"
        )
        await summarise(runs)
        await tell_of_trouble(extras, runs)
        await show_a_timeline(client, runs)
        return [*mistakes(runs, paths, started), *[said async for said in mistakes_of(extras, client)]]


async def enqueue_extras(directory: Path, first: Path) -> Extras:
    """A run for later, one that has to fail, and one that goes on until it is cancelled."""
    digest = sha256(first.read_bytes()).hexdigest()
    return Extras(
        later=await files.is_unchanged.options(delay=DELAY).enqueue(str(first), digest),
        missing=await files.index.enqueue(str(directory / "no such file")),
        watching=await files.watch.options(meta={"why": "demo"}, tags=["watch"]).enqueue(str(directory)),
    )


async def index(own: asyncpg.Connection[Any], paths: list[str], processes: Workers) -> float:
    """Enqueue a run for each file and wait until all have ended; returns the seconds it took."""
    started = time.perf_counter()
    async with own.transaction():  # all of them or none; an application would store something of its own here, too
        await enqueue_many([files.index.item(path) for path in paths], connection=own)
    say(f"enqueued {len(paths):,} runs in {time.perf_counter() - started:.2f} s, in one transaction")
    while (row := await unfinished(own)) is not None:
        processes.check()
        left = row["queued"] + row["running"] + row["retrying"]
        progress(
            f"{len(paths) - left:,} of {len(paths):,} files · {row['running']} running ·"
            f" {row['retrying']} wait for their next attempt"
        )
        await asyncio.sleep(0.2)
    return time.perf_counter() - started


async def unfinished(own: asyncpg.Connection[Any]) -> Any:
    """How many runs of the queue `files` wait and run; None when all have ended."""
    return await own.fetchrow(
        "SELECT * FROM openqueue.queue_stats WHERE queue = 'files' AND queued + running + retrying > 0"
    )


async def summarise(runs: Sequence[RunInfo]) -> None:
    """Let a task count, in parts of 500 files, and add up what the parts return."""
    results = [files.File(**one.output) for one in runs]
    parts = [results[start : start + 500] for start in range(0, len(results), 500)]
    asked = await enqueue_many([files.summarise.item(part) for part in parts])
    kinds, lines, imports = Counter[str](), Counter[str](), Counter[str]()
    for part in asked:
        summary: files.Summary = await part.result()
        kinds.update(summary.files)
        lines.update(summary.lines)
        imports.update(summary.imports)
    table(
        "Files by kind",
        [("", "files", "lines"), *((kind, f"{n:,}", f"{lines[kind]:,}") for kind, n in kinds.most_common(8))],
    )
    say(f"\nMost imported\n  {most_common(imports, 8)}")
    table("Biggest files", [(one.output["path"], size(one.output["size"])) for one in biggest(runs, 5)])


async def tell_of_trouble(extras: Extras, runs: Sequence[RunInfo]) -> None:
    """What was retried, failed, cancelled and delayed."""
    say("\nWhat did not go straight through")
    say(f"  retried    {sum(one.attempt > 1 for one in runs):,} files were busy at first, and done a second later")
    missing = await extras.missing.info()
    say(f"  {missing.status:<10} files.index: {(missing.error or {}).get('message')}")
    await extras.watching.cancel("the demo is over")
    watching = await ended(extras.watching)
    say(f"  {watching.status:<10} files.watch, while it ran: {watching.progress}")
    later = await ended(extras.later)
    waited = (later.started_at or later.created_at) - later.created_at
    say(f"  {later.status:<10} files.is_unchanged, asked for with a delay of 3 s, began after {took(waited)}")


async def ended(asked: Run[Any]) -> RunInfo:
    """The run as it is once it has ended, however."""
    while not (info := await asked.info()).finished:
        await asyncio.sleep(0.05)
    return info


async def show_a_timeline(client: Client, runs: Sequence[RunInfo]) -> None:
    """The history of a run that had to be tried twice, or of any."""
    one = next((run for run in runs if run.attempt > 1), runs[0])
    timeline(f"The timeline of {one.id}, {Path(one.input['path']).name}", await client.events(one.id))


async def mistakes_of(extras: Extras, client: Client) -> Any:
    """What is wrong with the runs that are not part of the bulk."""
    for asked, status in ((extras.later, "completed"), (extras.missing, "failed"), (extras.watching, "cancelled")):
        info = await client.get(asked.id)
        if info.status != status:
            yield f"{info.task} should have {status}, but is {info.status}: {info.error}"
    later = await client.get(extras.later.id)
    if later.started_at is None or later.started_at - later.created_at < DELAY:
        yield f"{later.task} began before its time"


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # clean up as after Ctrl-C
    parser = argparse.ArgumentParser(description="Index the files of a directory with openqueue.")
    parser.add_argument("directory", nargs="?", type=Path, default=sysconfig.get_path("stdlib"))
    parser.add_argument("--most", type=int, default=5_000, help="index at most so many files (5,000)")
    given = parser.parse_args()
    directory = given.directory.absolute()
    paths = files_below(directory, given.most)
    if not paths:
        parser.error(f"there are no files below {directory}")
    os.chdir(EXAMPLES)  # as the workers do: tasks and settings are found from here
    started = time.perf_counter()
    say(f"indexing {len(paths):,} files below {directory}")
    with database() as dsn:
        openqueue(dsn, "migrate")
        with workers(dsn, count=2) as processes:
            wrong = asyncio.run(run(dsn, directory, paths, processes))
        processes.check()
    for said in wrong[:10]:
        say(f"WRONG: {said}")
    say(f"\n{len(wrong)} of {len(paths):,} results wrong" if wrong else "\nevery result is right", )
    say(f"{time.perf_counter() - started:.1f} s in all; PostgreSQL and the workers are stopped")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
