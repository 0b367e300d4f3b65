"""Keys that are worked out: of the arguments for `unique="args"`, by the task for `concurrency_key`."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from openqueue.codec import decode
from openqueue.errors import InvalidOption, InvalidTask, shown
from openqueue.tasks.checks import check_text

if TYPE_CHECKING:
    from openqueue.tasks.task import Task

__all__ = ["KeyWords", "canonical", "check_concurrency_key", "check_key_function", "key_of", "unique_key"]

KeyWords = str | Callable[..., str | None]
"""What `concurrency_key=` of a task may be: a text, or a function of some of its arguments."""

EXACT: Final = 2**53
"""Up to here every whole number has a float of its own."""


def unique_key(task: str, text: str) -> str:
    """The key of a run by what it is: SHA-256 (hex) of the task's name, a line end, the canonical input."""
    return hashlib.sha256(f"{task}\n{canonical(text)}".encode()).hexdigest()


def canonical(text: str) -> str:
    r"""JSON text in the one form that stands for all that mean the same.

    Names of an object by code point, no blanks, no escapes but those of JSON for `"`, `\` and control
    characters, whole numbers without a fraction (1.0 is 1), others in the shortest form that reads back.
    An argument that is left out and one that is given as its default are not the same.
    """
    whole = _whole_numbers(decode(text, what="input"))
    return json.dumps(whole, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _whole_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT:
        return int(value)
    if isinstance(value, list):
        return [_whole_numbers(one) for one in value]
    if isinstance(value, dict):
        return {name: _whole_numbers(one) for name, one in value.items()}
    return value


def check_concurrency_key(value: Any, option: str) -> KeyWords:
    """A text, or a function that is not `async def`. Raises InvalidOption."""
    if not callable(value):
        return check_text(value, option)
    if isinstance(value, type) or inspect.iscoroutinefunction(value):
        raise InvalidOption(
            f"{option}: {shown(value)} is no function that answers at once: give a text, or"
            " a `def` or lambda of some of the task's arguments that returns one.",
            option=option,
        )
    function: Callable[..., str | None] = value
    return function


def check_key_function(task: Task[..., Any]) -> None:
    """Refuse a key function that asks for what the task has not, when it is declared. Raises InvalidTask."""
    function = task.defaults.concurrency_key
    if function is None or isinstance(function, str):
        return
    known = inspect.signature(task.function).parameters
    for name, one in inspect.signature(function).parameters.items():
        if one.kind in (one.VAR_POSITIONAL, one.POSITIONAL_ONLY):
            raise InvalidTask(f"{task.name}: concurrency_key gets arguments by name: `{one}` cannot be one.")
        if one.kind is not one.VAR_KEYWORD and name not in known and one.default is one.empty:
            raise InvalidTask(
                f"{task.name}: concurrency_key asks for `{name}`, which is no argument of the task."
                f" There are: {', '.join(known) or 'none'}."
            )


def parameters(function: Callable[..., Any]) -> list[str]:
    """What a key function asks for; `*`: all there is."""
    return ["*"] if _wanted(function) is None else sorted(_wanted(function) or ())


@lru_cache(maxsize=1024)
def _wanted(function: Callable[..., Any]) -> frozenset[str] | None:
    every = inspect.signature(function).parameters
    takes_all = any(one.kind is one.VAR_KEYWORD for one in every.values())
    return None if takes_all else frozenset(every)


def key_of(task: Task[..., Any], text: str) -> str | None:
    """The concurrency key of a run with this input, as the task says; None: it has none.

    A function gets the arguments as the task would, defaults included. Raises InvalidOption for what is no
    key, and for what the function raises.
    """
    function = task.defaults.concurrency_key
    if function is None or isinstance(function, str):
        return function
    wanted = _wanted(function)
    sent = task.arguments.contract.signature.parameters
    every = {one.name: one.default for one in sent if not one.required} | task.arguments.parse(text)
    try:
        key = function(**{name: value for name, value in every.items() if wanted is None or name in wanted})
    except Exception as error:
        raise InvalidOption(
            f"concurrency_key: the function of {task.name} raised {type(error).__name__}: {error}",
            option="concurrency_key",
        ) from error
    return None if key is None else check_text(key, "concurrency_key")
