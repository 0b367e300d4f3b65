"""What must not be printed as it is; see `openqueue.redaction`."""

from __future__ import annotations

from openqueue.redaction import MASK, masked, masked_text, printable

__all__ = ["MASK", "masked", "masked_text", "printable"]
