from django.db import connection

from openqueue import task


@task(queue="mail")
def thank(order: int) -> str:
    """Found because the application is installed; Django's connection is closed when it is too old."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_database() = %s", [connection.settings_dict["NAME"]])
        assert cursor.fetchone() == (True,)
    return f"thank you for order {order}"
