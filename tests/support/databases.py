"""A database for each test: as users' tests get them, from `openqueue.testing`."""

from __future__ import annotations

from openqueue.testing.databases import Databases, with_database

__all__ = ["Databases", "drop_all", "with_database"]


def drop_all(dsn: str, session: str) -> None:
    """Drop what a session leaves on a server that goes on without it."""
    databases = Databases(dsn, session)
    databases.drop_all()
    databases.close()
