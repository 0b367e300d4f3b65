"""How the setting `controls` is read: what holds for queues, as tables of TOML or as JSON in a variable."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from openqueue.durations import format_duration, is_number
from openqueue.errors import InvalidOption, did_you_mean, shown
from openqueue.rates import parse_rate
from openqueue.settings.values import choice, duration, whole

__all__ = ["read_controls"]

_MOST: Final = 1_000_000_000
_HOW = 'Write a table for each queue: [controls.mail] with concurrency = 5 and rate = "100/1m", for example.'


def read_controls(value: Any) -> Any:
    """By queue: concurrency, rate, burst, fairness, ageing, weights; each as it is shown."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError(
                f'{value[:60]!r} is not JSON such as {{"mail": {{"concurrency": 5, "rate": "100/1m"}}}}.'
            ) from None
    if not isinstance(value, Mapping):
        raise ValueError(f"is not a table of queues. {_HOW}")  # noqa: TRY004  pydantic collects ValueErrors only
    return {_queue(name): _of_queue(str(name), said) for name, said in value.items()}


def _queue(name: Any) -> str:
    if not _is_name(name) or name == "*":
        raise ValueError(f"{name!r} is not the name of a queue. {_HOW}")
    return str(name)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and len(value) <= 200 and "\0" not in value


def _of_queue(queue: str, said: Any) -> dict[str, Any]:
    if not isinstance(said, Mapping):
        raise ValueError(f"{queue}: {said!r} is not a table. {_HOW}")  # noqa: TRY004  as above
    found = {}
    for key, value in said.items():
        if key not in _READERS:
            near = did_you_mean(str(key), _READERS) or f" There are: {', '.join(_READERS)}."
            raise ValueError(f"{queue}.{key}: nothing of a queue is called so.{near}")
        try:
            found[key] = _READERS[key](value)
        except ValueError as error:
            raise ValueError(f"{queue}.{key}: {error}") from None
    if "burst" in found and "rate" not in found:
        raise ValueError(
            f'{queue}.burst: belongs to a rate. Write both, such as rate = "100/1m" and burst = 20.'
        )
    return found


def _rate(value: Any) -> str:
    try:
        return str(parse_rate(value, field="rate"))
    except InvalidOption as error:
        raise ValueError(str(error).removeprefix("rate: ")) from None


def _weights(value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{shown(value)} is not a table of groups, such as {{ gold = 3 }}.")  # noqa: TRY004  as above
    for group, weight in value.items():
        if not _is_name(group):
            raise ValueError(f"{shown(group)} is not the name of a group.")
        if not is_number(weight) or not 0.001 <= weight <= 1000:
            raise ValueError(f"{group} = {shown(weight)}: give a weight from 0.001 to 1000.")
    return dict(value)


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "concurrency": whole(0, _MOST - 1),
    "rate": _rate,
    "burst": whole(1, _MOST - 1),
    "fairness": choice("strict", "round_robin", "weighted"),
    "ageing": lambda value: format_duration(duration(allow_zero=False)(value)),
    "weights": _weights,
}
