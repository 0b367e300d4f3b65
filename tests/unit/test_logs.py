"""What is written to the log, how it looks, and what never gets there."""

from __future__ import annotations

import io
import json
import logging
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any
from uuid import UUID

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

import openqueue
from openqueue.events import Event, Events
from openqueue.redaction import masked, masked_text
from openqueue.telemetry.logs import LINES, Choice, Logs
from openqueue.telemetry.rendering import configure_logging
from openqueue.worker.events import OutcomeUnsaved, RunFinished, RunStarted, WorkerStarted

RUN = UUID("01900000-0000-7000-8000-000000000001")
SECRET = "hunter2"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Logging as it was before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def finished(outcome: str, error: dict[str, Any] | None = None) -> RunFinished:
    stored = None if error is None else json.dumps(error)
    return RunFinished(RUN, "mail.send", "mail", 2, outcome, 0.123456, stored, 3.2)


def written(*events: Event, look: Any = "json", level: str = "info") -> str:
    stream = io.StringIO()
    configure_logging(look, level, stream)
    bus = Events()
    Logs(logging.getLevelName(level.upper())).subscribe(bus)
    for event in events:
        bus.emit(event)
    return stream.getvalue()


def kinds_of_events() -> set[type[Event]]:
    names = (module.name for module in pkgutil.walk_packages(openqueue.__path__, "openqueue."))
    modules = [import_module(name) for name in names if name.endswith(".events")]
    return {
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
    }


def test_the_name_of_the_process_is_in_every_line_where_several_write_to_one_place() -> None:
    stream = io.StringIO()
    configure_logging("json", "info", stream, process="w-2")
    Logs().write(WorkerStarted(RUN, "w-2", 3, (), 100))
    logging.getLogger("theirs").warning("said in a task")
    structlog.get_logger().info("said with structlog")
    assert [json.loads(line)["process"] for line in stream.getvalue().splitlines()] == ["w-2"] * 3
    configure_logging("console", "info", stream, process="w-2")
    logging.getLogger("theirs").warning("on a terminal")
    assert "process=w-2" in stream.getvalue().splitlines()[-1]


def test_every_event_has_its_words() -> None:
    assert kinds_of_events() == set(LINES)


def test_hidden_fields_are_fields_of_their_event() -> None:
    for kind, words in LINES.items():
        all_words = [*words.words.values(), words.otherwise] if isinstance(words, Choice) else [words]
        for one in all_words:
            assert set(one.hidden) <= set(kind.__slots__), kind


def test_a_line_of_json_has_the_event_its_fields_and_a_time_in_utc() -> None:
    line = json.loads(written(WorkerStarted(RUN, "w1", 3, ("mail",), 100)))
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "worker started",
        "level": "info",
        "logger": "openqueue",
        "worker": str(RUN),
        "name": "w1",
        "tasks": 3,
        "queues": ["mail"],
        "concurrency": 100,
    }


def test_events_below_the_level_are_neither_written_nor_asked_for() -> None:
    bus = Events()
    Logs(logging.INFO).subscribe(bus)
    assert not bus.wants(RunStarted)
    assert written(finished("completed"), RunStarted(RUN, "t", "q", 1)) == ""
    assert '"run completed"' in written(finished("completed"), level="debug")


def test_after_unsubscribing_nothing_is_written() -> None:
    bus = Events()
    Logs(logging.DEBUG).subscribe(bus)()
    assert not bus.wants(RunStarted)


@pytest.mark.parametrize(
    ("outcome", "level"), [("failed", "error"), ("retry", "warning"), ("cancelled", "info"), ("new", "info")]
)
def test_how_a_run_ended_decides_how_loudly_it_is_told(outcome: str, level: str) -> None:
    assert json.loads(written(finished(outcome)))["level"] == level


def test_a_failed_run_is_told_with_its_error_and_traceback() -> None:
    error = {"type": "ValueError", "message": "bad", "traceback": "Traceback…\nValueError: bad"}
    line = json.loads(written(finished("failed", error)))
    assert line["error"] == "ValueError: bad"
    assert line["exception"] == error["traceback"]
    text = written(finished("failed", error), look="console")
    assert "run failed" in text
    assert "error='ValueError: bad'" in text
    assert text.endswith("Traceback…\nValueError: bad\n")


def test_an_outcome_that_could_not_be_stored_is_logged_in_full() -> None:
    output = json.dumps({"rows": list(range(1000))})
    assert json.loads(written(OutcomeUnsaved(RUN, "t", "completed", output, None)))["output"] == output


@pytest.mark.parametrize("look", ["json", "console"])
def test_no_local_variable_is_shown_in_a_traceback(look: Any) -> None:
    stream = io.StringIO()
    configure_logging(look, "info", stream)
    payload = str(b"payload-of-a-customer", "ascii")
    try:
        raise ValueError(len(payload))
    except ValueError:
        logging.getLogger("app").exception("stdlib")
        structlog.get_logger("app").exception("structlog")
    assert stream.getvalue().count("ValueError") >= 2
    assert payload not in stream.getvalue()


@pytest.mark.parametrize("look", ["json", "console"])
def test_no_password_reaches_the_log(look: Any) -> None:
    stream = io.StringIO()
    configure_logging(look, "info", stream)
    url = f"postgresql://app:{SECRET}@db/app"
    log = logging.getLogger("app")
    log.info("connecting to %s", url)
    log.info("options", extra={"password": SECRET, "nested": {"api_key": SECRET, "urls": [url]}})
    structlog.get_logger("app").info("hello", dsn=SECRET, authorization=f"Bearer {SECRET}")
    try:
        raise ConnectionError(f"cannot reach {url}, password={SECRET}")
    except ConnectionError:
        log.exception("failed")
    assert "***" in stream.getvalue()
    assert SECRET not in stream.getvalue()


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgres://u:p@h/db", "postgres://u:***@h/db"),
        ("postgres://u:p@ss@h/db and more", "postgres://u:***@h/db and more"),
        ("postgres://:p@h", "postgres://:***@h"),
        ("postgres://h/db", "postgres://h/db"),
        ("http://host:80/path", "http://host:80/path"),
        ("host=h password=p dbname=d", "host=h password=*** dbname=d"),
        ("?user=u&password=p&x=1", "?user=u&password=***&x=1"),
        ("nothing here", "nothing here"),
        ("X=postgres://user:password@host:5432/database.", "X=postgres://user:password@host:5432/database."),
        ("postgres://user:password@host:5432/database_2", "postgres://user:***@host:5432/database_2"),
        ("postgres://user:password@host/db", "postgres://user:***@host/db"),
    ],
)
def test_passwords_in_text_are_masked_and_nothing_else(text: str, masked: str) -> None:
    assert masked_text(text) == masked


@given(
    st.text(st.characters(exclude_characters="@"), min_size=1).filter(
        lambda text: not any(map(str.isspace, text))
    )
)
def test_whatever_the_password_is_it_is_masked(password: str) -> None:
    assert masked_text(f"postgresql://user:{password}@host/db") == "postgresql://user:***@host/db"


def test_masking_ends_on_values_that_contain_themselves() -> None:
    value: dict[str, Any] = {"password": SECRET}
    value["self"] = value
    assert SECRET not in repr(masked(value))


def test_control_characters_do_not_reach_the_terminal() -> None:
    stream = Terminal()
    configure_logging("auto", "info", stream)
    logging.getLogger("app").info("title", extra={"name_": "x\x1b]0;owned\x07"})
    assert "\x1b]0;" not in stream.getvalue()
    assert "\\x1b]0;owned" in stream.getvalue()


def test_auto_is_console_on_a_terminal_and_json_elsewhere() -> None:
    for stream, starts in ((io.StringIO(), "{"), (Terminal(), "\x1b[")):
        configure_logging("auto", "info", stream)
        logging.getLogger("app").info("hello")
        assert stream.getvalue().startswith(starts)


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    configure_logging("auto", "info", stream)
    logging.getLogger("app").info("hello")
    assert "\x1b[" not in stream.getvalue()
    assert "hello [app]" in stream.getvalue()


def test_a_program_with_a_logging_of_its_own_gets_whole_sentences(caplog: pytest.LogCaptureFixture) -> None:
    bus = Events()
    Logs(logging.INFO).subscribe(bus)
    with caplog.at_level(logging.INFO):
        bus.emit(WorkerStarted(RUN, "w1", 3, ("mail",), 100))
    (record,) = caplog.records
    assert record.name == "openqueue"
    assert (
        record.getMessage() == f"worker started worker={RUN} name=w1 tasks=3 queues=['mail'] concurrency=100"
    )


def test_a_value_that_json_has_no_words_for_is_written_as_text() -> None:
    stream = io.StringIO()
    configure_logging("json", "info", stream)
    logging.getLogger("app").info("x", extra={"value": RUN, "half": "\ud800"})
    assert json.loads(stream.getvalue())["value"] == str(RUN)
