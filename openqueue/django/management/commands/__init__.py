"""The commands that `manage.py` has more: `openqueue`."""
