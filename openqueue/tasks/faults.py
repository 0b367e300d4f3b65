"""What pydantic finds wrong, in the words of Python's own calls."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from openqueue.errors import InvalidArguments, did_you_mean
from openqueue.tasks.signature import Signature

__all__ = ["invalid"]

_MOST_FAULTS = 5
_HINT = " (to be given the Context, annotate the parameter: `ctx: Context`)"


def invalid(signature: Signature, error: ValidationError, *, stored: bool) -> InvalidArguments:
    """Say every fault in the words of Python's own calls; `field` is the place of the first."""
    faults = error.errors(include_url=False)
    said = "; ".join(_fault(signature, one) for one in faults[:_MOST_FAULTS])
    more = f"; and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
    prefix = f"{signature.label}: the stored input does not fit" if stored else signature.label
    end = "" if (said + more).endswith("?") else "."
    return InvalidArguments(f"{prefix}: {said}{more}{end}", field=_field(faults[0]["loc"]), stored=stored)


def _fault(signature: Signature, fault: ErrorDetails) -> str:
    place = _field(fault["loc"])
    if not fault["loc"]:
        return "it must be a JSON object with the arguments by name"
    if len(fault["loc"]) == 1 and fault["type"] == "missing":
        return f"`{place}` is missing{_HINT if place in ('ctx', 'context') else ''}"
    if len(fault["loc"]) == 1 and fault["type"] == "extra_forbidden":
        return _unexpected(signature, place)
    message = fault["msg"][:1].lower() + fault["msg"][1:]
    return f"`{place}`: {message} (got {type(fault['input']).__name__})"


def _unexpected(signature: Signature, name: str) -> str:
    if name == signature.context:
        return f"`{name}` is not an argument: the worker passes the Context"
    near = did_you_mean(name, (one.name for one in signature.parameters))
    return f"there is no argument `{name}`" + (f".{near}" if near else "")


def _field(place: tuple[int | str, ...]) -> str:
    """`("items", 3, "price")` as `items[3].price`."""
    written = "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in place)
    return written.removeprefix(".")
