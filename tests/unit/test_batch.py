"""What `batch=` takes, and which functions may have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from openqueue import Batch, Context, GiveUp, InvalidArguments, InvalidOption, InvalidTask, task
from openqueue.tasks.options import TaskOptions


@dataclass
class Doc:
    number: int


@pytest.mark.parametrize(
    ("given", "option", "says"),
    [
        ({"size": 0}, "size", "1 to 1000"),
        ({"size": 1001}, "size", "1 to 1000"),
        ({"size": "10"}, "size", "whole number"),
        ({"size": True}, "size", "whole number"),
        ({"size": 10, "wait": "-1s"}, "wait", "wait"),
        ({"size": 10, "wait": "61s"}, "wait", "at most 0:01:00"),
        ({"size": 10, "wait": "soon"}, "wait", "wait"),
    ],
)
def test_a_size_and_a_wait_out_of_bounds_are_refused_by_name(given: Any, option: str, says: str) -> None:
    with pytest.raises(InvalidOption, match=says) as caught:
        Batch(**given)
    assert caught.value.option == option


@pytest.mark.parametrize("given", [10, (10, "1s"), {"size": 10}, "10"])
def test_only_a_batch_is_taken(given: Any) -> None:
    with pytest.raises(InvalidOption, match=r"^batch: .*Batch\(size=100") as caught:
        TaskOptions.of(batch=given)
    assert caught.value.option == "batch"


def test_it_is_published_with_the_options() -> None:
    assert TaskOptions.of(batch=Batch(10, "200ms")).describe()["batch"] == {"size": 10, "wait": 0.2}
    assert TaskOptions.of().describe()["batch"] is None
    assert Batch(10) == Batch(size=10, wait=timedelta(milliseconds=100))
    assert Batch(10, 0).wait == timedelta()


def test_what_is_sent_is_one_element_under_the_parameters_name() -> None:
    @task(batch=Batch(10))
    async def index(ctx: Context, docs: list[Doc]) -> list[str | GiveUp | None]:
        return []

    assert index.item(Doc(1)).input == '{"docs":{"number":1}}'
    by_name: Any = index
    assert by_name.item(docs=Doc(1)).input == '{"docs":{"number":1}}'
    assert index.arguments.parse('{"docs": {"number": 2}}') == {"docs": Doc(2)}
    assert index.arguments.parse_output('"done"') == "done"
    assert index.arguments.parse_output("null") is None
    assert index.arguments.schema()["required"] == ["docs"]
    with pytest.raises(InvalidArguments) as caught:
        index.item([Doc(1)])  # type: ignore[arg-type]
    assert caught.value.field.startswith("docs")


@pytest.mark.parametrize("kind", [list[int], Sequence[int], list, None])
def test_any_list_will_do(kind: Any) -> None:
    async def index(numbers):  # type: ignore[no-untyped-def]
        return numbers

    index.__annotations__ = {} if kind is None else {"numbers": kind, "return": kind}
    made: Any = task(batch=Batch(10))(index)
    assert made.item(1).input == '{"numbers":1}'
    assert made.arguments.parse_output("1") == 1


def test_a_key_function_gets_the_one_item() -> None:
    @task(batch=Batch(10), concurrency_key=lambda docs: f"doc {docs.number}")
    async def index(docs: list[Doc]) -> None: ...

    assert index.item(Doc(4)).concurrency_key == "doc 4"


def declared(function: Any, **options: Any) -> None:
    made: Any = task(batch=Batch(10), **options)
    made(function).arguments.check()


def test_a_function_that_cannot_be_called_with_a_list_is_refused_with_what_to_write() -> None:
    async def one(doc: Doc) -> list[int]: ...  # type: ignore[empty-body]
    async def two(docs: list[Doc], language: str) -> None: ...
    async def none(ctx: Context) -> None: ...
    async def default(docs: list[Doc] = []) -> None: ...  # noqa: B006
    async def answer(docs: list[Doc]) -> int: ...  # type: ignore[empty-body]
    async def pair(docs: list[Doc]) -> tuple[int, str]: ...  # type: ignore[empty-body]
    def outside(docs: list[Doc]) -> None: ...

    for function, says in [
        (one, r"write `doc: list\[Doc\]`"),
        (two, "one parameter.*and not docs, language"),
        (none, "one parameter.*and not none"),
        (default, "`docs` cannot have a default"),
        (answer, "returns a list, one result for each item.*annotated int"),
        (pair, "returns a list, one result for each item"),
    ]:
        with pytest.raises(InvalidTask, match=says):
            declared(function)
    with pytest.raises(InvalidTask, match="executor='process' cannot be together with batch="):
        declared(outside, executor="process")
