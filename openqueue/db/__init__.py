"""PostgreSQL, as the rest of openqueue sees it.

`statements` gives SQL by name, rendered for one schema; `pool` runs it, with time limits, retries and
errors that say where and what to do; `listener` hears notifications for as long as the process lives;
`connections` lets a statement run inside the caller's own transaction; `migrations` brings the schema up
to date. Every foreign exception is turned into one of `openqueue.errors` here (`faults`), and no SQL is
written here: it is all in sql/.
"""
