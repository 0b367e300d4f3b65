"""What workers do for each other and for the schema: rescue the dead one's jobs, keep partitions ahead.

Every duty here is safe when several do it at once.
"""

__all__: list[str] = []
