"""Reading a task's function: which parameters are sent, which one is the Context, what comes back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Never, NoReturn, Union, get_args, get_origin, get_type_hints

from openqueue.errors import InvalidTask
from openqueue.tasks.context import Context

__all__ = ["Parameter", "Signature", "check_shape", "label", "read"]

_KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: "is positional only, and arguments are sent by name: remove the '/'",
    inspect.Parameter.VAR_POSITIONAL: "takes any number of arguments: name each one, or take a list",
    inspect.Parameter.VAR_KEYWORD: "takes any keyword: name each one, or take a dict",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument that is sent: its name, its resolved annotation (Any without one), its default."""

    name: str
    annotation: Any
    default: Any
    by_position: bool

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Signature:
    """A task's function as its callers see it: without the Context."""

    label: str
    parameters: tuple[Parameter, ...]
    context: str | None
    returns: Any


def label(function: Callable[..., Any]) -> str:
    """The function's name as errors show it."""
    return getattr(function, "__qualname__", repr(function)).rpartition("<locals>.")[2]


def check_shape(function: Any) -> None:
    """Refuse, as InvalidTask, what cannot become a task whatever its annotations say."""
    if not (inspect.isfunction(function) or hasattr(function, "__wrapped__")):
        remedy = "Wrap it in a `def` or an `async def`."
        if isinstance(function, str):
            remedy = f"Options go by name, such as @task(queue={function!r})."
        raise InvalidTask(f"@task: {function!r} is not a function. {remedy}")
    if label(function) == "<lambda>":
        raise InvalidTask("@task: a lambda has no name that a worker could find it by. Write a `def`.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise InvalidTask(f"{label(function)} yields: a task returns one value. Return a list instead.")
    for position, one in enumerate(inspect.signature(function).parameters.values()):
        if one.kind in _KINDS:
            raise InvalidTask(f"{label(function)}: the parameter `{one}` {_KINDS[one.kind]}.")
        if position == 0 and one.name in ("self", "cls") and one.annotation is one.empty:
            raise InvalidTask(
                f"{label(function)} is a method. Move it out of its class: a task is a function."
                " One that wants its run has a parameter `ctx: Context`."
            )


def read(function: Callable[..., Any], local: Mapping[str, Any] | None = None) -> Signature:
    """Resolve the annotations; `local` has the names around a function that is defined in another one.

    Raises InvalidTask for an annotation that means nothing at run time, and for two Contexts.
    """
    hints = _hints(function, dict(local or {}))
    every = inspect.signature(function).parameters
    contexts = [name for name in every if _is_context(hints.get(name))]
    if len(contexts) > 1:
        raise InvalidTask(f"{label(function)} has {len(contexts)} parameters annotated Context: keep one.")
    parameters = tuple(
        Parameter(name, hints.get(name, Any), one.default, one.kind is one.POSITIONAL_OR_KEYWORD)
        for name, one in every.items()
        if name not in contexts
    )
    returns = hints.get("return", Any)
    returns = Any if returns in (NoReturn, Never) else returns
    return Signature(label(function), parameters, next(iter(contexts), None), returns)


def _hints(function: Callable[..., Any], local: dict[str, Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function, localns=local or None, include_extras=True)
    except NameError as error:
        if error.name == "Context" and "Context" not in local:  # imported for the type checker only
            return _hints(function, {**local, "Context": Context})
        raise InvalidTask(
            f"{label(function)}: the annotation {error.name!r} is unknown when the program runs."
            " Import it outside `if TYPE_CHECKING:`, or define it at the top level of the module."
        ) from None
    except Exception as error:  # whatever an annotation does when it is evaluated
        raise InvalidTask(
            f"{label(function)}: an annotation cannot be understood: {type(error).__name__}: {error}."
        ) from error


def _is_context(hint: Any) -> bool:
    """Whether a parameter of this annotation is injected: Context, or a union or Annotated with it."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _is_context(get_args(hint)[0])
    if origin is Union or origin is UnionType:
        return any(_is_context(one) for one in get_args(hint))
    return isinstance(hint, type) and issubclass(hint, Context)
