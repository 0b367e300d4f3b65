"""What one attempt says of its progress, bounded: a task may say it for each of a million rows. Pure."""

from __future__ import annotations

from typing import Any, Final

from openqueue.codec import decode, encode

__all__ = ["EVERY", "Patches"]

MOST_PATCHES: Final = 1_000
MOST_BYTES: Final = 1024 * 1024
"""What an attempt may say patch by patch. Whoever reads a run lays all of its patches one over the other."""

EVERY: Final = 1.0
"""Seconds for which later patches are held, and become one."""

LARGEST: Final = 8 * 1024
"""Bytes at which what is held is written at once."""


class Patches:
    """The first thousand patches of an attempt go as they are; of those after them one a second, of all.

    held     what is to be written later, laid over one another; None: nothing
    since    when the first of it was said
    """

    __slots__ = ("_bytes", "_count", "_size", "held", "since")

    def __init__(self) -> None:
        self._count = self._bytes = self._size = 0
        self.held: dict[str, Any] | None = None
        self.since = 0.0

    def add(self, text: str, now: float) -> list[str]:
        """One more patch, as JSON; answers what is to be written now."""
        if self._count < MOST_PATCHES and self._bytes < MOST_BYTES:
            self._count += 1
            self._bytes += len(text)
            return [text]
        patch = decode(text)
        together = None if self.held is None else _laid_over(self.held, patch)
        if together is not None:
            self.held = together
            self._size += len(text)
            if self._size > LARGEST:
                self._size = len(encode(together))
            return [self.release()] if self._size > LARGEST else []
        earlier = [] if self.held is None else [self.release()]
        self.held, self.since, self._size = patch, now, len(text)
        return earlier

    def release(self) -> str:
        """What is held, to be written: nothing is held from now on."""
        text = encode(self.held)
        self.held = None
        return text


def _laid_over(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any] | None:
    """The one patch that does what both do, one after the other; None: there is none (RFC 7386)."""
    together = dict(first)
    for key, value in second.items():
        if key not in first or not isinstance(value, dict):
            together[key] = value
            continue
        earlier = first[key]
        within = _laid_over(earlier, value) if isinstance(earlier, dict) else None
        if within is None:  # an object replaced by something else, which is now to be an object again
            return None
        together[key] = within
    return together
