"""The engine's functions, called as any language would call them."""
