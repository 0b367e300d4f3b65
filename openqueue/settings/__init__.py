"""Settings: what can be configured, where it may be written, and what is wrong with it.

Precedence: a flag of the command line, the environment (`OPENQUEUE_CONCURRENCY=200`), a file in the
directory `OPENQUEUE_SECRETS_DIR` named like the variable or the key, `openqueue.toml` (or the file that
`OPENQUEUE_CONFIG` names), `[tool.openqueue]` in `pyproject.toml`, the program around us (a Django
project), the default. The first that gives a setting decides it whole. Read only at the edge (`app`, `cli`
and what stands beside them): everything below is given keywords.
"""

from openqueue.settings.model import Settings, load_settings
from openqueue.settings.origins import Origin, origins
from openqueue.settings.sources import set_program_settings, unknown_variables
from openqueue.settings.values import Address

__all__ = [
    "Address",
    "Origin",
    "Settings",
    "load_settings",
    "origins",
    "set_program_settings",
    "unknown_variables",
]
