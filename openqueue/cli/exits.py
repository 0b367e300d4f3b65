"""Exit codes, all in one table, and which error ends in which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from openqueue import errors

__all__ = ["CRITICAL", "EXITS", "FAILED", "INTERRUPTED", "SCHEMA", "USAGE", "WARNING", "Exit", "exit_code"]

FAILED: Final = 1
USAGE: Final = 2
SCHEMA: Final = 5
WARNING: Final = 9
CRITICAL: Final = 10
INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class Exit:
    """A way for a command to end; `errors` are those that end so, with all below them."""

    code: int
    name: str
    meaning: str
    errors: tuple[type[Exception], ...] = ()


EXITS: Final = (
    Exit(0, "ok", "done"),
    Exit(FAILED, "failed", "not done: the run failed, or there is none, or its state does not allow it"),
    Exit(
        USAGE,
        "usage",
        "the command line is wrong: a flag is unknown, or a value was refused",
        (
            errors.InvalidOption,
            errors.InvalidArguments,
            errors.NotSerializable,
            errors.TooLarge,
            errors.UnknownTask,
        ),
    ),
    Exit(
        3,
        "configuration",
        "a setting, a settings file or a task module cannot be used",
        (errors.ConfigError, errors.InvalidTask),
    ),
    Exit(4, "database", "PostgreSQL cannot be reached, or refuses us", (errors.ConnectionFailed,)),
    Exit(SCHEMA, "schema", "the schema is missing, too old or was changed", (errors.SchemaError,)),
    Exit(6, "cancelled", "the run that was waited for was cancelled", (errors.RunCancelled,)),
    Exit(7, "expired", "the run that was waited for was not started by its deadline", (errors.RunExpired,)),
    Exit(8, "timeout", "the run that was waited for has not ended in time, and goes on", (TimeoutError,)),
    Exit(WARNING, "warning", "`doctor` found something that will hurt, or hurts a little"),
    Exit(CRITICAL, "critical", "`doctor` found that work stands still, or can be lost"),
    Exit(INTERRUPTED, "interrupted", "Ctrl-C, or a second signal to a worker"),
)


def exit_code(error: BaseException) -> int:
    """The code for an error: that of the row with its class or the nearest base of it; else 1."""
    found = (one.code for kind in type(error).__mro__ for one in EXITS if kind in one.errors)
    return next(found, FAILED)
