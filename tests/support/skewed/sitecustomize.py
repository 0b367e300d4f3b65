"""On the PYTHONPATH of a process: its clock is wrong, by SKEW seconds at first, and SKEW_SPEED times as fast.

So say `time.time` and `datetime.now`; `time.monotonic`, by which event loops wait, runs SKEW_MONOTONIC times
as fast. It tells on stdout what its clock says, so that a test can see that it is wrong.
"""

import datetime as dt
import json
import os
import sys
import time

SHIFT, SPEED = float(os.environ["SKEW"]), float(os.environ["SKEW_SPEED"])
MONOTONIC = float(os.environ["SKEW_MONOTONIC"])
_time, _monotonic, _datetime = time.time, time.monotonic, dt.datetime
_began, _began_monotonic = _time(), _monotonic()


def _skewed() -> float:
    return _began + SHIFT + (_time() - _began) * SPEED


def _skewed_monotonic() -> float:
    return _began_monotonic + (_monotonic() - _began_monotonic) * MONOTONIC


class _Meta(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _datetime)


class _Skewed(dt.datetime, metaclass=_Meta):
    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:  # type: ignore[override]
        return _datetime.fromtimestamp(_skewed(), tz)


time.time, time.time_ns, time.monotonic = _skewed, lambda: int(_skewed() * 1e9), _skewed_monotonic
dt.datetime = _Skewed  # type: ignore[misc]

sys.stdout.write(json.dumps({"event": "clock", "says": dt.datetime.now(dt.UTC).timestamp()}) + "\n")
sys.stdout.flush()
