"""Foreign errors, mapped at the border: what happened, where, and what to do about it.

A pure function of the exception. The password is never in a message: places are named by host,
database and user, and what a driver says of a URL is not repeated.
"""

from __future__ import annotations

import asyncpg

from openqueue.db.reports import Report, layers, reported, sqlstate
from openqueue.errors import ConnectionFailed, InvalidOption, OpenQueueError, SchemaError

__all__ = [
    "BEHIND_POOLER",
    "FROM_ASYNCPG",
    "is_conflict",
    "is_refused_value",
    "is_without_room",
    "mapped",
    "sqlstate",
]

BEHIND_POOLER = (
    'Set pooler = "transaction" (OPENQUEUE_POOLER), '
    "and listen_dsn (OPENQUEUE_LISTEN_DSN) to the server itself"
)
"""What to do where a pooler in transaction mode shows itself; begins a sentence."""

FROM_ASYNCPG = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What a statement raises, or the loss of its session. InternalClientError is that, too: who sends a
statement when asyncpg has read that the server ends the session, but not yet its end, is told of a state."""

_POOLED = (
    "a pooler in transaction mode is in between, and gave a prepared statement to another session",
    BEHIND_POOLER
    + ". On a connection of your own: statement_cache_size=0, or prepare_threshold=None (psycopg)",
)
_CONFLICTS = frozenset({"40P01", "40001"})
_REFUSED_VALUES = ("21", "22", "23", "54")
"""Classes of SQLSTATE: cardinality, data, integrity, program limits (too deep, too large)."""

_MISSING = {
    "3F000": "the schema is missing",
    "42P01": "a table is missing",
    "42883": "a function is missing",
    "42703": "a column is missing",
}
_ENDED = ("57P01", "57P02", "57P05", "25P03", "08000", "08003", "08006", "08001", "08P01")
_REFUSED = {
    "28P01": ("the password was refused", "Check the password in the database URL, or ~/.pgpass"),
    "28000": ("the server refuses this user", "Check the user, and pg_hba.conf on the server"),
    "3D000": ("there is no such database", "Create it (createdb), or correct the name in the URL"),
    "53300": (
        "the server has no connection left",
        "Raise max_connections, lower pool_size, or put PgBouncer in front",
    ),
    "57P03": ("the server is starting up, shutting down or recovering", "Try again in a moment"),
    "25006": (
        "it is read-only (a standby, or default_transaction_read_only)",
        "Give the URL of the primary; with several hosts add target_session_attrs=read-write",
    ),
    "57014": (
        "the server cancelled the statement",
        "Look for locks and load, or for a statement_timeout set on the role or the database",
    ),
    "55P03": ("a lock was not to be had in time", "See which transaction holds it (pg_locks), and try again"),
    "26000": _POOLED,
    "42P05": _POOLED,
    "53100": ("its disk is full", "Make room on the server"),
    "53200": ("the server is out of memory", "Give the server more memory, or lower its settings"),
    "55000": ("it is not in a state for this", "See the server's log"),
}


def is_conflict(error: BaseException) -> bool:
    """Whether the statement lost against others (deadlock, serialization) and may simply be repeated."""
    return sqlstate(error) in _CONFLICTS


def is_without_room(error: BaseException) -> bool:
    """Whether the server's queue of notifications is full, so that what notifies fails at its commit."""
    report = reported(error)
    return report is not None and report.lacks_room_to_notify


def is_refused_value(error: BaseException) -> bool:
    """Whether a value in the statement is at fault, so that to send the same again is of no use.

    Given the error as it was mapped, or as the driver raised it.
    """
    first = error.__cause__ if isinstance(error, OpenQueueError) and error.__cause__ else error
    if is_without_room(first):
        return False
    return sqlstate(first)[:2] in _REFUSED_VALUES or isinstance(first, asyncpg.DataError | ValueError)


def mapped(
    error: Exception, where: str, *, doing: str = "", seconds: float | None = None, schema: str = "openqueue"
) -> OpenQueueError:
    """The error of openqueue that says what `error` means.

    `where` is the database as messages name it, `doing` the statement's name, `seconds` the time limit
    that was set. Raise it `from error`.
    """
    if isinstance(error, OpenQueueError):
        return error
    during = f" during {doing}" if doing else ""
    error = _first(error)
    if isinstance(error, TimeoutError):
        return _timed_out(where, during, seconds)
    if report := reported(error):
        return _from_server(report, where, during, schema)
    if isinstance(error, FROM_ASYNCPG):
        return _from_client(error, where, during)
    return _from_driver(list(layers(error))[-1], where, during)


def _first(error: Exception) -> Exception:
    """What ended the session, where leaving a transaction then only says that the session has ended."""
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error.__context__, asyncpg.PostgresError):
        return error.__context__
    return error


def _timed_out(where: str, during: str, seconds: float | None) -> ConnectionFailed:
    limit = f" within {seconds:g} s" if seconds else " in time"
    return ConnectionFailed(
        f"No answer from {where}{limit}{during}. The statement may still have been carried out. "
        "Look for locks and load on the server, or for a firewall in between."
    )


def _from_server(report: Report, where: str, during: str, schema: str) -> OpenQueueError:
    state = report.state
    if state in _MISSING:
        return SchemaError(
            f"Schema {schema!r} in {where} does not fit this openqueue{during}: {report.text}. "
            "Run: openqueue migrate. It brings the schema up to date, unless that is newer than this "
            "openqueue: then upgrade openqueue here."
        )
    if state == "22023" and report.column:
        return InvalidOption(report.sentence, option=report.column)
    if state == "25P02":
        return ConnectionFailed(
            f"The transaction on this connection has already failed{during}: an earlier statement in it "
            "raised an error. Roll it back and begin again."
        )
    return _refused(report, where, during)


def _refused(report: Report, where: str, during: str) -> OpenQueueError:
    state = report.state
    if report.lacks_room_to_notify:
        return ConnectionFailed(
            f"Cannot use {where}{during}: the server's queue of notifications is full ({report.text})."
            " `openqueue doctor --only notify-queue` says which sessions may keep it so."
        )
    if state == "08P01" and "startup parameter" in report.text:
        return ConnectionFailed(
            f"Cannot use {where}{during}: a pooler is in between and refuses what the URL or the environment "
            f"asks for ({report.text}). Take that parameter out and set it on the server "
            "(ALTER ROLE … SET), or name it in PgBouncer's ignore_startup_parameters. "
            f"{BEHIND_POOLER}."
        )
    if state in _REFUSED:
        what, remedy = _REFUSED[state]
        said = report.text.partition("\n")[0] if _REFUSED[state] is _POOLED else report.text
        return ConnectionFailed(f"Cannot use {where}{during}: {what} ({said}). {remedy}.")
    if state == "42501":
        return ConnectionFailed(
            f"A right is missing in {where}{during}: {report.text}. "
            "Run it as the schema's owner, or have the right granted."
        )
    if state in _ENDED:
        return ConnectionFailed(f"The connection to {where} was ended{during}: {report.text}. Try again.")
    return OpenQueueError(f"PostgreSQL refused a statement{during} in {where}: {report.sentence} [{state}]")


def _from_driver(error: BaseException, where: str, during: str) -> OpenQueueError:
    """What a driver says of itself; the names are those of PEP 249, which they share."""
    said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    if type(error).__name__ in ("OperationalError", "InterfaceError"):
        return ConnectionFailed(f"The connection to {where} cannot be used{during}: {said}.")
    return OpenQueueError(f"A statement could not be sent to {where}{during}: {said}")


def _from_client(error: Exception, where: str, during: str) -> OpenQueueError:
    if isinstance(error, asyncpg.ClientConfigurationError):
        return ConnectionFailed(f"The URL of {where} cannot be used: {error}.")
    if isinstance(error, OSError):
        return ConnectionFailed(
            f"Cannot reach {where}{during}: {_reason(error)}. "
            "Is PostgreSQL running there, and are host and port right? Of several hosts one must take writes."
        )
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return ConnectionFailed(
            f"No server of {where} takes writes ({error}). Check that one of the hosts is the primary."
        )
    if isinstance(error, ValueError):
        return OpenQueueError(f"A value cannot be sent to PostgreSQL{during}: {error}")
    return ConnectionFailed(f"The connection to {where} cannot be used{during}: {error}.")


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
