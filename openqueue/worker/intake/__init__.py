"""What a producer claims by: when it is told of work, when and where to look, which jobs are one call.

The claim itself is that of `producer`; the pool that runs what it brought is `inflight`.
"""

__all__: list[str] = []
