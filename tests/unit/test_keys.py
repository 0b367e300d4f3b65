"""Keys that are worked out: of the arguments, and by a task's function."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqueue import Context, task
from openqueue.codec import decode, encode
from openqueue.errors import InvalidOption, InvalidTask
from openqueue.runs.enqueueing import Batch, is_plain
from openqueue.tasks.enqueuer import Item
from openqueue.tasks.keys import canonical, unique_key

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc é"), inner),
)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ('{"b": 1, "a": 2}', '{"a":2,"b":1}'),
        ('{"a": 1.0, "b": -0.0, "c": 1e3, "d": 0.1}', '{"a":1,"b":0,"c":1000,"d":0.1}'),
        ('{"a": 1e300, "b": 18446744073709551615}', '{"a":1e+300,"b":18446744073709551615}'),
        ('{"a": "\\u00e9\\/\\n"}', '{"a":"é/\\n"}'),
        ('{"Z": {"é": [true, null], "a": []}, "a": "1"}', '{"Z":{"a":[],"é":[true,null]},"a":"1"}'),
    ],
)
def test_what_means_the_same_has_one_canonical_form(text: str, form: str) -> None:
    assert canonical(text) == form


@given(VALUES)
def test_the_canonical_form_means_what_was_given_and_is_its_own(value: Any) -> None:
    text = canonical(encode(value))
    assert decode(text) == value
    assert canonical(text) == text


def test_a_unique_key_is_the_sha256_of_the_task_and_the_canonical_input() -> None:
    wanted = hashlib.sha256(b'mail.send\n{"a":1,"b":"\xc3\xa9"}').hexdigest()
    assert unique_key("mail.send", '{"b": "\\u00e9", "a": 1.0}') == wanted
    assert unique_key("mail.sent", '{"b": "\\u00e9", "a": 1.0}') != wanted


# Concurrency keys.


@dataclass
class Order:
    number: int


@task(name="keyed", concurrency_key=lambda order, region: f"{region}:{order.number}", key_concurrency=3)
async def keyed(ctx: Context, order: Order, region: str = "eu") -> None: ...


@task(name="constant", concurrency_key="printer")
async def constant(text: str) -> None: ...


@task(name="plain")
async def plain(text: str) -> None: ...


def test_a_function_gets_the_arguments_as_the_task_would_with_defaults_and_by_name_only() -> None:
    assert keyed.item(Order(7)).concurrency_key == "eu:7"
    assert keyed.options(priority=1).item(order=Order(7), region="us").concurrency_key == "us:7"
    assert constant.item("a").concurrency_key == "printer"
    assert plain.item("a").concurrency_key is None


def test_a_key_of_the_enqueue_wins_over_that_of_the_task() -> None:
    assert sent(keyed.options(concurrency_key="mine").item(Order(7)))[1:4] == (["mine"], [3], [False])


def test_a_function_may_say_that_a_run_has_no_key() -> None:
    @task(name="sometimes", concurrency_key=lambda n: "even" if n % 2 == 0 else None)
    async def sometimes(n: int) -> None: ...

    assert [sometimes.item(n).concurrency_key for n in (1, 2)] == [None, "even"]


def test_what_is_sent_says_of_each_declared_task_whether_it_has_a_key() -> None:
    """Empty is none; a name is left to the catalogue."""
    items = [keyed.item(Order(1)), plain.options(group="g").item("a"), Item.named("by.name")]
    assert sent(*items) == (
        [None, "g", None],
        ["eu:1", "", None],
        [3, None, None],
        [False, None, None],
        None,
        None,
    )
    assert sent(plain.options(priority=1).item("a"), plain.item("b")) == (None, [""], None, None, None, None)


def test_an_idempotency_key_is_remembered_for_as_long_as_it_says_or_the_settings_do() -> None:
    items = [
        plain.options(idempotency="a").item("a"),
        plain.options(idempotency="b", idempotency_ttl="1m").item("a"),
        plain.item("c"),
    ]
    assert sent(*items)[4:] == (["a", "b", None], [99.0, 60.0, None])


def test_unique_makes_the_key_and_skips_unless_another_mode_is_given() -> None:
    batch = Batch.of(
        [plain.options(unique="args").item("a"), plain.options(unique="args", key_mode="replace").item("a")],
        "default",
        1_000_000,
    )
    key = unique_key("plain", '{"text": "a"}')
    assert (batch.arguments[9], batch.arguments[10]) == ([key, key], ["skip", "replace"])


def test_a_run_with_a_concurrency_key_is_not_one_of_those_that_share_a_short_statement() -> None:
    assert [is_plain(item) for item in (plain.item("a"), constant.item("a"), keyed.item(Order(1)))] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "function",
    [lambda to: to, lambda text, to: text, lambda *args: "a", eval("lambda text, /: text")],
)
def test_a_function_that_asks_for_what_the_task_has_not_is_refused_when_it_is_declared(function: Any) -> None:
    with pytest.raises(InvalidTask, match="concurrency_key"):

        @task(concurrency_key=function)
        async def send(text: str) -> None: ...


def test_a_coroutine_function_is_no_key() -> None:
    async def key(text: str) -> str:
        return text

    with pytest.raises(InvalidOption, match=r"^concurrency_key: "):
        task(concurrency_key=key)  # type: ignore[arg-type]  # the type checker refuses it, too


@pytest.mark.parametrize("answer", ["", "a" * 201, 7, b"a", "a\0"])
def test_what_a_function_answers_is_checked(answer: Any) -> None:
    @task(name="answers", concurrency_key=lambda text: answer)
    async def answers(text: str) -> None: ...

    with pytest.raises(InvalidOption, match=r"^concurrency_key: ") as refused:
        answers.item("a")
    assert refused.value.option == "concurrency_key"


def test_what_a_function_raises_is_told_with_the_task() -> None:
    @task(name="raises", concurrency_key=lambda text: text["a"])
    async def raises(text: str) -> None: ...

    with pytest.raises(
        InvalidOption, match=r"^concurrency_key: the function of raises raised TypeError: string"
    ):
        asyncio.run(raises.enqueue("a"))


def sent(*items: Item[Any]) -> tuple[Any, ...]:
    """The last columns: groups, concurrency keys, limits, who keeps a slot, idempotency keys, seconds."""
    return tuple(Batch.of(items, "default", 1_000_000, 99.0).arguments[16:])
