"""A web application that enqueues, and a worker beside it: in one process, in one event loop."""

import asyncio

import httpx2
from fastapi import FastAPI

import openqueue
from tasks.hello import greet

# Without a worker here, `openqueue.lifespan()`: then `openqueue worker` runs the tasks, elsewhere.
app = FastAPI(lifespan=openqueue.lifespan(openqueue.Worker(modules=["tasks.hello"])))


@app.post("/greetings/{name}")
async def enqueue(name: str) -> dict[str, str]:
    run = await greet.enqueue(name)
    return {"run": str(run.id), "greeting": await run.result(timeout="30s")}


async def main() -> None:
    # What `uvicorn 09_fastapi:app` does: start the application, serve, end it.
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://shop") as browser,
    ):
        answer = await browser.post("/greetings/Ada")
        print(answer.status_code, answer.json()["greeting"])


if __name__ == "__main__":
    asyncio.run(main())
