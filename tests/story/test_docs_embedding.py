"""Everything that docs/embedding.md shows is true, and so are the examples that go with it."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from openqueue import Worker
from openqueue.settings import Settings
from tests.support.plugin import plugin_options
from tests.support.transcript import Transcript, alike, blocks, environment, running, tables

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "embedding.md"
BLOCKS = {block.file: block for block in blocks(PAGE) if block.file}
HELLO = (ROOT / "examples" / "tasks" / "hello.py").read_text()

# Starts the application as a server does, asks it once, ends it.
ASK = """
import sys
from importlib import import_module
from starlette.testclient import TestClient
app = import_module(sys.argv[1]).app
with TestClient(app) as browser:
    print(browser.post("/greetings/Ada").json() if len(sys.argv) == 2 else app.state.answer)
"""

LOOK = """
import os
import django
del os.environ["OPENQUEUE_DATABASE_URL"]
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
django.setup()
from openqueue.settings import load_settings
found = load_settings()
print(found.database_url.get_secret_value(), found.concurrency, found.queues, found.modules)
"""


@pytest.fixture
def story(tmp_path: Path, dsn: str) -> Transcript:
    made = Transcript(tmp_path / "program", OPENQUEUE_DATABASE_URL=dsn)
    for block in BLOCKS.values():
        made.write(block)
    (made.directory / "tasks").mkdir()
    (made.directory / "tasks" / "hello.py").write_text(HELLO)
    (made.directory / "ask.py").write_text(ASK)
    return made


def test_the_program_prints_what_is_shown(story: Transcript) -> None:
    for block in blocks(PAGE):
        if block.language == "console":
            for command, answer in block.commands:
                story.run(command, answer)


async def test_the_daemon_works_until_it_is_told_to_stop(story: Transcript) -> None:
    line = [sys.executable, "daemon.py"]
    async with running(line, story.directory, story.environment, until="worker started"):
        said = story.call("""openqueue enqueue hello.greet '{"name": "Ada"}' --watch""")
    assert '"Hello, Ada!"' in said


def test_the_application_enqueues(story: Transcript) -> None:
    run = story.call("python ask.py web").strip()
    assert "hello.greet  queued" in re.sub(" +", "  ", story.call(f"openqueue runs show {run}"))
    assert story.call("python ask.py web_and_more state").strip() == "42"


def test_the_settings_of_the_django_project_are_taken(story: Transcript) -> None:
    (story.directory / "shop").mkdir()
    (story.directory / "shop" / "__init__.py").touch()
    (story.directory / "shop" / "tasks.py").touch()
    (story.directory / "look.py").write_text(LOOK)
    said = story.call("python look.py")
    assert said == "postgresql:///shop 20 {'mail': 5, 'default': None} ('shop.tasks',)\n"


def test_what_the_table_says_of_the_arguments_is_true() -> None:
    parameters = inspect.signature(Worker).parameters
    rows = {name: default for name, default, _ in tables(PAGE)["argument"]}
    named = [name for name in parameters if name != "settings"]
    assert sorted(rows) == sorted([*named, "any other setting"])
    assert rows["signals"] == str(parameters["signals"].default)
    others = re.search(r"any other setting \| the settings \| (.*) \|", PAGE.read_text())
    assert others
    assert {"name", "grace"} <= (known := set(re.findall(r"`(\w+)`", others[1])))
    assert known <= set(Settings.model_fields)


def test_the_names_in_the_text_exist() -> None:
    text = PAGE.read_text()
    for name in set(re.findall(r"`(?:await )?worker\.(\w+)", text)):
        assert hasattr(Worker, name), name
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (PAGE.parent / target).exists(), target


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A copy, so that they cannot lean on the checkout."""
    return shutil.copytree(
        ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__", ".*")
    )


def call(directory: Path, *line: str, **environ: str) -> str:
    """What a program printed; its log is not compared."""
    done = subprocess.run(
        [sys.executable, *line],
        cwd=directory,
        env=environment(**environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_example_of_tests_passes(examples: Path, server_dsn: str) -> None:
    said = call(
        examples,
        *(
            "-m",
            "pytest",
            "-q",
            "07_test_your_program.py",
            "-o",
            "asyncio_default_fixture_loop_scope=function",
        ),
        OPENQUEUE_TEST_DATABASE_URL=server_dsn,
        PYTEST_ADDOPTS=plugin_options(),
    )
    assert "3 passed" in said


def test_the_example_of_workers_prints_what_it_should(examples: Path, dsn: str) -> None:
    said = call(examples, "08_worker_in_your_program.py", OPENQUEUE_DATABASE_URL=dsn)
    assert said.splitlines() == [
        "Hello, World!",
        "3",
        "takes in work: True",
        "the block is over",
        "hello.greet is stored, whatever happens to this program",
    ]


def test_the_example_of_fastapi_prints_what_it_should(examples: Path, dsn: str) -> None:
    assert call(examples, "09_fastapi.py", OPENQUEUE_DATABASE_URL=dsn) == "200 Hello, Ada!\n"


@pytest.fixture
async def watcher(empty_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty_dsn)
    yield connection
    await connection.close(timeout=60)


async def test_the_example_of_django_is_a_project(
    examples: Path, empty_dsn: str, watcher: asyncpg.Connection
) -> None:
    """Its database is found in DATABASES: no variable of openqueue is set."""

    def manage(*arguments: str) -> str:
        return call(examples, "10_django.py", *arguments, DATABASE_URL=empty_dsn)

    manage("migrate")
    manage("openqueue", "worker", "--once")
    manage("openqueue", "enqueue", "django_shop.tasks.thank", '{"order": 1}')
    manage("openqueue", "worker", "--once")
    assert "completed" in manage("openqueue", "runs", "list")
    assert await watcher.fetchval("SELECT output #>> '{}' FROM openqueue.runs") == "thank you for order 1"
    assert alike(manage("openqueue", "migrate", "--check"))
