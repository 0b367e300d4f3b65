"""The flag that says stop, heard everywhere."""

from __future__ import annotations

import asyncio
import threading

from openqueue.tasks.cancellation import Cancellation


def test_it_is_not_set_until_it_is_and_stays_set() -> None:
    flag = Cancellation()
    assert not flag
    assert not flag.is_set()
    flag.set()
    flag.set()
    assert flag
    assert flag.is_set()


async def test_a_coroutine_hears_it_from_a_thread() -> None:
    flag = Cancellation()
    waiting = asyncio.create_task(flag.wait())
    await asyncio.sleep(0)
    threading.Thread(target=flag.set).start()
    await asyncio.wait_for(waiting, 60)


async def test_waiting_for_what_is_set_returns_at_once() -> None:
    flag = Cancellation()
    flag.set()
    await asyncio.wait_for(flag.wait(), 60)
    assert flag.wait_in_thread(0)


def test_threads_hear_it() -> None:
    flag = Cancellation()
    heard = []
    threads = [threading.Thread(target=lambda: heard.append(flag.wait_in_thread("60s"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    flag.set()
    for thread in threads:
        thread.join()
    assert heard == [True, True, True]


def test_a_thread_waits_no_longer_than_it_wants() -> None:
    assert not Cancellation().wait_in_thread("1ms")


async def test_who_stopped_waiting_is_forgotten() -> None:
    flag = Cancellation()
    waiting = asyncio.create_task(flag.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    flag.wait_in_thread("1ms")
    assert flag._waiting == []


def test_a_loop_that_is_closed_meanwhile_does_no_harm() -> None:
    flag = Cancellation()
    loop = asyncio.new_event_loop()
    waiting = loop.create_task(flag.wait())
    loop.run_until_complete(asyncio.sleep(0))
    kept = list(flag._waiting)
    waiting.cancel()
    loop.run_until_complete(asyncio.gather(waiting, return_exceptions=True))
    loop.close()
    flag._waiting = kept
    flag.set()
