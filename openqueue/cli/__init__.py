"""The command line: `openqueue …`, one file a command group.

A command reads its settings (`session`), calls what the Python API offers, and prints it (`output`), as a
table for people or as JSON with a stable shape for programs. How it ended is its exit code (`exits`).
Nothing heavy is imported before a command runs, so that `openqueue --help` is quick.
"""

__all__: list[str] = []
