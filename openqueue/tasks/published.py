"""Arguments against the JSON schema that a task's workers have published, where the code is not at hand.

What the task itself would surely refuse is refused here, in the same words; whatever it might accept passes.
So types are taken as leniently as pydantic takes them ("3" is an integer), and rules that JSON schema and
pydantic read differently are left to the worker.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Final

from openqueue.errors import InvalidArguments, did_you_mean

__all__ = ["ALIASES", "Published"]

ALIASES: Final = "x-aliases"
"""Set in a schema whose fields go by other names as well: then names are not checked."""

_MOST_FAULTS: Final = 5
_BOOLEANS: Final = {"0", "1", "true", "false", "t", "f", "yes", "no", "y", "n", "on", "off"}
_LOOSE: Final = ("uniqueItems", "multipleOf", "format", "contentEncoding")
"""Rules that pydantic has not or reads otherwise: a set takes duplicates, 0.3 is a multiple of 0.1."""


class Published:
    """The published input of one task; `schema` is None where its pool has published none."""

    def __init__(self, task: str, schema: Mapping[str, Any] | None) -> None:
        self._task = task
        self._schema = schema
        self._validator = None if schema is None else _validator_of(schema)

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raise InvalidArguments, which names each wrong argument, if the task would not take these.

        A schema that cannot be understood is as good as none.
        """
        if self._validator is None:
            return
        try:
            errors = list(self._validator.iter_errors(arguments))
            faults = [fault for error in errors for fault in self._faults(error)]
        except Exception:  # noqa: BLE001  of a schema in another dialect, or with a reference to nowhere
            return
        if faults:
            said = dict.fromkeys(text for _, text in faults)
            more = f"; and {len(said) - _MOST_FAULTS} more" if len(said) > _MOST_FAULTS else ""
            text = "; ".join(list(said)[:_MOST_FAULTS]) + more
            end = "" if text.endswith("?") else "."
            raise InvalidArguments(f"{self._task}: {text}{end}", field=faults[0][0])

    def _faults(self, error: Any) -> Iterator[tuple[str, str]]:
        """What is wrong, each with its place; the value itself is not repeated."""
        path = list(error.absolute_path)
        if error.validator == "required":
            for name in error.validator_value:
                if name not in error.instance:
                    place = _place([*path, name])
                    yield place, f"`{place}` is missing"
        elif error.validator == "additionalProperties":
            known = error.schema.get("properties", {})
            for name in error.instance:
                if name not in known:
                    place = _place([*path, name])
                    yield place, f"there is no argument `{place}`" + _near(name, known)
        else:
            place = _place(path)
            got = type(error.instance).__name__
            yield (
                place,
                f"`{place}` {_rule(error.validator, error.validator_value, error.schema)} (got {got})",
            )


def _near(name: str, known: Iterable[str]) -> str:
    near = did_you_mean(name, known)
    return f".{near}" if near else ""


def _rule(name: str, value: Any, schema: Mapping[str, Any]) -> str:
    if name == "type":
        return f"must be of type {_types(value)}"
    if name == "enum":
        return f"must be one of {', '.join(map(repr, value))}"
    if name == "const":
        return f"must be {value!r}"
    if name in ("anyOf", "oneOf"):
        kinds = [one.get("type") or one.get("$ref", "").rpartition("/")[2] for one in schema[name]]
        return f"must be of type {_types([kind for kind in kinds if kind])}"
    return f"does not keep to {name} {value!r}"


def _types(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else " or ".join(map(str, value))


def _place(path: Sequence[int | str]) -> str:
    """`["items", 3, "price"]` as `items[3].price`."""
    return "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in path).removeprefix(".")


def _validator_of(schema: Mapping[str, Any]) -> Any:
    """A validator that looks up nothing outside of the schema."""
    from referencing import Registry

    return _validator(names=not schema.get(ALIASES))(schema, registry=Registry())


@cache
def _validator(*, names: bool) -> Any:
    """The class of validators; with `names` arguments that are missing or unknown are faults."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    loose = [*_LOOSE, *([] if names else ["required", "additionalProperties"])]
    changed: dict[str, Any] = dict.fromkeys(loose, _nothing)
    any_of = Draft202012Validator.VALIDATORS["anyOf"]
    changed |= {"type": _type, "enum": _enum, "const": _const, "pattern": _pattern, "oneOf": any_of}
    return extend(Draft202012Validator, changed)


def _nothing(_validator: Any, _value: Any, _instance: Any, _schema: Any) -> Iterator[Any]:
    return iter(())


def _type(_validator: Any, types: str | list[str], instance: Any, schema: Any) -> Iterator[Any]:
    wanted = [types] if isinstance(types, str) else types
    if not any(_fits(one, instance, schema) for one in wanted):
        yield _fault("type")


def _enum(_validator: Any, values: list[Any], instance: Any, _schema: Any) -> Iterator[Any]:
    if not any(_same(instance, value) for value in values):
        yield _fault("enum")


def _const(_validator: Any, value: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    if not _same(instance, value):
        yield _fault("const")


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[Any]:
    if isinstance(instance, str) and not _found(pattern, instance):
        yield _fault("pattern")


def _found(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:  # pydantic's are Rust's, which know more
        return True


def _fault(rule: str) -> Any:
    from jsonschema import ValidationError

    return ValidationError(rule)


def _same(value: Any, wanted: Any) -> bool:
    """Whether they are equal, or would be once a text is read as a number."""
    return bool(value == wanted) or str(value) == str(wanted)


def _fits(kind: str, value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether pydantic would make a value of this type of it."""
    if kind in ("integer", "number"):
        return isinstance(value, int) or _is_number(value, whole=kind == "integer")
    if kind == "boolean":
        return value in (0, 1) if isinstance(value, int | float) else _is_word(value)
    if kind == "string":  # a time may be given as seconds, a decimal as a number
        return isinstance(value, str) or ("format" in schema and isinstance(value, int | float))
    plain: dict[str, type | tuple[type, ...]] = {"array": list, "object": dict, "null": type(None)}
    return kind not in plain or isinstance(value, plain[kind])


def _is_number(value: Any, *, whole: bool) -> bool:
    if not isinstance(value, float | str):
        return False
    try:
        number = float(value)
    except ValueError:
        return False
    return not whole or number.is_integer()


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value.strip().lower() in _BOOLEANS
