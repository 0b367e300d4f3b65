"""Foreign errors become ours: what happened, where, and what to do about it."""

import asyncpg
import pytest

from openqueue.db.faults import is_refused_value, mapped, sqlstate
from openqueue.errors import ConnectionFailed, InvalidOption, OpenQueueError, SchemaError

WHERE = "database 'shop' on db:5432 as user 'me'"


def server_error(state: str, message: str = "words of the server", **fields: str) -> asyncpg.PostgresError:
    codes = {"column": "c", "hint": "H"}
    found: asyncpg.PostgresError = asyncpg.PostgresError.new(
        {"S": "ERROR", "C": state, "M": message, **{codes[name]: value for name, value in fields.items()}}
    )
    return found


@pytest.mark.parametrize(
    ("state", "kind", "said"),
    [
        ("28P01", ConnectionFailed, "password was refused"),
        ("28000", ConnectionFailed, "pg_hba.conf"),
        ("3D000", ConnectionFailed, "no such database"),
        ("53300", ConnectionFailed, "no connection left"),
        ("57P03", ConnectionFailed, "Try again in a moment"),
        ("57P01", ConnectionFailed, "was ended"),
        ("57014", ConnectionFailed, "cancelled"),
        ("55P03", ConnectionFailed, "lock"),
        ("26000", ConnectionFailed, r"transaction mode.*pooler = .transaction..*listen_dsn"),
        ("42P05", ConnectionFailed, r"transaction mode.*pooler = .transaction..*listen_dsn"),
        ("25006", ConnectionFailed, "read-only"),
        ("25P02", ConnectionFailed, "Roll it back"),
        ("42501", ConnectionFailed, "right is missing"),
        ("42P01", SchemaError, "openqueue migrate"),
        ("42883", SchemaError, "openqueue migrate"),
        ("3F000", SchemaError, "openqueue migrate"),
        ("23505", OpenQueueError, r"words of the server \[23505\]"),
    ],
)
def test_what_the_server_says_becomes_an_error_with_a_remedy(
    state: str, kind: type[OpenQueueError], said: str
) -> None:
    error = mapped(server_error(state), WHERE, doing="claim", schema="my queue")
    assert type(error) is kind
    assert "claim" in str(error)
    with pytest.raises(kind, match=said):
        raise error


def test_a_full_queue_of_notifications_is_no_fault_of_a_value() -> None:
    full = server_error("54000", "zu viele Benachrichtigungen in NOTIFY-Schlange")
    error = mapped(full, WHERE)
    error.__cause__ = full
    assert isinstance(error, ConnectionFailed)
    assert "`openqueue doctor --only notify-queue`" in str(error)
    assert not is_refused_value(error)
    assert not is_refused_value(full)
    assert is_refused_value(server_error("54000", "row is too big: size 8192, maximum size 8160"))


def test_a_check_of_the_engine_becomes_an_invalid_option() -> None:
    error = mapped(server_error("22023", "delay is -1", column="delay", hint="give 0 or more"), WHERE)
    assert isinstance(error, InvalidOption)
    assert (str(error), error.option) == ("delay is -1: give 0 or more", "delay")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError(), r"No answer from .* within 10 s"),
        (ConnectionRefusedError(111, "Connection refused"), "Cannot reach .* Connection refused"),
        (FileNotFoundError(2, "No such file or directory"), "Cannot reach"),
        (asyncpg.InterfaceError("connection is closed"), "cannot be used: connection is closed"),
        (asyncpg.ClientConfigurationError("sslmode?"), "The URL of .* cannot be used"),
        (asyncpg.TargetServerAttributeNotMatched("none"), "primary"),
    ],
)
def test_what_the_driver_says_becomes_a_failed_connection(error: Exception, said: str) -> None:
    with pytest.raises(ConnectionFailed, match=said):
        raise mapped(error, WHERE, seconds=10)


def test_the_error_behind_a_closed_session_is_the_one_that_is_told() -> None:
    closed = asyncpg.InterfaceError("cannot call Transaction.__aexit__(): the connection is closed")
    closed.__context__ = server_error("57P01")
    assert "was ended" in str(mapped(closed, WHERE))


def test_our_own_errors_pass_as_they_are() -> None:
    ours = SchemaError("x")
    assert mapped(ours, WHERE) is ours
    assert sqlstate(ours) == ""
