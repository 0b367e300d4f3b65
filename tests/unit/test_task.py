"""`@task`: still the function, and something to enqueue."""

from __future__ import annotations

import asyncio
import functools
import inspect
import pickle
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

import openqueue
from openqueue.errors import InvalidArguments, InvalidOption, InvalidTask
from openqueue.tasks import enqueuer, naming
from openqueue.tasks.context import Context
from openqueue.tasks.enqueuer import Item
from openqueue.tasks.options import NO_OPTIONS
from openqueue.tasks.task import Task, task

F = TypeVar("F", bound=Callable[..., Any])


def loose(value: Any) -> Any:
    """The value without its types, for what a type checker would refuse."""
    return value


class Taker:
    """Takes items and remembers them."""

    def __init__(self) -> None:
        self.taken: list[tuple[Item[Any], object]] = []

    async def enqueue(self, item: Item[Any], *, connection: object = None) -> Any:
        self.taken.append((item, connection))
        return f"run of {item.task}"

    async def enqueue_many(self, items: Iterable[Item[Any]], *, connection: object = None) -> Any:
        return [await self.enqueue(item, connection=connection) for item in items]


@pytest.fixture
def taker() -> Iterator[Any]:
    with enqueuer.using(taker := Taker()):
        yield taker


@task
async def send_mail(to: str, subject: str = "hello") -> str:
    """Send one mail.

    By post.
    """
    return f"{to} {subject}"


@task(name="words.count", queue="slow", max_attempts=3)
def count(words: list[str], *, ctx: Context = Context.injected) -> int:
    return len(words)


@task
def connected(connection: str) -> None: ...


async def test_calling_a_task_calls_the_function() -> None:
    assert await send_mail("a", subject="b") == "a b"
    assert count(["a"]) == 1


def test_a_task_looks_like_its_function() -> None:
    assert isinstance(send_mail, Task)
    assert getattr(send_mail, "__name__") == "send_mail"  # noqa: B009
    assert send_mail.__module__ == __name__
    assert list(inspect.signature(send_mail).parameters) == ["to", "subject"]
    assert send_mail.description == "Send one mail."
    assert send_mail.is_async
    assert not count.is_async


def test_a_task_is_named_by_its_module_and_function_or_as_it_says() -> None:
    assert send_mail.name == f"{__name__}.send_mail"
    assert count.name == "words.count"
    assert repr(count) == "<Task words.count>"


def test_a_task_knows_where_it_was_written() -> None:
    file, _, line = send_mail.place.rpartition(":")
    assert file == __file__
    assert int(line) > 0


def test_a_decorated_function_is_placed_where_it_was_written() -> None:
    def logged(function: F) -> F:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return cast("F", wrapper)

    @task
    @logged
    def inner(a: int) -> int:
        return a

    source = inspect.unwrap(inner.function)
    assert inner.place == f"{__file__}:{source.__code__.co_firstlineno}"
    assert inner.item(1).input == '{"a":1}'


async def test_enqueue_hands_over_the_validated_item(taker: Any) -> None:
    run: Any = await send_mail.enqueue("a@b.c", subject="Hi")
    assert run == f"run of {__name__}.send_mail"
    [(item, connection)] = taker.taken
    assert item == Item(send_mail, '{"to":"a@b.c","subject":"Hi"}', NO_OPTIONS)
    assert item.task == send_mail.name
    assert item.declared is send_mail
    assert connection is None


async def test_options_go_with_the_item_and_can_be_used_again(taker: Any) -> None:
    later = send_mail.options(delay="5m", key="k")
    await later.enqueue("a")
    await later.enqueue("b")
    assert [item.options.key for item, _ in taker.taken] == ["k", "k"]
    assert [item.input for item, _ in taker.taken] == ['{"to":"a"}', '{"to":"b"}']


async def test_a_connection_is_handed_over_as_option_or_keyword(taker: Any) -> None:
    mine = object()
    await send_mail.options(connection=mine).enqueue("a")
    await loose(send_mail).enqueue("a", connection=mine)
    await loose(send_mail.options(delay=1)).enqueue("a", connection=mine)
    assert [connection for _, connection in taker.taken] == [mine, mine, mine]


async def test_a_task_s_own_argument_called_connection_stays_its_own(taker: Any) -> None:
    await connected.enqueue(connection="tcp")
    [(item, connection)] = taker.taken
    assert item.input == '{"connection":"tcp"}'
    assert connection is None


def test_an_item_has_no_connection() -> None:
    with pytest.raises(InvalidOption, match="connection"):
        send_mail.options(connection=object()).item("a")


async def test_nothing_is_handed_over_when_the_arguments_are_wrong(taker: Any) -> None:
    with pytest.raises(InvalidArguments):
        await loose(send_mail).enqueue(5)
    assert taker.taken == []


def test_an_unknown_option_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidOption, match="Did you mean 'delay'"):
        loose(send_mail).options(dleay="5m")
    with pytest.raises(InvalidOption, match="Did you mean 'queue'"):
        loose(task)(quee="mail")


def test_what_cannot_be_a_task_is_refused_at_the_declaration() -> None:
    with pytest.raises(InvalidTask, match="is not a function"):
        loose(task)("mail.send")
    with pytest.raises(InvalidTask, match=r"takes any number"):

        @task
        def function(*args: int) -> None: ...


def test_an_item_is_named_by_the_task_directories_as_they_are_when_it_is_enqueued() -> None:
    item = send_mail.item("a")
    before = naming.set_roots([Path(__file__).parent])
    try:
        assert item.task == "test_task.send_mail"
    finally:
        naming.set_roots(before)
    assert item.task == send_mail.name == f"{__name__}.send_mail"


def test_a_task_is_pickled_as_a_reference() -> None:
    assert pickle.loads(pickle.dumps(send_mail)) is send_mail


async def test_who_takes_items_is_current_then_default() -> None:
    near, far = Taker(), Taker()

    async def provide() -> Taker:
        return far

    before = enqueuer.set_default(provide)
    try:
        await send_mail.enqueue("far")
        with enqueuer.using(near):
            await send_mail.enqueue("near")
            await asyncio.create_task(send_mail.enqueue("near, in a task"))
        await send_mail.enqueue("far again")
    finally:
        assert enqueuer.set_default(before) is provide
    assert len(near.taken) == 2
    assert len(far.taken) == 2


def test_an_item_by_name_has_an_object_for_input_and_checked_options() -> None:
    item = Item.named("mail.send", {"to": "a"}, delay=5)
    assert (item.task, item.input, item.declared) == ("mail.send", '{"to":"a"}', None)
    assert Item.named("mail.send").input == "{}"
    with pytest.raises(InvalidArguments, match=r"^mail\.send: the input must be a dict .* not list"):
        Item.named("mail.send", loose(["a"]))
    with pytest.raises(InvalidOption, match=r"^task"):
        Item.named("")
    with pytest.raises(InvalidOption, match=r"^delay"):
        Item.named("mail.send", {}, delay=-1)


@pytest.mark.parametrize("call", ["delay", "apply_async", "defer", "send"])
def test_the_call_of_another_queue_is_answered_with_ours(call: str) -> None:
    with pytest.raises(
        AttributeError, match=rf"no attribute '{call}'\. To enqueue a run: await task\.enqueue"
    ) as told:
        getattr(send_mail, call)
    assert told.value.name == call
    assert not hasattr(send_mail, "nothing")
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'\.$"):
        attrgetter("nothing")(send_mail)


def test_the_front_door_has_it() -> None:
    assert openqueue.task is task
    assert openqueue.Task is Task
