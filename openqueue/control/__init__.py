"""Control: limits, rates, fairness, ageing and pauses, said while workers run.

What is said stands in the database and holds for all workers at once; the engine keeps to it (sql/engine:
controls, gates, turns). Here are the words for it: `controls` says and reads, `declared` is what the options
of tasks and the settings say when a worker starts.
"""

from openqueue.control.controls import Controls
from openqueue.control.declared import publish
from openqueue.control.model import Control

__all__ = ["Control", "Controls", "publish"]
