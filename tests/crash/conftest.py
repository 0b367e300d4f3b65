"""A client for each test's database, through which tasks are enqueued."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

import openqueue
from openqueue import Client


@pytest.fixture
async def client(dsn: str) -> AsyncIterator[Client]:
    async with openqueue.connect(dsn) as opened:
        yield opened
