"""Mistakes of who installs and operates: versions that do not fit, a pooler, nobody there to do the work."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import openqueue
from openqueue import task
from openqueue.cli.exits import SCHEMA
from openqueue.db.events import SchemaIsNewer
from openqueue.errors import ConnectionFailed, SchemaError
from openqueue.runs import client as client_room
from openqueue.telemetry.logs import LINES
from openqueue.worker.events import ServiceStumbled
from tests.story.mistakes import Mistake, check
from tests.support.bouncer import MISSING, PROGRAM, Bouncer
from tests.support.command import Command
from tests.support.eventually import PATIENCE
from tests.support.transcript import environment
from tests.support.worker_here import working
from tests.support.worker_process import PATIENT

ROOT = Path(__file__).resolve().parents[2]
OLD = (3, 9, 2)


@task(name="shop.ship", queue="shop")
async def ship(order: int = 1) -> int:
    return order


@task(name="shop.bill", queue="shop")
async def bill() -> None: ...


@pytest.fixture
def here(tmp_path: Path, dsn: str, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line, in an empty directory."""
    return Command(tmp_path, dsn, capsys)


async def answer_of(command: Command, *arguments: str) -> str:
    """What it says on standard error, as a process of its own."""
    said = await asyncio.to_thread(command.run, *arguments)
    return said.err


# A schema that is newer than the program, by a migration that took away what the program needs.

LATER = "INSERT INTO openqueue.migrations (number, name, checksum) VALUES (9999, '9999_later', 'x')"


async def newer(dsn: str, *gone: str) -> None:
    """Migrate the database as a later release might."""
    connection = await asyncpg.connect(dsn)
    try:
        for statement in (LATER, *(f"DROP FUNCTION openqueue.{name}" for name in gone)):
            await connection.execute(statement)
    finally:
        await connection.close()


async def by_client(dsn: str, command: Command) -> str:
    await newer(dsn, "find_run(uuid)")
    async with openqueue.connect(dsn):
        run = await ship.enqueue()
        with pytest.raises(SchemaError) as caught:
            await run.info()
    return str(caught.value)


async def by_command(dsn: str, command: Command) -> str:
    await newer(dsn, "find_run(uuid)")
    said = await asyncio.to_thread(command.run, "runs", "show", "01700000-0000-7000-8000-000000000000")
    assert said.code == SCHEMA
    return said.err


async def by_worker(dsn: str, command: Command) -> str:
    await newer(dsn, "claim_jobs")
    async with working(dsn, ship) as at_work:
        return (await at_work.wait_for(ServiceStumbled)).error


async def by_migrate(dsn: str, command: Command) -> str:
    await newer(dsn)
    said = await asyncio.to_thread(command.run, "migrate")
    assert said.code == 0
    return said.out


NEWER = [
    Mistake("a client that is too old", by_client, SchemaError, "'openqueue'", "does not fit this openqueue", "then upgrade openqueue here"),
    Mistake("a command line that is too old", by_command, SCHEMA, "'openqueue'", "does not fit this openqueue", "then upgrade openqueue here"),
    Mistake("a worker that is too old", by_worker, SchemaError, "'openqueue'", "does not fit this openqueue", "then upgrade openqueue here"),
    Mistake("a migrator that is too old", by_migrate, 0, "'openqueue' (migration 9999)", "is newer than this openqueue", "Upgrade this openqueue"),
]  # fmt: skip


@pytest.mark.parametrize("mistake", NEWER, ids=str)
async def test_a_program_older_than_the_schema_is_told_to_be_upgraded(
    mistake: Mistake, dsn: str, here: Command
) -> None:
    assert callable(mistake.made)
    check(await mistake.made(dsn, here), mistake)


async def test_a_schema_that_is_newer_and_fits_is_worked_on_with_a_warning(dsn: str, here: Command) -> None:
    await newer(dsn)
    async with working(dsn, ship) as at_work:
        (told,) = at_work.heard(SchemaIsNewer)
        assert (told.schema, told.migration) == ("openqueue", 9999)
        assert told.known < 9999
        assert await (await at_work.worker.client.enqueue(ship.item(7))).result("60s") == 7
    said = await asyncio.to_thread(here.run, "runs", "list", "--json")
    assert len(said.json) == 1
    assert "Warning: Schema 'openqueue' (migration 9999) is newer than this openqueue" in said.err
    assert "upgrade" in said.err
    assert "upgrade" in str(LINES[SchemaIsNewer])


# A pooler in transaction mode, and nobody said so.


async def without_the_setting(dsn: str) -> None:
    """Others are in the sessions by turns, so that a statement does not stay in the one that knows it."""
    with Bouncer.before(dsn, sessions=2) as bouncer:
        other: Any = await asyncpg.connect(bouncer.dsn, statement_cache_size=0)
        try:
            async with openqueue.connect(bouncer.dsn):
                for number in range(8):
                    await ship.enqueue(number)
                    async with other.transaction():
                        await other.execute("SELECT 1")
                        await ship.enqueue(number)
        finally:
            other.terminate()


POOLED = [
    Mistake("PgBouncer, and no `pooler`", without_the_setting, ConnectionFailed, "Cannot use database", "a pooler in transaction mode is in between", 'Set pooler = "transaction" (OPENQUEUE_POOLER)'),
]  # fmt: skip


@pytest.mark.skipif(PROGRAM is None, reason=MISSING)
@pytest.mark.parametrize("mistake", POOLED, ids=str)
async def test_a_pooler_that_nobody_spoke_of_is_named_with_the_setting(mistake: Mistake, dsn: str) -> None:
    assert callable(mistake.made)
    with pytest.raises(ConnectionFailed) as caught:
        await mistake.made(dsn)
    check(str(caught.value), mistake)


# A Python that is too old: from a checkout with make, from a package with pip.

PRETENDING = """#!/bin/sh
if [ "$1" = --version ]; then echo "Python {words}"; exit; fi
exec {real} -c 'import sys; sys.version_info = {version}; exec(sys.argv[1])' "$2"
"""


def by_make(project: Path) -> str:
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, project)
    old = project / "python3.9"
    old.write_text(PRETENDING.format(real=sys.executable, version=OLD, words=".".join(map(str, OLD))))
    old.chmod(0o755)
    done = subprocess.run(
        ["make", f"PYTHON={old}", "test"],
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert not (project / ".venv").exists()
    return done.stdout


def by_pip(project: Path) -> str:
    build = ["hatchling", "build", "--target", "wheel", "--directory", str(project)]
    subprocess.run([sys.executable, "-m", *build], cwd=ROOT, capture_output=True, check=True)
    (wheel,) = project.glob("*.whl")
    ask = [
        "pip",
        "download",
        "--no-deps",
        "--no-index",
        "--only-binary=:all:",
        "--python-version=3.9",
        str(wheel),
    ]
    done = subprocess.run(
        [sys.executable, "-m", *ask], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    return done.stderr


PYTHON = [
    Mistake("make with an old Python", by_make, 2, "is Python 3.9.2", "needs Python 3.11 or newer", "Try: make PYTHON=python3.12 test"),
    Mistake("pip with an old Python", by_pip, 1, "'openqueue'", "requires a different Python", "not in '>=3.11'"),
]  # fmt: skip


@pytest.mark.parametrize("mistake", PYTHON, ids=str)
def test_a_python_that_is_too_old_is_refused_with_the_one_that_is_needed(
    mistake: Mistake, tmp_path: Path
) -> None:
    if not (ROOT / "Makefile").exists():
        pytest.skip("an installed package has no Makefile")
    assert callable(mistake.made)
    check(mistake.made(tmp_path), mistake)


def test_make_goes_on_with_a_python_that_will_do(tmp_path: Path) -> None:
    """What the old one is refused by does not refuse every Python."""
    recipe = (ROOT / "Makefile").read_text()
    (asked,) = re.findall(r"\$\(PYTHON\) -c '(import sys;.*?)'", recipe)
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0


# Nobody there.

ABSENT = [
    Mistake("no worker", "shop.ship", 0, "the run waits", "No worker is alive", "Start it: openqueue worker"),
    Mistake("a queue that no worker works on", "shop.ship --queue nobody", 0, "queue 'nobody'", "No worker that is alive and has the task works on", "openqueue worker --queue nobody"),
    Mistake("a task that no worker has any longer", "shop.bill", 0, "the task shop.bill", "None of the workers that are alive", "start one where the task is: openqueue worker"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked up for an error is looked at, not whether it is found at once."""
    monkeypatch.setattr(client_room, "LOOK", PATIENCE)


async def absence(mistake: Mistake, dsn: str, command: Command) -> tuple[str, str]:
    """What the shell says of the enqueue, and Python of the result."""
    assert isinstance(mistake.made, str)
    name, *flags = mistake.made.split()
    said = await asyncio.to_thread(command.run, "enqueue", name, *flags, "--json", PYTHONPATH=PATIENT)
    assert said.code == mistake.ends, said.err
    assert said.json["outcome"] == "added"
    plain = await asyncio.to_thread(command.run, "enqueue", name, *flags, PYTHONPATH=PATIENT)
    assert re.fullmatch(r"[0-9a-f-]{36}\n", plain.out)
    assert plain.err == said.err
    assert said.err.startswith("Warning: ")
    async with openqueue.connect(dsn) as oq:
        options: dict[str, Any] = {"queue": flags[1]} if flags else {}
        run = await oq.enqueue(name, {}, **options)
        with pytest.raises(TimeoutError) as caught:
            await run.result("50ms")
    assert str(caught.value).startswith(f"Run {run.id} has not ended within 0.05 s; it goes on. It is queued")
    return said.err, str(caught.value)


@pytest.mark.parametrize("mistake", ABSENT, ids=str)
async def test_a_run_that_nobody_is_there_for_is_warned_of_in_the_shell_and_in_python(
    mistake: Mistake, dsn: str, here: Command
) -> None:
    async with working(dsn, ship, bill, queues=["other"]):
        pass  # both are known now, and nobody is there
    if mistake.name == "no worker":
        answers = await absence(mistake, dsn, here)
    else:
        async with working(dsn, ship, queues=["shop"]):
            answers = await absence(mistake, dsn, here)
    for answer in answers:
        check(answer, mistake)


async def test_where_somebody_is_there_nothing_is_said(dsn: str, here: Command) -> None:
    async with working(dsn, ship) as at_work:
        assert await answer_of(here, "enqueue", "shop.ship") == ""
        later = await at_work.worker.client.enqueue("shop.ship", {}, delay="1h")
        with pytest.raises(
            TimeoutError, match=rf"Run {later.id} .* It is scheduled for [-\d]+ [:\d]+\+00:00\.$"
        ):
            await later.result("50ms")


ROWS = [*NEWER, *POOLED, *PYTHON, *ABSENT]
