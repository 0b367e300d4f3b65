"""The reference pages of docs/, written from the code by `make reference`.

A test compares what is written here with what is in docs/reference, so that no page is ever stale.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg

import openqueue
from openqueue.cli.exits import EXITS
from openqueue.durations import format_duration
from openqueue.settings import Settings
from openqueue.tasks.options import EnqueueOptions, TaskOptions

__all__ = ["DIRECTORY", "PAGES", "exits", "python", "settings", "sql"]

DIRECTORY = Path(__file__).resolve().parents[2] / "docs" / "reference"
PAGES = ("exits", "python", "settings", "sql")

_TABLE = re.compile(r"^(\w+(?:, \w+)*) {2,}(\S.*)$")

_FUNCTIONS = """
SELECT p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), d.description
FROM pg_proc p JOIN pg_description d ON d.objoid = p.oid AND d.classoid = 'pg_proc'::regclass
WHERE p.pronamespace = 'openqueue'::regnamespace ORDER BY p.proname, 2
"""
_RELATIONS = """
SELECT c.relname, d.description, ARRAY(
    SELECT a.attname || ' ' || format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
FROM pg_class c
JOIN pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass
WHERE c.relnamespace = 'openqueue'::regnamespace AND c.relkind = ANY (%s) ORDER BY c.relname
"""


def python() -> str:
    """The public names: what each takes, and what it says of itself."""
    names = [name for name in openqueue.__all__ if name != "__version__"]
    things = {name: getattr(openqueue, name) for name in names}
    errors = {n for n, t in things.items() if isinstance(t, type) and issubclass(t, Exception)}
    functions = {n for n, t in things.items() if not isinstance(t, type)}
    parts = {
        "Functions": [n for n in names if n in functions],
        "Classes": [n for n in names if n not in functions | errors],
        "Errors and ways to leave a task": [n for n in names if n in errors],
    }
    text = ["# Python", "Everything here is imported from `openqueue`."]
    for title, members in parts.items():
        text.append(f"## {title}")
        for name in members:
            text += [f"### {name}", *_described(name, things[name], methods=name not in errors)]
    text += ["## Options", "### Of a task", "The keywords of `@task`.", *_prose(TaskOptions)]
    text += ["### Of an enqueue", "The keywords of `task.options`.", *_prose(EnqueueOptions)]
    text += ["Also `queue`, `priority`, `max_attempts`, `tags`, `meta`, for this run alone."]
    text += ["`connection` stores it in [your transaction](../enqueueing.md)."]
    return _page(text)


def settings() -> str:
    """Every setting: its key, variable, default, meaning."""
    meanings = dict(_definitions(inspect.getdoc(Settings) or ""))
    rows = []
    for name, field in Settings.model_fields.items():
        key = field.alias or name
        meaning = meanings.get(name) or next(
            said for words, said in meanings.items() if name in _words(words)
        )
        shown = _default(field.default)
        rows.append(
            [f"`{key}`", f"`OPENQUEUE_{key.upper()}`", shown, _cell(re.sub(r"^\(key: \w+\) ", "", meaning))]
        )
    return _page(
        [
            "# Settings",
            "Where they may be written, and which place wins: [the command line](../cli.md#settings).",
            *_table(["key", "variable", "default", "meaning"], rows),
        ]
    )


def exits() -> str:
    """The exit codes of every command."""
    rows = [[str(one.code), one.name, one.meaning, _errors(one.errors)] for one in EXITS]
    return _page(
        [
            "# Exit codes",
            "Of every command; the errors are those of [Python](python.md).",
            *_table(["code", "name", "when", "errors"], rows),
        ]
    )


def sql(dsn: str) -> str:
    """What the schema says of itself, in a database where it has its usual name."""
    with psycopg.connect(dsn) as connection:
        functions = connection.execute(_FUNCTIONS).fetchall()
        views = connection.execute(_RELATIONS, [["v"]]).fetchall()
        tables = connection.execute(_RELATIONS, [["r", "p"]]).fetchall()
    workers = [one for one in functions if re.match(r"(worker|rescuer) uuid", one[1])]
    text = [
        "# SQL",
        "All of it is in the schema `openqueue`, and works in your transaction. NULL means the default.",
        "## Functions for everyone",
        *(line for one in functions if one not in workers for line in _function(*one)),
        "## Views",
    ]
    for name, said, columns in views:
        text += [f"### {name}", f"{said}", f"```text\n{chr(10).join(columns)}\n```"]
    text += [
        "## Functions for workers",
        "Each first names the worker that calls. How they play together: [how it is built](../engine.md).",
        *(line for one in workers for line in _function(*one)),
        "## Tables",
        "Read them if you like; write to them through the functions only.",
        *_table(["table", "holds"], [[f"`{name}`", _cell(said)] for name, said, _ in tables]),
    ]
    return _page(text)


def _page(parts: Iterable[str]) -> str:
    note = "<!-- Written from the code by `make reference`. -->"
    first, *rest = parts
    return "\n\n".join([first, note, *rest]) + "\n"


def _described(name: str, thing: Any, *, methods: bool) -> Iterator[str]:
    if not isinstance(thing, type):
        yield f"```python\n{_signature(name, thing)}\n```"
        yield from _prose(thing)
        return
    yield from _prose(thing)
    if methods:
        for own, value in vars(thing).items():
            if own.startswith("_") or not inspect.getdoc(getattr(thing, own, None)):
                continue
            if isinstance(value, property):
                yield f"**`{name}.{own}`**"
            elif inspect.isfunction(value) or isinstance(value, classmethod | staticmethod):
                yield f"```python\n{_signature(f'{name}.{own}', getattr(thing, own))}\n```"
            else:
                continue
            yield from _prose(value if isinstance(value, property) else getattr(thing, own))


def _signature(name: str, function: Any) -> str:
    found = inspect.signature(function)
    kept = [one for one in found.parameters.values() if one.name != "self"]
    found = found.replace(parameters=kept)
    begin = "async def" if inspect.iscoroutinefunction(function) else "def"
    text = f"{begin} {name}{found}".replace("'", "") if "'" in str(found) else f"{begin} {name}{found}"
    text = re.sub(r"<[^<>]* object at 0x\w+>", "…", text)
    text = re.sub(r"\b(?:openqueue|datetime|uuid|collections\.abc|typing)(?:\.\w+)*\.(\w+)", r"\1", text)
    if len(text) <= 88:
        return text
    inside = [re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", str(one).replace("'", "")) for one in kept]
    inside = [re.sub(r"<[^<>]* object at 0x\w+>", "…", one) for one in inside]
    stars = [at for at, one in enumerate(kept) if one.kind is one.KEYWORD_ONLY]
    if stars and not any(one.kind is one.VAR_POSITIONAL for one in kept):
        inside.insert(stars[0], "*")
    before = [at for at, one in enumerate(kept) if one.kind is one.POSITIONAL_ONLY]
    if before:
        inside.insert(before[-1] + 1, "/")
    tail = text[text.rindex(")") + 1 :]
    return f"{begin} {name}(\n" + "".join(f"    {one},\n" for one in inside) + f"){tail}"


def _prose(thing: Any) -> Iterator[str]:
    """A docstring as Markdown: a column of words with their meanings becomes a table."""
    for paragraph in (inspect.getdoc(thing) or "").split("\n\n"):
        found = list(_definitions(paragraph))
        if found and _TABLE.match(paragraph.splitlines()[0]):
            yield from _table(["name", "meaning"], [[f"`{key}`", _cell(said)] for key, said in found])
        else:
            yield _marked(" ".join(paragraph.split()))


def _definitions(text: str) -> Iterator[tuple[str, str]]:
    """The pairs of a docstring's columns; a line that is indented goes on with the one before."""
    key, said = "", ""
    for line in text.splitlines():
        if found := _TABLE.match(line):
            if key:
                yield key, said
            key, said = found[1], found[2]
        elif key and line.startswith(" "):
            said += f" {line.strip()}"
        elif key:
            yield key, said
            key = ""
    if key:
        yield key, said


def _words(text: str) -> list[str]:
    return text.split(", ")


def _default(value: Any) -> str:
    if isinstance(value, timedelta):
        return f"`{format_duration(value)}`"
    if value is None or value == ():
        return ""
    return f"`{', '.join(value) if isinstance(value, tuple) else value}`"


def _errors(kinds: Iterable[type[Exception]]) -> str:
    return ", ".join(f"`{kind.__name__}`" for kind in kinds)


def _function(name: str, arguments: str, result: str, said: str) -> Iterator[str]:
    said, _, example = said.partition(" Example: ")
    arguments = re.sub(r"( DEFAULT (?:'[^']*'|[^:,]+))::[a-z ]+(?:\[\])?", r"\1", arguments)
    listed = re.split(r", (?![^(]*\))", arguments)
    inside = "\n    " + ",\n    ".join(listed) + "\n" if len(arguments) > 60 else arguments
    yield f"### {name}"
    yield f"```sql\nopenqueue.{name}({inside}) → {result}\n```"
    yield _marked(said if said.endswith(".") else f"{said}.")
    if example:
        yield f"```sql\n{example.rstrip('.')};\n```"


def _table(titles: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    lines = [titles, ["---"] * len(titles), *rows]
    yield "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(text: str) -> str:
    return _marked(" ".join(text.split())).replace("|", "\\|")


def _marked(text: str) -> str:
    """Text for Markdown: code marks of one kind, nothing taken for markup."""
    parts = re.split(r"(`+[^`]+`+)", text)
    return "".join(
        re.sub(r"`+", "`", part) if part.startswith("`") else part.replace("<", "&lt;").replace("*", "\\*")
        for part in parts
    )


def main() -> None:
    """Write all pages; PostgreSQL is an embedded one."""
    import asyncio

    from openqueue.db.migrations import migrate
    from tests.support.own_server import OwnServer

    with OwnServer.temporary() as server:
        asyncio.run(migrate(server.dsn()))
        pages = {"python": python(), "settings": settings(), "exits": exits(), "sql": sql(server.dsn())}
    for name in PAGES:
        (DIRECTORY / f"{name}.md").write_text(pages[name])


if __name__ == "__main__":
    main()
