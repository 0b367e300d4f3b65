"""How the command line reads and prints values; and what fits a narrow terminal."""

from __future__ import annotations

import io
import json
import re
import time
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from openqueue.cli.options import examples
from openqueue.cli.output import (
    Column,
    JsonArray,
    Table,
    console,
    error_line,
    fit,
    plain,
    show_json,
    show_table,
    took,
)
from openqueue.cli.tasks import arguments, kind, told_once
from openqueue.cli.values import read_meta, read_moment, read_words
from openqueue.errors import InvalidOption

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)

COLUMNS: tuple[Column[str], ...] = (
    Column("ID", lambda _: "x" * 36),
    Column("STATUS", lambda _: "completed", rank=1),
    Column("TASK", lambda row: row, least=10, rank=2),
    Column("ENQUEUED", lambda _: "2026-01-02 12:00:00", rank=3),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def widths(room: int, task: int = 20) -> dict[str, int]:
    return fit({"ID": 36, "STATUS": 9, "TASK": task, "ENQUEUED": 19}, COLUMNS, room)


def test_a_wide_terminal_has_every_column_whole() -> None:
    assert widths(200) == {"ID": 36, "STATUS": 9, "TASK": 20, "ENQUEUED": 19}


def test_a_narrow_one_leaves_out_what_matters_least_and_never_cuts_an_id() -> None:
    assert widths(60) == {"ID": 36, "STATUS": 9, "TASK": 11}
    assert widths(50) == {"ID": 36, "STATUS": 9}
    assert widths(10) == {"ID": 36}


@given(st.integers(36, 300), st.integers(1, 300))
def test_a_table_is_never_wider_than_the_terminal(room: int, task: int) -> None:
    found = widths(room, task)
    assert sum(found.values()) + 2 * (len(found) - 1) <= room


def test_a_table_of_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    show_table([], COLUMNS, empty="There is nothing.")
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "There is nothing.\n")


def test_a_cell_with_markup_and_wide_characters_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    columns: tuple[Column[str], ...] = (Column("A", lambda row: row), Column("B", lambda _: "b"))
    show_table(["[bold]日本[/]", "line\nbreak"], columns, empty="")
    assert capsys.readouterr().out == "A              B\n[bold]日本[/]  b\nline\\nbreak    b\n"


@pytest.mark.parametrize("columns", [20, 40, 60, 120])
def test_rows_fit_every_terminal_and_keep_what_matters_most(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    show_table(["日本語のタスク", "short"], COLUMNS, empty="")
    lines = re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue()).splitlines()
    assert max(map(cell_len, lines)) <= columns
    assert sum("completed" in line for line in lines) == 2
    assert [line for line in lines if "x" * min(36, columns - 1) in line]
    assert (lines[0].split()[0] == "ID") == (columns >= 60)


def test_below_an_id_a_figure_is_whole_or_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    columns: tuple[Column[str], ...] = (
        Column("ID", lambda _: "x" * 36),
        Column("STATUS", lambda _: "completed", rank=1),
        Column("TASK", lambda row: row, least=10, rank=2),
        Column("TOOK", lambda _: "1234.5ms", rank=3),
    )
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    show_table(["mail.send", "mail.send_to_everybody"], columns, empty="")
    lines = re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue()).splitlines()
    assert lines[1::2] == ["  completed  mail.send", "  completed  mail.send_to_eve…"]


def test_pages_of_a_table_are_printed_as_they_come_and_nothing_is_cut_without_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    columns: tuple[Column[str], ...] = (Column("A", lambda row: row, least=1), Column("B", lambda _: "b"))
    table = Table(columns)
    table.add(["1"])
    assert capsys.readouterr().out == "A  B\n1  b\n"
    table.add(["a" * 200, "2"])
    assert capsys.readouterr().out.splitlines() == ["a" * 200 + "  b", "2" + " " * 201 + "b"]
    table.add([])
    assert (capsys.readouterr().out, table.rows) == ("", 3)


@given(st.lists(st.lists(st.integers() | st.dictionaries(st.text(), st.integers()))))
def test_an_array_that_is_printed_page_by_page_is_the_same_as_one_printed_whole(pages: list[Any]) -> None:
    def printed(act: Any) -> str:
        with redirect_stdout(io.StringIO()) as out:
            act()
        return out.getvalue()

    def page_by_page() -> None:
        array = JsonArray()
        for page in pages:
            array.add(page)
        array.end()

    whole = [value for page in pages for value in page]
    assert printed(page_by_page) == printed(lambda: show_json(whole))


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_can_be_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    terminal = Terminal()
    console(terminal).print("x", style="red")
    assert "\x1b[" in terminal.getvalue()
    monkeypatch.setenv(name, value)
    terminal = Terminal()
    console(terminal).print("x", style="red")
    assert terminal.getvalue() == "x\n"


def test_json_has_times_with_offsets_and_ids_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"at": NOON, "id": UUID(int=7), "for": timedelta(minutes=1), "tags": ("a",), "deep": {1: [None]}}
    show_json(value)
    assert json.loads(capsys.readouterr().out) == {
        "at": "2026-01-02T12:00:00+00:00",
        "id": "00000000-0000-0000-0000-000000000007",
        "for": 60.0,
        "tags": ["a"],
        "deep": {"1": [None]},
    }


@given(
    st.recursive(
        st.none() | st.booleans() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_is_json_already_stays_as_it_is(value: Any) -> None:
    assert plain(value) == value


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("a=42", 42),
        ("a=true", True),
        ("a=null", None),
        ('a="42"', "42"),
        ("a=forty two", "forty two"),
        ("a=", ""),
        ("a=b=c", "b=c"),
        ('a={"b": [1]}', {"b": [1]}),
        ("a=042", "042"),
        ("a=NaN", "NaN"),
        ("a=-Infinity", "-Infinity"),
    ],
)
def test_the_value_of_a_pair_is_json_or_else_text(pair: str, value: object) -> None:
    assert read_meta([pair]) == {"a": value}


@pytest.mark.parametrize("pair", ["a", "=1", ""])
def test_a_pair_without_a_key_or_an_equals_sign_is_refused(pair: str) -> None:
    with pytest.raises(InvalidOption, match="is not key=value, such as tenant=42") as caught:
        read_meta([pair])
    assert caught.value.option == "--meta"


def test_a_moment_may_be_a_time_with_a_zone() -> None:
    assert read_moment("2026-01-02T12:00:00Z", "--since") == NOON
    assert read_moment("2026-01-02 14:00+02:00", "--since") == NOON


def test_a_moment_without_a_zone_is_local() -> None:
    assert read_moment("2026-01-02", "--since") == datetime(2026, 1, 2).astimezone()


def test_a_moment_may_be_how_long_ago() -> None:
    ago = datetime.now(UTC) - timedelta(minutes=90)
    assert ago <= read_moment("1h30m", "--since") < ago + timedelta(minutes=1)


def test_what_is_no_moment_is_refused_with_examples() -> None:
    with pytest.raises(InvalidOption, match=r"--since: 'soon' is neither a time nor a duration\. Write '1h'"):
        read_moment("soon", "--since")


def test_a_time_at_the_end_of_all_times_is_refused_where_the_zone_carries_it_beyond(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for zone, text in (("Asia/Tokyo", "0001-01-01"), ("America/New_York", "9999-12-31T23:00")):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        try:
            with pytest.raises(InvalidOption, match=r"--since: '.*' is too far away"):
                read_moment(text, "--since")
        finally:
            monkeypatch.undo()
            time.tzset()


def test_meta_that_cannot_hold_is_refused_not_half_looked_for() -> None:
    assert read_meta(["a=1", "b=x", "a=1"]) == {"a": 1, "b": "x"}
    with pytest.raises(InvalidOption, match="--meta: 'a' is given twice, with two values"):
        read_meta(["a=1", "a=2"])


def test_words_may_come_in_one_option_or_in_several() -> None:
    assert read_words(["a,b", "c ", ",", ""]) == ("a", "b", "c")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.000142, "142µs"),
        (0.0204, "20ms"),
        (1.23456, "1.235s"),
        (12.3456, "12.3s"),
        (75, "1m15s"),
        (3700.7, "1h1m41s"),
        (-1, "0s"),
    ],
)
def test_how_long_something_took_is_told_in_few_figures(seconds: float, text: str) -> None:
    assert took(NOON, NOON + timedelta(seconds=seconds)) == text


def test_what_has_not_ended_has_no_length() -> None:
    assert took(NOON, None) == took(None, NOON) == "-"


def test_an_error_without_a_message_is_its_type() -> None:
    assert error_line({"type": "ValueError", "message": "bad"}) == "ValueError: bad"
    assert error_line({"type": "CancelledError", "message": ""}) == "CancelledError"
    assert error_line(None) == ""


def test_a_schema_is_told_as_a_signature() -> None:
    schema = {
        "properties": {
            "to": {"type": "string"},
            "at": {"type": "string", "format": "date-time"},
            "retries": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
            "items": {"type": "array", "items": {"$ref": "#/$defs/Item"}, "default": []},
            "what": {},
        },
        "required": ["to", "at", "what"],
    }
    assert arguments(schema) == (
        "to: string, at: date-time, retries: integer | null = null, items: Item[] = [], what: any"
    )
    assert kind({"type": "array"}) == "any[]"


def test_examples_may_contain_brackets() -> None:
    assert "jq '.\\[].id'" in examples("jq '.[].id'")


def test_a_task_is_listed_as_it_was_published_last_and_twice_only_where_workers_differ() -> None:
    said: dict[str, Any] = {"task": "mail.send", "queue": "mail", "priority": 0, "max_attempts": 25}
    said |= {"description": "", "options": {"rate": None}, "input_schema": {"properties": {}}}
    old = {**said, "pool": "a", "version": "1", "seen_at": datetime(2026, 11, 21, tzinfo=UTC)}
    new = {**said, "pool": "b", "version": "2", "seen_at": datetime(2026, 11, 22, tzinfo=UTC)}
    other = {**new, "pool": "c", "queue": "letters"}
    first = {**new, "task": "archive.file"}
    assert told_once([new, old]) == told_once([old, new]) == [new]
    assert told_once([other, old, new, first]) in ([first, new, other], [first, other, new])
