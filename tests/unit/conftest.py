"""Property tests look at rules, not at the clock: a busy machine is no counterexample."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("openqueue", deadline=None)
settings.load_profile("openqueue")
