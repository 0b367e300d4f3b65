"""Everything that docs/testing.md shows is true, and the plugin leaves nothing behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from openqueue.testing import Drained, OpenQueue, Ran
from openqueue.testing.matching import OPTIONS
from openqueue.testing.servers import PREFIX, remove_abandoned, remove_files, session_server
from tests.support.plugin import plugin_options
from tests.support.transcript import Transcript, blocks, environment

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "testing.md"
BLOCKS = blocks(PAGE)

SMALL = """
import sys
import pytest
from openqueue import task

@task
async def double(n: int) -> int:
    return 2 * n
"""

ASYNCIO = """
@pytest.mark.asyncio
@pytest.mark.parametrize("n", range(3))
async def test_in_pytest_asyncio(openqueue, n):
    await double.enqueue(n)
    assert [one.output for one in await openqueue.drain()] == [2 * n]

@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("n", range(2))
async def test_in_a_loop_that_tests_share(openqueue, n):
    await double.enqueue(n)
    assert [one.output for one in await openqueue.drain()] == [2 * n]
"""

TELL = """
def test_that_tells_where_it_was(openqueue):
    import os
    with open("session", "w") as file:
        print(os.environ["OPENQUEUE_TEST_PYTEST_SESSION"], openqueue.database_url, file=file)
"""

ANYIO = """
@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
@pytest.mark.parametrize("n", range(2))
async def test_in_anyio(openqueue, n):
    await double.enqueue(n)
    assert openqueue.enqueued(double, n=n)
    assert [one.output for one in await openqueue.drain()] == [2 * n]
"""

NOT_USED = """
import sys

def test_that_has_nothing_to_do_with_openqueue():
    assert "openqueue.pytest_plugin" in sys.modules
    assert not {"asyncpg", "pydantic", "openqueue.testing", "openqueue.clients"} & set(sys.modules)
"""

CONFIG = """
[pytest]
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""


def databases_on(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {row[0] for row in connection.execute("SELECT datname FROM pg_database").fetchall()}


def run_pytest(project: Path, *arguments: str, **environ: str) -> str:
    (project / "pytest.ini").write_text(CONFIG)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *arguments],
        cwd=project,
        env=environment(PYTEST_ADDOPTS=plugin_options(), **environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_tests_that_are_shown_pass(tmp_path: Path, server_dsn: str) -> None:
    story = Transcript(
        tmp_path / "shop", OPENQUEUE_TEST_DATABASE_URL=server_dsn, PYTEST_ADDOPTS=plugin_options()
    )
    for block in BLOCKS:
        if block.language in ("python", "toml"):
            story.write(block)
    without = story.directory / "tests" / "test_without_async.py"
    text = without.read_text()
    first, second = [command for block in BLOCKS if block.language == "console" for command in block.commands]
    without.unlink()
    story.run(*first)
    without.write_text(text)
    story.run(*second)


def test_the_names_in_the_text_exist() -> None:
    text = PAGE.read_text()
    for name in set(re.findall(r"`(?:await |with )?openqueue\.(\w+)", text)) - {
        "testing",
        "Worker",
        "connect",
    }:
        assert hasattr(OpenQueue, name) or name in {"database_url", "advanced"}, name
    options = re.search(r"`queue`, `key`.*?are compared", text, re.DOTALL)
    assert options
    assert set(re.findall(r"`(\w+)`", options[0])) == set(OPTIONS)
    attempt = re.search(r"and for each (.*?)\.\n", text, re.DOTALL)
    assert attempt
    assert set(re.findall(r"`(\w+)`", attempt[1])) == set(Ran.__dataclass_fields__)
    assert isinstance(Drained.errors, property)


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", PAGE.read_text()):
        assert (PAGE.parent / target).exists(), target


@pytest.mark.parametrize("processes", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_databases_are_made_on_your_server_and_dropped_again(
    tmp_path: Path, server_dsn: str, processes: list[str]
) -> None:
    (tmp_path / "test_asyncio.py").write_text(SMALL + ASYNCIO + TELL)
    (tmp_path / "test_anyio.py").write_text(SMALL + ANYIO)
    assert "8 passed" in run_pytest(tmp_path, *processes, OPENQUEUE_TEST_DATABASE_URL=server_dsn)
    session, database = (tmp_path / "session").read_text().split()
    assert session in database
    assert [name for name in databases_on(server_dsn) if session in name] == []


@pytest.mark.parametrize("processes", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_without_a_server_an_embedded_one_is_used_and_removed(tmp_path: Path, processes: list[str]) -> None:
    (tmp_path / "test_asyncio.py").write_text(SMALL + ASYNCIO + TELL)
    given = {name: os.environ[name] for name in ("OPENQUEUE_TEST_PG_BIN",) if name in os.environ}
    assert "6 passed" in run_pytest(tmp_path, *processes, **given)
    session, database = (tmp_path / "session").read_text().split()
    assert session in database, "it was in a directory of the session's"
    assert [path for path in servers() if session in path] == []


def servers() -> set[str]:
    """The directories of sessions, others' too."""
    return {str(path) for base in ("/dev/shm", "/tmp") for path in Path(base).glob(f"{PREFIX}*")}


def test_a_session_that_does_not_ask_for_the_fixture_imports_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text(NOT_USED)
    assert "1 passed" in run_pytest(tmp_path, "-p", "no:xdist", "-p", "no:hypothesispytest")


def test_a_server_of_the_session_is_shared_and_stopped_by_its_last_user(tmp_path: Path) -> None:
    session = f"shared{os.getpid()}"
    with session_server(session) as first, session_server(session) as second:
        assert first == second
        remove_abandoned()
        assert "postgres" in databases_on(second)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(first)
    remove_files(session)
    assert not any(session in path for path in servers())
