"""What you import in your tests: a real queue on a real PostgreSQL, without a worker process.

The pytest plugin (`openqueue.pytest_plugin`) brings the fixture `openqueue`: an `OpenQueue` on a database of
the test's own, copied from a migrated template (`databases`) on an embedded server or on yours (`servers`).
What was enqueued is looked for by `enqueued` (`matching`); `drain` (`draining`) claims and runs it here and
now, through the same SQL functions and the same executor as a worker; `advance` brings what is scheduled
nearer. Nothing is simulated: arguments go through JSON, retries and keys are the engine's.
"""

from openqueue.testing.draining import Drained, Ran
from openqueue.testing.matching import Enqueued
from openqueue.testing.queue import OpenQueue

__all__ = ["Drained", "Enqueued", "OpenQueue", "Ran"]
