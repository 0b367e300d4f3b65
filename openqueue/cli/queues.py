"""`openqueue queues`: how much waits and runs where, what holds there, and acting on it."""

from __future__ import annotations

from typing import Annotated

import typer

from openqueue.cli.completing import complete_queue
from openqueue.cli.control_page import print_held
from openqueue.cli.controlling import (
    Burst,
    Concurrency,
    RateFlag,
    Reason,
    Until,
    apply,
    limits,
    naming,
    read_until,
    refuse_none,
    taken,
    weights_of,
)
from openqueue.cli.listing import Listing
from openqueue.cli.options import AsJson, DatabaseUrl, Namespace, Schema, examples
from openqueue.cli.queue_list import print_queues, show_queue
from openqueue.cli.session import run_async, settings_of
from openqueue.errors import InvalidOption

__all__ = ["group"]

group = typer.Typer(
    cls=Listing,
    add_completion=False,
    help="List the queues: how much waits, and for how long. Show, limit, pause and resume one.",
)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The queue.", show_default=False, autocompletion=complete_queue)
]
NameOrAll = Annotated[
    str | None,
    typer.Argument(metavar="NAME", help="The queue.", show_default=False, autocompletion=complete_queue),
]
GroupFlag = Annotated[str | None, typer.Option("--group", help="Only this group of the queue.")]
All = Annotated[bool, typer.Option("--all", help="Everything in the namespace, instead of a queue.")]


@group.command("list", epilog=examples("openqueue queues list", "openqueue queues --json | jq '.[].queued'"))
def list_queues(
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """List the queues: how much waits, and for how long, and what holds.

    Those that have unfinished runs, those that a worker which is alive was told to work on, and those of
    which anything was said. LIMIT: how many slots are taken, of how many.
    """
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    run_async(print_queues(settings, as_json=as_json))


@group.command("show", epilog=examples("openqueue queues show mail"))
def show(
    name: Name,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Show what waits in a queue, which limits hold, and who said each."""
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    run_async(show_queue(settings, name, as_json=as_json))


@group.command(
    "pause",
    epilog=examples(
        "openqueue queues pause mail --until 30m --reason 'the provider is down'",
        "openqueue queues pause mail --group 'customer 42'",
        "openqueue queues pause --all",
    ),
)
def pause(
    *,
    name: NameOrAll = None,
    only: GroupFlag = None,
    everything: All = False,
    until: Until = None,
    reason: Reason = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Start nothing more from a queue, a group of it, or at all; what runs goes on."""
    from openqueue.control.changes import paused

    with naming():
        change = paused(_scope(name, only, everything), read_until(until), reason)
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    print_held(apply(settings, [change], "known_queues"), _named(name, only), as_json=as_json)


@group.command("resume", epilog=examples("openqueue queues resume mail", "openqueue queues resume --all"))
def resume(
    *,
    name: NameOrAll = None,
    only: GroupFlag = None,
    everything: All = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """End the pause of a queue, of a group of it, or of everything. Each ends only its own."""
    from openqueue.control.changes import resumed

    with naming():
        change = resumed(_scope(name, only, everything))
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    print_held(apply(settings, [change], "known_queues"), _named(name, only), as_json=as_json)


@group.command(
    "limit",
    epilog=examples(
        "openqueue queues limit mail --concurrency 5 --rate 100/1m",
        "openqueue queues limit mail --fairness weighted --weight gold=3 --weight trial=0.5",
        "openqueue queues limit mail --rate none",
    ),
)
def limit(
    *,
    name: Name,
    concurrency: Concurrency = None,
    rate: RateFlag = None,
    burst: Burst = None,
    fairness: Annotated[
        str | None,
        typer.Option(
            help="How groups take turns: strict, round_robin or weighted.",
            autocompletion=lambda: ["strict", "round_robin", "weighted"],
        ),
    ] = None,
    ageing: Annotated[
        str | None, typer.Option(metavar="TIME", help="Waiting so long gains one level of priority.")
    ] = None,
    weight: Annotated[
        list[str] | None, typer.Option(metavar="GROUP=N", help="A group's share; may be repeated.")
    ] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    schema: Schema = None,
    namespace: Namespace = None,
) -> None:
    """Say what holds for a queue in all processes, at once; what is not given stays.

    This goes before what settings say; none takes back what was said here.
    """
    from openqueue.control.changes import scope, shared

    with naming():
        changes = limits(scope(queue=name), concurrency, rate, burst)
        if fairness is not None or ageing is not None or weight:
            changes += shared(name, taken(fairness), weights_of(weight or ()), taken(ageing))
    refuse_none(changes, "--concurrency", "--rate", "--fairness", "--ageing", "--weight")
    settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
    print_held(apply(settings, changes, "known_queues"), name, as_json=as_json)


def _scope(name: str | None, only: str | None, everything: bool) -> tuple[str, str, str]:
    from openqueue.control.changes import scope

    if everything == (name is not None):
        raise InvalidOption("NAME: say which queue, or --all for everything.", option="NAME")
    if everything and only is not None:
        raise InvalidOption("--group: is one of a queue. Name the queue, or leave it out.", option="--group")
    if only is not None and name is not None:
        return scope(group=(name, only))
    return scope(queue=name, everything=everything)


def _named(name: str | None, only: str | None) -> str:
    return f"{name}, group {only}" if only else name or "everything"
