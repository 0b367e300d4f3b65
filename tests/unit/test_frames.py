"""What a process and who started it say to each other, and how either knows that the other is gone."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from openqueue.worker.processes.frames import packed, read_sync


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_frame_is_read_as_it_was_sent(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.sendall(packed(3, "ü") + packed(4))
    with ours.makefile("rb") as stream:
        assert [read_sync(stream), read_sync(stream)] == [(3, "ü".encode()), (4, b"")]


@pytest.mark.parametrize("sent", [b"", packed(3, "cut off")[:4], packed(3, "cut off")[:-1]])
def test_who_has_left_is_gone_also_in_the_middle_of_a_frame(
    ends: tuple[socket.socket, socket.socket], sent: bytes
) -> None:
    ours, theirs = ends
    theirs.sendall(sent)
    theirs.close()
    with ours.makefile("rb") as stream:
        assert read_sync(stream) is None


def test_who_was_killed_before_it_has_read_what_was_sent_is_gone_and_no_error(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """The system says then that the connection was reset."""
    ours, theirs = ends
    ours.sendall(packed(1, "unread"))
    theirs.close()
    with ours.makefile("rb") as stream:
        assert read_sync(stream) is None
