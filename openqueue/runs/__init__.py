"""Runs: what was asked, what became of it, and what one may do about it.

A run is asked for once (`enqueueing`, `client`), lives as a row of the live table until it has ended, and
is history from then on (`model`, `history`). `states` is the table of what it can be; `outcomes.decide`
says, in one pure function, what the end of an attempt means; `waiting` hears of ends.
"""

__all__: list[str] = []
