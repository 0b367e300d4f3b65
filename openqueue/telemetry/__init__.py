"""Telemetry: what a running process tells the outside.

Log lines (`logs`, made readable by `rendering`, with secrets masked by `redaction`) and health over HTTP
(`health`). Everything here only listens to `openqueue.events`; the engine knows nothing of it.
"""

__all__: list[str] = []
