"""Who waits for which picture, without a model."""

from concurrent.futures import Future

import torch

from common.tiling import TileGrid
from vision_service.encode_queue import EncodeQueue
from vision_service.images import EncodedImage, TiledImage

TWO_TILES = TiledImage(TileGrid(2, 1, False), torch.zeros(2, 3, 4, 4), (0, 1))


def submit(queue: EncodeQueue, key: bytes) -> Future[EncodedImage]:
    return queue.submit(key, TWO_TILES, now=0.0)


def test_a_picture_waits_then_runs() -> None:
    queue = EncodeQueue(max_batch_tiles=3)
    submit(queue, b"a")
    submit(queue, b"b")
    assert (queue.waiting_images, queue.running_images, queue.outstanding_tiles) == (2, 0, 4)
    (first, second) = queue.take_batch(now=1.0)
    assert [(p.job.image_key, p.run.num_tiles) for p in (first, second)] == [(b"a", 2), (b"b", 1)]
    assert (queue.waiting_images, queue.running_images, queue.outstanding_tiles) == (0, 2, 4)
    queue.remove(first.job)
    assert (queue.running_images, queue.outstanding_tiles) == (1, 2)


def test_equal_pictures_in_flight_run_once() -> None:
    queue = EncodeQueue(max_batch_tiles=8)
    waiters = [submit(queue, b"a"), submit(queue, b"a")]
    (part,) = queue.take_batch(now=1.0)
    waiters.append(submit(queue, b"a"))
    assert queue.take_batch(now=2.0) == ()
    assert queue.remove(part.job) == waiters


def test_after_its_result_a_picture_runs_anew() -> None:
    queue = EncodeQueue(max_batch_tiles=8)
    submit(queue, b"a")
    queue.remove(queue.take_batch(now=1.0)[0].job)
    submit(queue, b"a")
    assert len(queue.take_batch(now=2.0)) == 1


def test_a_cancelled_picture_is_dropped_before_the_next_batch() -> None:
    queue = EncodeQueue(max_batch_tiles=1)
    cancelled, other = submit(queue, b"a"), submit(queue, b"b")
    queue.take_batch(now=1.0)
    assert cancelled.cancel()
    assert [part.job.image_key for part in queue.take_batch(now=2.0)] == [b"b"]
    assert (queue.waiting_images, queue.running_images) == (0, 1)
    assert not other.cancelled()


def test_a_picture_stays_while_one_of_two_waits_for_it() -> None:
    queue = EncodeQueue(max_batch_tiles=8)
    cancelled, waiting = submit(queue, b"a"), submit(queue, b"a")
    cancelled.cancel()
    (part,) = queue.take_batch(now=1.0)
    assert queue.remove(part.job) == [waiting]


def test_a_request_that_comes_after_the_cancel_takes_the_picture_over() -> None:
    queue = EncodeQueue(max_batch_tiles=8)
    submit(queue, b"a").cancel()
    waiting = submit(queue, b"a")
    (part,) = queue.take_batch(now=1.0)
    assert queue.remove(part.job) == [waiting]
