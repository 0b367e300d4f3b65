"""Just enough of SQL's lexical rules to tell code from comments and quoted text.

A placeholder counts in code, and in the bodies of functions, which are code in dollar quotes; it does
not count in comments, in text between single quotes or in quoted names, as in psql.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["Token", "requote", "tokens"]

Kind = Literal["code", "schema", "literal", "parameter", "comment", "quoted", "body", "end"]

_TOKEN = re.compile(
    r"""
      (?<![:\w]) :schema\b                                        (?P<schema>)
    | (?<![:\w]) :'schema (?: \. (?P<object>[a-z_][a-z0-9_]*) )? ' (?P<literal>)
    | (?<![\w$]) \$(?P<number>\d+)                                (?P<parameter>)
    | --[^\n]*                                                    (?P<comment>)
    | /\*                                                         (?P<block>)
    | (?<![\w$]) [eE]'(?:[^'\\]|\\.|'')*'                         (?P<quoted>)
    | '(?:[^']|'')*' | "(?:[^"]|"")*"
    | (?<![\w$]) (?P<tag>\$(?:[^\W\d]\w*)?\$)                     (?P<body>)
    | ;                                                           (?P<end>)
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK = re.compile(r"/\*|\*/")


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of SQL text. All pieces, joined, are the text.

    `inner` is what is in it: of a body what stands between its quotes, of a literal the object named
    after the schema's name, of a parameter its number.
    """

    kind: Kind
    text: str
    inner: str = ""


def tokens(sql: str) -> Iterator[Token]:
    """Take SQL text apart. What is not closed is one piece to the end: the server will say so."""
    at = 0
    while found := _TOKEN.search(sql, at):
        if found.start() > at:
            yield Token("code", sql[at : found.start()])
        kind = found.lastgroup or "quoted"
        token = _long(sql, found, kind) or Token(_KINDS[kind], found.group(), _inner(found, kind))
        yield token
        at = found.start() + len(token.text)
    if at < len(sql):
        yield Token("code", sql[at:])


def requote(tag: str, body: str) -> str:
    """Put a body back between dollar quotes: its own, or others if a rendered name now contains them."""
    number = 0
    quote = tag
    while (body + quote).find(quote) != len(body):
        number += 1
        quote = f"$body{number}$"
    return quote + body + quote


_KINDS: dict[str, Kind] = {
    "schema": "schema",
    "literal": "literal",
    "parameter": "parameter",
    "comment": "comment",
    "quoted": "quoted",
    "end": "end",
}


def _inner(found: re.Match[str], kind: str) -> str:
    names = {"literal": "object", "parameter": "number"}
    return (found.group(names[kind]) or "") if kind in names else ""


def _long(sql: str, found: re.Match[str], kind: str) -> Token | None:
    """The pieces whose end depends on how they began: block comments, which nest, and dollar quotes."""
    if kind == "block":
        return Token("comment", sql[found.start() : _end_of_block(sql, found.end())])
    if kind == "body":
        tag = found.group("tag")
        end = sql.find(tag, found.end())
        if end < 0:
            return Token("quoted", sql[found.start() :])
        return Token("body", sql[found.start() : end + len(tag)], sql[found.end() : end])
    return None


def _end_of_block(sql: str, at: int) -> int:
    depth = 1
    while depth:
        found = _BLOCK.search(sql, at)
        if found is None:
            return len(sql)
        depth += 1 if found.group() == "/*" else -1
        at = found.end()
    return at
