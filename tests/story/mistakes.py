"""What a mistake is: how it is made, what the answer must say, and under which words the manual has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Mistake", "check"]


@dataclass(frozen=True)
class Mistake:
    """A mistake.

    name   what was done
    made   how: a callable for Python, a command line for a shell
    ends   the class of the exception, or the exit code
    where  what is at fault, as the answer must name it
    see    what happened: the words that docs/troubleshooting.md lists
    do     what the answer must say is to be done
    """

    name: str
    made: Callable[..., Any] | str
    ends: type[BaseException] | int
    where: str
    see: str
    do: str

    def __str__(self) -> str:
        return self.name


def check(answer: str, mistake: Mistake, *secrets: str) -> None:
    """The answer says what, where and what to do, in few words, without a secret."""
    for part in (mistake.where, mistake.see, mistake.do):
        assert part in answer, f"{part!r} is not in: {answer}"
    for secret in ("hunter2", *secrets):
        assert secret not in answer
