"""A Django project with openqueue installed: its database, its tasks, its connections, its commands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from textwrap import dedent

import asyncpg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from openqueue.db.target import Target
from openqueue.django.database import url_from
from tests.support.eventually import eventually
from tests.support.transcript import environment, running

SETTINGS = """
SECRET_KEY = "for tests"
INSTALLED_APPS = ["openqueue.django", "plain", "shop"]
USE_TZ = True
DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": "%(dbname)s", "USER": "%(user)s", "HOST": "%(host)s",
    "PORT": "%(port)s", "CONN_MAX_AGE": %(age)s, "OPTIONS": {"application_name": "django here"},
}}
OPENQUEUE = {"GRACE": "3s"}
"""

TASKS = """
from django.db import connection
from openqueue import task

@task
def here() -> dict:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid(), current_database()")
        return dict(zip(("pid", "database"), cursor.fetchone()))

@task(executor="process")
def in_a_process() -> dict:
    from django.apps import apps
    apps.check_models_ready()
    return here()

@task
async def here_too() -> dict:
    from asgiref.sync import sync_to_async
    return await sync_to_async(here)()
"""

TEST = """
import asyncio
from django.db import connection
from django.test import TransactionTestCase
from shop.tasks import here

class Shop(TransactionTestCase):
    def test_the_queue_is_in_the_database_of_the_test(self):
        run = asyncio.run(here.enqueue())
        with connection.cursor() as cursor:
            cursor.execute("SELECT task, current_database() FROM openqueue.runs")
            assert cursor.fetchall() == [("shop.tasks.here", connection.settings_dict["NAME"])]
        assert connection.settings_dict["NAME"].startswith("test_")
"""


@pytest.fixture
async def watcher(empty_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the project's database."""
    connection = await asyncpg.connect(empty_dsn)
    yield connection
    await connection.close(timeout=60)


@pytest.fixture
def project(tmp_path: Path, empty_dsn: str) -> Path:
    make(tmp_path, empty_dsn, age="0")
    return tmp_path


def make(directory: Path, dsn: str, *, age: str) -> None:
    place = conninfo_to_dict(dsn)
    values = {"user": "", "host": "", "port": "", **place, "age": age}
    (directory / "project_settings.py").write_text(SETTINGS % values)
    (directory / "manage.py").write_text(
        dedent("""
        import os, sys
        from django.core.management import execute_from_command_line
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project_settings")
        execute_from_command_line(sys.argv)
        """)
    )
    for name in ("shop", "plain"):
        (directory / name).mkdir(exist_ok=True)
        (directory / name / "__init__.py").write_text("")
    (directory / "shop" / "tasks.py").write_text(TASKS)
    (directory / "shop" / "tests.py").write_text(TEST)


def manage(project: Path, *arguments: str, code: int = 0, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "manage.py", *arguments],
        cwd=project,
        env=environment(**environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def test_its_command_is_the_command_line_on_the_projects_database(project: Path) -> None:
    assert "does not exist" in manage(project, "openqueue", "migrate", "--check", code=5)
    assert "is up to date" in manage(project, "openqueue", "migrate")
    manage(project, "openqueue", "worker", "--once")
    assert "shop.tasks.here_too" in manage(project, "openqueue", "tasks")
    manage(project, "openqueue", "enqueue", "shop.tasks.here")
    manage(project, "openqueue", "worker", "--once")
    assert '"completed"' in manage(project, "openqueue", "runs", "list", "--json")
    for task in ("here_too", "in_a_process"):
        manage(project, "openqueue", "enqueue", f"shop.tasks.{task}")
    manage(project, "openqueue", "worker", "--once", "--processes", "2")
    assert manage(project, "openqueue", "runs", "list", "--json").count('"status": "completed"') == 3
    assert "manage.py openqueue worker" in manage(project, "openqueue", "dev", code=1)


def test_to_migrate_the_project_migrates_openqueue(project: Path) -> None:
    manage(project, "migrate")
    assert "is up to date" in manage(project, "openqueue", "migrate", "--check")


def test_where_a_variable_names_another_database_that_one_is_used(project: Path, dsn: str) -> None:
    assert "is up to date" in manage(project, "openqueue", "migrate", "--check", OPENQUEUE_DATABASE_URL=dsn)
    manage(project, "migrate", OPENQUEUE_DATABASE_URL=dsn)
    assert "does not exist" in manage(project, "openqueue", "migrate", "--check", code=5)


def test_in_the_tests_of_the_project_the_queue_is_in_their_database(project: Path) -> None:
    assert "OK" in manage(project, "test", "shop")
    assert "does not exist" in manage(project, "openqueue", "migrate", "--check", code=5), (
        "the project's is as before"
    )


def test_a_slip_in_its_settings_is_named(project: Path) -> None:
    with (project / "project_settings.py").open("a") as file:
        file.write('OPENQUEUE = {"CONCURENCY": 3}\n')
    said = manage(project, "openqueue", "migrate", code=3)
    assert "OPENQUEUE in settings.py: there is no setting 'concurency'. Did you mean 'concurrency'" in said
    (project / "project_settings.py").write_text(
        (project / "project_settings.py").read_text() + 'OPENQUEUE = {"CONCURRENCY": 0}\n'
    )
    assert "OPENQUEUE in settings.py: concurrency: 0 is not" in manage(
        project, "openqueue", "migrate", code=3
    )


def test_a_database_that_is_not_postgresql_is_refused(project: Path) -> None:
    with (project / "project_settings.py").open("a") as file:
        file.write('DATABASES["lite"] = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}\n')
        file.write('OPENQUEUE = {"DATABASE_ALIAS": "lite"}\n')
    assert "DATABASES['lite'] is sqlite; openqueue needs PostgreSQL" in manage(
        project, "openqueue", "migrate", code=3
    )


@pytest.mark.parametrize("task", ["here", "here_too", "in_a_process"])
async def test_connections_are_closed_with_the_task_that_opened_them(
    tmp_path: Path, empty_dsn: str, watcher: asyncpg.Connection, task: str
) -> None:
    make(tmp_path, empty_dsn, age="0")
    manage(tmp_path, "openqueue", "migrate")
    line = [sys.executable, "manage.py", "openqueue", "worker"]
    async with running(line, tmp_path, environment(), until="worker started"):
        printed = manage(tmp_path, "openqueue", "enqueue", f"shop.tasks.{task}", "--watch")
        assert '"database"' in printed
        gone = (
            "SELECT count(*) = 0 FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'django here'"
        )
        await eventually(lambda: watcher.fetchval(gone), what="the server has ended the sessions")


async def test_a_connection_that_broke_is_replaced(
    tmp_path: Path, empty_dsn: str, watcher: asyncpg.Connection
) -> None:
    make(tmp_path, empty_dsn, age="None")
    with (tmp_path / "project_settings.py").open("a") as file:
        file.write('DATABASES["default"]["CONN_HEALTH_CHECKS"] = True\n')
    manage(tmp_path, "openqueue", "migrate")
    line = [sys.executable, "manage.py", "openqueue", "worker", "--threads", "1"]
    async with running(line, tmp_path, environment(), until="worker started"):
        manage(tmp_path, "openqueue", "enqueue", "shop.tasks.here", "--watch")
        ended = await watcher.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'django here'"
        )
        assert len(ended) == 1, "it is kept, as the project wants it"
        manage(tmp_path, "openqueue", "enqueue", "shop.tasks.here", "--watch")
    attempts = await watcher.fetch("SELECT attempt, outcome FROM openqueue.attempts")
    assert [tuple(one) for one in attempts] == [(1, "completed")] * 2


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"NAME": "shop"}, ""),
        (
            {"NAME": "shop", "USER": "a b", "PASSWORD": "p/@:%", "HOST": "db.example", "PORT": 5433},
            "db.example:5433",
        ),
        ({"NAME": "sh op", "USER": "app", "HOST": "::1", "PORT": ""}, "[::1]"),
        ({"NAME": "shop", "HOST": "/run/pg", "PORT": "5433", "USER": None}, "/run/pg"),
        ({"NAME": "shop", "HOST": "db", "OPTIONS": {"sslmode": "require", "pool": True}}, "db"),
    ],
)
def test_an_entry_of_databases_becomes_a_url(settings: dict[str, object], place: str) -> None:
    url = url_from(settings)
    read = conninfo_to_dict(make_conninfo(url))
    assert read["dbname"] == settings["NAME"]
    assert (read.get("user"), read.get("password")) == (settings.get("USER"), settings.get("PASSWORD"))
    assert str(read.get("port", "")) == str(settings.get("PORT") or "")
    assert str(read.get("host", "")).strip("[]") in (settings.get("HOST") or "", place.strip("[]"))
    assert "pool" not in url
    if place:
        assert place.strip("[]") in str(Target.of(url).place)
