"""1,000 concurrency keys, one of each at once."""

from typing import Any

from adapters import load

KEYS = 1_000


class Adapter(type(load("openqueue"))):
    note = "1,000 concurrency keys, one of each at once"
    each = 1

    def task(self) -> Any:
        from openqueue import task

        @task(
            name="noop", concurrency_key=lambda payload: f"{payload['n'] % KEYS}", key_concurrency=self.each
        )
        async def noop(payload: dict[str, Any]) -> None:
            await self.handler(payload)

        return noop
