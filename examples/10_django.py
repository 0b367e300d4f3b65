"""A Django project in one file, which is its own manage.py: `python 10_django.py openqueue worker`.

The database is that of DATABASES, and the tasks are those of the installed applications: here those in
django_shop/tasks.py. `migrate` migrates openqueue, too.
"""

import os
import sys

import django
from django.conf import settings
from django.core.management import execute_from_command_line
from psycopg.conninfo import conninfo_to_dict

place = conninfo_to_dict(os.environ.get("DATABASE_URL") or os.environ["OPENQUEUE_DATABASE_URL"])

settings.configure(
    INSTALLED_APPS=["openqueue.django", "django_shop"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": place["dbname"],
            "USER": place.get("user"),
            "PASSWORD": place.get("password"),
            "HOST": place.get("host"),
            "PORT": place.get("port"),
        }
    },
    OPENQUEUE={"CONCURRENCY": 20},
)
django.setup()
execute_from_command_line(sys.argv)
