"""Where embeddings wait: room in order of arrival, one writer a slot, nothing half visible."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import (
    EmbeddingRejectedError,
    InvalidRequestError,
    MismatchError,
    SlotTakenError,
    UnavailableError,
)
from common.tensor_codec import checksum, tensor_bytes
from language_service.embedding_manifest import EmbeddingFormat, Manifest
from language_service.embedding_writer import EmbeddingWriter
from language_service.inbox import Inbox
from language_service.reservation import ArrivedImage, ExpectedImage, ImageSlot, Reservation
from tests.fakes import in_virtual_time, run_in_virtual_time, settle, until

FORMAT = EmbeddingFormat(
    model_fingerprint="ours", dtype=torch.float32, hidden_size=2, full_tokens=4, compressed_tokens=1
)
TILE_BYTES = 32
COMPRESSED_BYTES = 8
ONE_TILE, TWO_TILES = ExpectedImage(b"one", 1), ExpectedImage(b"two", 2)


def inbox_of(num_tiles: int) -> Inbox:
    """An inbox with room for so many tiles at full resolution."""
    return Inbox(num_tiles * TILE_BYTES, FORMAT)


def manifest(
    request_id: str = "r1",
    image: ExpectedImage = ONE_TILE,
    image_index: int = 0,
    attempt: int = 0,
    compressed: bool = False,
    repeat: int = 0,
) -> Manifest:
    tile_tokens = (FORMAT.compressed_tokens if compressed else FORMAT.full_tokens,)
    tile_tokens *= image.num_tiles
    return Manifest(
        request_id=request_id,
        image_index=image_index,
        attempt=attempt,
        repeat=repeat,
        image_key=image.image_key,
        model_fingerprint="ours",
        dtype=torch.float32,
        hidden_size=FORMAT.hidden_size,
        tile_tokens=tile_tokens,
        num_bytes=sum(tile_tokens) * FORMAT.token_bytes,
    )


def payload_of(writer: EmbeddingWriter, value: float = 1.0) -> bytes:
    """So many equal values as the writer waits for."""
    tokens = sum(writer.manifest.tile_tokens)
    return bytes(tensor_bytes(torch.full((tokens, FORMAT.hidden_size), value)))


def fill(writer: EmbeddingWriter, value: float = 1.0) -> None:
    """Write everything in two chunks and commit."""
    data = payload_of(writer, value)
    for offset in (0, len(data) // 2):
        part = data[offset : offset + len(data) // 2]
        writer.write(offset, checksum(part), part)
    writer.commit()


def arrivals(reservation: Reservation) -> list[ArrivedImage]:
    """Every picture of a request, as it comes."""
    arrived: list[ArrivedImage] = []
    reservation.on_arrival = arrived.append
    return arrived


class Requests:
    """Several requests of one inbox, each of which reserves in a task of its own."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.admitted: list[str] = []
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._go_on: dict[str, asyncio.Event] = {}

    async def reserve(self, request_id: str, *images: ExpectedImage) -> None:
        self._go_on[request_id] = asyncio.Event()
        self._tasks[request_id] = asyncio.create_task(self._hold(request_id, images))
        await settle()

    async def release(self, request_id: str) -> None:
        self._go_on[request_id].set()
        await self._tasks.pop(request_id)
        await settle()

    async def cancel(self, request_id: str) -> None:
        task = self._tasks.pop(request_id)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await settle()

    async def _hold(self, request_id: str, images: tuple[ExpectedImage, ...]) -> None:
        async with self.inbox.reserve(request_id, images):
            self.admitted.append(request_id)
            await self._go_on[request_id].wait()


async def refused(
    inbox: Inbox, *images: ExpectedImage, request_id: str = "r1"
) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        async with inbox.reserve(request_id, images):
            pass
    return caught.value


async def written(
    fault: Callable[[EmbeddingWriter], None], error: type[Exception] = EmbeddingRejectedError
) -> str:
    """The sentence that one fault gets; afterwards a good attempt still goes through."""
    inbox = inbox_of(1)
    async with inbox.reserve("r1", [ONE_TILE]) as reservation:
        writer = inbox.open(manifest())
        with pytest.raises(error) as caught:
            fault(writer)
        writer.close()
        arrived = arrivals(reservation)
        fill(inbox.open(manifest(attempt=1)))
        assert len(arrived) == 1
    return str(caught.value)


@in_virtual_time
async def test_each_picture_is_told_of_as_it_comes() -> None:
    inbox = inbox_of(3)
    async with inbox.reserve("r1", [ONE_TILE, TWO_TILES]) as reservation:
        arrived = arrivals(reservation)
        fill(inbox.open(manifest(image=TWO_TILES, image_index=1)), 2.0)
        assert [each.image_index for each in arrived] == [1]
        fill(inbox.open(manifest(compressed=True)), 1.0)
    second, first = arrived
    assert (first.image_index, first.tile_tokens, second.tile_tokens) == (0, (1,), (4, 4))
    assert torch.equal(first.embeddings, torch.full((1, 2), 1.0))
    assert torch.equal(second.embeddings, torch.full((8, 2), 2.0))
    assert inbox.received_bytes == 2 * TILE_BYTES + COMPRESSED_BYTES


@in_virtual_time
async def test_a_request_without_pictures_takes_no_room() -> None:
    inbox = inbox_of(1)
    async with inbox.reserve("r1", []):
        assert inbox.reserved_bytes == 0


@in_virtual_time
async def test_a_decided_picture_takes_the_room_of_its_resolution() -> None:
    inbox = inbox_of(3)
    async with inbox.reserve("r1", [replace(TWO_TILES, compressed=(True, False))]):
        assert inbox.reserved_bytes == TILE_BYTES + COMPRESSED_BYTES


@in_virtual_time
async def test_a_decided_picture_is_taken_at_its_resolution_alone() -> None:
    inbox = inbox_of(3)
    async with inbox.reserve("r1", [replace(ONE_TILE, compressed=(True,))]) as reservation:
        arrived = arrivals(reservation)
        with pytest.raises(EmbeddingRejectedError, match="another resolution"):
            inbox.open(manifest())
        fill(inbox.open(manifest(compressed=True)))
    assert len(arrived) == 1


@in_virtual_time
async def test_a_picture_that_need_not_come_takes_no_room_and_is_not_taken() -> None:
    inbox = inbox_of(3)
    requests = Requests(inbox)
    async with inbox.reserve("r1", [ONE_TILE, TWO_TILES]) as reservation:
        await requests.reserve("waiting", TWO_TILES)
        assert requests.admitted == []
        inbox.skip(reservation, [1])
        await settle()
        assert requests.admitted == ["waiting"]
        assert reservation.reserved_bytes == TILE_BYTES
        with pytest.raises(SlotTakenError):
            inbox.open(manifest(image=TWO_TILES, image_index=1))
        await requests.release("waiting")


@in_virtual_time
async def test_room_is_held_for_the_length_of_the_context() -> None:
    inbox = inbox_of(3)
    async with inbox.reserve("r1", [ONE_TILE, TWO_TILES]) as reservation:
        assert inbox.reserved_bytes == reservation.reserved_bytes == 3 * TILE_BYTES
        fill(inbox.open(manifest()))
        assert inbox.reserved_bytes == 3 * TILE_BYTES
    assert inbox.reserved_bytes == 0


@in_virtual_time
async def test_the_bytes_may_be_read_while_a_request_comes_in() -> None:
    inbox = inbox_of(2)

    class Slots(list[ImageSlot]):
        """Lets another request in while it is read, as the metrics' thread may see it."""

        def __iter__(self) -> Iterator[ImageSlot]:
            for request in once:
                with suppress(StopIteration):
                    request.__aenter__().send(None)
            return super().__iter__()

    coming = inbox.reserve("r2", [ONE_TILE])
    once = iter([coming])
    async with inbox.reserve("r1", [ONE_TILE]) as reservation:
        reservation.slots = Slots(reservation.slots)
        assert inbox.reserved_bytes == TILE_BYTES
        reservation.slots = list(reservation.slots)
        await coming.__aexit__(None, None, None)


@in_virtual_time
async def test_room_is_given_back_after_an_error() -> None:
    inbox = inbox_of(1)
    with pytest.raises(ValueError, match="inside"):
        async with inbox.reserve("r1", [ONE_TILE]):
            raise ValueError("inside")
    assert inbox.reserved_bytes == 0


@in_virtual_time
async def test_requests_get_room_in_order_of_arrival() -> None:
    requests = Requests(inbox_of(3))
    await requests.reserve("a", TWO_TILES)
    await requests.reserve("b", TWO_TILES)
    await requests.reserve("c", ONE_TILE)
    assert requests.admitted == ["a"]
    assert requests.inbox.waiting_requests == 2
    await requests.release("a")
    assert requests.admitted == ["a", "b", "c"]
    assert requests.inbox.waiting_requests == 0
    assert requests.inbox.reserved_bytes == 3 * TILE_BYTES
    await requests.release("b")
    await requests.release("c")


@in_virtual_time
async def test_the_first_that_does_not_fit_holds_up_all_behind_it() -> None:
    requests = Requests(inbox_of(3))
    await requests.reserve("a", ONE_TILE)
    await requests.reserve("b", TWO_TILES)
    await requests.reserve("large", TWO_TILES)
    await requests.reserve("small", ONE_TILE)
    await requests.release("a")
    assert requests.admitted == ["a", "b"]
    await requests.release("b")
    assert requests.admitted == ["a", "b", "large", "small"]
    for request_id in ("large", "small"):
        await requests.release(request_id)


@in_virtual_time
async def test_one_release_may_admit_several() -> None:
    requests = Requests(inbox_of(2))
    await requests.reserve("a", TWO_TILES)
    for request_id in "bcd":
        await requests.reserve(request_id, ONE_TILE)
    await requests.release("a")
    assert requests.admitted == ["a", "b", "c"]
    await requests.release("c")
    assert requests.admitted[-1] == "d"
    for request_id in "bd":
        await requests.release(request_id)


@in_virtual_time
async def test_a_request_without_pictures_overtakes_those_that_wait() -> None:
    requests = Requests(inbox_of(1))
    for request_id in "ab":
        await requests.reserve(request_id, ONE_TILE)
    await requests.reserve("text")
    assert requests.admitted == ["a", "text"]
    for request_id in ("text", "a", "b"):
        await requests.release(request_id)


@in_virtual_time
async def test_what_a_manifest_saves_admits_the_next() -> None:
    requests = Requests(inbox_of(2))
    await requests.reserve("a", TWO_TILES)
    await requests.reserve("b", ONE_TILE)
    requests.inbox.open(manifest("a", TWO_TILES, compressed=True))
    await settle()
    assert requests.admitted == ["a", "b"]
    assert requests.inbox.reserved_bytes == 2 * COMPRESSED_BYTES + TILE_BYTES
    for request_id in "ab":
        await requests.release(request_id)


@in_virtual_time
async def test_who_stops_waiting_lets_the_next_in() -> None:
    requests = Requests(inbox_of(2))
    await requests.reserve("a", ONE_TILE)
    await requests.reserve("b", TWO_TILES)
    await requests.reserve("c", ONE_TILE)
    await requests.cancel("b")
    assert requests.admitted == ["a", "c"]
    for request_id in "ac":
        await requests.release(request_id)
    assert requests.inbox.reserved_bytes == 0


@in_virtual_time
async def test_who_is_cancelled_as_it_is_admitted_gives_its_room_on() -> None:
    inbox = inbox_of(1)
    requests = Requests(inbox)
    for request_id in "abc":
        await requests.reserve(request_id, ONE_TILE)
    requests._go_on["a"].set()
    await until(lambda: inbox.waiting_requests == 1)
    assert requests.admitted == ["a"]
    await requests.cancel("b")
    assert requests.admitted == ["a", "c"]
    await requests.release("c")
    assert (inbox.reserved_bytes, inbox.waiting_requests) == (0, 0)


@in_virtual_time
async def test_a_request_above_the_whole_inbox_is_refused_at_once() -> None:
    inbox = inbox_of(2)
    error = await refused(inbox, ONE_TILE, TWO_TILES)
    assert error.message == "The pictures need 96 bytes of embeddings; a request may have 64."
    assert error.field == "messages"
    assert (inbox.reserved_bytes, inbox.waiting_requests) == (0, 0)


@in_virtual_time
async def test_a_request_may_take_the_whole_inbox() -> None:
    inbox = inbox_of(2)
    async with inbox.reserve("r1", [TWO_TILES]):
        assert inbox.reserved_bytes == inbox.max_bytes


@in_virtual_time
async def test_an_id_in_use_is_refused_and_its_owner_undisturbed() -> None:
    requests = Requests(inbox_of(1))
    for request_id in "ab":
        await requests.reserve(request_id, ONE_TILE)
    for request_id in "ab":
        error = await refused(requests.inbox, ONE_TILE, request_id=request_id)
        assert (error.message, error.field) == ("The request id is in use.", "request_id")
    assert requests.inbox.waiting_requests == 1
    await requests.release("a")
    await requests.release("b")
    async with requests.inbox.reserve("a", [ONE_TILE]):
        pass


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (manifest(request_id="other"), "No request waits for this embedding."),
        (manifest(image_index=1), "No request waits for this embedding."),
        (
            manifest(image=TWO_TILES),
            "The embedding is of another picture than the one expected.",
        ),
        (
            manifest(image=replace(ONE_TILE, num_tiles=3)),
            "The manifest has 3 tiles, the request 1.",
        ),
    ],
)
@in_virtual_time
async def test_a_manifest_that_nobody_expects_is_refused(wrong: Manifest, message: str) -> None:
    inbox = inbox_of(1)
    async with inbox.reserve("r1", [ONE_TILE]) as reservation:
        with pytest.raises(EmbeddingRejectedError) as caught:
            inbox.open(wrong)
        assert caught.value.message == message
        assert reservation.slots[0].writer is None
        assert inbox.reserved_bytes == TILE_BYTES


@in_virtual_time
async def test_another_model_is_a_mismatch() -> None:
    inbox = inbox_of(1)
    async with inbox.reserve("r1", [ONE_TILE]):
        with pytest.raises(MismatchError, match="Model fingerprint differs"):
            inbox.open(replace(manifest(), model_fingerprint="theirs"))


@in_virtual_time
async def test_a_request_that_waits_for_room_takes_no_embedding_yet() -> None:
    requests = Requests(inbox_of(1))
    for request_id in "ab":
        await requests.reserve(request_id, ONE_TILE)
    with pytest.raises(EmbeddingRejectedError, match="No request waits"):
        requests.inbox.open(manifest("b"))
    for request_id in "ab":
        await requests.release(request_id)


@in_virtual_time
async def test_the_first_complete_attempt_is_kept() -> None:
    inbox = inbox_of(1)
    async with inbox.reserve("r1", [ONE_TILE]) as reservation:
        arrived = arrivals(reservation)
        fill(inbox.open(manifest()), 1.0)
        for attempt in (0, 1):
            with pytest.raises(SlotTakenError, match="The picture is here already"):
                inbox.open(manifest(attempt=attempt))
    (kept,) = arrived
    assert torch.equal(kept.embeddings, torch.full((4, 2), 1.0))


@in_virtual_time
async def test_a_later_attempt_replaces_one_that_is_being_written() -> None:
    inbox = inbox_of(1)
    async with inbox.reserve("r1", [ONE_TILE]) as reservation:
        arrived = arrivals(reservation)
        earlier, later = inbox.open(manifest()), inbox.open(manifest(attempt=1))
        data = payload_of(earlier)
        with pytest.raises(SlotTakenError, match="A later attempt is writing"):
            earlier.write(0, checksum(data), data)
        with pytest.raises(SlotTakenError, match="A later attempt is writing"):
            earlier.commit()
        earlier.close()
        fill(later, 2.0)
    (kept,) = arrived
    assert torch.equal(kept.embeddings, torch.full((4, 2), 2.0))


@pytest.mark.parametrize(("attempt", "repeat"), [(0, 0), (0, 7), (1, 0), (1, 1)])
@in_virtual_time
async def test_an_earlier_or_equal_stream_does_not_disturb_one_being_written(
    attempt: int, repeat: int
) -> None:
    inbox = inbox_of(1)
    async with inbox.reserve("r1", [ONE_TILE]):
        writer = inbox.open(manifest(attempt=1, repeat=1))
        with pytest.raises(SlotTakenError, match="Another attempt is writing"):
            inbox.open(manifest(attempt=attempt, repeat=repeat))
        fill(writer)


@pytest.mark.parametrize(("attempt", "repeat"), [(1, 2), (2, 0)])
@in_virtual_time
async def test_a_later_stream_of_the_same_attempt_replaces_one_that_may_have_broken(
    attempt: int, repeat: int
) -> None:
    inbox = inbox_of(1)
    async with inbox.reserve("r1", [ONE_TILE]) as reservation:
        arrived = arrivals(reservation)
        broken = inbox.open(manifest(attempt=1, repeat=1))
        later = inbox.open(manifest(attempt=attempt, repeat=repeat))
        broken.close()
        fill(later)
    assert len(arrived) == 1


@in_virtual_time
async def test_a_place_given_up_may_be_written_by_any_attempt() -> None:
    inbox = inbox_of(1)
    async with inbox.reserve("r1", [ONE_TILE]) as reservation:
        arrived = arrivals(reservation)
        inbox.open(manifest(attempt=3)).close()
        fill(inbox.open(manifest(attempt=3)))
    assert len(arrived) == 1


@in_virtual_time
async def test_closing_after_the_commit_changes_nothing() -> None:
    inbox = inbox_of(1)
    async with inbox.reserve("r1", [ONE_TILE]) as reservation:
        arrived = arrivals(reservation)
        writer = inbox.open(manifest())
        fill(writer)
        writer.close()
    assert len(arrived) == 1


@in_virtual_time
async def test_another_attempt_must_keep_the_resolution() -> None:
    inbox = inbox_of(1)
    async with inbox.reserve("r1", [ONE_TILE]):
        inbox.open(manifest(compressed=True)).close()
        with pytest.raises(EmbeddingRejectedError, match="another resolution"):
            inbox.open(manifest(attempt=1))
        fill(inbox.open(manifest(attempt=1, compressed=True)))


@pytest.mark.parametrize(
    ("offset", "length", "message"),
    [
        (8, 8, "A chunk starts at byte 8; expected is 0."),
        (0, 0, "A chunk ends at byte 0 of 32 or is empty."),
        (0, 33, "A chunk ends at byte 33 of 32 or is empty."),
        (2**63, 8, f"A chunk starts at byte {2**63}; expected is 0."),
    ],
)
@in_virtual_time
async def test_a_chunk_out_of_place_is_refused(offset: int, length: int, message: str) -> None:
    data = bytes(length)
    assert await written(lambda writer: writer.write(offset, checksum(data), data)) == message


@in_virtual_time
async def test_a_chunk_that_comes_twice_is_refused() -> None:
    def twice(writer: EmbeddingWriter) -> None:
        for _ in range(2):
            writer.write(0, checksum(bytes(8)), bytes(8))

    assert await written(twice) == "A chunk starts at byte 0; expected is 8."


@in_virtual_time
async def test_damage_is_seen() -> None:
    data = bytes(TILE_BYTES)
    message = await written(
        lambda writer: writer.write(0, checksum(data) ^ 1, data), UnavailableError
    )
    assert message == "The chunk at byte 0 fails its checksum."


@pytest.mark.parametrize("length", [0, 24])
@in_virtual_time
async def test_a_stream_that_ends_early_is_not_committed(length: int) -> None:
    def end_early(writer: EmbeddingWriter) -> None:
        if length:
            writer.write(0, checksum(bytes(length)), bytes(length))
        writer.commit()

    assert await written(end_early) == f"The stream ended after {length} of 32 bytes."


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@in_virtual_time
async def test_a_value_that_is_not_finite_is_refused(value: float) -> None:
    message = await written(lambda writer: fill(writer, value))
    assert message == "The embedding holds a value that is not finite."


@in_virtual_time
async def test_a_refused_chunk_takes_no_room_and_the_rest_may_follow() -> None:
    inbox = inbox_of(1)
    async with inbox.reserve("r1", [ONE_TILE]) as reservation:
        writer = inbox.open(manifest())
        with pytest.raises(UnavailableError):
            writer.write(0, 0, bytes(8))
        arrived = arrivals(reservation)
        fill(writer)
    assert len(arrived) == 1


@pytest.mark.parametrize("step", ["write", "commit"])
@in_virtual_time
async def test_an_embedding_of_a_request_that_has_ended_is_refused(step: str) -> None:
    inbox = inbox_of(1)
    async with AsyncExitStack() as request:
        reservation: Reservation = await request.enter_async_context(
            inbox.reserve("r1", [ONE_TILE])
        )
        arrived = arrivals(reservation)
        writer = inbox.open(manifest())
        data = payload_of(writer)
        if step == "commit":
            writer.write(0, checksum(data), data)
    with pytest.raises(EmbeddingRejectedError, match="No request waits for this embedding"):
        writer.write(0, checksum(data), data) if step == "write" else writer.commit()
    assert arrived == []
    assert inbox.received_bytes == 0


Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "open", "write", "damage", "commit", "close", "end"]),
        st.integers(0, 3),
    ),
    max_size=60,
)
TILES = st.lists(st.lists(st.integers(1, 2), max_size=2), min_size=4, max_size=4)


class RandomUse:
    """Four requests of one inbox, driven step by step; each step keeps the budget."""

    def __init__(self, tiles: list[list[int]], compressed: bool) -> None:
        self.inbox = inbox_of(4)
        self.requests = Requests(self.inbox)
        self.images = [[ExpectedImage(b"%d" % count, count) for count in each] for each in tiles]
        self.compressed = compressed
        self.writers: dict[int, EmbeddingWriter] = {}
        self.alive: set[int] = set()

    async def step(self, what: str, number: int) -> None:
        with suppress(EmbeddingRejectedError, SlotTakenError, UnavailableError):
            await getattr(self, what)(number)
        await settle()
        self.check()

    async def reserve(self, number: int) -> None:
        if number not in self.alive:
            self.alive.add(number)
            await self.requests.reserve(str(number), *self.images[number])

    async def open(self, number: int) -> None:
        images = self.images[number]
        if images:
            last = len(images) - 1
            wanted = manifest(str(number), images[last], last, number, self.compressed)
            self.writers[number] = self.inbox.open(wanted)

    async def write(self, number: int) -> None:
        if number in self.writers:
            data = payload_of(self.writers[number])
            self.writers[number].write(0, checksum(data), data)

    async def damage(self, number: int) -> None:
        if number in self.writers:
            self.writers[number].write(0, 0, b"damage")

    async def commit(self, number: int) -> None:
        if number in self.writers:
            self.writers[number].commit()

    async def close(self, number: int) -> None:
        if number in self.writers:
            self.writers.pop(number).close()

    async def end(self, number: int) -> None:
        if number in self.alive:
            self.alive.remove(number)
            is_admitted = str(number) in self.inbox._reservations
            await (self.requests.release if is_admitted else self.requests.cancel)(str(number))

    def check(self) -> None:
        """Within the budget, and nobody waits who could be let in."""
        inbox = self.inbox
        assert 0 <= inbox.reserved_bytes <= inbox.max_bytes
        assert len(self.alive) == len(inbox._reservations) + inbox.waiting_requests
        for turn in list(inbox._waiting.values())[:1]:
            wanted = turn.reservation.reserved_bytes
            assert inbox.reserved_bytes + wanted > inbox.max_bytes


@settings(deadline=None, max_examples=60)
@given(tiles=TILES, compressed=st.booleans(), steps=STEPS)
def test_whatever_happens_the_budget_is_kept_nobody_starves_and_all_ends_at_zero(
    tiles: list[list[int]], compressed: bool, steps: list[Step]
) -> None:
    async def use() -> None:
        use = RandomUse(tiles, compressed)
        for what, number in steps:
            await use.step(what, number)
        for number in sorted(use.alive):
            await use.step("end", number)
        assert (use.inbox.reserved_bytes, use.inbox.waiting_requests) == (0, 0)

    run_in_virtual_time(use())
