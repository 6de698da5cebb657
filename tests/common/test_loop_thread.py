"""A loop beside the main one: both kinds of callers get results and errors."""

import asyncio
import threading

import pytest

from common.loop_thread import LoopThread


async def where() -> str:
    return threading.current_thread().name


async def fail() -> None:
    raise ValueError("inside")


async def test_it_runs_in_its_own_thread_for_those_who_await() -> None:
    loop = LoopThread("beside")
    assert await loop.run(where()) == "beside"
    with pytest.raises(ValueError, match="inside"):
        await loop.run(fail())


def test_it_runs_for_those_who_block() -> None:
    loop = LoopThread("beside")
    assert loop.run_to_end(where()) == "beside"
    with pytest.raises(ValueError, match="inside"):
        loop.run_to_end(fail())


async def test_what_runs_there_does_not_wait_for_the_loop_here() -> None:
    loop, done = LoopThread("beside"), threading.Event()

    async def finish() -> None:
        await asyncio.sleep(0)
        done.set()

    running = asyncio.ensure_future(loop.run(finish()))
    await asyncio.sleep(0)
    assert done.wait(30), "this loop was blocked all the time"
    await running
