"""A setting that hurts is mended where it was made, by a command that a shell takes as it stands."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator
from urllib.parse import quote, urlsplit

import asyncpg
import pytest

from openqueue.db.quoting import quote_ident
from openqueue.doctor.case import Case
from openqueue.doctor.findings import Finding
from openqueue.doctor.phrases import psql
from openqueue.doctor.server import judge_settings
from tests.doctor.patient import connected, report


@pytest.fixture
async def odd(db: asyncpg.Connection, dsn: str) -> AsyncIterator[str]:
    """The URL of a database with a name that neither SQL nor a shell takes as it stands."""
    name = f'it\'s "{await db.fetchval("SELECT current_database()")}" $HOME\\'
    await db.execute(f"CREATE DATABASE {quote_ident(name)}")
    yield urlsplit(dsn)._replace(path="/" + quote(name, safe="")).geturl()
    await db.execute(f"DROP DATABASE {quote_ident(name)} WITH (FORCE)")


def judged(name: str, setting: str, source: str) -> Finding:
    row = {"name": name, "setting": setting, "unit": None, "source": source, "database": "shop"}
    (finding,) = judge_settings({"doctor_settings": [row]}, Case(None)).findings
    return finding


def sent(command: str) -> list[str]:
    """The statements of a command, as a shell reads it."""
    program, *arguments = shlex.split(command, comments=True)
    assert (program, set(arguments[::2])) == ("psql", {"-c"})
    return arguments[1::2]


@pytest.mark.parametrize(
    ("by", "setting", "value"),
    [
        ("ALTER DATABASE {}", "track_counts", "off"),
        ("ALTER ROLE CURRENT_USER IN DATABASE {}", "track_counts", "off"),
        ("ALTER ROLE CURRENT_USER IN DATABASE {}", "statement_timeout", "'1s'"),
        ("ALTER ROLE CURRENT_USER IN DATABASE {}", "default_transaction_isolation", "'serializable'"),
    ],
)
async def test_what_was_set_of_a_database_is_mended_by_the_command_as_it_stands(
    odd: str, by: str, setting: str, value: str
) -> None:
    async with connected(odd) as db:
        database = await db.fetchval("SELECT quote_ident(current_database())")
        await db.execute(f"{by.format(database)} SET {setting} = {value}")
        for is_mended in (False, True):
            findings = (await report(odd, "server-settings")).findings
            found = [one for one in findings if one.what.startswith(setting)]
            assert bool(found) is not is_mended, found
            for finding in found:
                for statement in sent(finding.mend[0]):
                    await db.execute(statement)


async def test_what_the_url_sets_is_to_be_taken_out_of_it(dsn: str) -> None:
    findings = (
        await report(f"{dsn}&statement_timeout=20s&synchronous_commit=off", "server-settings")
    ).findings
    told = {one.what.split()[0]: one.mend[0] for one in findings}
    for name in ("statement_timeout", "synchronous_commit"):
        assert told[name].startswith(f"# {name}=")
        assert "is given by the client: take it out of the database URL" in told[name]


@pytest.mark.parametrize(
    ("source", "command"),
    [
        ("configuration file", "psql -c 'ALTER SYSTEM SET fsync = on' -c 'SELECT pg_reload_conf()'"),
        ("default", "psql -c 'ALTER SYSTEM SET fsync = on' -c 'SELECT pg_reload_conf()'"),
        ("user", "psql -c 'ALTER ROLE CURRENT_USER RESET fsync'"),
        ("global", "psql -c 'ALTER ROLE ALL RESET fsync'   # as a superuser"),
        ("command line", "# fsync=off is given by the command line: start the server without it"),
        ("client", "# fsync=off is given by the client: take it out of the database URL"),
        ("session", "# fsync=off is given by the session: take out what says SET fsync"),
        ("override", "# fsync=off is given by the override: take it back where it was made"),
    ],
)
def test_each_place_of_a_setting_has_its_own_remedy(source: str, command: str) -> None:
    assert judged("fsync", "off", source).mend[0].startswith(command)


@pytest.mark.parametrize("name", ["statement_timeout", "default_transaction_isolation"])
@pytest.mark.parametrize("source", ["configuration file", "command line", "global", "database", "user"])
def test_what_is_said_of_the_user_is_stronger_than_what_is_said_elsewhere(name: str, source: str) -> None:
    (statement,) = sent(judged(name, "1000", source).mend[0])
    assert statement.startswith(f"ALTER ROLE CURRENT_USER SET {name} = ")


@pytest.mark.parametrize("name", ["statement_timeout", "default_transaction_isolation"])
@pytest.mark.parametrize("source", ["client", "session"])
def test_but_not_than_what_the_client_says(name: str, source: str) -> None:
    assert judged(name, "1000", source).mend[0].startswith(f"# {name}=1000 is given by the {source}")


@pytest.mark.parametrize(
    "text", ["SELECT 1", "it's", 'it\'s "x"', "it's $HOME", "it's `x`", "\\'", "it's !x", ""]
)
def test_a_shell_reads_every_statement_as_it_is(text: str) -> None:
    assert sent(psql(f"-c {text}", "-c SELECT 2")) == [text, "SELECT 2"]
