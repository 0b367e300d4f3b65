"""Strict JSON: stored as given, or refused with the place in the value."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf, isfinite, nan
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from openqueue.codec import check_json, check_size, decode, encode, format_size
from openqueue.errors import NotSerializable, TooLarge


class Color(enum.Enum):
    RED = "red"


class Price(BaseModel):
    amount: float
    note: str | None = None


@dataclass
class Line:
    price: Price
    count: int = 1


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def circular() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = [value]
    return value


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))

storable = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), inner)
    ),
    max_leaves=20,
)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()), inner),
    max_leaves=20,
)


@given(storable)
def test_what_can_be_stored_comes_back_the_same(value: Any) -> None:
    assert decode(encode(value)) == value


def is_storable(value: Any) -> bool:
    if isinstance(value, dict):
        return all(is_storable(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return all(map(is_storable, value))
    if isinstance(value, float):
        return isfinite(value)
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)
    return not isinstance(value, int) or -(2**63) <= value < 2**64


@given(anything)
def test_a_value_is_refused_exactly_when_postgresql_or_64_bits_cannot_hold_it(value: Any) -> None:
    if is_storable(value):
        assert json.loads(encode(value)) == value
    else:
        with pytest.raises(NotSerializable) as caught:
            encode(value, what="input")
        assert caught.value.path.startswith("input")


@pytest.mark.parametrize(
    ("value", "path", "why"),
    [
        ({"items": [1, {"price": nan}]}, "input.items[1].price", "NaN"),
        ({"low": -inf}, "input.low", "infinite"),
        ({"line": Line(Price(amount=nan))}, "input.line.price.amount", "NaN"),
        ([Price(amount=1), Price(amount=inf)], "input[1].amount", "infinite"),
        ({"n": 2**64}, "input.n", "64 bit"),
        ({"n": -(2**63) - 1}, "input.n", "64 bit"),
        ({"a": "x\0y"}, "input.a", "NUL"),
        ({"x\0": 1}, 'input["x\\u0000"]', "NUL"),
        ({"a": ["\ud800"]}, "input.a[0]", "surrogate"),
        ({"\udfff": 1}, 'input["\\udfff"]', "surrogate"),
        ({"two words": object()}, 'input["two words"]', "type object"),
        ({"f": print}, "input.f", "no JSON form"),
        (circular(), "input.self[0]", "refers back"),
        (nested(300), "input[0]", "255 levels"),
        (2**70, "input", "64 bit"),
    ],
)
def test_a_refusal_names_the_place_and_the_reason(value: Any, path: Any, why: Any) -> None:
    with pytest.raises(NotSerializable, match=why) as caught:
        encode(value, what="input")
    assert caught.value.path.startswith(path)
    assert str(caught.value).startswith(caught.value.path)


@pytest.mark.parametrize(
    "value",
    [
        "NaN",
        "Infinity",
        "\\u0000",
        "12345678901234567890123",
        {"null": None, "f": 1.5},
        [2**63, 1e300, 10**18],
    ],
)
def test_what_only_looks_like_a_fault_is_stored(value: Any) -> None:
    assert decode(encode(value)) == value


def test_models_dataclasses_dates_and_enums_are_stored_by_their_values() -> None:
    value = {
        "line": Line(Price(amount=1.5)),
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "id": UUID(int=1),
        "color": Color.RED,
        "tags": {"a"},
        "raw": b"\xff",
    }
    assert decode(encode(value)) == {
        "line": {"price": {"amount": 1.5, "note": None}, "count": 1},
        "at": "2026-01-02T00:00:00Z",
        "id": "00000000-0000-0000-0000-000000000001",
        "color": "red",
        "tags": ["a"],
        "raw": "_w==",
    }


@pytest.mark.parametrize(
    "text", ['{"a": [NaN]}', '{"a": "\\u0000"}', '{"a": "\\ud800"}', "[99999999999999999999]", "[NaN"]
)
def test_text_encoded_elsewhere_is_refused_for_the_same_faults(text: Any) -> None:
    for form in (text, text.encode()):
        with pytest.raises(NotSerializable, match=r"^input"):
            check_json(form, what="input")


@pytest.mark.parametrize("text", ['{"a": "\\ud83d\\ude00"}', '{"a": "\\\\u0000 NaN"}', "1e19", "[]"])
def test_text_encoded_elsewhere_without_fault_passes(text: Any) -> None:
    check_json(text)


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", "NaN", "[1,]", "nul"])
def test_what_is_not_json_is_refused_with_the_position(text: Any) -> None:
    with pytest.raises(NotSerializable, match=r"input is not JSON: .*line \d+ column \d+"):
        decode(text, what="input")


def test_a_value_over_the_limit_is_refused_naming_its_largest_part() -> None:
    text = encode({"id": 7, "body": {"html": "x" * 2_000_000, "text": "y"}})
    with pytest.raises(
        TooLarge, match=r"input is 1\.9 MiB, more than the 1 MiB .* input\.body\.html"
    ) as caught:
        check_size(text, 1024 * 1024, what="input")
    assert caught.value.path == "input.body.html"
    assert caught.value.limit == 1024 * 1024
    assert caught.value.size == len(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50), st.integers(2, 100))
def test_size_is_counted_in_bytes(text: Any, limit: Any) -> None:
    encoded = json.dumps(text, ensure_ascii=False)
    fits = len(encoded.encode()) <= limit
    for form in (encoded, encoded.encode()):
        try:
            check_size(form, limit)
            assert fits
        except TooLarge:
            assert not fits


def test_sizes_are_written_for_people() -> None:
    assert [format_size(n) for n in (512, 1024, 1536, 1024 * 1024, 2_500_000)] == [
        "512 bytes",
        "1 KiB",
        "1.5 KiB",
        "1 MiB",
        "2.4 MiB",
    ]
