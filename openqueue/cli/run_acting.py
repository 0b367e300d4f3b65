"""`openqueue runs cancel`, `retry`, `move` and the like: of some runs, or of all that a filter chooses."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import uuid4

import typer

from openqueue.cli.exits import FAILED
from openqueue.cli.options import AsJson, DatabaseUrl, Namespace, Schema, examples
from openqueue.cli.output import say, show_json
from openqueue.cli.payload import read_payload
from openqueue.cli.run_filter import filtered
from openqueue.cli.run_list import print_sample
from openqueue.cli.session import client, run_async, settings_of
from openqueue.cli.unknown import tell_unknown
from openqueue.cli.values import EXAMPLE_ID, flags, read_run_id, read_whole, read_words
from openqueue.errors import InvalidArguments, InvalidOption
from openqueue.runs.acting import checked
from openqueue.runs.filter import RunFilter

if TYPE_CHECKING:
    from uuid import UUID

    from openqueue.runs.acting import Acted, Action
    from openqueue.settings import Settings

__all__ = ["acting_commands"]

SOME_IDS = Annotated[
    list[str] | None,
    typer.Argument(metavar="ID", help="Ids of runs; or say which by options.", show_default=False),
]
REASON = Annotated[str | None, typer.Option(help="Why: kept with the run and in the audit.")]
ACTOR = Annotated[
    str | None, typer.Option("--as", metavar="WHO", help="Who does it, for the audit (the database's user).")
]
EXPECTED = Annotated[
    list[str] | None,
    typer.Option("--expect", metavar="STATUS", help="Only runs that are in this status when it is done."),
]
YES = Annotated[bool, typer.Option("--yes", help="Do it to all that are chosen, not only count them.")]

HELPS: Final[dict[Action, str]] = {
    "cancel": "Cancel runs.\n\nThose that wait at once, those that run as soon as their worker has heard."
    " What has ended stays as it is.",
    "retry": "Run finished runs again, now.\n\nTheir history stays. Those that wait for their next attempt"
    " need not wait any longer.",
    "promote": "Run scheduled and retrying runs now.",
    "move": "Move waiting runs to another queue.",
    "prioritize": "Give waiting runs another priority; the lowest number runs first.",
    "rerun": "Run again with another input: as new runs, of the same task, queue, priority, meta, tags, group"
    " and concurrency key.",
    "delete": "Delete finished runs with all their history.",
}
TARGETS: Final[dict[str, Any]] = {
    "move": Annotated[str, typer.Option("--to", metavar="QUEUE", help="The queue to move to.")],
    "prioritize": Annotated[str, typer.Option("--to", metavar="N", help="The priority, -32768 to 32767.")],
    "rerun": Annotated[str, typer.Option("--input", metavar="JSON", help="The input of the new runs.")],
}
ONCE: Final = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A name of yours for this operation: by one name each run is run again at most once, however"
        " often it is said.",
    ),
]


def acting_commands(group: typer.Typer) -> None:
    """Add a command for each action."""
    for action in HELPS:
        _add(group, action)


def _add(group: typer.Typer, action: Action) -> None:
    target = TARGETS.get(action)

    def act(
        chosen: RunFilter,
        run_ids: SOME_IDS = None,
        reason: REASON = None,
        actor: ACTOR = None,
        expected: EXPECTED = None,
        yes: YES = False,
        as_json: AsJson = False,
        database_url: DatabaseUrl = None,
        schema: Schema = None,
        namespace: Namespace = None,
        **more: str | None,
    ) -> None:
        ids = [read_run_id(one) for one in run_ids or ()]
        if bool(ids) == (chosen != RunFilter()):
            raise InvalidOption("ID: give ids, or options that choose runs.", option="ID")
        how = _how(action, more.get("to")) | ({"once": more["once"]} if action == "rerun" else {})
        how |= {"reason": reason, "actor": actor, "expected": read_words(expected or ()) or None}
        with flags(**_FLAGS):
            checked(action, **how)
        settings = settings_of(database_url=database_url, schema_name=schema, namespace=namespace)
        if ids:
            run_async(_act_on(settings, action, ids, how, as_json=as_json))
        else:
            run_async(_act_on_all(settings, action, chosen, how, yes=yes, as_json=as_json))

    act.__doc__ = HELPS[action]
    line = {"move": " --to slow", "prioritize": " --to -10", "rerun": ' --input \'{"to": "a@b.c"}\''}
    group.command(
        action,
        epilog=examples(
            f"openqueue runs {action} {EXAMPLE_ID}{line.get(action, '')}",
            f"openqueue runs {action}{line.get(action, '')} --task mail.send_mail --since 1h --yes",
        ),
    )(
        filtered(
            also={} if target is None else {"to": target}, may={"once": ONCE} if action == "rerun" else {}
        )(act)
    )


def _how(action: str, target: str | None) -> dict[str, Any]:
    if target is None:
        return {}
    if action == "prioritize":
        return {"priority": read_whole(target, "--to", -32768, 32767)}
    return {"queue": target} if action == "move" else {"input": read_payload(target)}


async def _act_on(
    settings: Settings, action: Action, ids: list[UUID], how: dict[str, Any], *, as_json: bool
) -> None:
    """Do it to each; one that fails does not keep the others from it, and makes the exit code 1."""
    answers: list[dict[str, Any]] = []
    async with client(settings) as opened:
        for run_id in ids:
            try:
                with flags(**_FLAGS):
                    acted = await opened.acting.act(action, [run_id], **how)
            except InvalidArguments as error:  # of its task; others may be of another one
                answers.append(
                    {"id": run_id, "answer": None, "error": f"run {run_id}: {error}", "made": None}
                )
                continue
            (answer,) = acted.answers
            fine = acted.done or answer == "repeated" or (action == "cancel" and answer == "finished")
            made = acted.made[0] if acted.made else None
            answers.append(
                {
                    "id": run_id,
                    "answer": answer if fine else None,
                    "error": None if fine else _FAULTS[answer].format(run_id=run_id),
                    **({"made": made} if action == "rerun" else {}),
                }
            )
    if as_json:
        show_json(answers)
    for one in () if as_json else answers:
        if one["error"]:
            say(f"Error: {one['error']}")
        else:
            print(
                " ".join(
                    [
                        f"{one['id']}  {_ANSWERS[one['answer']]}",
                        *map(str, [one["made"]] if one.get("made") else ()),
                    ]
                )
            )
    if any(one["error"] for one in answers):
        raise typer.Exit(FAILED)


async def _act_on_all(
    settings: Settings, action: Action, chosen: RunFilter, how: dict[str, Any], *, yes: bool, as_json: bool
) -> None:
    """Show what would be done; do it if that is wanted."""
    async with client(settings) as opened:
        if not yes:
            counted = await opened.count_runs(chosen)
            if action == "rerun":
                await opened.acting.check_input(chosen, how["input"])
            if as_json:
                show_json({"action": action, "would": counted, "done": 0, "answers": {}})
                return
            print(f"{action}: {counted} runs")
            if not counted.count:
                await tell_unknown(opened, chosen)
            else:
                await print_sample(opened, chosen)
                name = f" --once {uuid4().hex[:8]}" if action == "rerun" and not how["once"] else ""
                say(f"Nothing was done. Say it again with --yes{name}.")
            return

        def tell(acted: Acted) -> None:
            if sys.stderr.isatty():
                print(f"\r{acted.done:,} done, {acted.seen:,} looked at", end="", file=sys.stderr, flush=True)

        with flags(**_FLAGS):
            acted = await opened.acting.act(action, chosen, progress=tell, **how)
        if not acted.seen:
            await tell_unknown(opened, chosen)
    if sys.stderr.isatty() and acted.seen:
        print(file=sys.stderr)
    if as_json:
        show_json({"action": action, "would": None, "done": acted.done, "answers": acted.answers})
        return
    others = ", ".join(f"{count:,} {answer}" for answer, count in sorted(acted.answers.items()))
    print(f"{action}: {acted.done:,} done{f' ({others})' if others else ''}")


_FLAGS: Final = {
    "queue": "--to",
    "priority": "--to",
    "input": "--input",
    "expected": "--expect",
    "actor": "--as",
    "reason": "--reason",
    "once": "--once",
}
_ANSWERS: Final = {
    "cancelled": "cancelled",
    "cancelling": "is running: its worker is told to cancel it",
    "finished": "had ended already: nothing to cancel",
    "ready": "is ready to run",
    "moved": "is moved",
    "added": "is run again as",
    "deleted": "deleted",
    "repeated": "was run again already, as",
}
_FAULTS: Final = {
    "unknown": "There is no run {run_id}; it may have been pruned.",
    "running": "run {run_id} is running: wait for its end, or cancel it.",
    "finished": "run {run_id} is finished: retry it instead.",
    "waiting": "run {run_id} has not ended: cancel it first.",
    "unexpected": "run {run_id} is not in the status that was expected: nothing was done to it.",
}
