"""`openqueue migrate`, on databases with nothing in them."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.command import Command


@pytest.fixture
def empty(bare: Command, empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("OPENQUEUE_DATABASE_URL", empty_dsn)
    bare.url = empty_dsn
    return bare


def test_it_makes_the_schema_and_a_second_time_changes_nothing(empty: Command) -> None:
    first = empty("migrate")
    assert (first.code, first.err) == (0, "")
    assert "Applied 0001_engine.sql." in first.out
    second = empty("migrate", "--json").json
    assert second["state"] == "current"
    assert second["done"] == {"applied": [], "engine": False, "partitions": []}


def test_check_changes_nothing_and_its_exit_code_says_how_it_stands(empty: Command) -> None:
    for _ in range(2):
        answer = empty("migrate", "--check", "--json")
        assert answer.code == 5
        assert answer.json["state"] == "missing"
        assert answer.json["usable"] is False
        assert "0001_engine.sql" in answer.json["pending"]
    empty("migrate")
    assert empty("migrate", "--check").code == 0


def test_a_view_that_somebody_dropped_is_told_and_made_again(empty: Command, empty_dsn: str) -> None:
    empty("migrate")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("DROP VIEW openqueue.runs CASCADE")
    answer = empty("migrate", "--check", "--json")
    assert (answer.code, answer.json["state"]) == (5, "behind")
    assert {"function find_run", "trigger delete_run", "view runs"} <= set(answer.json["missing"])
    assert "Replaced the engine's functions and views." in empty("migrate").out
    assert empty("migrate", "--check").code == 0


def test_sql_prints_what_would_run_and_runs_nothing(empty: Command) -> None:
    answer = empty("migrate", "--sql")
    assert answer.code == 0
    assert "CREATE TABLE" in answer.out
    assert empty("migrate", "--check").code == 5


def test_another_schema_may_have_any_name(empty: Command) -> None:
    assert empty("migrate", "--schema", 'My "jobs"').code == 0
    assert empty("runs", "list", "--schema", 'My "jobs"').err == "No runs were found.\n"
    assert empty("runs", "list").code == 5


def test_many_may_migrate_at_once(empty: Command) -> None:
    started = [empty.start("migrate") for _ in range(3)]
    for one in started:
        _, err = one.communicate(timeout=240)
        assert one.returncode == 0, err
    assert empty("migrate", "--check").code == 0


@pytest.mark.parametrize("line", ["migrate", "migrate --check", "migrate --sql", "runs list", "health"])
def test_a_migration_that_is_not_ours_is_explained_to_whoever_operates_it(empty: Command, line: str) -> None:
    empty("migrate")
    assert empty.url is not None
    with psycopg.connect(empty.url, autocommit=True) as connection:
        connection.execute("UPDATE openqueue.migrations SET checksum = 'of another build' WHERE number = 1")
    answer = empty(*line.split())
    assert answer.code == 5
    said = answer.out + answer.err
    assert "Schema 'openqueue' was made by another build of openqueue: 0001_engine.sql was applied" in said
    assert "Nothing was changed" in said
    assert "Install the openqueue that made it" in said
    assert "--schema" in said
    assert "new migration" not in said
