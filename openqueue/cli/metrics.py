"""`openqueue metrics`: what is measured, and a dashboard for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from openqueue.cli.listing import Listing
from openqueue.cli.options import AsJson, examples
from openqueue.cli.output import Column, show_json, show_table

if TYPE_CHECKING:
    from openqueue.telemetry.measures import Measure

__all__ = ["group"]

group = typer.Typer(
    cls=Listing, add_completion=False, help="List what /metrics has, or print a dashboard for Grafana."
)


@group.command("list", epilog=examples("openqueue metrics list", "openqueue metrics --json | jq -r .[].name"))
def list_metrics(as_json: AsJson = False) -> None:
    """List the metrics of `openqueue worker --metrics`, with their labels."""
    from openqueue.telemetry.measures import MEASURES

    found = [*MEASURES.values()]
    if as_json:
        show_json(
            [
                {"name": _shown(one), "kind": one.kind, "labels": list(one.labels), "help": one.help}
                for one in found
            ]
        )
        return
    columns: tuple[Column[Measure], ...] = (
        Column("METRIC", _shown),
        Column("KIND", lambda one: one.kind, rank=2),
        Column("LABELS", lambda one: ", ".join(one.labels) or "-", rank=3),
        Column("WHAT IT IS", lambda one: one.help, least=20, rank=1),
    )
    show_table(found, columns, empty="")


@group.command("dashboard", epilog=examples("openqueue metrics dashboard > openqueue.json"))
def dashboard() -> None:
    """Print a dashboard, as JSON that Grafana imports; it asks for the Prometheus data source."""
    from importlib.resources import files

    print((files("openqueue.telemetry") / "dashboard.json").read_text(encoding="utf-8"), end="")


def _shown(one: Measure) -> str:
    return f"{one.name}_total" if one.kind == "counter" else one.name
