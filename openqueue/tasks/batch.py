"""`batch=` of a task: one call for many runs.

The function takes a list and answers with one outcome each, in order. Whoever enqueues gives one item, under
the name of the parameter, which to them is what one element of the list is. `worker.gathering` gathers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, Union, get_args, get_origin

from openqueue.durations import Duration, parse_duration
from openqueue.errors import InvalidOption, InvalidTask, shown
from openqueue.tasks.checks import check_whole

if TYPE_CHECKING:
    from openqueue.tasks.signature import Parameter, Signature

__all__ = ["LARGEST_BATCH", "LONGEST_WAIT", "Batch", "check_batch", "of_one"]

LARGEST_BATCH: Final = 1_000
"""Runs in one call."""

LONGEST_WAIT: Final = timedelta(minutes=1)
"""What waits is held by one worker. To gather for longer: a delay, and `key_mode="merge"`."""

_LISTS: Final = (list, Sequence, Collection, Iterable)


@dataclass(frozen=True, slots=True, init=False)
class Batch:
    """Gather up to `size` runs to one call; the first of them waits at most `wait` for company.

    Raises InvalidOption for a size that is not 1 … 1,000, and a wait that is not 0 … 1 minute.
    """

    size: int
    wait: timedelta

    def __init__(self, size: int, wait: Duration = "100ms") -> None:
        wait = parse_duration(wait, field="wait")
        if wait > LONGEST_WAIT:
            raise InvalidOption(
                f"wait: {wait} is too long: at most {LONGEST_WAIT}, as one worker holds what waits."
                ' To gather for longer, enqueue with delay= and key_mode="merge".',
                option="wait",
            )
        object.__setattr__(self, "size", check_whole(1, LARGEST_BATCH)(size, "size"))
        object.__setattr__(self, "wait", wait)

    def describe(self) -> dict[str, Any]:
        """As JSON, for the catalogue; the wait in seconds."""
        return {"size": self.size, "wait": self.wait.total_seconds()}


def check_batch(value: Any, option: str) -> Batch:
    """A Batch, and nothing that is merely like it. Raises InvalidOption."""
    if not isinstance(value, Batch):
        raise InvalidOption(f'{option}: {shown(value)} is no Batch(size=100, wait="200ms").', option=option)
    return value


def of_one(signature: Signature) -> Signature:
    """The signature as whoever enqueues one item sees it.

    Raises InvalidTask for a function that does not take one list, or does not answer with one (or None).
    """
    name = signature.label
    if len(signature.parameters) != 1:
        named = ", ".join(one.name for one in signature.parameters) or "none"
        raise InvalidTask(
            f"{name}: a task with batch= has one parameter, a list of items (and a Context), and not {named}."
            " Put what belongs to an item into a model."
        )
    (parameter,) = signature.parameters
    if not parameter.required:
        raise InvalidTask(f"{name}: `{parameter.name}` cannot have a default: each run gives an item.")
    item = replace(parameter, annotation=_item(name, parameter))
    return replace(signature, parameters=(item,), returns=_answer(name, signature.returns))


def _item(name: str, parameter: Parameter) -> Any:
    annotation = parameter.annotation
    if annotation is Any or annotation in _LISTS:
        return Any
    if get_origin(annotation) in _LISTS:
        return get_args(annotation)[0]
    raise InvalidTask(
        f"{name}: `{parameter.name}` is annotated {_shown(annotation)}, and a task with batch= gets a list of"
        f" items: write `{parameter.name}: list[{_shown(annotation)}]`."
    )


def _answer(name: str, returns: Any) -> Any:
    """What one item's result is: an element without the exceptions that may stand in its place."""
    if returns is Any or returns in (None, NoneType) or returns in (*_LISTS, tuple):
        return NoneType if returns in (None, NoneType) else Any
    elements = get_args(returns)
    if get_origin(returns) is tuple and elements[1:] != (...,):
        elements = ()
    if get_origin(returns) not in (*_LISTS, tuple) or not elements:
        raise InvalidTask(
            f"{name}: a task with batch= returns a list, one result for each item in the same order, or None"
            f" if there is nothing to say; it is annotated {_shown(returns)}."
        )
    of = elements[0]
    kinds = get_args(of) if get_origin(of) in (Union, UnionType) else (of,)
    results = [kind for kind in kinds if not (isinstance(kind, type) and issubclass(kind, BaseException))]
    return Union[tuple(results)] if results else Any  # noqa: UP007  made from a tuple


def _shown(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
