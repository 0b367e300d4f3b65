"""What the completer stores besides outcomes, and what it does where one cannot be stored as it is."""

__all__: list[str] = []
