"""The contract of a task: what goes in, what comes out, both as JSON and both validated.

It is compiled when first needed, not when the task is declared: annotations may name what is defined
further down, and an import stays quick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError

from openqueue.codec import check_size, strictly
from openqueue.errors import InvalidArguments, NotSerializable, UnexpectedResult
from openqueue.tasks.batch import of_one
from openqueue.tasks.contract import Contract, compile_contract, input_schema
from openqueue.tasks.faults import invalid
from openqueue.tasks.signature import check_shape, read

__all__ = ["Arguments"]

_MASK = '"**********"'


class Arguments:
    """The arguments and the result of one function.

    `local` has the names around a function that is defined inside another one, for its annotations.
    `batch`: the function takes a list, and what is sent is one element.
    Raises InvalidTask for a signature that cannot be sent: `*args`, `**kwargs`, `/`, generators, methods.
    """

    __slots__ = ("_batch", "_contract", "_function", "_local")

    def __init__(
        self, function: Callable[..., Any], local: Mapping[str, Any] | None = None, *, batch: bool = False
    ) -> None:
        check_shape(function)
        self._batch = batch
        self._function = function
        self._local = local
        self._contract: Contract | None = None

    @property
    def contract(self) -> Contract:
        """The compiled signature, now. Raises InvalidTask for annotations that cannot be used."""
        if self._contract is None:
            signature = read(self._function, self._local)
            self._contract = compile_contract(of_one(signature) if self._batch else signature)
            self._local = None
        return self._contract

    def check(self) -> None:
        """Compile the signature now. Raises InvalidTask for annotations that cannot be used."""
        assert self.contract is not None

    @property
    def context_parameter(self) -> str | None:
        """The parameter that takes the Context; None when there is none."""
        return self.contract.signature.context

    def takes(self, name: str) -> bool:
        """Whether callers may send an argument of this name."""
        return any(one.name == name for one in self.contract.signature.parameters)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, max_bytes: int | None = None) -> str:
        """Validate a call's arguments and write them as a JSON object by name.

        Raises InvalidArguments (`field`), NotSerializable (`path`) or, over `max_bytes`, TooLarge.
        """
        contract = self._contract or self.contract
        named = _by_name(contract, args, kwargs) if args else kwargs
        try:
            valid = contract.validate(named)
        except ValidationError as error:
            raise invalid(contract.signature, error, stored=False) from None
        text = strictly(contract.write, valid, "input")
        if _MASK in text:
            _refuse_secrets(contract, text, valid)
        if max_bytes is not None:
            check_size(text, max_bytes, what="input")
        return text

    def parse(self, text: str | bytes) -> dict[str, Any]:
        """Validate a run's stored input; the arguments by name, without defaults and the Context.

        Raises InvalidArguments with `stored` set.
        """
        contract = self._contract or self.contract
        try:
            return contract.validate_json(text)
        except ValidationError as error:
            raise invalid(contract.signature, error, stored=True) from None

    def dump_output(self, value: Any, *, max_bytes: int | None = None) -> str:
        """Write a result as JSON, by the return annotation.

        The annotation guides the writing and is not enforced: work that is done is not thrown away for
        it. Raises NotSerializable (`path` begins with `output`) or, over `max_bytes`, TooLarge.
        """
        if value is None:
            return "null"
        contract = self._contract or self.contract
        text = strictly(contract.write_result, value, "output")
        if max_bytes is not None:
            check_size(text, max_bytes, what="output")
        return text

    def parse_output(self, output: str | bytes) -> Any:
        """Read a stored result as what the return annotation says. Raises UnexpectedResult."""
        contract = self._contract or self.contract
        try:
            return contract.read_result(output)
        except ValidationError as error:
            raise UnexpectedResult(
                f"{contract.signature.label}: the stored result is not what its annotation says:"
                f" {error.errors(include_url=False)[0]['msg']}."
                " Correct the annotation; the run's `output` has the raw value."
            ) from None

    def schema(self) -> dict[str, Any]:
        """The JSON schema of the input, for the catalogue; types without one are left open."""
        return input_schema(self.contract)


def _refuse_secrets(contract: Contract, text: str, valid: dict[str, Any]) -> None:
    """Refuse pydantic's secrets, which are written as asterisks: the task would get those."""
    read = contract.validate_json(text)
    for name, value in valid.items():
        if read[name] != value:
            raise NotSerializable(
                f"input.{name} holds a secret, which would be stored as '**********'."
                " Send a reference to it, or its text if it may stand in the database.",
                path=f"input.{name}",
            )


def _by_name(contract: Contract, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    names = contract.positional
    if len(args) > len(names):
        raise InvalidArguments(
            f"{contract.signature.label} takes {len(names)} argument{'s'[: len(names) != 1]} by position"
            f" ({', '.join(names) or 'none'}), but {len(args)} were given.",
            field=f"[{len(names)}]",
        )
    bound = dict(zip(names, args, strict=False))
    if kwargs:
        for name in kwargs:
            if name in bound:
                raise InvalidArguments(
                    f"{contract.signature.label}: `{name}` was given twice, by position and by name.",
                    field=name,
                )
        bound.update(kwargs)
    return bound
