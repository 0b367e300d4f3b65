"""Arguments against a published schema: what the task refuses is named, what it takes is never refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AliasChoices, BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, model_validator

from openqueue.errors import InvalidArguments
from openqueue.tasks.arguments import Arguments
from openqueue.tasks.published import Published


class Colour(Enum):
    red = "red"
    one = 1


class Level(IntEnum):
    low = 1
    high = 2


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: Literal["dog"]
    name: str


class Named(BaseModel):
    size: int = Field(alias="Size")
    other: int = Field(1, validation_alias=AliasChoices("b", "c"))


class Early(BaseModel):
    n: int

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"n": value} if isinstance(value, str) else value


@dataclass
class Point:
    x: float
    y: float = 0.0


Split = Annotated[list[str], BeforeValidator(lambda v: v.split(",") if isinstance(v, str) else v)]
KINDS: list[Any] = [
    int, float, bool, str, bytes, Decimal, datetime, date, time, timedelta, UUID, IPv4Address, Path, ByteSize,
    Any, None, Colour, Level, Literal["a", 1], Literal[True], int | None, int | str, list[int], set[int],
    frozenset[str], tuple[int, str], tuple[int, ...], dict[str, int], dict[int, bool], Cat, Named, Early,
    Point, list[Point], Split,
    Annotated[Cat | Dog, Field(discriminator="kind")], Annotated[int, Field(ge=2, le=5)],
    Annotated[float, Field(multiple_of=0.1)], Annotated[str, Field(pattern=r"^\p{Lu}", max_length=3)],
    Annotated[list[int], Field(min_length=1)], Annotated[int, Field(alias="other")],
    dict[str, list[Dog | None]],
]  # fmt: skip
WORDS = [
    "", "a", "A", "1", "2", "0.3", "1e3", "true", "off", "red", "cat", "dog", "null", "2030-01-01", "12:00",
    "P1D", "1,2", "2030-01-01T00:00:00Z", "127.0.0.1", "5KB", "01981f00-5a5e-7c6e-9f0a-0123456789ab", " 3 ",
    "1_0",
]  # fmt: skip
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10),
    st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    st.sampled_from(WORDS),
)
KEYS = st.sampled_from(
    ["kind", "lives", "name", "Size", "size", "other", "b", "c", "n", "x", "y", "a", "1", "true"]
)
VALUES = st.recursive(
    LEAVES, lambda below: st.lists(below, max_size=3) | st.dictionaries(KEYS, below, max_size=3)
)
MADE: dict[int, tuple[Arguments, Published]] = {}


def contract(place: int) -> tuple[Arguments, Published]:
    if place not in MADE:

        def one(value: Any, *, more: int = 0) -> None: ...

        one.__annotations__ = {"value": KINDS[place], "more": int}
        arguments = Arguments(one)
        MADE[place] = arguments, Published("t", json.loads(json.dumps(arguments.schema())))
    return MADE[place]


@settings(max_examples=500)
@given(st.integers(0, len(KINDS) - 1), st.dictionaries(st.sampled_from(["value", "more", "other"]), VALUES))
def test_what_the_task_takes_is_never_refused(place: int, given: dict[str, Any]) -> None:
    arguments, published = contract(place)
    try:
        arguments.parse(json.dumps(given))
    except InvalidArguments:
        return
    published.check(given)


def send(to: str, count: int = 1, colour: Colour = Colour.red, points: list[Point] | None = None) -> None: ...


def pet(animal: Annotated[Cat | Dog, Field(discriminator="kind")]) -> None: ...


@pytest.mark.parametrize(
    ("task", "given", "field", "said"),
    [
        (send, {}, "to", "`to` is missing"),
        (send, {"to": 1}, "to", "`to` must be of type string (got int)"),
        (send, {"to": None}, "to", "`to` must be of type string (got NoneType)"),
        (send, {"to": "x", "count": "many"}, "count", "`count` must be of type integer (got str)"),
        (send, {"to": "x", "cuont": 1}, "cuont", "there is no argument `cuont`. Did you mean 'count'?"),
        (send, {"to": "x", "colour": "blue"}, "colour", "`colour` must be one of 'red', 1"),
        (send, {"to": "x", "points": 1}, "points", "`points` must be of type array or null"),
        (pet, {"animal": {"kind": "cow"}}, "animal", "`animal` must be of type Cat or Dog"),
        (pet, {"animal": [{"kind": "cat"}]}, "animal", "`animal` must be of type Cat or Dog"),
    ],
)
def test_what_the_task_would_refuse_is_refused_with_the_argument_named(
    task: Callable[..., None], given: dict[str, Any], field: str, said: str
) -> None:
    arguments = Arguments(task)
    with pytest.raises(InvalidArguments):
        arguments.parse(json.dumps(given))
    with pytest.raises(InvalidArguments) as refused:
        Published("mail.send", arguments.schema()).check(given)
    assert refused.value.field == field
    assert str(refused.value).startswith("mail.send: ")
    assert said in str(refused.value)


def test_the_place_inside_a_value_is_named_and_every_fault_is_told() -> None:
    def many(points: list[Point], to: str) -> None: ...

    published = Published("t", Arguments(many).schema())
    with pytest.raises(InvalidArguments) as refused:
        published.check({"points": [{"x": 1}, {"y": "near"}], "tu": 1})
    for said in (
        "`points[1].x` is missing",
        "`points[1].y` must be of type number",
        "`to` is missing",
        "`tu`",
    ):
        assert said in str(refused.value)


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        {"type": "object", "x-other": 1},
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "http://127.0.0.1:9/never-asked"},
        {"properties": {"a": {"pattern": "["}}},
        {"properties": 5},
    ],
)
def test_a_schema_that_says_nothing_or_cannot_be_understood_refuses_nothing(schema: Any) -> None:
    Published("t", schema).check({"a": "b"})


def test_a_schema_of_another_language_is_understood() -> None:
    schema = {"type": "object", "required": ["to"], "properties": {"to": {"type": "string", "minLength": 2}}}
    Published("t", schema).check({"to": "ab", "more": 1})
    with pytest.raises(InvalidArguments, match="`to` does not keep to minLength 2"):
        Published("t", schema).check({"to": "a"})
