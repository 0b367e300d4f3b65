"""The compiled signature of a task: pydantic-core's validators and serializers, bound once.

The parameters become a TypedDict, of which only what the caller gave is present: defaults belong to the
code, not to what is stored. Models and dataclasses are written by field name and read by name or alias.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NotRequired

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import (
    CoreConfig,
    PydanticSerializationError,
    SchemaError,
    SchemaSerializer,
    core_schema,
)
from typing_extensions import TypedDict

from openqueue.codec import decode, encode
from openqueue.errors import InvalidTask, NotSerializable
from openqueue.tasks.faults import invalid
from openqueue.tasks.published import ALIASES
from openqueue.tasks.signature import Parameter, Signature

__all__ = ["Contract", "compile_contract", "input_schema"]

_INPUT: Final = ConfigDict(extra="forbid", val_json_bytes="base64", ser_json_bytes="base64")
_REFUSED: Final = (PydanticUserError, SchemaError, NameError)
_WRITE: Final = CoreConfig(ser_json_inf_nan="constants", ser_json_bytes="base64")


@dataclass(frozen=True, slots=True)
class Contract:
    """What the hot paths need."""

    signature: Signature
    adapter: TypeAdapter[Any]
    positional: tuple[str, ...]
    validate: Callable[[Any], dict[str, Any]]
    validate_json: Callable[[str | bytes], dict[str, Any]]
    write: Callable[[Any], bytes]
    write_result: Callable[[Any], bytes]
    read_result: Callable[[str | bytes], Any]


def compile_contract(signature: Signature) -> Contract:
    """Build validators and serializers. Raises InvalidTask, naming the parameter pydantic refuses."""
    fields = {one.name: _field_type(one) for one in signature.parameters}
    shape = TypedDict("Input", fields)  # type: ignore[misc]  # its fields are the function's parameters
    shape.__pydantic_config__ = _INPUT  # type: ignore[attr-defined]
    try:
        adapter, result = _adapter(shape), _adapter(signature.returns)
    except _REFUSED as error:
        raise InvalidTask(_unsendable(signature, error)) from None
    result_writer = SchemaSerializer(result.core_schema, _WRITE)
    return Contract(
        signature=signature,
        adapter=adapter,
        positional=tuple(one.name for one in signature.parameters if one.by_position),
        validate=partial(adapter.validator.validate_python, by_alias=True, by_name=True),
        validate_json=partial(adapter.validator.validate_json, by_alias=True, by_name=True),
        write=_writer(signature, adapter),
        write_result=partial(result_writer.to_json, round_trip=True, warnings=False),
        read_result=partial(result.validator.validate_json, by_alias=True, by_name=True),
    )


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """An adapter that is whole: one that waits for names that are not there yet would fail when used."""
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    adapter.rebuild(raise_errors=True)
    return adapter


def _field_type(one: Parameter) -> Any:
    return one.annotation if one.required else NotRequired[one.annotation]


def _writer(signature: Signature, adapter: TypeAdapter[Any]) -> Callable[[Any], bytes]:
    """How valid arguments are written, so that they can be read back.

    Validation takes instances of models and dataclasses at their word. Where the signature has such
    types, what breaks its own type's promises is noticed while writing (which costs a microsecond).
    """
    serializer = SchemaSerializer(adapter.core_schema, _WRITE)
    lenient = partial(serializer.to_json, round_trip=True, warnings=False)
    if not _has_instances(adapter.core_schema):
        return lenient
    strict = partial(serializer.to_json, round_trip=True, warnings="error")

    def write(valid: Any) -> bytes:
        try:
            return strict(valid)
        except PydanticSerializationError:  # not JSON at all, or read back to see whether it matters
            data = lenient(valid)
        try:
            adapter.validator.validate_json(data, by_alias=True, by_name=True)
        except ValidationError as error:
            raise invalid(signature, error, stored=False) from None
        return data

    return write


def _has_instances(schema: Any) -> bool:
    """Whether a core schema knows a class whose instances are not validated again."""
    if isinstance(schema, Mapping):
        return schema.get("type") in ("model", "dataclass") or any(map(_has_instances, schema.values()))
    return isinstance(schema, list | tuple) and any(map(_has_instances, schema))


def input_schema(contract: Contract) -> dict[str, Any]:
    """The JSON schema of the input; types that have none leave it open, and so does code that comes first."""
    parameters = contract.signature.parameters
    try:
        schema = contract.adapter.json_schema(schema_generator=_Open)
    except PydanticInvalidForJsonSchema:
        schema = {"type": "object", "properties": {one.name: {} for one in parameters}}
    schema["title"] = contract.signature.label
    if _has_aliases(contract.adapter.core_schema):
        schema[ALIASES] = True
    for one in parameters:
        if not one.required and (default := _as_json(one.default)) is not None:
            schema["properties"][one.name].setdefault("default", default)
    return schema


class _Open(GenerateJsonSchema):
    """What a function of the user sees before pydantic does may be anything, unless it says what."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        """Open, unless `json_schema_input_type` was given."""
        return super().function_before_schema(schema) if "json_schema_input_schema" in schema else {}

    def function_wrap_schema(self, schema: core_schema.WrapValidatorFunctionSchema) -> JsonSchemaValue:
        """Open, unless `json_schema_input_type` was given."""
        return super().function_wrap_schema(schema) if "json_schema_input_schema" in schema else {}


def _has_aliases(schema: Any) -> bool:
    """Whether some field is read by another name, too, which JSON schema cannot say."""
    if isinstance(schema, Mapping):
        return "validation_alias" in schema or any(map(_has_aliases, schema.values()))
    return isinstance(schema, list | tuple) and any(map(_has_aliases, schema))


def _unsendable(signature: Signature, error: Exception) -> str:
    """Name the parameter whose annotation pydantic refuses."""
    for one in signature.parameters:
        try:
            _adapter(one.annotation)
        except _REFUSED as found:
            return f"{signature.label}: the argument `{one.name}` cannot be sent as JSON: {_brief(found)}"
    return f"{signature.label}: the result cannot be stored as JSON: {_brief(error)}"


def _brief(error: Exception) -> str:
    """What is wrong, in one line, with a remedy that is of use for a task."""
    text = str(error)
    if unknown := re.search(r"schema for (.+?)\. Set `arbitrary_types_allowed", text):
        return (
            f"nothing is known of how to write {unknown[1]}."
            " Use text, numbers, lists, dicts, dates, a dataclass, a TypedDict or a pydantic model."
        )
    if isinstance(error, SchemaError):  # a tree of parts, of which the innermost is at fault
        return " ".join(text.rpartition("Error: ")[2].split())
    return text.partition("\n")[0]


def _as_json(value: Any) -> Any:
    """A default for the schema; None when it has no JSON form (or is None, which is said as well)."""
    try:
        return decode(encode(value))
    except NotSerializable:
        return None
