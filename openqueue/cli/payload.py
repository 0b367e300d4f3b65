"""The arguments of a run, as `openqueue enqueue` is given them: a JSON object, or `-` for standard input."""

from __future__ import annotations

import json
import sys
from typing import Any, NoReturn

from openqueue.errors import InvalidArguments

__all__ = ["read_payload"]

_HOW = """Write the arguments by name, such as '{"to": "a@b.c"}'."""
_KINDS = {list: "an array", str: "a text", bool: "true or false", int: "a number", float: "a number"}


def read_payload(text: str) -> dict[str, Any]:
    """Read the argument JSON. Raises InvalidArguments, which says where and what is wrong."""
    what = "JSON: standard input" if text == "-" else f"JSON: {_shown(text)}"
    text = _standard_input() if text == "-" else text
    try:
        found = json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise _refuse(f"{what} is not JSON: {error}. {_HOW}") from None
    except RecursionError:
        raise _refuse(f"{what} is nested too deeply. {_HOW}") from None
    if not isinstance(found, dict):
        kind = "null" if found is None else _KINDS[type(found)]
        raise _refuse(f"JSON: must be an object with the arguments by name, not {kind}. {_HOW}")
    return found


def _standard_input() -> str:
    data = sys.stdin.buffer.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refuse(
            f"JSON: standard input is not UTF-8 text: byte {error.start} is 0x{data[error.start]:02x}."
            " Save it as UTF-8, or convert it (iconv -t UTF-8)."
        ) from None
    if not text.strip():
        raise _refuse(f"JSON: standard input is empty. {_HOW} Without arguments that is {{}}.")
    return text


def _refuse(sentence: str) -> InvalidArguments:
    return InvalidArguments(sentence, field="input")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it has no number {name}; write null or a text in its place")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
