"""Strict JSON: what is stored is what was given, or an error that says where in the value it is not.

One encoder for everything, pydantic-core's: it knows models, dataclasses, datetimes, UUIDs, enums
and sets. It is lenient where PostgreSQL and other languages are not, so each text is scanned for
what they refuse: NaN and Infinity, NUL, integers over 64 bit. The scan looks for traces and costs
well under a microsecond; only a text with a trace is parsed to see whether it is one, and where.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import partial
from math import isfinite, isnan
from typing import Any

import pydantic_core
from pydantic import BaseModel

from openqueue.errors import NotSerializable, OpenQueueError, TooLarge

__all__ = ["check_json", "check_size", "decode", "encode", "format_size", "strictly"]

_LOWEST, _HIGHEST = -(2**63), 2**64 - 1
_DIGITS_ONLY = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))
_LONG_NUMBER = b"0" * 19
_to_json: Callable[[Any], bytes] = partial(
    pydantic_core.to_json, inf_nan_mode="constants", bytes_mode="base64"
)


def encode(value: Any, *, what: str = "value") -> str:
    """Write a value as strict JSON text; bytes become base64.

    Raises NotSerializable, whose path begins with `what`, for NaN, Infinity, NUL, lone surrogates,
    integers over 64 bit, circular values, nesting deeper than 255 and types JSON has no words for.
    """
    return strictly(_to_json, value, what)


def strictly(to_json: Callable[[Any], bytes], value: Any, what: str) -> str:
    """Write `value` with a serializer of pydantic's, refusing what `encode` refuses."""
    try:
        data = to_json(value)
    except OpenQueueError:
        raise
    except (ValueError, RecursionError) as error:
        raise _blame(value, what, error) from None
    text = data.decode()
    if _suspicious(text, data):
        _inspect(text, what)
    if "null" in text and _has_odd_float(value):  # a model writes its NaN as null, whatever the mode
        _inspect_floats(value, what)
    return text


def check_json(data: bytes | str, *, what: str = "value") -> None:
    """Refuse JSON text, already encoded elsewhere, that holds what `encode` refuses."""
    text, raw = (data, data.encode(errors="replace")) if isinstance(data, str) else (data.decode(), data)
    if _suspicious(text, raw) or "\\ud" in text or "\\uD" in text:
        _inspect(text, what)


def check_size(text: str | bytes, max_bytes: int, *, what: str = "value") -> None:
    """Raise TooLarge when the text has more than `max_bytes` bytes, naming its largest part."""
    if len(text) * 4 <= max_bytes:
        return
    size = len(text.encode()) if isinstance(text, str) else len(text)
    if size <= max_bytes:
        return
    path, part = _largest(decode(text), what, size)
    largest = f" Its largest part is {path} ({format_size(part)})." if path != what else ""
    raise TooLarge(
        f"{what} is {format_size(size)}, more than the {format_size(max_bytes)} that may be stored.{largest}"
        " Store it elsewhere and pass a reference, or raise the limit in the settings.",
        path=path,
        size=size,
        limit=max_bytes,
    )


def decode(text: str | bytes, *, what: str = "value") -> Any:
    """Read JSON text. Raises NotSerializable, with the position, for what is not JSON."""
    try:
        return pydantic_core.from_json(text, allow_inf_nan=False)
    except ValueError as error:
        if "recursion limit" in str(error):  # it stops at a depth of 200; others than us may have stored more
            with suppress(ValueError, RecursionError):
                return json.loads(text)
        raise NotSerializable(f"{what} is not JSON: {error}.", path=what) from None


def format_size(size: int) -> str:
    """Write a number of bytes for people: `512 bytes`, `1.5 KiB`, `2 MiB`."""
    if size < 1024:
        return f"{size} bytes"
    unit, amount = ("KiB", size / 1024) if size < 1024 * 1024 else ("MiB", size / (1024 * 1024))
    return f"{amount:.1f}".removesuffix(".0") + f" {unit}"


def _suspicious(text: str, data: bytes) -> bool:
    """Whether the text may hold NaN, Infinity, NUL or a long integer (a trace, not yet a proof)."""
    return (
        "NaN" in text
        or "Infinity" in text
        or "\\u0000" in text
        or (len(data) > 19 and _LONG_NUMBER in data.translate(_DIGITS_ONLY))
    )


def _inspect(text: str, what: str) -> None:
    """Parse the text and refuse the first value in it that may not be stored."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotSerializable(f"{what} is not JSON: {error}.", path=what) from None
    for path, value in _walk(parsed, what):
        _refuse(value, path)


def _inspect_floats(value: Any, what: str) -> None:
    """Refuse the first NaN or Infinity in a Python value, models and dataclasses included."""
    for path, leaf in _walk(value, what):
        if isinstance(leaf, float):
            _refuse(leaf, path)


def _has_odd_float(value: Any) -> bool:
    """Whether NaN or Infinity is anywhere in the value; the common types first."""
    kind = type(value)
    if kind is dict:
        return any(map(_has_odd_float, value.values()))
    if kind is float:
        return not isfinite(value)
    if kind is str or kind is int or value is None:
        return False
    if kind is list or kind is tuple:
        return any(map(_has_odd_float, value))
    children = _children(value)
    return children is not None and any(_has_odd_float(child) for _, child in children)


def _refuse(value: Any, path: str) -> None:
    if isinstance(value, float) and not isfinite(value):
        name = "NaN" if isnan(value) else "infinite"
        raise NotSerializable(f"{path} is {name}: JSON has no such number. Pass None or a text.", path=path)
    if isinstance(value, int) and not _LOWEST <= value <= _HIGHEST:
        raise NotSerializable(f"{path} is an integer over 64 bit. Pass it as a text.", path=path)
    if isinstance(value, str) and "\0" in value:
        raise NotSerializable(
            f"{path} contains NUL (\\x00), which PostgreSQL cannot store. Take it out, or pass base64.",
            path=path,
        )
    if isinstance(value, str) and not _encodable(value):
        raise NotSerializable(f"{path} contains a lone surrogate, which is not text. Take it out.", path=path)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _walk(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every leaf and every key with its place, depth first, without recursion."""
    waiting = [(path, value)]
    while waiting:
        path, value = waiting.pop()
        children = _children(value)
        if children is None:
            yield path, value
            continue
        below = [(_place(path, key), key, child) for key, child in children]
        yield from ((place, key) for place, key, _ in below if isinstance(key, str))
        waiting.extend((place, child) for place, _, child in reversed(below))


def _children(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """The parts of a value by key, index or field; None when it has none."""
    if isinstance(value, Mapping):
        return value.items()
    if isinstance(value, list | tuple | set | frozenset | deque):
        return enumerate(value)
    if isinstance(value, BaseModel):
        return {**value.__dict__, **(value.__pydantic_extra__ or {})}.items()
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name, None)) for field in fields(value)]
    return None


def _place(path: str, key: Any) -> str:
    if isinstance(key, str) and key.isidentifier():
        return f"{path}.{key}"
    return f"{path}[{_shortened(key)}]"


def _shortened(value: Any) -> str:
    shown = json.dumps(value) if isinstance(value, str) else repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _blame(value: Any, path: str, error: Exception) -> NotSerializable:
    """Follow the first part that cannot be written down to the leaf that is to blame."""
    above: set[int] = set()
    while (children := _children(value)) is not None and len(above) < 255:
        above.add(id(value))
        for key, child in children:
            if id(child) in above:
                place = _place(path, key)
                return NotSerializable(
                    f"{place} refers back to a value that contains it. Pass an id of it instead.", path=place
                )
            if (found := _failure(child)) is not None:
                path, value, error = _place(path, key), child, found
                break
        else:
            return _blame_key(value, path, error)
    return NotSerializable(f"{path} cannot be stored as JSON: {_reason(value, error)}.", path=path)


def _blame_key(value: Any, path: str, error: Exception) -> NotSerializable:
    """All parts are fine, so a key of the mapping is to blame, or what the serializer made of the value."""
    for key in value if isinstance(value, Mapping) else ():
        if (found := _failure(key)) is not None:
            place = _place(path, key)
            return NotSerializable(f"{place}: the key cannot be stored: {_reason(key, found)}.", path=place)
    return NotSerializable(f"{path} cannot be stored as JSON: {_reason(value, error)}.", path=path)


def _failure(value: Any) -> Exception | None:
    try:
        _to_json(value)
    except (ValueError, RecursionError) as error:
        return error
    return None


def _reason(value: Any, error: Exception) -> str:
    if isinstance(value, str) and not _encodable(value):
        return "it contains a lone surrogate, which is not text"
    if "depth exceeded" in str(error):
        return "it is nested more than 255 levels deep"
    if "unknown type" in str(error):
        return f"values of type {type(value).__qualname__} have no JSON form. {_REMEDY}"
    return f"{str(error).removeprefix('Error serializing to JSON: ')} (a {type(value).__qualname__})"


def _largest(value: Any, path: str, size: int) -> tuple[str, int]:
    """Walk down to the part that makes up most of the size."""
    while (children := _children(value)) is not None:
        sized = [(len(_to_json(child)), key, child) for key, child in children]
        part, key, child = max(sized, key=lambda one: one[0], default=(0, None, None))
        if part * 2 < size:
            break
        path, value, size = _place(path, key), child, part
    return path, size


_REMEDY = (
    "Pass text, numbers, lists, dicts, dataclasses or pydantic models; or an id, and load it in the task"
)
