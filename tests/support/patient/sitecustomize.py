"""On the PYTHONPATH of a process: what it has a second for, it has a minute for. A busy machine is slow."""

import openqueue.cli.attendance
import openqueue.worker.executor
import openqueue.worker.stopping

openqueue.cli.attendance.PATIENCE = 60.0  # type: ignore[misc]
openqueue.worker.executor.PATIENCE = 60.0  # type: ignore[attr-defined]
openqueue.worker.stopping.LAST_RELEASE = 30.0  # type: ignore[misc]
