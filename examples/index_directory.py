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
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg

from demo.finding import files_below, mistakes
from demo.page import duration, most_common, progress, say, size, table, timeline
from demo.servers import EXAMPLES, Workers, database, forget_settings, openqueue, workers
from openqueue import Client, Run, RunCancelled, RunFailed, RunFilter, RunInfo, connect, enqueue_many
from tasks import files

LONGEST = 100  # seconds; then something is wrong
DELAY = timedelta(seconds=3)


class Others(NamedTuple):
    """The runs besides those of the files."""

    later: Run[bool]
    missing: Run[files.File]
    watching: Run[None]


async def work(dsn: str, directory: Path, paths: list[str], processes: Workers) -> list[str]:
    """Do it all, print what came of it, and return what is wrong with it."""
    started = time.time()
    async with asyncio.timeout(LONGEST), connect(dsn) as client:  # tasks are enqueued through this client now
        others = await enqueue_others(directory, Path(paths[0]))
        await index(dsn, paths, processes)
        found = await client.list_runs(RunFilter(task="files.index", status=("completed",), limit=10_000))
        await summarise(found)
        await show_others(others, found)
        await show_timeline(client, found)
        return [*mistakes(found, paths, started), *[one async for one in mistakes_of(others)]]


async def enqueue_others(directory: Path, first: Path) -> Others:
    """A run for later, one that has to fail, and one that goes on until it is cancelled."""
    return Others(
        later=await files.is_unchanged.options(delay=DELAY).enqueue(str(first), files.digest_of(first)),
        missing=await files.index.options(queue="others").enqueue(str(directory / "no such file")),
        watching=await files.watch.options(meta={"why": "to be cancelled"}).enqueue(str(directory)),
    )


async def index(dsn: str, paths: list[str], processes: Workers) -> None:
    """Enqueue a run for each file, and wait until the last of them has ended."""
    started = time.perf_counter()
    own = await asyncpg.connect(dsn)
    async with own.transaction():  # all or none; an application would store something of its own here, too
        await enqueue_many([files.index.item(path) for path in paths], connection=own)
    say(f"enqueued {len(paths):,} runs in {time.perf_counter() - started:.2f} s, in one transaction")
    while (waiting := await unfinished(own)) is not None:
        processes.check()
        left, again = sum(waiting), waiting["retrying"]
        progress(f"{len(paths) - left:,} of {len(paths):,} files, {again} to be tried again")
        await asyncio.sleep(0.2)
    await own.close()
    seconds = time.perf_counter() - started
    say(f"indexed them in {seconds:.1f} s, {len(paths) / seconds:,.0f} files a second")


async def unfinished(own: asyncpg.Connection[Any]) -> Any:
    """What is left of the queue `files`, as anyone who speaks SQL can ask; None when all is done."""
    return await own.fetchrow(
        "SELECT queued, running, retrying FROM openqueue.queue_stats"
        " WHERE queue = 'files' AND queued + running + retrying > 0"
    )


async def summarise(found: Sequence[RunInfo]) -> None:
    """Let a task count, in parts of 500 files, and add up what the parts return."""
    results = [files.File(**one.output) for one in found]
    parts = [results[start : start + 500] for start in range(0, len(results), 500)]
    kinds, lines, imports = Counter[str](), Counter[str](), Counter[str]()
    for part in await enqueue_many([files.summarise.item(part) for part in parts]):
        summary: files.Summary = await part.result()
        kinds.update(summary.files)
        lines.update(summary.lines)
        imports.update(summary.imports)
    rows = [(kind, f"{number:,} files", f"{lines[kind]:,} lines") for kind, number in kinds.most_common(8)]
    table("Files by kind", rows)
    say(f"\nMost imported\n  {most_common(imports, 8)}")
    biggest = sorted(results, key=lambda file: file.size, reverse=True)[:5]
    table("Biggest files", [(Path(file.path).name, size(file.size)) for file in biggest])


async def show_others(others: Others, found: Sequence[RunInfo]) -> None:
    """What was retried, failed, cancelled and delayed."""
    retried = sum(one.attempt > 1 for one in found)
    say("\nWhat did not go straight through")
    say(f"  retried    {retried:,} of {len(found):,} files, which were busy at first")
    missing = await ended(others.missing)
    say(f"  {missing.status:<10} {(missing.error or {}).get('message')}")
    await others.watching.cancel("the demo is over")
    watching = await ended(others.watching)
    say(f"  {watching.status:<10} files.watch, while it ran; its progress was {watching.progress}")
    later = await ended(others.later)
    waited = (later.started_at or later.created_at) - later.created_at
    say(f"  {later.status:<10} files.is_unchanged, asked for in 3 s, started after {duration(waited)}")


async def show_timeline(client: Client, found: Sequence[RunInfo]) -> None:
    """The history of a run that had to be tried twice, or of any."""
    one = next((run for run in reversed(found) if run.attempt > 1), found[0])
    timeline(f"The timeline of {one.id}, {Path(one.input['path']).name}", await client.events(one.id))


async def ended(asked: Run[Any]) -> RunInfo:
    """The run once it has ended, however."""
    with suppress(RunFailed, RunCancelled):
        await asked.result()
    return await asked.info()


async def mistakes_of(others: Others) -> AsyncIterator[str]:
    """What is wrong with the runs besides those of the files."""
    later, missing, watching = (
        await others.later.info(),
        await others.missing.info(),
        await others.watching.info(),
    )
    for one, status in ((later, "completed"), (missing, "failed"), (watching, "cancelled")):
        if one.status != status:
            yield f"{one.task} has {one.status}, not {status}: {one.error}"
    if later.output is not True or later.started_at is None or later.started_at < later.run_at:
        yield f"{later.task} returned {later.output} and started at {later.started_at}"


def main() -> int:
    """Set the stage, do the work, and say whether all is right."""
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # clean up as after Ctrl-C
    parser = argparse.ArgumentParser(description="Index the files of a directory with openqueue.")
    parser.add_argument("directory", nargs="?", help="the Python standard library, if it is left out")
    parser.add_argument("--most", type=int, default=5_000, help="index at most so many files (5,000)")
    given = parser.parse_args()
    directory = Path(given.directory or sysconfig.get_path("stdlib")).absolute()
    paths = files_below(directory, min(given.most, 9_000))
    if not paths:
        parser.error(f"there are no files below {directory}")
    os.chdir(EXAMPLES)  # from where tasks and settings are found
    forget_settings()
    started = time.perf_counter()
    say(f"indexing {len(paths):,} files below {directory}")
    with database() as dsn:
        openqueue(dsn, "migrate")
        with workers(dsn, count=2) as processes:
            wrong = asyncio.run(work(dsn, directory, paths, processes))
        processes.check()
    for one in wrong[:10]:
        say(f"WRONG: {one}")
    say(f"\n{len(wrong)} results are wrong" if wrong else "\nEvery result is right.")
    say(f"{time.perf_counter() - started:.1f} s in all; PostgreSQL and the workers are stopped.")
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TimeoutError:
        sys.exit(f"\nnot done within {LONGEST} s: that is wrong")
    except KeyboardInterrupt:
        sys.exit("\nstopped")
