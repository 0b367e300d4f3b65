"""`openqueue migrate --uninstall`: all of openqueue goes, nothing else does, and not by mistake."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from openqueue.db.quoting import quote_ident
from tests.support.command import Answer, Command
from tests.support.realm import execute

LEFT = """SELECT count(*) FROM pg_class WHERE relnamespace NOT IN
    (SELECT oid FROM pg_namespace WHERE nspname ~ '^(pg_|information_schema)')"""
SCHEMA = "to be 'removed'"


class Place:
    """A schema in a database of its own, and the command line there."""

    def __init__(self, command: Command, dsn: str, schema: str) -> None:
        self.command = command
        self.dsn = dsn
        self.schema = schema

    def __call__(self, *arguments: str) -> Answer:
        place = ("--schema", self.schema, "--database-url", self.dsn)
        return self.command("migrate", *arguments, *place)

    def sql(self, statement: str) -> Any:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else None

    def name(self, name: str) -> str:
        return f"{quote_ident(self.schema)}.{name}"


@pytest.fixture
def place(bare: Command, empty_dsn: str, databases: Any, server_dsn: str) -> Iterator[Place]:
    """Nothing yet, and a name that nobody else has, as roles are the whole server's."""
    made = Place(bare, empty_dsn, f"{SCHEMA} {uuid4().hex[:8]}")
    yield made
    databases.drop(empty_dsn)
    roles = [quote_ident(f"openqueue_{made.schema}_{role}") for role in ("enqueue", "worker", "admin")]
    asyncio.run(execute(server_dsn, *(f"DROP ROLE IF EXISTS {role}" for role in roles)))


@pytest.fixture
def there(bare: Command, dsn: str) -> Place:
    """The usual schema, without roles."""
    return Place(bare, dsn, "openqueue")


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


def test_all_of_it_goes_with_its_roles_and_what_hangs_on_it(place: Place) -> None:
    place("--roles")
    place.sql("CREATE TABLE public.orders (id int)")
    place.sql(f"SELECT {place.name('add_trigger')}('orders', 'orders.ship')")
    place.sql(f"CREATE VIEW public.mine AS SELECT id FROM {place.name('runs')}")
    answer = place("--uninstall", "--yes", "--roles")
    assert answer.code == 0, answer.err
    assert "With it goes: trigger orders.ship on public.orders" in answer.err
    assert "With it goes: view mine" in answer.err
    assert answer.out.count("Removed role openqueue_to be 'removed'") == 3
    assert place.sql(LEFT) == [(1,)]
    place.sql("INSERT INTO public.orders VALUES (1)")
    assert place("--check", "--json").json["state"] == "missing"
    assert place().code == 0
    assert "stay" not in place("--uninstall", "--yes").err


def test_roles_stay_unless_they_are_to_go(place: Place) -> None:
    place("--roles")
    answer = place("--uninstall", "--yes", "--json")
    assert answer.json == {"schema": place.schema, "removed": True, "roles": [], "kept": []}
    assert "stay (--roles removes them, too)" in answer.err
    assert place("--roles", "--json").json["done"]["roles"] == []


def test_the_name_has_to_be_typed(there: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("yes\n"))
    refused = there("--uninstall")
    assert (refused.code, refused.out) == (2, "")
    assert "that is not its name. Nothing was removed" in refused.err
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{there.schema}\n"))
    assert "nobody is here to confirm it" in there("--uninstall").err
    assert there("--check").code == 0
    monkeypatch.setattr("sys.stdin", Terminal(f"{there.schema}\n"))
    assert there("--uninstall").out == f"Removed schema {there.schema!r}.\n"
    assert there("--check").code == 5


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE {}.mine (id int)",
        "CREATE FUNCTION {}.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE VIEW {}.mine AS SELECT 1",
        "CREATE TYPE {}.mine AS ENUM ('a')",
        "CREATE SEQUENCE {}.mine",
    ],
)
def test_a_schema_that_holds_more_is_left_as_it_is(there: Place, statement: str) -> None:
    there.sql(statement.format(quote_ident(there.schema)))
    answer = there("--uninstall", "--yes", "--force")
    assert answer.code == 5
    assert "holds more than openqueue" in answer.err
    assert "mine" in answer.err
    assert there("--check").code == 0


def test_a_schema_that_is_not_known_whole_is_left(there: Place) -> None:
    there.sql(f"UPDATE {there.name('migrations')} SET checksum = 'of another build' WHERE number = 1")
    answer = there("--uninstall", "--yes", "--force")
    assert answer.code == 5
    assert "Nothing was removed" in answer.err


def test_while_workers_live_it_takes_force(there: Place) -> None:
    there.sql(
        f"INSERT INTO {there.name('workers')} (id, namespace, name, host, pid, version, concurrency)"
        " VALUES (gen_random_uuid(), 'default', 'busy one', 'far', 1, '1', 1)"
    )
    refused = there("--uninstall", "--yes")
    assert (refused.code, refused.out) == (1, "")
    assert "has live workers: busy one on far" in refused.err
    assert there("--check").code == 0
    assert there("--uninstall", "--yes", "--force").code == 0


def test_the_public_schema_is_left_as_a_new_database_has_it(place: Place) -> None:
    before = place.sql("SELECT nspname::text, nspacl::text FROM pg_namespace WHERE nspname = 'public'")
    place.schema = "public"
    place()
    assert place("--uninstall", "--yes").code == 0
    assert place.sql(LEFT) == [(0,)]
    assert (
        place.sql("SELECT nspname::text, nspacl::text FROM pg_namespace WHERE nspname = 'public'") == before
    )


@pytest.mark.parametrize("line", ["--uninstall --check", "--uninstall --sql", "--yes", "--force --check"])
def test_what_makes_no_sense_together_is_refused(there: Place, line: str) -> None:
    assert there(*line.split()).code == 2
