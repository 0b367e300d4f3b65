"""The doctor: looks at a whole installation, and says what is wrong, why that matters and what mends it.

A check is a row of a table (`checks`): the named queries that it reads, and a pure function that judges what
they answered. The functions stand by topic: `server`, `schema`, `pressure` (what holds the database up),
`work`, `schedules`. `examination` reads and calls them; what cannot be read is a finding, too, never a
traceback. `reaching` is the way to the database, which no query can answer for.
"""

__all__: list[str] = []
