"""1,000 concurrency keys, two of each at once."""

from adapters import load


class Adapter(type(load("openqueue_serial"))):
    note = "1,000 concurrency keys, two of each at once"
    each = 2
