"""How drivers write parameters: ours are $1, $2 …; psycopg's kind wants %(p1)s and every other % doubled."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from openqueue.db.lexing import Token, tokens

__all__ = ["named", "pyformat"]


@lru_cache(maxsize=256)
def pyformat(sql: str) -> str:
    """The statement in the style `pyformat`: once a text. A parameter may occur more than once."""
    return "".join(map(_written, tokens(sql)))


def named(args: tuple[Any, ...]) -> dict[str, Any]:
    """The arguments of such a statement."""
    return {f"p{number}": value for number, value in enumerate(args, start=1)}


def _written(token: Token) -> str:
    return f"%(p{token.inner})s" if token.kind == "parameter" else token.text.replace("%", "%%")
