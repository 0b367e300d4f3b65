"""`client.controls` without await: each call is that of `Controls`, made where the client is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from openqueue.control.changes import KEPT, Kept
from openqueue.control.model import Control, Fairness
from openqueue.db.connections import require_sync
from openqueue.durations import Duration
from openqueue.rates import RateWords
from openqueue.runs.loops import in_place

if TYPE_CHECKING:
    from openqueue.runs.sync_client import SyncClient

__all__ = ["SyncControls"]


class SyncControls:
    """Limits, rates, fairness and pauses, without await: the calls of `Controls`."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client

    def pause(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        group: tuple[str, str] | None = None,
        everything: bool = False,
        until: Duration | datetime | None = None,
        reason: str | None = None,
        connection: object | None = None,
    ) -> None:
        """Let nothing more begin of it; see `Controls.pause`."""
        named = {"queue": queue, "task": task, "group": group, "everything": everything}
        self._say("pause", connection, **named, until=until, reason=reason)

    def resume(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        group: tuple[str, str] | None = None,
        everything: bool = False,
        connection: object | None = None,
    ) -> None:
        """End that pause; see `Controls.resume`."""
        self._say("resume", connection, queue=queue, task=task, group=group, everything=everything)

    def limit(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        key: str | None = None,
        concurrency: int | Kept | None = KEPT,
        rate: RateWords | Kept | None = KEPT,
        burst: int | None = None,
        connection: object | None = None,
    ) -> None:
        """Limit how many run at once, or begin in a period; see `Controls.limit`."""
        said = {"concurrency": concurrency, "rate": rate, "burst": burst}
        self._say("limit", connection, queue=queue, task=task, key=key, **said)

    def fairness(
        self,
        queue: str,
        fairness: Fairness | Kept | None = KEPT,
        /,
        *,
        weights: Mapping[str, float | None] | None = None,
        ageing: Duration | Kept | None = KEPT,
        connection: object | None = None,
    ) -> None:
        """How those that wait in a queue take turns; see `Controls.fairness`."""
        self._say("fairness", connection, queue, fairness, weights=weights, ageing=ageing)

    def list(self) -> Sequence[Control]:
        """All of which anything holds, with what it is and who said it."""
        return self._client.ask(lambda client: client.controls.list())

    def _say(self, method: str, connection: object | None, *args: Any, **named: Any) -> None:
        if connection is None:
            self._client.ask(lambda client: getattr(client.controls, method)(*args, **named))
            return
        require_sync(connection)
        said = getattr(self._client.opened().controls, method)
        in_place(said(*args, connection=connection, **named))
