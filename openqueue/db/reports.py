"""What the server said, whichever driver heard it and whatever wraps the driver's error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg

from openqueue.errors import OpenQueueError

__all__ = ["Report", "layers", "reported", "sqlstate"]

DEEPEST = 4
"""SQLAlchemy's error, its adapter's, the driver's: no wrapping is deeper."""


@dataclass(frozen=True, slots=True)
class Report:
    """An error of PostgreSQL's: `state` is its five-letter code, `column` the option that it names."""

    state: str
    text: str
    message: str
    hint: str | None
    column: str | None
    detail: str | None = None

    @property
    def lacks_room_to_notify(self) -> bool:
        """Its queue of notifications is full: a limit like others, by a word that no language changes."""
        return self.state == "54000" and "NOTIFY" in self.message

    @property
    def sentence(self) -> str:
        """The message with its hint, on one line."""
        return f"{self.message}{f': {self.hint}' if self.hint else ''}"


def reported(error: BaseException) -> Report | None:
    """The server's report behind an error; None where it was not the server that complained."""
    for layer in layers(error):
        if isinstance(layer, asyncpg.PostgresError):
            hint, column = getattr(layer, "hint", None), getattr(layer, "column_name", None)
            message = str(layer.args[0]) if layer.args else str(layer)
            detail = getattr(layer, "detail", None)
            return Report(_state(layer), str(layer), message, hint, column, detail)
        diag = getattr(layer, "diag", None)
        if diag is not None and (state := _state(layer)):
            message = diag.message_primary or str(layer)
            more = (diag.message_hint, diag.column_name, diag.message_detail)
            return Report(state, message, message, *more)
    return None


def sqlstate(error: BaseException) -> str:
    """PostgreSQL's five-letter code of an error, or nothing."""
    return next(filter(None, map(_state, layers(error))), "")


def layers(error: BaseException) -> Iterator[BaseException]:
    """A foreign error and what it wraps: SQLAlchemy keeps that in `orig`, the others in the cause."""
    layer: BaseException | None = error
    for _ in range(DEEPEST):
        if layer is None or isinstance(layer, OpenQueueError):
            return
        yield layer
        orig: Any = getattr(layer, "orig", None)
        layer = orig if isinstance(orig, BaseException) else layer.__cause__


def _state(error: BaseException) -> str:
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""
