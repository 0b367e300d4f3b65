"""Exit codes, all in one table, and which error ends in which."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final

from openqueue import errors

__all__ = ["EXITS", "Exit", "exit_code"]


@dataclass(frozen=True, slots=True)
class Exit:
    """A way for a command to end; `errors` are those of `openqueue.errors` that end so."""

    code: int
    name: str
    meaning: str
    errors: tuple[type[Exception], ...] = ()


OK: Final = 0
FAILED: Final = 1
INTERRUPTED: Final = 130

EXITS: Final = (
    Exit(OK, "ok", "done"),
    Exit(
        FAILED,
        "failed",
        "it could not be done: the run failed, there is no such run, it is not in a state for this",
        (errors.RunFailed, errors.RunNotFound, errors.UnexpectedState, errors.OpenQueueError),
    ),
    Exit(
        2,
        "usage",
        "the command line is wrong: an unknown flag, an argument or an option that was refused",
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
    Exit(5, "schema", "the schema is missing, too old or changed: openqueue migrate", (errors.SchemaError,)),
    Exit(6, "cancelled", "the run that was waited for was cancelled", (errors.RunCancelled,)),
    Exit(7, "expired", "the run that was waited for was not started by its deadline", (errors.RunExpired,)),
    Exit(8, "timeout", "the run that was waited for goes on: --timeout is over", (TimeoutError,)),
    Exit(INTERRUPTED, "interrupted", "Ctrl-C, or a second signal to a worker"),
)


def exit_code(error: BaseException) -> int:
    """The code for an error: that of the row which names its class, the nearest base first."""
    for kind in type(error).__mro__:
        for one in EXITS:
            if kind in one.errors:
                return one.code
    return FAILED


def say(message: str) -> None:
    """Tell a person something that is not the result: on standard error."""
    print(message, file=sys.stderr, flush=True)
