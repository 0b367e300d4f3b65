"""A process that forks has no import half done.

CPython locks a module while a thread imports it, and a fork copies the lock but not the thread: a child that
needs the module waits for it for ever. So who forks waits until the other threads have imported what they
import of ours, and imports what a client's first call would. Without other threads there is nothing to do.

The wait is bounded: an import may need a lock that somebody else has taken for the fork, as `logging` does.
Hooks are called in the reverse of their order, so logging is imported here, before ours is registered.
"""

from __future__ import annotations

import logging  # noqa: F401  see above
import os
import sys
import threading
from contextlib import suppress
from importlib import import_module
from typing import Final

__all__ = ["FIRST_USED", "finish_imports", "finish_imports_before_forks"]

FIRST_USED: Final = (
    "openqueue.clients",
    "openqueue.scheduler.sync_client",
    "email.parser",  # by importlib.metadata, where a version is asked for
    "encodings.utf_8_sig",  # by files of settings
    "encodings.idna",  # by sockets, for the name of a host
    "pydantic.fields",  # and these two by pydantic, for the first type that is checked
    "pydantic.plugin._loader",
    "pydantic.types",
)
"""What a client imports when it is first asked for something: by us, and by what we use."""

PATIENCE: Final = 10.0
"""Seconds for which a fork is held up at most."""


def finish_imports() -> None:
    """Import what was begun: it returns when the other threads are done, or take too long."""
    if threading.active_count() > 1:
        finishing = threading.Thread(target=_finish, name="openqueue-imports", daemon=True)
        with suppress(RuntimeError):  # the interpreter is ending
            finishing.start()
            finishing.join(PATIENCE)


def _finish() -> None:
    begun = [name for name in list(sys.modules) if name.startswith("openqueue.")]
    for name in (*FIRST_USED, *begun):
        with suppress(Exception):  # whoever needs it is told
            import_module(name)


def finish_imports_before_forks() -> None:
    """Do that before each fork of this process; to be called once."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=finish_imports)
