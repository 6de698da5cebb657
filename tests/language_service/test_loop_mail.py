"""Events from another thread: all of them, in order, with one wake for those of a step."""

import asyncio
import threading

import pytest

from language_service.loop_mail import LoopMail

NUM_EVENTS = 1000


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts how often another thread wakes it."""

    num_wakes = 0

    def _write_to_self(self) -> None:
        self.num_wakes += 1
        super()._write_to_self()


def test_events_of_several_threads_come_in_the_order_of_each() -> None:
    events: list[tuple[int, int]] = []

    async def receive() -> None:
        mail = LoopMail(asyncio.get_running_loop())
        done = asyncio.Event()

        def receive_one(event: tuple[int, int]) -> None:
            events.append(event)
            if len(events) == 3 * NUM_EVENTS:
                done.set()

        def send(sender: int) -> None:
            for number in range(NUM_EVENTS):
                mail.call(lambda event=(sender, number): receive_one(event))

        senders = [threading.Thread(target=send, args=(sender,)) for sender in range(3)]
        for each in senders:
            each.start()
        await asyncio.wait_for(done.wait(), 60)
        for each in senders:
            each.join()

    asyncio.run(receive())
    for sender in range(3):
        assert [n for s, n in events if s == sender] == list(range(NUM_EVENTS))


def test_what_comes_together_wakes_the_loop_once() -> None:
    loop = CountingLoop()
    received: list[int] = []
    mail = LoopMail(loop)
    for number in range(5):
        mail.call(lambda number=number: received.append(number))
    assert loop.num_wakes == 1
    loop.run_until_complete(asyncio.sleep(0))
    loop.run_until_complete(asyncio.sleep(0))
    assert received == list(range(5))
    mail.call(lambda: received.append(5))
    assert loop.num_wakes == 2
    loop.close()


def test_a_closed_loop_is_told() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        LoopMail(loop).call(lambda: None)
