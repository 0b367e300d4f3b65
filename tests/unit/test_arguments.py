"""Arguments and results: bound, validated, stored as JSON, read back as what they were."""

from __future__ import annotations

import enum
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr, computed_field

from openqueue.errors import InvalidArguments, InvalidTask, NotSerializable, TooLarge, UnexpectedResult
from openqueue.tasks.arguments import Arguments
from openqueue.tasks.context import Context

if TYPE_CHECKING:
    from openqueue.tasks.context import Context as OnlyForCheckers

nan = float("nan")


class Color(enum.Enum):
    RED = "red"


class Address(BaseModel):
    street: str
    zip_code: str = Field(alias="zipCode", default="")

    @computed_field
    def line(self) -> str:
        return self.street + self.zip_code


@dataclass
class Item:
    name: str
    price: float = 0.0
    when: datetime | None = None
    parts: list[Item] = field(default_factory=list)


async def send_mail(to: str, subject: str = "hello", *, copies: int = 1) -> str:
    """Send."""
    return to


def everything(  # type: ignore[empty-body]  # noqa: PLR0917
    address: Address,
    item: Item,
    color: Color,
    id: UUID,  # noqa: A002
    at: datetime,
    day: date,
    lasting: timedelta,
    amount: Decimal,
    raw: bytes,
    chosen: set[int],
    pair: tuple[int, str],
    mode: Literal["a", "b"],
    small: Annotated[int, Field(le=10)],
    either: int | str | None = None,
    anything: Any = None,
) -> Item: ...


EVERYTHING = {
    "address": Address(street="x", zipCode="1"),
    "item": Item("a", 1.5, datetime(2026, 1, 1, tzinfo=UTC), [Item("b")]),
    "color": Color.RED,
    "id": UUID(int=7),
    "at": datetime(2026, 1, 1, 12, 30, 0, 5, tzinfo=UTC),
    "day": date(2026, 1, 1),
    "lasting": timedelta(days=1, microseconds=3),
    "amount": Decimal("1.10"),
    "raw": b"\xff\x00\xfe",
    "chosen": {1, 2},
    "pair": (1, "x"),
    "mode": "a",
    "small": 10,
    "either": None,
    "anything": {"nested": [1, None]},
}


def test_positions_and_names_become_one_object() -> None:
    arguments = Arguments(send_mail)
    assert json.loads(arguments.bind(("a@b.c",), {"subject": "Hi"})) == {"to": "a@b.c", "subject": "Hi"}
    assert json.loads(arguments.bind(("a@b.c", "Hi"), {})) == {"to": "a@b.c", "subject": "Hi"}
    assert json.loads(arguments.bind((), {"to": "a@b.c", "copies": 2})) == {"to": "a@b.c", "copies": 2}


def test_defaults_are_not_stored_they_belong_to_the_code() -> None:
    arguments = Arguments(send_mail)
    assert arguments.parse(arguments.bind(("a@b.c",), {})) == {"to": "a@b.c"}


def test_every_kind_of_value_comes_back_as_what_it_was() -> None:
    arguments = Arguments(everything)
    assert arguments.parse(arguments.bind((), EVERYTHING)) == EVERYTHING


def test_a_model_may_be_given_by_field_name_or_by_alias() -> None:
    arguments = Arguments(everything)
    for key in ("zipCode", "zip_code"):
        bound = json.loads(arguments.bind((), EVERYTHING))
        bound["address"] = {"street": "x", key: "1"}
        assert arguments.parse(json.dumps(bound))["address"] == EVERYTHING["address"]


@given(
    st.fixed_dictionaries(
        {"n": st.integers(-(2**63), 2**64 - 1), "x": st.floats(allow_nan=False, allow_infinity=False)},
        optional={
            "words": st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))),
            "moment": st.datetimes(timezones=st.just(UTC)),
            "wait": st.timedeltas(timedelta(0), timedelta(days=10_000)),
            "raw": st.binary(),
            "id": st.uuids(),
        },
    )
)
def test_what_is_bound_is_parsed_back_the_same(given_arguments: Any) -> None:
    def function(
        n: int,
        x: float,
        words: list[str] = [],  # noqa: B006
        moment: datetime = datetime.now(UTC),  # noqa: B008
        wait: timedelta = timedelta(0),
        raw: bytes = b"",
        id: UUID = UUID(int=0),  # noqa: A002, B008
    ) -> None: ...

    arguments = Arguments(function)
    assert arguments.parse(arguments.bind((), given_arguments)) == given_arguments


@pytest.mark.parametrize(
    ("args", "kwargs", "field", "said"),
    [
        ((), {}, "to", "send_mail: `to` is missing."),
        ((5,), {}, "to", "send_mail: `to`: input should be a valid string (got int)."),
        (("a",), {"subjekt": "x"}, "subjekt", "there is no argument `subjekt`. Did you mean 'subject'?"),
        (("a",), {"zzz": "x"}, "zzz", "send_mail: there is no argument `zzz`."),
        (
            ("a", "b", 3),
            {},
            "[2]",
            "send_mail takes 2 arguments by position (to, subject), but 3 were given.",
        ),
        (("a",), {"to": "b"}, "to", "send_mail: `to` was given twice, by position and by name."),
        (("a",), {"copies": "many"}, "copies", "`copies`: input should be a valid integer"),
    ],
)
def test_a_wrong_call_is_refused_in_the_words_of_python(
    args: Any, kwargs: Any, field: Any, said: Any
) -> None:
    with pytest.raises(InvalidArguments) as caught:
        Arguments(send_mail).bind(args, kwargs)
    assert said in str(caught.value)
    assert caught.value.field == field
    assert not caught.value.stored


def test_the_place_inside_a_value_is_named() -> None:
    def order(items: list[Item]) -> None: ...

    with pytest.raises(InvalidArguments, match=r"`items\[1\]\.price`: input should be a valid") as caught:
        Arguments(order).bind(([{"name": "a"}, {"name": "b", "price": "dear"}],), {})
    assert caught.value.field == "items[1].price"


def test_several_faults_are_told_together_and_the_first_is_the_field() -> None:
    with pytest.raises(
        InvalidArguments, match=r"`to` is missing; `copies`: .*; .* no argument `x`"
    ) as caught:
        Arguments(send_mail).bind((), {"copies": [], "x": 1})
    assert caught.value.field == "to"


def test_values_are_not_repeated_in_errors() -> None:
    with pytest.raises(InvalidArguments) as caught:
        Arguments(send_mail).bind(("a",), {"copies": "my-secret"})
    assert "my-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"items": [1, {"price": nan}]}, "input.value.items[1].price"),
        (["a\0b"], "input.value[0]"),
        ({"a": "\ud800"}, "input.value.a"),
        (2**64, "input.value"),
        ({"a": object()}, "input.value.a"),
        (Item("a", price=nan), "input.value.price"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_place(value: Any, path: Any) -> None:
    def function(value: Any) -> None: ...

    with pytest.raises(NotSerializable) as caught:
        Arguments(function).bind((value,), {})
    assert caught.value.path == path


def test_a_text_argument_must_be_text() -> None:
    with pytest.raises(NotSerializable, match=r"^input\.to .* lone surrogate"):
        Arguments(send_mail).bind(("a\ud800",), {})
    with pytest.raises(NotSerializable, match=r"^input\.to contains NUL"):
        Arguments(send_mail).bind(("a\0",), {})


def test_nan_is_refused_in_typed_fields_and_in_models_too() -> None:
    class Point(BaseModel):
        x: float

    def function(x: float, point: Point) -> None: ...

    arguments = Arguments(function, {"Point": Point})
    with pytest.raises(NotSerializable, match=r"^input\.x is NaN"):
        arguments.bind((nan, Point(x=1)), {})
    with pytest.raises(NotSerializable, match=r"^input\.point\.x is NaN"):
        arguments.bind((1.0, Point(x=nan)), {})


def test_a_secret_is_refused_rather_than_replaced_by_asterisks() -> None:
    def function(user: str, password: SecretStr) -> None: ...

    arguments = Arguments(function)
    with pytest.raises(NotSerializable, match=r"^input\.password holds a secret") as caught:
        arguments.bind(("me", SecretStr("hunter2")), {})
    assert "hunter2" not in str(caught.value)
    assert arguments.parse(arguments.bind(("**********", "**********"), {}))["user"] == "**********"


def test_an_instance_that_breaks_its_own_type_is_refused_when_enqueued() -> None:
    wrong: Any = 5
    broken = Address.model_construct(street=wrong)
    with pytest.raises(InvalidArguments, match=r"`address\.street`") as caught:
        Arguments(everything).bind((), {**EVERYTHING, "address": broken})
    assert not caught.value.stored


def test_an_input_over_the_limit_is_refused_naming_the_argument() -> None:
    with pytest.raises(TooLarge, match=r"input\.subject") as caught:
        Arguments(send_mail).bind(("a", "x" * 2_097_152), {}, max_bytes=1_048_576)
    assert caught.value.path == "input.subject"


def test_the_context_is_injected_and_not_sent_wherever_it_stands() -> None:
    def first(ctx: Context, a: int, b: int) -> None: ...
    def middle(a: int, context: Context, b: int) -> None: ...
    def last(a: int, b: int, *, c: Context) -> None: ...
    def optional(a: int, b: int, ctx: Context | None = None) -> None: ...
    def annotated(a: int, ctx: Annotated[Context, "x"], b: int) -> None: ...
    def for_checkers(a: int, b: int, *, ctx: OnlyForCheckers) -> None: ...

    for function in (first, middle, last, optional, annotated):
        arguments = Arguments(function)
        assert arguments.context_parameter in ("ctx", "context", "c")
        assert json.loads(arguments.bind((1, 2), {})) == {"a": 1, "b": 2}
        assert list(arguments.schema()["properties"]) == ["a", "b"]
    with pytest.raises(InvalidTask, match="'OnlyForCheckers' is unknown when the program runs"):
        Arguments(for_checkers).check()


def test_a_context_imported_for_type_checkers_only_is_known_all_the_same() -> None:
    scope: dict[str, Any] = {}
    exec("def function(a: 'int', ctx: 'Context') -> 'None': ...", scope)
    assert Arguments(scope["function"]).context_parameter == "ctx"


def test_passing_the_context_is_refused() -> None:
    def function(a: int, ctx: Context) -> None: ...

    with pytest.raises(InvalidArguments, match="the worker passes the Context"):
        Arguments(function).bind((1,), {"ctx": None})


def test_a_forgotten_annotation_of_the_context_is_hinted_at() -> None:
    def function(a: int, ctx) -> None: ...  # type: ignore[no-untyped-def]

    with pytest.raises(InvalidArguments, match="annotate the parameter: `ctx: Context`"):
        Arguments(function).bind((1,), {})


def test_names_around_a_local_function_are_known() -> None:
    class Local(BaseModel):
        x: int

    def function(one: Local, many: list[Local]) -> Local: ...  # type: ignore[empty-body]

    arguments = Arguments(function, locals())
    assert arguments.parse(arguments.bind((Local(x=1), [{"x": 2}]), {})) == {
        "one": Local(x=1),
        "many": [Local(x=2)],
    }


def test_an_annotation_that_nobody_knows_is_refused_saying_what_to_do() -> None:
    scope: dict[str, Any] = {}
    exec("def function(a: 'Nowhere') -> None: ...", scope)
    with pytest.raises(InvalidTask, match=r"the annotation 'Nowhere' is unknown .* TYPE_CHECKING"):
        Arguments(scope["function"]).check()


def test_an_annotation_that_json_has_no_words_for_is_refused_naming_the_argument() -> None:
    class Socket: ...

    def takes(a: int, socket: Socket) -> None: ...
    def returns(a: int) -> Socket: ...  # type: ignore[empty-body]

    with pytest.raises(InvalidTask, match="takes: the argument `socket` cannot be sent as JSON"):
        Arguments(takes, locals()).check()
    with pytest.raises(InvalidTask, match="returns: the result cannot be stored"):
        Arguments(returns, locals()).check()


def positional_only(a: int, /) -> None: ...
def any_number(*args: int) -> None: ...
def any_keyword(**kwargs: int) -> None: ...
def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


def method(self, a: int) -> None: ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (positional_only, "remove the '/'"),
        (any_number, r"`\*args: .*int.*` takes any number"),
        (any_keyword, r"`\*\*kwargs: .*int.*` takes any keyword"),
        (generator, "a task returns one value"),
        (async_generator, "a task returns one value"),
        (method, "is a method"),
        (int, "is not a function"),
        ("send_mail", "is not a function"),
    ],
)
def test_a_signature_that_cannot_be_sent_is_refused_at_the_declaration(function: Any, said: Any) -> None:
    with pytest.raises(InvalidTask, match=said):
        Arguments(function)


def test_two_contexts_are_refused() -> None:
    def function(a: Context, b: Context) -> None: ...

    with pytest.raises(InvalidTask, match="2 parameters annotated Context"):
        Arguments(function).check()


def test_unannotated_parameters_take_anything_json() -> None:
    def function(a, b=1): ...  # type: ignore[no-untyped-def]

    arguments = Arguments(function)
    assert arguments.parse(arguments.bind(([1, {"x": None}],), {})) == {"a": [1, {"x": None}]}


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("[1]", ""),
        ("null", ""),
        ("not json", ""),
        ("{}", "to"),
        ('{"to": 5}', "to"),
        ('{"to": "a", "more": 1}', "more"),
        ('{"to": "a", "copies": null}', "copies"),
    ],
)
def test_a_stored_input_that_does_not_fit_is_refused_as_stored(text: Any, field: Any) -> None:
    with pytest.raises(InvalidArguments, match=r"^send_mail: the stored input does not fit") as caught:
        Arguments(send_mail).parse(text)
    assert caught.value.field == field
    assert caught.value.stored


def test_no_arguments_are_an_empty_object() -> None:
    def function() -> None: ...

    assert Arguments(function).bind((), {}) == "{}"
    assert Arguments(function).parse(b"{}") == {}


def test_a_result_is_read_back_as_what_its_annotation_says() -> None:
    arguments = Arguments(everything)
    item = Item("a", 1.5, datetime(2026, 1, 1, tzinfo=UTC), [Item("b")])
    assert arguments.parse_output(arguments.dump_output(item)) == item


@pytest.mark.parametrize("value", [None, 1, "x", [1, {"a": None}], {"a": 1.5}])
def test_a_result_without_annotation_is_plain_json(value: Any) -> None:
    def function(): ...  # type: ignore[no-untyped-def]

    arguments = Arguments(function)
    assert arguments.parse_output(arguments.dump_output(value)) == value


def test_a_function_that_never_returns_is_a_task() -> None:
    def function() -> NoReturn:
        raise NotImplementedError

    Arguments(function).check()


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [nan]}, "output.a[0]"),
        (object(), "output"),
        (Item("x", price=nan), "output.price"),
        ("\0", "output"),
    ],
)
def test_a_result_that_cannot_be_stored_is_refused_with_its_place(value: Any, path: Any) -> None:
    for function in (send_mail, everything):
        with pytest.raises(NotSerializable) as caught:
            Arguments(function).dump_output(value)
        assert caught.value.path == path


def test_a_result_over_the_limit_is_refused() -> None:
    with pytest.raises(TooLarge, match="output is 2 MiB"):
        Arguments(send_mail).dump_output("x" * 2_097_152, max_bytes=1_048_576)


def test_work_is_not_thrown_away_because_an_annotation_lies_but_a_reader_is_told() -> None:
    arguments = Arguments(send_mail)
    assert arguments.dump_output({"not": "a text"}) == '{"not":"a text"}'
    with pytest.raises(UnexpectedResult, match="the run's `output` has the raw value"):
        arguments.parse_output('{"not":"a text"}')


def test_the_schema_says_what_sql_callers_may_send() -> None:
    schema = Arguments(send_mail).schema()
    assert schema["required"] == ["to"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["subject"] == {"title": "Subject", "type": "string", "default": "hello"}


def test_nothing_is_compiled_until_it_is_needed() -> None:
    def function(later: Later) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    arguments = Arguments(function, names := {})
    names["Later"] = int
    assert arguments.parse('{"later": 1}') == {"later": 1}
