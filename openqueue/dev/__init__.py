"""What helps while developing: a PostgreSQL of one's own.

`EmbeddedPostgres` finds PostgreSQL's programs (`binaries`), decides which account runs them (`account`)
and where their files lie (`places`), makes the database files once (`datadir`) and leaves the rest to a
`guardian`: a small process that starts the server, waits until the last user has let go of a kernel lock
(`locks`), which a killed process does too, and stops it. It is for development, the demo and tests,
never for production.
"""
