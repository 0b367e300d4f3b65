"""Everything is killed that can be, and the history is read afterwards; see docs/chaos.md."""
