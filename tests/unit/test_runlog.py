"""The log of a run: bounded, always storable, never in the task's way."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqueue.codec import encode
from openqueue.tasks.runlog import FULL, LONGEST_LINE, MOST_LINES, Lines, RunLog


def new_log() -> tuple[RunLog, list[tuple[str, str, dict[str, Any]]]]:
    lines: list[tuple[str, str, dict[str, Any]]] = []
    return RunLog(lambda *line: lines.append(line)), lines


def test_each_level_is_a_method_and_fields_are_keywords() -> None:
    log, lines = new_log()
    for level in ("debug", "info", "warning", "error", "critical"):
        getattr(log, level)("hello", to="a@b.c")
    assert [line[0] for line in lines] == ["debug", "info", "warning", "error", "critical"]
    assert {line[1:][0] for line in lines} == {"hello"}
    assert lines[0][2] == {"to": "a@b.c"}


def test_bound_fields_are_on_each_line_and_the_line_s_own_win() -> None:
    log, lines = new_log()
    bound = log.bind(tenant=1, user=2)
    bound.info("a", user=3)
    log.info("b")
    assert [line[2] for line in lines] == [{"tenant": 1, "user": 3}, {}]


def test_places_in_the_message_are_filled_and_a_misfit_is_shown() -> None:
    log, lines = new_log()
    log.info("sent %d of %s", 1, "two")
    log.info("sent %d", "x")
    assert lines[0][1] == "sent 1 of two"
    assert lines[1][1] == "sent %d ('x',)"


def test_an_exception_brings_its_traceback() -> None:
    log, lines = new_log()
    try:
        raise KeyError("missing")
    except KeyError as error:
        log.exception("failed")
        kept = error
    log.error("later", exc_info=kept)
    log.info("none", exc_info=True)  # noqa: LOG014
    assert "KeyError: 'missing'" in lines[0][2]["exception"]
    assert "KeyError: 'missing'" in lines[1][2]["exception"]
    assert lines[2][2] == {}


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "value", [object(), float("nan"), {"deep": [2**70]}, "nul \0", "\ud800", Unprintable(), {1, 2}]
)
def test_fields_that_json_has_no_words_for_are_kept_in_another_form(value: Any) -> None:
    log, lines = new_log()
    log.info("x", value=value)
    assert encode(lines[0][2])
    assert "value" in lines[0][2]


@given(
    st.text(st.characters()), st.dictionaries(st.text(), st.text(st.characters(), max_size=3000), max_size=5)
)
def test_a_line_can_always_be_stored_and_is_never_longer_than_allowed(message: Any, fields: Any) -> None:
    fields.pop("exc_info", None)
    log, lines = new_log()
    log.bind(**fields).info(message * 1000)
    _, text, kept = lines[0]
    assert "\0" not in text
    assert len(text.encode()) + len(encode(kept).encode()) <= LONGEST_LINE + 64


def test_fields_that_do_not_fit_are_dropped_and_it_is_said() -> None:
    log, lines = new_log()
    log.info("x", small=1, large="y" * LONGEST_LINE)
    assert lines[0][2] == {"small": 1, "truncated": True}


def test_after_a_thousand_lines_one_more_says_that_the_rest_is_dropped() -> None:
    log, lines = new_log()
    bound = log.bind(a=1)
    for number in range(MOST_LINES):
        (log if number % 2 else bound).info("line")
    assert len(lines) == MOST_LINES
    log.info("too many")
    said = "the log is full: lines after the 1,000th are dropped"
    assert lines[MOST_LINES:] == [("warning", said, {"dropped": 1})]


def test_how_many_are_dropped_is_said_anew_at_powers_of_ten_and_at_the_end() -> None:
    lines: list[tuple[str, dict[str, Any]]] = []
    bound = Lines(lambda level, _, fields: lines.append((level, fields)))
    assert [bound.admit() for _ in range(MOST_LINES + 1)].count(True) == MOST_LINES
    bound.close()
    assert lines == [("warning", {"dropped": 1})]
    bound = Lines(lambda level, _, fields: lines.append((level, fields)))
    for _ in range(MOST_LINES + 123):
        bound.admit()
    bound.close()
    assert lines[2:] == [(FULL, {"dropped": dropped}) for dropped in (10, 100, 123)]


def test_a_log_that_is_not_full_says_nothing_at_its_end() -> None:
    lines: list[object] = []
    bound = Lines(lambda *line: lines.append(line))
    for _ in range(MOST_LINES):
        bound.admit()
    bound.close()
    assert lines == []


def test_secrets_are_masked_in_whatever_form_a_field_is() -> None:
    @dataclass
    class Account:
        password: str
        url: str

    class Address:
        def __repr__(self) -> str:
            return "Address('postgresql://u:hunter2@db')"

    log, lines = new_log()
    log.info("connect", account=Account("hunter2", "redis://:hunter2@r"), to=Address(), by={"a", "b"})
    assert lines[0][2]["account"] == {"password": "***", "url": "redis://:***@r"}
    assert lines[0][2]["to"] == "Address('postgresql://u:***@db')"
    assert sorted(lines[0][2]["by"]) == ["a", "b"]


def test_a_message_that_cannot_be_shown_is_a_line_too() -> None:
    class Wicked:
        def __str__(self) -> str:
            raise RuntimeError("no")

        __repr__ = __str__

    log, lines = new_log()
    log.info(Wicked())  # type: ignore[arg-type]
    log.info("%s", Wicked())
    assert [line[1][-7:] for line in lines] == ["Wicked>", "<tuple>"]


def test_threads_share_the_bound() -> None:
    log, lines = new_log()

    def say() -> None:
        for _ in range(500):
            log.info("x")

    threads = [threading.Thread(target=say) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([line for line in lines if line[1] == "x"]) == MOST_LINES
    assert len([line for line in lines if line[0] == "warning"]) == 1
