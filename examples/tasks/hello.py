from openqueue import task


@task
async def greet(name: str) -> str:
    return f"Hello, {name}!"
