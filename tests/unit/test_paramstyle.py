"""Statements in the style of psycopg's family: the same statement, whatever stands in its literals."""

from __future__ import annotations

import psycopg
import pytest

from openqueue.db.drivers.paramstyle import named, pyformat
from openqueue.db.statements import Statements


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("SELECT $1", "SELECT %(p1)s"),
        ("f($1::text, $10::uuid[], $1)", "f(%(p1)s::text, %(p10)s::uuid[], %(p1)s)"),
        ("a % b LIKE '10%$1'", "a %% b LIKE '10%%$1'"),
        ("\"$1%\" = E'\\'$1' -- $1 %\n", "\"$1%%\" = E'\\'$1' -- $1 %%\n"),
        ("/* $1 /* % */ */ $2", "/* $1 /* %% */ */ %(p2)s"),
        ("$$ $1 % $$ || $x$ $2 $x$ || $1", "$$ $1 %% $$ || $x$ $2 $x$ || %(p1)s"),
        ("a$1 + :p1 + %(p1)s", "a$1 + :p1 + %%(p1)s"),
    ],
)
def test_parameters_are_renamed_and_nothing_else_changes(ours: str, theirs: str) -> None:
    assert pyformat(ours) == theirs


def test_a_text_is_translated_once() -> None:
    text = "SELECT $1, 'once'"
    assert pyformat(text) is pyformat("".join(text))


def test_the_arguments_have_the_names_of_their_places() -> None:
    assert named(("a", None)) == {"p1": "a", "p2": None}


def test_the_server_reads_in_them_what_was_meant(empty_dsn: str) -> None:
    text = "SELECT '%', $2::int % 5, $1::text || $11, 'it''s $1', $$ $2 % $$, E'\\'$1'::text"
    values = ("one", 7, *[None] * 8, "eleven")
    with psycopg.connect(empty_dsn) as connection:
        row = connection.execute(pyformat(text).encode(), named(values)).fetchone()
    assert row == ("%", 2, "oneeleven", "it's $1", " $2 % ", "'$1")


@pytest.mark.parametrize("name", list(Statements()))
def test_every_named_statement_keeps_its_parameters(name: str) -> None:
    text = Statements()[name]
    made = pyformat(text)
    back = made.replace("%%", "%")
    for number in range(99, 0, -1):
        back = back.replace(f"%(p{number})s", f"${number}")
    assert back == text
