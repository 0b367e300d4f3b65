"""A fleet: the workers of one `openqueue worker --processes N`, and the parent that keeps them.

The parent does no work. It starts each worker in a Python of its own, starts one again that has ended
(`lives` decides, `fleet` does), passes on what it is told, and answers for all of them (`health`). Between it
and a worker there is a socket (`process` is its one end, `link` the other), over which the worker reports how
it is. Orders go that way and not as signals, so that a worker that is signalled as well, as by systemd to all
of a group, hears of one stop and not of two. A worker stops too when the socket ends: the parent is gone.
"""

__all__: list[str] = []
