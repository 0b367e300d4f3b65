"""What openqueue does on this machine and this database: `openqueue bench`.

Each scenario has a schema of its own, made by the ordinary migrator and dropped at the end, and counts what
the database has of its runs: a figure of runs that are not all there is an error. Workers are processes of
their own, so that who enqueues and who works share no event loop.
"""
