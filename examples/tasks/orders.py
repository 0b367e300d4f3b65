from openqueue import task


@task(queue="mail", max_attempts=10)
async def thank(order: int, customer: str) -> str:
    return f"Dear {customer}, thank you for order {order}."
