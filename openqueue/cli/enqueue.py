"""`openqueue enqueue`: one run, by the task's name; on request, wait for what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openqueue.cli.attendance import tell_who_is_missing, telling_who_is_missing
from openqueue.cli.completing import complete_queue, complete_task
from openqueue.cli.options import AsJson, DatabaseUrl, Namespace, Schema, examples
from openqueue.cli.outages import Outages
from openqueue.cli.output import say, show_json
from openqueue.cli.payload import read_payload
from openqueue.cli.session import client, run_async, settings_of
from openqueue.cli.timeline import following
from openqueue.cli.values import (
    flags,
    optional,
    read_duration,
    read_lasting,
    read_meta,
    read_time,
    read_whole,
)
from openqueue.errors import InvalidOption, UnknownTask

if TYPE_CHECKING:
    from openqueue.runs.client import Client
    from openqueue.runs.model import Run
    from openqueue.settings import Settings

__all__ = ["group"]

group = typer.Typer(add_completion=False)

_WHEN = "When and where"
_WAIT = "Waiting"
_WORDS = {
    "task": "NAME",
    "queue": "--queue",
    "priority": "--priority",
    "max_attempts": "--max-attempts",
    "delay": "--delay",
    "run_at": "--run-at",
    "deadline": "--deadline",
    "key": "--key",
    "key_mode": "--key-mode",
    "unique": "--unique",
    "idempotency": "--idempotency",
    "group": "--group",
    "concurrency_key": "--concurrency-key",
    "meta": "--meta",
    "tags": "--tag",
}
"""What the command line calls the options of an enqueue."""


@group.command(
    "enqueue",
    epilog=examples(
        """openqueue enqueue mail.send_mail '{"to": "a@b.c", "subject": "x"}'""",
        """openqueue enqueue mail.send_mail '{"to": "a@b.c"}' --delay 10m --meta tenant=42 --tag vip""",
        "cat order.json | openqueue enqueue shop.ship - --key order:42 --watch",
    ),
)
def enqueue(
    *,
    task: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="The task, such as mail.send_mail.", autocompletion=complete_task
        ),
    ],
    payload: Annotated[
        str, typer.Argument(metavar="JSON", help="Its arguments: a JSON object; - reads standard input.")
    ] = "{}",
    delay: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Not before then: 30s, 5m, 1h30m, 2d.", rich_help_panel=_WHEN),
    ] = None,
    run_at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Not before then: 2026-12-24T18:00+01:00.", rich_help_panel=_WHEN),
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Not started by then, it expires.", rich_help_panel=_WHEN),
    ] = None,
    priority: Annotated[
        str | None, typer.Option(metavar="N", help="-32768 … 32767, lower first.", rich_help_panel=_WHEN)
    ] = None,
    queue: Annotated[
        str | None,
        typer.Option(help="Instead of the task's.", rich_help_panel=_WHEN, autocompletion=complete_queue),
    ] = None,
    max_attempts: Annotated[
        str | None, typer.Option(metavar="N", help="How often it is tried in all.", rich_help_panel=_WHEN)
    ] = None,
    key: Annotated[str | None, typer.Option(help="One unfinished run per task and key.")] = None,
    key_mode: Annotated[
        str | None,
        typer.Option(
            metavar="MODE",
            help="With a key, what becomes of the run that waits: replace, keep_time, skip, merge.",
        ),
    ] = None,
    unique: Annotated[
        bool,
        typer.Option("--unique", help="One unfinished run per task and arguments; the second is skipped."),
    ] = False,
    idempotency: Annotated[
        str | None, typer.Option(metavar="KEY", help="Given again, it is the run that it was, for a day.")
    ] = None,
    group: Annotated[str | None, typer.Option(help="Whose turn it is, in a fair queue.")] = None,
    concurrency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Runs with the same key share a limit.")
    ] = None,
    meta: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Facts to find it by; the value may be JSON."),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag; may be repeated.")] = None,
    allow_unknown: Annotated[
        bool, typer.Option("--allow-unknown", help="Also if no worker has published such a task.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Wait for its end and print its result.", rich_help_panel=_WAIT)
    ] = False,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Wait no longer; the run goes on.", rich_help_panel=_WAIT),
    ] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Enqueue a run of a task and print its id."""
    _refuse_useless(
        delay=delay, run_at=run_at, key=key or unique or None, key_mode=key_mode, watch=watch, timeout=timeout
    )
    patience = optional(read_duration, timeout, "--timeout")
    options = {
        "delay": optional(read_duration, delay, "--delay"),
        "run_at": optional(read_time, run_at, "--run-at"),
        "deadline": optional(read_lasting, deadline, "--deadline"),
        "priority": optional(read_whole, priority, "--priority", -32768, 32767),
        "queue": queue,
        "max_attempts": optional(read_whole, max_attempts, "--max-attempts", 1, 32767),
        "key": key,
        "key_mode": key_mode,
        "unique": "args" if unique else None,
        "idempotency": idempotency,
        "group": group,
        "concurrency_key": concurrency_key,
        "meta": read_meta(meta or ()) or None,
        "tags": tag or None,
    }
    with flags(**_WORDS):
        order = _Order.of(task, read_payload(payload), options, allow_unknown=allow_unknown)
        settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
        if watch:
            run_async(_enqueue_and_watch(settings, order, patience, as_json=as_json))
        else:
            run_async(_enqueue(settings, order, as_json=as_json))


@dataclass(frozen=True, slots=True)
class _Order:
    """What is to be enqueued, found to be in order."""

    task: str
    arguments: dict[str, Any]
    options: dict[str, Any]

    @classmethod
    def of(
        cls, task: str, arguments: dict[str, Any], options: dict[str, Any], *, allow_unknown: bool
    ) -> _Order:
        """Check all that can be checked without a database. Raises InvalidOption, NotSerializable."""
        from openqueue.tasks.enqueuer import Item

        Item.named(task, arguments, **options)
        return cls(task, arguments, {**options, "allow_unknown": allow_unknown})

    async def place(self, opened: Client) -> Run[Any]:
        """Enqueue it."""
        try:
            return await opened.enqueue(self.task, self.arguments, **self.options)
        except UnknownTask as error:
            said = str(error).replace("pass allow_unknown=True", "say --allow-unknown")
            raise UnknownTask(said, task=error.task) from None


def _refuse_useless(
    *,
    delay: str | None,
    run_at: str | None,
    key: str | bool | None,
    key_mode: str | None,
    watch: bool,
    timeout: str | None,
) -> None:
    """Refuse flags that contradict each other, or that do nothing without another one."""
    if delay is not None and run_at is not None:
        raise InvalidOption("--delay and --run-at: give only one of them.", option="--delay")
    if key_mode is not None and key is None:
        raise InvalidOption(
            "--key-mode: means nothing without --key. Give both, or neither.", option="--key-mode"
        )
    if timeout is not None and not watch:
        raise InvalidOption(
            "--timeout: means nothing without --watch. Add --watch, or leave it out.", option="--timeout"
        )


async def _enqueue(settings: Settings, order: _Order, *, as_json: bool) -> None:
    async with client(settings) as opened:
        run = await order.place(opened)
        if as_json:
            show_json({"id": run.id, "task": run.task, "outcome": run.outcome})
        else:
            _tell_outcome(run)
            print(run.id)
        await tell_who_is_missing(opened, run)


async def _enqueue_and_watch(
    settings: Settings, order: _Order, patience: timedelta | None, *, as_json: bool
) -> None:
    async with client(settings) as opened:
        run = await order.place(opened)
        _tell_outcome(run)
        say(f"{run.id}: waiting for its end; Ctrl-C leaves it running.")
        outages = Outages()
        try:
            async with following(opened, run.id, outages), telling_who_is_missing(opened, run):
                result = await outages.result(run, patience)
        finally:
            if as_json:
                show_json(await run.info())
    if not as_json:
        show_json(result)


def _tell_outcome(run: Run[Any]) -> None:
    if run.outcome == "existing":
        say("There is a run already, by this key, idempotency key or id: nothing was added.")
    if run.outcome == "replaced":
        say("The run with this key was still waiting, and was replaced.")
