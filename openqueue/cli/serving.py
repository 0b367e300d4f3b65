"""/metrics of `openqueue worker`: counted, read and written only where it was asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openqueue.events import Events
    from openqueue.settings import Settings
    from openqueue.telemetry.health import Told
    from openqueue.telemetry.tally import Tally

__all__ = ["counting", "exposed"]


def counting(bus: Events) -> Tally:
    """What happens on this bus is counted from now on. Raises ConfigError without prometheus-client."""
    from openqueue.telemetry.exposition import require_prometheus
    from openqueue.telemetry.measures import Measures

    require_prometheus()
    measures = Measures()
    measures.subscribe(bus)
    return measures.tally


def exposed(
    settings: Settings, facts: Callable[[], Told], tally: Callable[[], Tally], *, own: bool = False
) -> Callable[[str], tuple[bytes, str]]:
    """What /metrics answers. `own`: with what the program itself counts here, by prometheus-client."""
    from openqueue import __version__
    from openqueue.clients import url_of
    from openqueue.db.statements import Statements
    from openqueue.db.target import Target
    from openqueue.telemetry.depth import Depth
    from openqueue.telemetry.exposition import Exposition, require_prometheus

    require_prometheus()
    target = Target.of(url_of(settings), pooled=settings.pooler == "transaction")
    depth = Depth(target, Statements(settings.schema_name), settings.namespace)
    others = None
    if own:
        from prometheus_client import REGISTRY

        others = REGISTRY
    return Exposition(tally, facts, depth.read, __version__, others).page
