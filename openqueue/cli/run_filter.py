"""The options that choose runs, the same for every command that has a filter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import typer

from openqueue.cli.completing import (
    complete_queue,
    complete_schedule,
    complete_sort,
    complete_status,
    complete_task,
    complete_worker,
)
from openqueue.cli.values import flags, optional, read_meta, read_moment, read_words

if TYPE_CHECKING:
    from openqueue.runs.filter import RunFilter

__all__ = ["filtered"]

_PANEL: Final = "Which runs"


def _option(text: str, **how: Any) -> Any:
    return typer.Option(help=text, rich_help_panel=_PANEL, **how)


def _time(text: str) -> Any:
    return Annotated[str | None, _option(text, metavar="TIME")]


FILTER: Final[Mapping[str, Any]] = {
    "task": Annotated[str | None, _option("Only of this task.", autocompletion=complete_task)],
    "queue": Annotated[str | None, _option("Only of this queue.", autocompletion=complete_queue)],
    "status": Annotated[
        list[str] | None,
        _option(
            "Only with this status, such as failed; several with commas.",
            autocompletion=complete_status,
        ),
    ],
    "schedule": Annotated[
        str | None, _option("Only of this schedule.", metavar="KEY", autocompletion=complete_schedule)
    ],
    "worker": Annotated[
        str | None,
        _option(
            "Ended by this worker (or, with --status running, held): its id or name.",
            autocompletion=complete_worker,
        ),
    ],
    "key": Annotated[str | None, _option("Enqueued with this key.")],
    "meta": Annotated[
        list[str] | None,
        _option("Whose meta has this; may be repeated, and be JSON.", metavar="KEY=VALUE"),
    ],
    "tag": Annotated[list[str] | None, _option("With any of these tags; may be repeated.", metavar="TAG")],
    "since": _time("Enqueued from then: '1h ago', a date, a time."),
    "until": _time("Enqueued before then."),
    "started_since": _time("Started from then."),
    "started_until": _time("Started before then."),
    "finished_since": _time("Ended from then; those that ended last come first."),
    "finished_until": _time("Ended before then."),
    "error": Annotated[str | None, _option("Ended with an error of this type.", metavar="TYPE")],
    "text": Annotated[
        str | None, _option("Whose error has this text; needs a time since when.", metavar="TEXT")
    ],
}
"""The options by their parameters."""

FLAG: Final = Annotated[
    bool, typer.Option("--oldest-first", help="The oldest first.", rich_help_panel=_PANEL)
]

ORDER: Final[Mapping[str, Any]] = {
    "sort": Annotated[
        str | None,
        _option("By creation (created) or by end (finished).", autocompletion=complete_sort),
    ],
    "oldest_first": FLAG,
}

_TIMES: Final = ("since", "until", "started_since", "started_until", "finished_since", "finished_until")


def filtered(
    *,
    ordered: bool = False,
    also: Mapping[str, Any] | None = None,
    may: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options; it gets what they choose as `chosen`.

    `ordered`: and in which order. `also`: parameters that it takes besides, all of them required; `may`:
    those that may be left out.
    """
    options = {**FILTER, **(ORDER if ordered else {})}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def filtering(**given: Any) -> None:
            said = {name: given.pop(name) for name in options}
            command(chosen=read_filter(said), **given)

        hints = get_type_hints(command, include_extras=True)
        own = [
            one.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[one.name])
            for one in signature(command).parameters.values()
            if one.name != "chosen" and one.kind is not Parameter.VAR_KEYWORD
        ]
        own += [
            Parameter(name, Parameter.KEYWORD_ONLY, annotation=kind) for name, kind in (also or {}).items()
        ]
        more = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=False if kind is FLAG else None, annotation=kind)
            for name, kind in {**options, **(may or {})}.items()
        ]
        taken = signature(command).replace(parameters=[*more, *own])
        filtering.__signature__ = taken  # type: ignore[attr-defined]
        filtering.__annotations__ = {one.name: one.annotation for one in taken.parameters.values()}
        filtering.__doc__ = command.__doc__
        return filtering

    return decorate


def read_filter(said: Mapping[str, Any]) -> RunFilter:
    """What the options say. Raises InvalidOption, which names the flag."""
    from openqueue.runs.filter import RunFilter

    times: dict[str, Any] = {
        name: optional(read_moment, said[name], f"--{name.replace('_', '-')}") for name in _TIMES
    }
    names = {name: f"--{name.replace('_', '-')}" for name in (*FILTER, *ORDER)}
    with flags(**names):
        return RunFilter(
            task=said["task"],
            queue=said["queue"],
            status=read_words(said["status"] or ()),
            schedule=said["schedule"],
            worker=said["worker"],
            key=said["key"],
            meta=read_meta(said["meta"] or ()),
            tags=tuple(said["tag"] or ()),
            error=said["error"],
            text=said["text"],
            sort=said.get("sort"),
            oldest_first=said.get("oldest_first", False),
            **times,
        )
