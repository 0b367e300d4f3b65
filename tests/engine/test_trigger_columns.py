"""Tables that enqueue: columns that PostgreSQL works out, and those that are gone."""

from __future__ import annotations

from tests.engine.calls import Engine
from tests.engine.test_triggers import add, taken


async def kinds(engine: Engine) -> list[str]:
    """Kinds of generated columns that this server has."""
    (row,) = await engine.sql("SELECT current_setting('server_version_num')::integer AS version")
    return ["STORED", "VIRTUAL"] if row["version"] >= 180000 else ["STORED"]


async def test_a_generated_column_is_as_any_other(engine: Engine) -> None:
    for kind in await kinds(engine):
        await engine.sql(
            f"""CREATE TABLE public.{kind} (
                id integer PRIMARY KEY, gone integer, plain text,
                "100%s ""new"".r" integer GENERATED ALWAYS AS (length(plain) % 10) {kind})"""
        )
        await engine.sql(f"ALTER TABLE public.{kind} DROP gone")
        table = f"public.{kind}"
        name = '"100%s \\"new\\".r"'
        await add(
            engine,
            "'{insert,update,delete}', payload => 'change', when_changed => '{" + name + "}',"
            ' when_sql => $$COALESCE(new."100%s ""new"".r", old."100%s ""new"".r") > 3$$',
            table=table,
        )
        await engine.sql(f"INSERT INTO {table} VALUES (1, 'four'), (2, 'one')")
        (change,) = await taken(engine)
        assert change["row"] == {"id": 1, "plain": "four", '100%s "new".r': 4}
        await engine.sql(f"UPDATE {table} SET plain = 'five' WHERE id = 1")
        assert await taken(engine) == []
        await engine.sql(f"UPDATE {table} SET plain = 'sixty' WHERE id = 1")
        (change,) = await taken(engine)
        assert (change["old"]['100%s "new".r'], change["row"]['100%s "new".r']) == (4, 5)
        await engine.sql(f"DELETE FROM {table}")
        (change,) = await taken(engine)
        assert change["row"]['100%s "new".r'] == 5
        await add(engine, "payload => 'columns', columns => '{" + name + "}'", table=table, task="u")
        await engine.sql(f"INSERT INTO {table} VALUES (3, 'one')")
        assert await taken(engine) == [{'100%s "new".r': 3}]
