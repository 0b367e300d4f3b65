"""SQL text: where it lives, how it is rendered for a schema, and statements by name.

In sql/ `:schema` stands for the schema's quoted name, `:'schema'` for that name as a literal and
`:'schema.jobs'` for a qualified name as a literal (to be cast to regclass). All count in function bodies
too, and not in comments, quoted text or quoted names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from openqueue.db.lexing import Token, requote, tokens
from openqueue.db.quoting import check_schema, quote_ident, quote_literal
from openqueue.errors import SchemaError, did_you_mean
from openqueue.lazy import lazy

__all__ = ["Statements", "inline", "read_sql", "render", "split", "sql_root"]

_NAME = re.compile(r"^-- name: *([a-z][a-z0-9_]*)[ \t]*$", re.MULTILINE)
_REMARK = re.compile(r"(?:[ \t]*(?:--[^\n]*)?\n)*")


def sql_root() -> Path:
    """The directory with migrations/, engine/ and queries/: in the wheel, or in the checkout.

    Raises SchemaError if the installation has neither.
    """
    package = Path(__file__).resolve().parent.parent
    for root in (package / "_sql", package.parent / "sql"):
        if (root / "queries").is_dir():
            return root
    raise SchemaError(f"openqueue's SQL files are not in {package}: install the package again.")


def render(sql: str, schema: str) -> str:
    """Replace the placeholders by the schema's name, quoted. Raises ConfigError for an impossible name."""
    return _render(sql, check_schema(schema))


def inline(sql: str, *values: object) -> str:
    """Write the values of $1, $2 … into the text as literals, for text that is printed or run in a script."""

    def written(token: Token) -> str:
        return quote_literal(values[int(token.inner) - 1]) if token.kind == "parameter" else token.text

    return "".join(written(token) for token in tokens(sql))


def split(sql: str) -> list[str]:
    """The statements of a script, without their semicolons; what is only a comment is left out."""
    pieces: list[list[Token]] = [[]]
    for token in tokens(sql):
        if token.kind == "end":
            pieces.append([])
        else:
            pieces[-1].append(token)
    return ["".join(token.text for token in piece).strip() for piece in pieces if any(map(_counts, piece))]


class Statements(Mapping[str, str]):
    """The named statements of sql/queries, rendered for one schema: ``statements["runs_list"]``.

    A line ``-- name: runs_list`` starts a statement; the comment lines below it are what it promises.
    Raises KeyError, with the nearest names, for one that does not exist, and SchemaError when two
    files have the same name.
    """

    def __init__(self, schema: str = "openqueue", root: Path | None = None) -> None:
        self.schema = check_schema(schema)
        self.root = root or sql_root()
        self._rendered: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        text = self._rendered.get(name)
        if text is None:
            text = self._rendered[name] = _render(self._statement(name), self.schema)
        return text

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)

    def __contains__(self, name: object) -> bool:
        return name in self._statements

    def promise(self, name: str) -> str:
        """What the comment below the statement's name says of it."""
        remark = _REMARK.match(self._source(name))
        lines = remark.group().splitlines() if remark else []
        return "\n".join(line.strip().removeprefix("--").strip() for line in lines).strip()

    def migration_files(self) -> list[Path]:
        """The numbered files of sql/migrations, in order of name."""
        return sorted((self.root / "migrations").glob("*.sql"))

    def engine_files(self) -> list[Path]:
        """The files of sql/engine, in order of name: one set."""
        return sorted((self.root / "engine").glob("*.sql"))

    @lazy
    def _statements(self) -> Mapping[str, str]:
        return _load(self.root / "queries")

    def _source(self, name: str) -> str:
        try:
            return self._statements[name]
        except KeyError:
            near = did_you_mean(name, self._statements)
            raise KeyError(f"no statement is named {name!r} in {self.root / 'queries'}.{near}") from None

    def _statement(self, name: str) -> str:
        return _REMARK.sub("", self._source(name), count=1).strip().rstrip(";").rstrip()


def read_sql(path: Path) -> str:
    """The text of an SQL file, with the line ends and without the byte order mark an editor may have left."""
    return path.read_text(encoding="utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")


def _render(sql: str, schema: str) -> str:
    name = quote_ident(schema)

    def rendered(token: Token) -> str:
        if token.kind == "schema":
            return name
        if token.kind == "literal":
            return quote_literal(f"{name}.{token.inner}" if token.inner else schema)
        if token.kind == "body":
            tag = token.text[: (len(token.text) - len(token.inner)) // 2]
            return requote(tag, _render(token.inner, schema))
        return token.text

    return "".join(map(rendered, tokens(sql)))


def _counts(token: Token) -> bool:
    return token.kind != "comment" and bool(token.text.strip())


@cache
def _load(directory: Path) -> Mapping[str, str]:
    """Every statement of the directory, unrendered, by name."""
    found: dict[str, str] = {}
    home: dict[str, Path] = {}
    for path in sorted(directory.glob("*.sql")):
        for name, text in _named(path):
            if name in found:
                raise SchemaError(f"two statements are named {name!r}: in {home[name]} and in {path}.")
            found[name], home[name] = text, path
    return found


def _named(path: Path) -> Iterator[tuple[str, str]]:
    head, *parts = _NAME.split(read_sql(path))
    if any(map(_counts, tokens(head))):
        raise SchemaError(f"{path} begins with a statement that has no name: write '-- name: …' above it.")
    for name, text in zip(parts[::2], parts[1::2], strict=True):
        if not any(map(_counts, tokens(text))):
            raise SchemaError(f"the statement {name!r} in {path} is empty.")
        yield name, text.lstrip("\n")
