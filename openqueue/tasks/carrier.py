"""Where a run's trace comes from: the headers of W3C Trace Context, which travel with it.

They are in its meta, under a name of its own that neither the task nor who reads the run sees there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from openqueue.tasks.enqueuer import Item
from openqueue.tasks.options import NO_OPTIONS, EnqueueOptions

__all__ = ["CARRIER", "carried", "without_carrier"]

R = TypeVar("R")

CARRIER: Final = "openqueue.trace"
"""Where in a run's meta it is."""


def carried(item: Item[R], carrier: Mapping[str, str]) -> Item[R]:
    """The item with these headers; an empty carrier changes nothing."""
    if not carrier:
        return item
    said = item.options
    meta = {**(said.meta or {}), CARRIER: dict(carrier)}
    options = EnqueueOptions(meta=meta) if said is NO_OPTIONS else replace(said, meta=meta)
    return replace(item, options=options)


def without_carrier(meta: Mapping[str, Any]) -> tuple[Mapping[str, str], Mapping[str, Any]]:
    """The headers in a run's meta, and what else is in it; what is no object of texts is taken for none."""
    if CARRIER not in meta:
        return {}, meta
    told = meta[CARRIER]
    found = (
        {name: text for name, text in told.items() if isinstance(text, str)} if isinstance(told, dict) else {}
    )
    return found, {name: value for name, value in meta.items() if name != CARRIER}
