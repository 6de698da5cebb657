"""The thread that steps an engine: it works while there is work, sleeps, wakes, ends."""

import itertools
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import pytest

from common.engine_thread import EngineThread

PATIENCE_SECONDS = 5.0


class Engine:
    """Steps through what it is given, and tells when it has been idle."""

    def __init__(self) -> None:
        self.work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.done: list[int] = []
        self.idle = threading.Semaphore(0)
        self.crashed = threading.Event()
        self.thread = EngineThread("engine", self.step, self.crashed.set)

    def step(self) -> bool:
        try:
            self.work.get_nowait()()
        except queue.Empty:
            self.idle.release()
            return False
        return True

    def submit(self, number: int) -> None:
        self.work.put(lambda: self.done.append(number))
        self.thread.wake()

    def wait_until_idle(self) -> None:
        assert self.idle.acquire(timeout=PATIENCE_SECONDS)


def fail() -> None:
    raise RuntimeError("device lost")


def is_running(name: str) -> bool:
    """Whether a thread of this name outlives the patience."""
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join(PATIENCE_SECONDS)
            return thread.is_alive()
    return False


def stop_at_line(number: int, engine: EngineThread) -> Any:
    """Trace the loop, and call `stop` right before its line of this number is run."""
    lines = itertools.count()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code not in (EngineThread._run.__code__, EngineThread.advance.__code__):
            return None
        if event == "line" and next(lines) == number:
            with suppress(RuntimeError):  # the thread cannot join itself
                engine.stop()
        return trace

    return trace


def test_it_does_all_work_and_then_sleeps() -> None:
    engine = Engine()
    for number in range(3):
        engine.submit(number)
    engine.thread.start()
    engine.wait_until_idle()
    assert engine.done == [0, 1, 2]
    assert not engine.idle.acquire(blocking=False)
    engine.thread.stop()


def test_it_wakes_for_new_work() -> None:
    engine = Engine()
    engine.thread.start()
    for number in range(100):
        engine.wait_until_idle()
        engine.submit(number)
    engine.wait_until_idle()
    engine.thread.stop()
    assert engine.done == list(range(100))


def test_work_submitted_during_a_step_is_not_slept_through() -> None:
    engine = Engine()
    late = threading.Event()

    def submit_and_find_none() -> bool:
        if late.is_set():
            return engine.step()
        late.set()
        engine.submit(7)
        return False

    engine.thread = EngineThread("engine", submit_and_find_none, engine.crashed.set)
    engine.thread.start()
    engine.wait_until_idle()
    engine.thread.stop()
    assert engine.done == [7]


def test_stop_ends_after_the_current_step() -> None:
    engine = Engine()
    entered, go_on = threading.Event(), threading.Event()
    engine.work.put(lambda: (entered.set(), go_on.wait(PATIENCE_SECONDS))[0])
    engine.submit(1)
    engine.thread.start()
    assert entered.wait(PATIENCE_SECONDS)
    stopper = threading.Thread(target=engine.thread.stop)
    stopper.start()
    go_on.set()
    stopper.join(PATIENCE_SECONDS)
    assert not stopper.is_alive()
    assert not is_running("engine")


@pytest.mark.parametrize("line", range(10))
def test_a_stop_at_any_moment_ends_the_loop(line: int) -> None:
    engine = EngineThread(f"stopped at {line}", lambda: False, lambda: None)
    before = threading.gettrace()
    threading.settrace(stop_at_line(line, engine))
    try:
        engine.start()
    finally:
        threading.settrace(before)
    assert not is_running(f"stopped at {line}")


def test_stop_before_start_and_after_the_end_is_harmless() -> None:
    engine = Engine()
    engine.thread.stop()
    engine.thread.start()
    engine.thread.stop()
    engine.thread.stop()
    assert engine.done == []


def test_a_crash_is_logged_told_and_ends_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine()
    engine.work.put(fail)
    engine.submit(1)
    engine.thread.start()
    assert engine.crashed.wait(PATIENCE_SECONDS)
    engine.thread.stop()
    assert engine.done == []
    assert "device lost" in caplog.text
    assert not is_running("engine")


def test_a_clean_end_is_no_crash() -> None:
    engine = Engine()
    engine.thread.start()
    engine.wait_until_idle()
    engine.thread.stop()
    assert not engine.crashed.is_set()


def test_it_looks_again_unwoken_after_the_time_that_it_is_told() -> None:
    looked = threading.Semaphore(0)

    def step() -> bool:
        looked.release()
        return False

    thread = EngineThread("engine", step, lambda: None, lambda: 0.001)
    thread.start()
    assert all(looked.acquire(timeout=30) for _ in range(3))
    thread.stop()
