"""openqueue in a Django project: ``INSTALLED_APPS = [..., "openqueue.django"]``.

The application finds the `tasks` modules of all installed applications (`apps`), takes the database from
DATABASES (`database`), and has Django put its connections in order around each task (`connections`).
`manage.py openqueue …` is the command line with all of that, and `manage.py migrate` migrates openqueue's
schema too. Settings are those of openqueue, in a dict OPENQUEUE, by the names that they have everywhere.
"""

__all__: list[str] = []
