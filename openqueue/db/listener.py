"""Notifications, for as long as the process lives: a session of its own that is watched and replaced.

A dropped network is not noticed by a session that only listens, so it is pinged under a time limit; what
does not answer is cut off and replaced. A new session counts as connected only when it has heard a
notification that it sent to itself: through a pooler in transaction mode LISTEN succeeds and hears nothing.
Where there is known to be one, LISTEN is not sent at all: the pooler would keep it in a session of others.
What was sent while nobody listened is lost, so subscribers are told of every connection and look for
themselves, once. LISTEN is never the only way to learn of work.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, NoReturn

from openqueue.clock import Clock, SystemClock
from openqueue.db.events import ListenerAbsent, ListenerConnected, ListenerLost
from openqueue.db.faults import BEHIND_POOLER, FROM_ASYNCPG, mapped
from openqueue.db.statements import Statements, inline
from openqueue.db.target import Connection, Target, connect
from openqueue.errors import ConnectionFailed, OpenQueueError
from openqueue.events import Emit, Events, Unsubscribe

__all__ = ["ECHO", "Listener"]

ECHO = "openqueue echo "
"""Begins the notifications by which listeners test their sessions; subscribers never see them."""


STEADY = 1.0
"""Seconds that a session must have lasted for its loss to count as the first."""


class Listener:
    """Hears what is notified on one channel (the schema's name) and hands it to subscribers.

    `ping_every` and `timeout` are seconds: how often the session is tested, and how long an answer may
    take. After a session that worked the next one is opened at once; after tries that failed, with jittered
    pauses that double from 0.1 s to `slowest`. Callbacks run in the event loop and must return quickly;
    one that raises is reported to the loop's exception handler and kept. `pooled`: a pooler in transaction
    mode is the only way there, so nothing is heard, which is told once.
    """

    def __init__(
        self,
        dsn: str,
        channel: str = "openqueue",
        emit: Emit | None = None,
        *,
        ping_every: float = 12.0,
        timeout: float = 5.0,
        slowest: float = 5.0,
        application: str = "openqueue listener",
        pooled: bool = False,
        statements: Statements | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.channel = channel
        self.ping_every = ping_every
        self.timeout = timeout
        self.slowest = slowest
        self.target = Target.of(dsn, pooled=pooled)
        self._application = application
        self._statements = statements or Statements(channel)
        self._clock = clock or SystemClock()
        self._emit = emit or Events().emit
        self._subscribers: tuple[Callable[[str], object], ...] = ()
        self._greeters: tuple[Callable[[], object], ...] = ()
        self._connection: Connection | None = None
        self._speaking = asyncio.Lock()
        self._connected = asyncio.Event()
        self._failures = 0
        self._hurried = asyncio.Event()
        self._told = False
        self._since = self._spoken = 0.0
        self._sessions = 0

    @property
    def connected(self) -> bool:
        """Whether notifications arrive, as far as is known."""
        return self._connected.is_set()

    async def wait_connected(self) -> None:
        """Return as soon as notifications arrive."""
        await self._connected.wait()

    def subscribe(self, callback: Callable[[str], object]) -> Unsubscribe:
        """Call `callback` with the payload of every notification; returns how to stop that."""
        self._subscribers = (*self._subscribers, callback)

        def unsubscribe() -> None:
            self._subscribers = tuple(one for one in self._subscribers if one is not callback)

        return unsubscribe

    def on_connected(self, callback: Callable[[], object]) -> Unsubscribe:
        """Call `callback` after every connection, to look for what was missed; returns how to stop that."""
        self._greeters = (*self._greeters, callback)

        def unsubscribe() -> None:
            self._greeters = tuple(one for one in self._greeters if one is not callback)

        return unsubscribe

    def try_now(self) -> None:
        """Somebody else has an answer from the database: a pause before the next try ends."""
        self._hurried.set()

    async def run(self) -> None:
        """Listen until cancelled, through every loss of the session."""
        if self.target.pooled:
            self._emit(ListenerAbsent(self.channel, f"{self.target.place} is a pooler: set listen_dsn"))
            await asyncio.Event().wait()
        try:
            while True:
                await self._lost(await self.once())
        finally:
            self._connected.clear()

    async def _lost(self, error: OpenQueueError) -> None:
        """Say so, once until it is back, and wait as long as is decent before the next try."""
        lasted = self._clock.monotonic() - self._since if self.connected else 0.0
        self._failures = 1 if lasted >= STEADY else self._failures + 1
        self._connected.clear()
        pause = self._pause()
        if not self._told:
            self._emit(ListenerLost(self.channel, str(error), pause))
        self._told = True
        await self._rest(pause)

    async def _rest(self, seconds: float) -> None:
        self._hurried.clear()
        either = [asyncio.ensure_future(one) for one in (self._clock.sleep(seconds), self._hurried.wait())]
        try:
            ended, _ = await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            for one in ended:
                one.result()
        finally:
            for one in either:
                one.cancel()

    async def once(self) -> OpenQueueError:
        """One session, from connecting to its loss; returns why it was lost."""
        try:
            async with self._session() as connection:
                await self._listen(connection)
                await self._watch(connection)
        except (OpenQueueError, *FROM_ASYNCPG) as error:
            return mapped(error, str(self.target.place), doing="LISTEN", seconds=self.timeout)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Connection]:
        """The listening session itself, for what belongs to a session (advisory locks); one user at a time.

        Raises ConnectionFailed when there is none at the moment.
        """
        async with self._speaking:
            if self._connection is None or self._connection.is_closed():
                raise ConnectionFailed(f"The listening session of {self.target.place} is not connected.")
            yield self._connection
            self._spoken = self._clock.monotonic()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[Connection]:
        """A connection; what is wrong with it may be its network, so then it is cut off, not closed."""
        connection = await connect(
            self.target, application=self._application, timeout=self.timeout, statement_cache_size=0
        )
        try:
            yield connection
        except asyncio.CancelledError:
            with suppress(Exception):
                await connection.close(timeout=1)
            raise
        finally:
            self._connection = None
            connection.terminate()

    async def _listen(self, connection: Connection) -> None:
        """LISTEN, and believe it once a notification to ourselves has come back."""
        echo: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        token = ECHO + secrets.token_hex(8)
        try:
            async with asyncio.timeout(self.timeout):
                await connection.add_listener(self.channel, self._receiver(token, echo))
                await connection.execute(inline(self._statements["listener_notify"], self.channel, token))
                await echo
        except TimeoutError:
            raise ConnectionFailed(
                f"LISTEN on {self.target.place} hears nothing, as behind a pooler in transaction mode. "
                f"{BEHIND_POOLER}; until then work is found by polling."
            ) from None
        self._connection = connection
        self._since = self._spoken = self._clock.monotonic()
        self._sessions += 1
        self._connected.set()
        self._told = False
        self._emit(ListenerConnected(self.channel, again=self._sessions > 1))
        for greet in self._greeters:
            self._call(greet)

    async def _watch(self, connection: Connection) -> NoReturn:
        """Ping until the session is lost: at once if the server ends it, in bounded time if it vanishes.

        One that somebody else has just had an answer from is not asked again.
        """
        lost = asyncio.get_running_loop().create_future()

        def ended(_connection: object) -> None:
            if not lost.done():
                lost.set_result(None)

        connection.add_termination_listener(ended)
        while not connection.is_closed():
            idle = self._clock.monotonic() - self._spoken
            pause = asyncio.ensure_future(self._clock.sleep(self.ping_every - idle))
            try:
                await asyncio.wait({pause, lost}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                pause.cancel()
            if not lost.done() and self._clock.monotonic() - self._spoken >= self.ping_every:
                await self.ping()
        raise ConnectionFailed(f"The listening session of {self.target.place} was ended by the server.")

    async def ping(self) -> None:
        """Ask the session for a sign of life. Raises ConnectionFailed or TimeoutError when there is none."""
        async with asyncio.timeout(self.timeout), self.session() as connection:
            await connection.execute(self._statements["listener_ping"])

    def _receiver(self, token: str, echo: asyncio.Future[None]) -> Callable[[Any, int, str, object], None]:
        def received(_connection: Any, _pid: int, _channel: str, payload: object) -> None:
            text = str(payload)
            if not text.startswith(ECHO):
                for notify in self._subscribers:
                    self._call(notify, text)
            elif text == token and not echo.done():
                echo.set_result(None)

        return received

    def _call(self, callback: Callable[..., object], *args: object) -> None:
        try:
            callback(*args)
        except Exception as error:  # noqa: BLE001  whatever it is, it must not end the session
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"a subscriber of {self.channel!r} failed and is kept", "exception": error}
            )

    def _pause(self) -> float:
        """Nothing after a session that worked; then 0.1 s, 0.2 s … each varied by a half."""
        if self._failures <= 1:
            return 0.0
        longest = min(0.1 * 2.0 ** min(self._failures - 2, 10), self.slowest)
        return longest * random.uniform(0.5, 1.0)
