"""What a worker and a process of its tasks say to each other: a length, a kind, and text or bytes."""

from __future__ import annotations

import asyncio
import struct
from enum import IntEnum
from typing import BinaryIO, Final

__all__ = ["Frame", "Kind", "packed", "read", "read_sync"]

Frame = tuple[int, bytes]

_HEAD: Final = struct.Struct("!IB")


class Kind(IntEnum):
    """To the process: HELLO (pickled), LOAD, RUN, CANCEL, END. From it: RESULT, ERROR, LOG, PROGRESS."""

    HELLO = 1
    LOAD = 2
    RUN = 3
    CANCEL = 4
    END = 5
    RESULT = 6
    ERROR = 7
    LOG = 8
    PROGRESS = 9


def packed(kind: int, data: bytes | str = b"") -> bytes:
    """A frame as it is sent."""
    body = data.encode() if isinstance(data, str) else data
    return _HEAD.pack(len(body), kind) + body


async def read(stream: asyncio.StreamReader) -> Frame:
    """The next frame. Raises IncompleteReadError when the other side is gone."""
    length, kind = _HEAD.unpack(await stream.readexactly(_HEAD.size))
    return kind, await stream.readexactly(length)


def read_sync(stream: BinaryIO) -> Frame | None:
    """The next frame; None when the other side is gone."""
    try:
        head = stream.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return None
        length, kind = _HEAD.unpack(head)
        body = stream.read(length)
    except ConnectionError:  # it is gone, and had not read all that was sent to it
        return None
    return (kind, body) if len(body) == length else None
