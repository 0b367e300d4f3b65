"""SQL text: placeholders count in code and nowhere else, names are always quoted, statements have names."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqueue.db.quoting import check_schema, quote_ident, quote_literal
from openqueue.db.statements import Statements, inline, render, split, sql_root
from openqueue.errors import ConfigError, SchemaError


@pytest.mark.parametrize(
    ("sql", "rendered"),
    [
        ("SELECT :schema.f()", 'SELECT "q"".f()'),
        ("SELECT :'schema'", "SELECT 'q\"'"),
        ("nextval(:'schema.job_seq'::regclass)", 'nextval(\'"q"".job_seq\'::regclass)'),
        ("a::schema, :schemas, :schema_x, x:schema", "a::schema, :schemas, :schema_x, x:schema"),
        ("-- :schema it's\n:schema", '-- :schema it\'s\n"q"""'),
        ("/* :schema /* ' */ :schema */:schema", '/* :schema /* \' */ :schema */"q"""'),
        ("':schema' \":schema\" E'\\':schema'", "':schema' \":schema\" E'\\':schema'"),
        ("$$ :schema $$", '$$ "q""" $$'),
        ("$a$ :schema $b$ :schema $b$ $a$", '$a$ "q""" $b$ "q""" $b$ $a$'),
        (
            "$$ -- isn't\n RETURN :schema.f($1, ':schema') $$",
            "$$ -- isn't\n RETURN \"q\"\".f($1, ':schema') $$",
        ),
        ("'open :schema", '\'open "q"""'),
        ("/* open :schema", "/* open :schema"),
        ("$$ open :schema", "$$ open :schema"),
    ],
)
def test_a_placeholder_counts_in_code_and_in_function_bodies_only(sql: str, rendered: str) -> None:
    assert render(sql, 'q"') == rendered.replace('"q"".', '"q""".').replace('"q""".job_seq', '"q""".job_seq')


@pytest.mark.parametrize("name", ["$$", "a$b$c", "$body1$", "x$"])
def test_a_name_with_dollars_does_not_end_the_body_it_is_written_into(name: str) -> None:
    rendered = render("DO $$ SELECT :schema.f() $$;", name)
    tag = rendered.removeprefix("DO ").partition(" ")[0]
    assert rendered == f"DO {tag} SELECT {quote_ident(name)}.f() {tag};"
    assert rendered.count(tag) == 2


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=15))
def test_every_possible_name_stays_one_name(name: str) -> None:
    if name.startswith("pg_"):
        return
    assert render(":schema", name) == quote_ident(name)
    assert split(render("SELECT ':schema', :schema.f(:'schema'); SELECT 2", name)) == [
        f"SELECT ':schema', {quote_ident(name)}.f({quote_literal(name)})",
        "SELECT 2",
    ]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is empty"),
        ("a\0", "NUL"),
        ("é" * 32, "64 bytes"),
        ("pg_x", "reserved"),
        ("information_schema", "reserved"),
        ("\ud800", "surrogate"),
        (None, "must be text"),
    ],
)
def test_an_impossible_schema_name_says_why(name: object, problem: str) -> None:
    with pytest.raises(ConfigError, match=f"^schema: .*{problem}"):
        check_schema(name)


@pytest.mark.parametrize("name", ["PG_x", "a" * 63, "é" * 31, "user", " "])
def test_an_unusual_schema_name_is_taken(name: str) -> None:
    assert check_schema(name) == name


def test_values_are_written_as_literals() -> None:
    assert inline("VALUES ($1, $2::int, $1, '$1', $$ $1 $$)", "it's", None) == (
        "VALUES ('it''s', NULL::int, 'it''s', '$1', $$ $1 $$)"
    )
    assert quote_literal("a\\'b") == "E'a\\\\''b'"


def test_a_script_is_split_at_its_own_semicolons_only() -> None:
    script = "-- a;\nSELECT ';' ; ;\n/* b; */ DO $$ BEGIN; END $$;\n-- the end;\n"
    assert split(script) == ["-- a;\nSELECT ';'", "/* b; */ DO $$ BEGIN; END $$"]


def statements(root: Path, **files: str) -> Statements:
    (root / "queries").mkdir()
    for name, text in files.items():
        (root / "queries" / f"{name}.sql").write_text(text)
    return Statements("my queue", root)


def test_a_statement_is_found_by_its_name_rendered_and_keeps_its_promise(tmp_path: Path) -> None:
    found = statements(
        tmp_path,
        runs="-- About runs.\n\n-- name: runs_list\n-- The newest first.\n--   $1: how many\n"
        "SELECT 1 -- one\nFROM :schema.runs;\n\n-- name: runs_count\nSELECT 2;\n",
        work="-- name: work\nSELECT 3",
    )
    assert found["runs_list"] == 'SELECT 1 -- one\nFROM "my queue".runs'
    assert found.promise("runs_list") == "The newest first.\n$1: how many"
    assert found.promise("runs_count") == ""
    assert sorted(found) == ["runs_count", "runs_list", "work"]
    assert "work" in found
    assert "rest" not in found
    assert len(found) == 3


def test_an_unknown_statement_is_refused_with_the_nearest_names(tmp_path: Path) -> None:
    found = statements(tmp_path, a="-- name: runs_list\nSELECT 1")
    with pytest.raises(KeyError, match="Did you mean 'runs_list'"):
        found["run_list"]


def test_a_name_used_twice_is_refused_naming_both_files(tmp_path: Path) -> None:
    found = statements(tmp_path, a="-- name: one\nSELECT 1", b="-- name: one\nSELECT 2")
    with pytest.raises(SchemaError, match=r"'one'.*a\.sql.*b\.sql"):
        found["one"]


@pytest.mark.parametrize(
    ("text", "problem"), [("SELECT 1", "has no name"), ("-- name: one\n-- nothing", "'one' .* is empty")]
)
def test_a_file_of_statements_that_is_not_one_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(SchemaError, match=problem):
        len(statements(tmp_path, a=text))


def test_every_shipped_statement_renders_and_says_nothing_of_placeholders() -> None:
    shipped = Statements('it\'s "mine" $$')
    assert shipped.root == sql_root()
    for name, text in shipped.items():
        assert ":schema" not in text, name
        assert ":'schema" not in text, name
    for path in [*shipped.migration_files(), *shipped.engine_files()]:
        render(path.read_text(), "x")
