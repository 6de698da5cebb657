"""Engines of a coupled thread take turns on one thread, and answer what decoupled ones answer."""

import threading
from pathlib import Path

from benchmarks.coupled_thread import CoupledThread
from tests import pictures
from tests.integration.requests import wire_request
from tests.local_cluster import local_cluster
from tests.reference.conversation import user

PATIENCE_SECONDS = 30.0


class CountedWork:
    """An engine with so many steps of work."""

    def __init__(self, name: str, num_steps: int, log: list[str]) -> None:
        self.name = name
        self.left = num_steps
        self.threads: set[int] = set()
        self.idle = threading.Event()
        self._log = log

    def step(self) -> bool:
        self.threads.add(threading.get_ident())
        if not self.left:
            self.idle.set()
            return False
        self.left -= 1
        self._log.append(self.name)
        return True


def test_engines_take_turns_on_one_thread() -> None:
    log: list[str] = []
    shared = CoupledThread()
    engines = [CountedWork("vision", 2, log), CountedWork("language", 4, log)]
    threads = [shared.make(each.name, each.step, lambda: None) for each in engines]
    for thread in threads:
        thread.start()
    assert all(engine.idle.wait(PATIENCE_SECONDS) for engine in engines)
    for thread in threads:
        thread.stop()
    assert log == ["vision", "language", "vision", "language", "language", "language"]
    assert len(engines[0].threads | engines[1].threads) == 1
    assert threads[1].num_steps >= 4


def test_it_looks_again_when_the_first_of_its_engines_wants_to() -> None:
    shared = CoupledThread()
    looked = threading.Semaphore(0)

    def look() -> bool:
        looked.release()
        return False

    waiting = shared.make("vision", look, lambda: None, lambda: 0.001)
    sleeping = shared.make("language", lambda: False, lambda: None)
    waiting.start()
    sleeping.start()
    assert all(looked.acquire(timeout=PATIENCE_SECONDS) for _ in range(3))
    waiting.stop()
    sleeping.stop()


def test_a_crash_is_told_to_all_engines() -> None:
    shared = CoupledThread()
    crashed = [threading.Event(), threading.Event()]

    def fail() -> bool:
        raise RuntimeError

    threads = [
        shared.make("vision", fail, crashed[0].set),
        shared.make("language", lambda: False, crashed[1].set),
    ]
    threads[0].start()
    assert all(event.wait(PATIENCE_SECONDS) for event in crashed)


async def test_a_coupled_server_gives_the_answers_of_a_decoupled_one(flash_model_dir: Path) -> None:
    asked = [(pictures.grid(2, 2, seed), f"Question {seed}?") for seed in range(3)]
    requests = [wire_request((user(*each),), 8) for each in asked]
    answers = []
    for make_thread in ({}, {"make_thread": CoupledThread().make}):
        async with local_cluster(flash_model_dir, **make_thread) as cluster:
            answers.append([(await cluster.client.answer(each)).token_ids for each in requests])
    assert answers[0] == answers[1]
