from dataclasses import dataclass

from openqueue import task


@dataclass
class Division:
    quotient: int
    remainder: int


@task(max_attempts=1)
async def divide(a: int, b: int) -> Division:
    return Division(*divmod(a, b))
