"""Tables that enqueue: what a statement changes is one call, whatever things are called."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from openqueue.db.migrations import migrate
from tests.engine.calls import Engine
from tests.engine.conftest import Another

AWKWARD = ['"or""d er"', '"Größe 🐘"', '"select"', '"New_rows"', '"t"', '"r"', '"it\'s %s $1 :schema \\"']


@pytest.fixture
async def shop(engine: Engine) -> Engine:
    await engine.sql(
        "CREATE TABLE public.orders (id integer PRIMARY KEY, status text, note json, total numeric)"
    )
    return engine


async def add(engine: Engine, options: str = "", table: str = "public.orders", task: str = "t") -> None:
    await engine.sql(f"SELECT add_trigger($1::text::regclass, $2{options and ', '}{options})", table, task)


async def taken(engine: Engine) -> list[Any]:
    """The payloads that were enqueued since the last look, in order."""
    rows = await engine.claim()
    if rows:
        await engine.finish([row["id"] for row in rows], ["completed"] * len(rows))
    return [json.loads(row["input"]) for row in rows]


async def test_each_payload_is_what_it_says(shop: Engine) -> None:
    row = {"id": 1, "status": "new", "note": None, "total": 1.5}
    for payload, more, wanted in (
        ("row", "", row),
        ("id", "", {"id": 1}),
        ("columns", ", columns => '{total,status}'", {"total": 1.5, "status": "new"}),
        ("change", "", {"event": "insert", "table": "public.orders", "row": row}),
    ):
        await add(shop, f"payload => '{payload}'{more}")
        await shop.sql("INSERT INTO public.orders VALUES (1, 'new', NULL, 1.5)")
        assert await taken(shop) == [wanted]
        await shop.sql("DELETE FROM public.orders")


async def test_updates_and_deletes_tell_of_the_row_before(shop: Engine) -> None:
    await shop.sql("INSERT INTO public.orders VALUES (1, 'new')")
    await add(shop, "'{update,delete}', payload => 'change'")
    await shop.sql("UPDATE public.orders SET status = 'paid'")
    (change,) = await taken(shop)
    assert (change["event"], change["old"]["status"], change["row"]["status"]) == ("update", "new", "paid")
    await shop.sql("DELETE FROM public.orders")
    (change,) = await taken(shop)
    assert (change["event"], change["row"]["status"], "old" in change) == ("delete", "paid", False)
    await shop.sql("INSERT INTO public.orders VALUES (1)")
    assert await taken(shop) == []


async def test_an_update_counts_when_a_column_changed_also_when_the_keys_are_passed_around(
    shop: Engine,
) -> None:
    await shop.sql("INSERT INTO public.orders SELECT n, 'old', '{}' FROM generate_series(1, 4) n")
    await add(shop, "'{update}', payload => 'id', when_changed => '{status,note}'")
    await shop.sql("UPDATE public.orders SET total = 1, status = status")
    assert await taken(shop) == []
    await shop.sql("UPDATE public.orders SET status = CASE id WHEN 2 THEN 'new' ELSE status END")
    assert await taken(shop) == [{"id": 2}]
    await shop.sql("UPDATE public.orders SET note = NULL WHERE id = 3")
    assert await taken(shop) == [{"id": 3}]
    await shop.sql("ALTER TABLE public.orders DROP CONSTRAINT orders_pkey")
    await shop.sql(
        "UPDATE public.orders SET id = id % 4 + 1"
    )  # 2 is now 3, and has what 3 had: nothing changed
    assert await taken(shop) == []


async def test_old_and_new_stay_together_through_ten_thousand_rows(shop: Engine) -> None:
    await shop.sql("INSERT INTO public.orders SELECT n, n::text FROM generate_series(1, 12345) n")
    await add(shop, "'{update}', payload => 'change', when_sql => 'new.total <> old.id'")
    await shop.sql("UPDATE public.orders SET id = id + 20000, total = id")
    assert await taken(shop) == []
    await add(shop, "'{update}', payload => 'id', when_sql => 'new.total = old.id'")
    await shop.sql("UPDATE public.orders SET total = id, id = id + 20000")
    ((jobs,),) = await shop.sql("SELECT count(*) FROM jobs")
    assert jobs == 12345


async def test_one_statement_is_one_call(shop: Engine) -> None:
    await add(shop)
    await shop.sql("SELECT set_bells($1, 'default', '{*}')", shop.worker)
    before = await shop.sql("SELECT count(*) AS n FROM jobs")
    await shop.sql("SELECT pg_stat_reset()")
    calls = "SELECT pg_stat_get_xact_function_calls('add_batch'::regproc)"
    await shop.sql("SET track_functions = 'all'")
    async with shop.db.transaction():
        await shop.sql("INSERT INTO public.orders SELECT n FROM generate_series(1, 500) n")
        ((found,),) = await shop.sql(calls)
    assert (before[0]["n"], found, len(await taken(shop))) == (0, 1, 500)


async def test_every_way_to_write_is_seen(shop: Engine) -> None:
    await add(shop, "'{insert,update,delete}', payload => 'change'")
    await shop.db.copy_records_to_table("orders", schema_name="public", records=[(1, "a", None, None)])
    await shop.sql(
        "INSERT INTO public.orders VALUES (1, 'b'), (2, 'c') ON CONFLICT (id) DO UPDATE SET status = 'd'"
    )
    await shop.sql(
        """MERGE INTO public.orders o USING (VALUES (1), (2), (3)) v (id) ON v.id = o.id
        WHEN MATCHED AND v.id = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET status = 'm'
        WHEN NOT MATCHED THEN INSERT VALUES (v.id, 'n')"""
    )
    found = [(one["event"], one["row"]["id"], one.get("old", {}).get("status")) for one in await taken(shop)]
    assert sorted(found, key=str) == sorted(
        [
            ("insert", 1, None),
            ("update", 1, "a"),
            ("insert", 2, None),
            ("delete", 1, None),
            ("update", 2, "c"),
            ("insert", 3, None),
        ],
        key=str,
    )


async def test_a_partitioned_table_is_watched_as_one_also_when_rows_move(engine: Engine) -> None:
    await engine.sql("CREATE TABLE public.p (id integer, k integer, v text) PARTITION BY LIST (k)")
    for k in (1, 2):
        await engine.sql(f"CREATE TABLE public.p{k} PARTITION OF public.p FOR VALUES IN ({k})")
    await add(engine, "'{insert,update}', payload => 'change'", table="public.p")
    await engine.sql("INSERT INTO public.p SELECT n, 1 + n % 2, n::text FROM generate_series(1, 6) n")
    assert len(await taken(engine)) == 6
    await engine.sql("UPDATE public.p SET k = 3 - k, v = v || '!' WHERE id < 5")
    await engine.sql("UPDATE public.p SET k = 1, v = v || '!' WHERE id > 4")
    found = [
        (one["old"]["id"], one["row"]["id"], one["old"]["v"] + "!" == one["row"]["v"])
        for one in await taken(engine)
    ]
    assert sorted(found) == [(n, n, True) for n in range(1, 7)]
    with pytest.raises(asyncpg.InvalidParameterValueError, match="is a partition"):
        await add(engine, table="public.p1")


@pytest.mark.parametrize("name", AWKWARD)
async def test_names_may_be_anything(engine: Engine, name: str) -> None:
    plain = name[1:-1].replace('""', '"')
    await engine.sql(f"CREATE SCHEMA {name}")
    await engine.sql(
        f'CREATE TABLE {name}.{name} ({name} text PRIMARY KEY, c text, "T" text, new text, o text)'
    )
    await engine.sql(
        "SELECT add_trigger($1::text::regclass, $2, '{insert,update,delete}', 'columns',"
        " ARRAY[$2, 'c', 'T', 'new'], ARRAY[$2, 'c', 'o'],"
        " $3, queue_name => $2)",
        f"{name}.{name}",
        plain,
        f"coalesce(new.{name}, old.{name}) <> 'x' -- it's \\",
    )
    await engine.sql(f"INSERT INTO {name}.{name} VALUES ('a', '1'), ('x', '1')")
    await engine.sql(f"UPDATE {name}.{name} SET c = '2'")
    await engine.sql(f"DELETE FROM {name}.{name}")
    rows = await engine.claim()
    assert [json.loads(row["input"]) for row in rows] == [
        {plain: "a", "c": c, "T": None, "new": None} for c in ("1", "2", "2")
    ]
    assert {(row["task"], row["queue"]) for row in rows} == {(plain, plain)}
    (one,) = await engine.sql("SELECT * FROM triggers")
    assert (one["name"], one["columns"][0]) == (plain, plain)
    ((quoted,),) = await engine.sql("SELECT format('%I.%I', $1::text, $1::text)", plain)
    assert one["table_name"] == quoted
    assert (await engine.sql("SELECT drop_trigger($1::text::regclass, $2)", f"{name}.{name}", plain))[0][
        0
    ] is True
    assert (
        await engine.sql("SELECT FROM pg_trigger WHERE NOT tgisinternal AND tgname LIKE 'openqueue%'") == []
    )


@pytest.mark.parametrize(
    "table",
    [
        "TEMPORARY TABLE orders",
        "TEMPORARY TABLE int4",
        'TEMPORARY TABLE "timestamp with time zone"',
        'TEMPORARY TABLE "a.b"',
        'TABLE public."integer"',
        "TABLE public.int4",
        'TABLE public."timestamp with time zone"',
        'TABLE public."integer[]"',
        "TABLE public.pg_class",
        'TABLE "x.y"."a.b"',
        'UNLOGGED TABLE "x.y"."integer"',
    ],
)
async def test_tables_of_any_kind_named_like_a_type_are_watched(engine: Engine, table: str) -> None:
    name = table.rpartition("TABLE ")[2]
    name = f"pg_temp.{name}" if table.startswith("TEMPORARY") else name
    await engine.sql('CREATE SCHEMA "x.y"')
    await engine.sql(f"CREATE {table} (id integer PRIMARY KEY, c text)")
    await add(
        engine,
        "'{insert,update,delete}', payload => 'change', when_sql => '(old).id is distinct from 9'",
        table=name,
    )
    await engine.sql(f"INSERT INTO {name} VALUES (1, 'a'), (2, 'b')")
    await engine.sql(f"UPDATE {name} SET c = 'd' WHERE id = 1")
    await engine.sql(f"DELETE FROM {name} WHERE id = 2")
    found = [(one["event"], one["row"]) for one in await taken(engine)]
    assert found == [
        ("insert", {"id": 1, "c": "a"}),
        ("insert", {"id": 2, "c": "b"}),
        ("update", {"id": 1, "c": "d"}),
        ("delete", {"id": 2, "c": "b"}),
    ]
    assert (await engine.sql("SELECT drop_trigger($1::text::regclass, 't')", name))[0][0] is True
    assert await engine.sql("SELECT FROM triggers") == []


async def test_a_trigger_is_replaced_by_its_name_and_long_names_differ(shop: Engine) -> None:
    long = "ü" * 150
    for name in (long + "1", long + "2"):
        await add(shop, "'{insert,update}'", task=name)
    await add(shop, "'{insert}', payload => 'id'", task=long + "1")
    found = await shop.sql("SELECT name, events, payload FROM triggers ORDER BY name")
    assert [(row["name"][-1], row["events"], row["payload"]) for row in found] == [
        ("1", ["insert"], "id"),
        ("2", ["insert", "update"], "row"),
    ]
    assert (await shop.sql("SELECT drop_trigger('public.orders', 'none')"))[0][0] is False


async def test_a_job_goes_with_the_transaction_and_its_options(shop: Engine) -> None:
    await add(shop, "queue_name => 'q', priority => -3, max_attempts => 2, name => 'mine', namespace => 'n'")
    async with shop.db.transaction():
        await shop.sql("INSERT INTO public.orders VALUES (1)")
        ((count,),) = await shop.sql("SELECT count(*) FROM jobs")
        assert count == 1
        await shop.sql("DELETE FROM jobs WHERE false")
    (row,) = await shop.sql("SELECT namespace, queue, priority, max_attempts FROM jobs")
    assert tuple(row.values()) == ("n", "q", -3, 2)
    transaction = shop.db.transaction()
    await transaction.start()
    await shop.sql("INSERT INTO public.orders VALUES (2)")
    await transaction.rollback()
    assert len(await shop.sql("SELECT FROM jobs")) == 1


async def test_the_condition_and_the_enqueue_have_the_rights_of_who_writes(
    shop: Engine, another: Another
) -> None:
    role = f"writer_{uuid4().hex[:8]}"  # roles are the server's, which tests share
    await add(shop, f"when_sql => 'current_user = ''{role}'''")
    writer = await another()
    for text in (f"CREATE ROLE {role}", f"GRANT INSERT ON public.orders TO {role}"):
        await shop.sql(text)
    try:
        await writer.db.execute(f"SET ROLE {role}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await writer.db.execute("INSERT INTO public.orders VALUES (1)")
        await shop.sql(f"GRANT USAGE ON SCHEMA openqueue TO {role}")
        await shop.sql(f"GRANT EXECUTE ON FUNCTION openqueue.change_query, openqueue.add_batch TO {role}")
        await writer.db.execute("INSERT INTO public.orders VALUES (1)")
        assert len(await taken(shop)) == 1
    finally:
        await writer.db.execute("RESET ROLE")
        await shop.sql(f"DROP OWNED BY {role}")
        await shop.sql(f"DROP ROLE {role}")


async def test_what_no_longer_fits_says_which_trigger_and_what_to_do(shop: Engine) -> None:
    await add(shop, "when_sql => 'new.status is not null'", task="mail")
    await shop.sql("ALTER TABLE public.orders RENAME status TO state")
    with pytest.raises(asyncpg.UndefinedColumnError, match=r"trigger mail on public\.orders") as caught:
        await shop.sql("INSERT INTO public.orders VALUES (1)")
    assert "openqueue.drop_trigger('public.orders', 'mail')" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("table_name", "NULL, 't'"),
        ("table_name", "'openqueue.jobs', 't'"),
        ("table_name", "'openqueue.runs', 't'"),
        ("task", "'public.orders', ''"),
        ("events", "'public.orders', 't', '{truncate}'"),
        ("events", "'public.orders', 't', '{}'"),
        ("payload", "'public.orders', 't', payload => 'all'"),
        ("payload", "'public.bare', 't', payload => 'id'"),
        ("columns", "'public.orders', 't', payload => 'columns'"),
        ("columns", "'public.orders', 't', columns => '{id}'"),
        ("columns", "'public.orders', 't', payload => 'columns', columns => '{nope}'"),
        ("when_changed", "'public.orders', 't', when_changed => '{id}'"),
        ("when_changed", "'public.orders', 't', '{update}', when_changed => '{nope}'"),
        ("when_sql", "'public.orders', 't', when_sql => 'new.nope = 1'"),
        ("when_sql", "'public.orders', 't', when_sql => 'new.id'"),
        ("when_sql", "'public.orders', 't', when_sql => '1 = 1); DROP TABLE public.bare; SELECT (1'"),
        ("when_sql", "'public.orders', 't', when_sql => 'true /*'"),
        ("queue_name", "'public.orders', 't', queue_name => '*'"),
        ("priority", "'public.orders', 't', priority => 70000"),
        ("namespace", "'public.orders', 't', namespace => ''"),
    ],
)
async def test_a_wrong_argument_is_refused_by_its_name(shop: Engine, field: str, call: str) -> None:
    await shop.sql("CREATE TABLE public.bare (id integer)")
    with pytest.raises(asyncpg.InvalidParameterValueError) as caught:
        await shop.sql(f"SELECT add_trigger({call})")
    assert (caught.value.column_name, bool(caught.value.hint)) == (field, True)
    assert await shop.sql("SELECT FROM triggers") == []
    await shop.sql("SELECT FROM public.bare")


@pytest.mark.parametrize("schema", ["openqueue", "my jobs"])
async def test_the_schema_takes_its_triggers_along_and_leaves_the_table(empty_dsn: str, schema: str) -> None:
    await migrate(empty_dsn, schema)
    connection = await asyncpg.connect(empty_dsn)
    try:
        shop = Engine(connection, schema=schema)
        await shop.sql("CREATE TABLE public.orders (id integer PRIMARY KEY)")
        await add(shop, "payload => 'id'")
        await connection.execute("INSERT INTO public.orders VALUES (1)")
        assert await taken(shop) == [{"id": 1}]
        assert [row["table_name"] for row in await shop.sql("SELECT table_name FROM triggers")] == [
            "public.orders"
        ]
        await connection.execute("DROP SCHEMA {} CASCADE".format('"' + schema + '"'))
        await connection.execute("INSERT INTO public.orders VALUES (2)")
        assert await connection.fetchval("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == 0
    finally:
        await connection.close()


async def test_a_new_engine_leaves_triggers_working(dsn: str, shop: Engine) -> None:
    await add(shop, "payload => 'id'")
    await shop.sql("UPDATE openqueue.engine SET checksum = 'another'")
    await shop.sql("DROP FUNCTION openqueue.change_query")
    assert (await migrate(dsn)).engine
    await shop.sql("INSERT INTO public.orders VALUES (1)")
    assert await taken(shop) == [{"id": 1}]


async def test_a_row_of_which_the_condition_cannot_be_computed_is_told_with_the_trigger(shop: Engine) -> None:
    await add(shop, "when_sql => '100 / new.total > 1', name => 'mail'")
    with pytest.raises(asyncpg.DivisionByZeroError, match=r"trigger mail on public\.orders") as caught:
        await shop.sql("INSERT INTO public.orders VALUES (1, 'new', NULL, 50), (2, 'new', NULL, 0)")
    assert "openqueue.drop_trigger('public.orders', 'mail')" in str(caught.value.hint)
    assert "cannot be computed" in str(caught.value.hint)
    await shop.sql("INSERT INTO public.orders VALUES (1, 'new', NULL, 50)")
    assert [row["id"] for row in await taken(shop)] == [1]
