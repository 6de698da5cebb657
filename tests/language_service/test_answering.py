"""One answer: checked, reserved, filled with its pictures, generated, and given back."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch

from common.conversation import PromptMessage
from common.errors import DvdError, InvalidRequestError, MismatchError
from common.tensor_codec import checksum, tensor_bytes
from common.types import FinishReason, SamplingParameters, SamplingRequest, TokenBias
from language_service.answering import Accepted, AnswerDefaults, Answered, Answerer, AnswerEvent
from language_service.block_tables import PrefixHold
from language_service.embedding_manifest import EmbeddingFormat, Manifest
from language_service.generation import (
    EngineEvent,
    GenerationFailed,
    GenerationFinished,
    GenerationRequest,
    TokensGenerated,
)
from language_service.generation_defaults import SamplingDefaults
from language_service.inbox import Inbox
from language_service.prefix_index import PrefixMatch
from language_service.prompt import (
    HeldSegment,
    ImageSegment,
    PromptLayout,
    TextSegment,
    VisualSegment,
)
from language_service.requests import LanguageRequest
from language_service.reservation import ExpectedImage
from language_service.token_keys import TokenKeys, picture_identity
from tests.fakes import settle

FORMAT = EmbeddingFormat("ours", torch.float32, hidden_size=2, full_tokens=4, compressed_tokens=1)
TEXT = PromptLayout((TextSegment((1, 2, 3)),))
LAYOUT = PromptLayout((TextSegment((1, 2)), ImageSegment(1), TextSegment((3,)), ImageSegment(0)))
FINISHED = GenerationFinished(FinishReason.STOP, "", 2, 0.1, 0.2, 0.3)
REQUEST = LanguageRequest(
    request_id="r1",
    messages=(),
    images=(),
    sampling=SamplingRequest(seed=5),
    model_fingerprint="ours",
)
PICTURES = replace(REQUEST, images=(ExpectedImage(b"a", 1), ExpectedImage(b"b", 1)))


DECIDED = replace(
    REQUEST, images=(ExpectedImage(b"a", 1, (False,)), ExpectedImage(b"b", 1, (False,)))
)


def asking(**sampling: Any) -> LanguageRequest:
    """A request with other sampling choices."""
    return replace(REQUEST, sampling=SamplingRequest(seed=5, **sampling))


@dataclass
class FakeTokenizer:
    """Lays every conversation out the same way."""

    result: PromptLayout
    vocabulary_size: int = 50

    def layout(self, messages: tuple[PromptMessage, ...]) -> PromptLayout:
        assert messages == ()
        return self.result


@dataclass
class FakeEngine:
    """Answers every request with one script, at once.

    Attributes:
        script: Events of each answer.
        max_request_tokens: As of the real one.
        submitted: Every request.
        supplied: Every picture, by its index.
        known_tokens: Leading tokens of any prompt that the cache knows.
        let_go_of: Holds that were given back unused.
        refusal: What submitting fails with.
        cancelled: Ids in order, each with the inbox's bytes at that time.
        read_bytes: Reads the inbox's bytes.
    """

    script: tuple[EngineEvent, ...] = (TokensGenerated((7,), "a"), FINISHED)
    max_request_tokens: int = 100
    submitted: list[GenerationRequest] = field(default_factory=list)
    supplied: dict[int, VisualSegment] = field(default_factory=dict)
    known_tokens: int = 0
    let_go_of: list[PrefixHold] = field(default_factory=list)
    refusal: InvalidRequestError | None = None
    cancelled: list[tuple[str, int]] = field(default_factory=list)
    read_bytes: Callable[[], int] = lambda: 0

    def check_fits(self, num_prompt_tokens: int, max_tokens: int) -> None:
        if num_prompt_tokens + max_tokens > self.max_request_tokens:
            raise InvalidRequestError("Too long.", "messages")

    def hold_pictures(
        self, keys: TokenKeys, picture_ends: tuple[int, ...], limit: int
    ) -> PrefixHold | None:
        covered = [end for end in picture_ends if end <= min(self.known_tokens, limit)]
        assert all(end <= keys.num_tokens for end in picture_ends)
        return PrefixHold(PrefixMatch((), max(covered))) if covered else None

    def let_go(self, hold: PrefixHold) -> None:
        self.let_go_of.append(hold)

    def submit(self, request: GenerationRequest) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.submitted.append(request)
        if request.prompt.is_complete:
            self.send_events(request)

    def supply(self, request_id: str, image_index: int, picture: VisualSegment) -> None:
        (request,) = self.submitted
        assert request.request_id == request_id
        self.supplied[image_index] = picture
        prompt = request.prompt
        for index, each in self.supplied.items():
            prompt = prompt.with_image(index, each)
        if prompt.is_complete:
            self.send_events(request)

    def send_events(self, request: GenerationRequest) -> None:
        for event in self.script:
            request.on_event(event)

    def cancel(self, request_id: str) -> None:
        self.cancelled.append((request_id, self.read_bytes()))


class Language:
    """An answerer and its parts; only the inbox is real."""

    def __init__(self, layout: PromptLayout, engine: FakeEngine) -> None:
        self.inbox = Inbox(1 << 10, FORMAT)
        self.engine = engine
        engine.read_bytes = lambda: self.inbox.reserved_bytes
        defaults = AnswerDefaults(20, SamplingDefaults(temperature=0.7))
        self.answerer = Answerer(FakeTokenizer(layout), self.inbox, engine, defaults)

    def answer(self, request: LanguageRequest = REQUEST) -> AsyncIterator[AnswerEvent]:
        return self.answerer.answer(request)

    def send(self, index: int, image: ExpectedImage, value: float) -> None:
        """Fill one picture's place with equal values."""
        data = bytes(tensor_bytes(torch.full((4, 2), value)))
        writer = self.inbox.open(
            Manifest("r1", index, 0, 0, image.image_key, "ours", torch.float32, 2, (4,), len(data))
        )
        writer.write(0, checksum(data), data)
        writer.commit()


def language(layout: PromptLayout = TEXT, **engine: object) -> Language:
    return Language(layout, FakeEngine(**engine))


async def failure(made: Language, request: LanguageRequest = REQUEST) -> DvdError:
    with pytest.raises(DvdError) as caught:
        [event async for event in made.answer(request)]
    assert made.inbox.reserved_bytes == 0
    return caught.value


async def test_an_answer_is_accepted_tokens_answered() -> None:
    made = language()
    accepted, *tokens, answered = [event async for event in made.answer()]
    assert isinstance(accepted, Accepted)
    assert accepted.needed_images == ()
    assert tokens == [TokensGenerated((7,), "a"), TokensGenerated((), "", end=FINISHED.end)]
    assert answered == Answered((FINISHED,), num_text_tokens=3, num_visual_tokens=0)


async def test_text_that_was_held_back_comes_before_the_end() -> None:
    held = replace(FINISHED, text="…")
    *_, last_text, answered = [e async for e in language(script=(held,)).answer()]
    assert last_text == TokensGenerated((), "…", end=held.end)
    assert isinstance(answered, Answered)


async def test_pictures_are_supplied_as_they_come() -> None:
    made = language(LAYOUT)
    answer = made.answer(PICTURES)
    accepted = await anext(answer)
    assert accepted.needed_images == (0, 1)
    (submitted,) = made.engine.submitted
    assert submitted.prompt.segments == LAYOUT.segments
    following = asyncio.create_task(anext(answer))
    made.send(0, PICTURES.images[0], 1.0)
    await settle()
    assert list(made.engine.supplied) == [0]
    assert not following.done()
    made.send(1, PICTURES.images[1], 2.0)
    await following
    pictures = made.engine.supplied
    assert [pictures[index].embeddings[0, 0].item() for index in (0, 1)] == [1.0, 2.0]
    assert pictures[0].identity == picture_identity(b"a", (4,))
    *_, answered = [event async for event in answer]
    assert (answered.num_text_tokens, answered.num_visual_tokens) == (3, 8)
    assert made.inbox.reserved_bytes == 0


async def test_a_picture_that_the_cache_knows_is_not_wanted() -> None:
    made = language(LAYOUT, known_tokens=6)
    answer = made.answer(DECIDED)
    assert (await anext(answer)).needed_images == (0,)
    (submitted,) = made.engine.submitted
    held = HeldSegment(picture_identity(b"b", (4,)), 4)
    assert submitted.prompt.segments == (LAYOUT.segments[0], held, *LAYOUT.segments[2:])
    assert submitted.hold.match.num_tokens == 6
    made.send(0, PICTURES.images[0], 1.0)
    *_, answered = [event async for event in answer]
    assert answered.num_visual_tokens == 8
    assert made.answerer.num_reused_images == 1
    assert made.engine.let_go_of == []


async def test_the_cache_is_compared_up_to_the_first_undecided_picture() -> None:
    undecided = replace(DECIDED, images=(DECIDED.images[0], PICTURES.images[1]))
    made = language(LAYOUT, known_tokens=100)
    answer = made.answer(undecided)
    assert (await anext(answer)).needed_images == (0, 1)
    await answer.aclose()


async def test_the_last_token_of_a_prompt_is_never_taken_from_the_cache() -> None:
    made = language(LAYOUT, known_tokens=100)
    answer = made.answer(DECIDED)
    assert (await anext(answer)).needed_images == (0,)
    await answer.aclose()


async def test_a_refused_request_lets_go_of_what_it_holds() -> None:
    refusal = InvalidRequestError("In use.", "request_id")
    made = language(LAYOUT, known_tokens=6, refusal=refusal)
    assert await failure(made, DECIDED) is refusal
    assert len(made.engine.let_go_of) == 1


async def test_priority_and_deadline_reach_the_engine() -> None:
    made = language()
    answer = made.answerer.answer(replace(REQUEST, priority=3), timeout_seconds=10)
    [event async for event in answer]
    (submitted,) = made.engine.submitted
    assert submitted.priority == 3
    assert 0 < submitted.deadline - time.monotonic() <= 10


@pytest.mark.parametrize(
    ("max_tokens", "temperature", "room", "expected"),
    [
        (None, None, 100, SamplingParameters(20, 0.7, 5)),
        (None, None, 13, SamplingParameters(10, 0.7, 5)),
        (9, 0.0, 100, SamplingParameters(9, 0.0, 5)),
        (97, 1.0, 100, SamplingParameters(97, 1.0, 5)),
    ],
)
async def test_what_is_open_is_filled_in_within_the_room_left(
    max_tokens: int | None, temperature: float | None, room: int, expected: SamplingParameters
) -> None:
    made = language(max_request_tokens=room)
    request = asking(max_tokens=max_tokens, temperature=temperature)
    [event async for event in made.answer(request)]
    assert made.engine.submitted[0].sampling == expected


@pytest.mark.parametrize(
    ("sampling", "field"),
    [
        ({"logit_bias": (TokenBias(50, 1.0),)}, "sampling.logit_bias"),
        ({"stop_token_ids": (3, 50)}, "sampling.stop_token_ids"),
    ],
)
async def test_tokens_that_do_not_exist_are_refused_before_it_is_accepted(
    sampling: dict[str, Any], field: str
) -> None:
    error = await failure(language(), asking(**sampling))
    assert isinstance(error, InvalidRequestError)
    assert (error.field, "names token 50; the model has 50" in error.message) == (field, True)


@pytest.mark.parametrize(("max_tokens", "room"), [(None, 3), (98, 100)])
async def test_what_cannot_fit_is_refused_before_it_is_accepted(
    max_tokens: int | None, room: int
) -> None:
    made = language(max_request_tokens=room)
    error = await failure(made, asking(max_tokens=max_tokens))
    assert isinstance(error, InvalidRequestError)
    assert made.engine.submitted == []


async def test_pictures_count_at_full_resolution() -> None:
    assert isinstance(await failure(language(LAYOUT, max_request_tokens=11), PICTURES), DvdError)
    answer = language(LAYOUT, max_request_tokens=12).answer(PICTURES)
    assert isinstance(await anext(answer), Accepted)
    await answer.aclose()


async def test_another_model_is_a_mismatch_that_names_both() -> None:
    error = await failure(language(), replace(REQUEST, model_fingerprint="theirs"))
    assert isinstance(error, MismatchError)
    assert error.message == (
        "Model fingerprint differs: the router paired theirs, this replica serves ours."
    )


async def test_a_failure_of_the_engine_is_raised() -> None:
    error = DvdError("The model computed a value that is not finite.")
    script = (TokensGenerated((7,), "a"), GenerationFailed(error))
    assert await failure(language(script=script)) is error


async def test_who_goes_away_while_it_waits_for_pictures_gives_its_room_back() -> None:
    made = language(LAYOUT)
    answer = made.answer(PICTURES)
    await anext(answer)
    following = asyncio.create_task(anext(answer))
    await settle()
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert made.inbox.reserved_bytes == 0
    assert [request_id for request_id, _ in made.engine.cancelled] == ["r1"]


async def test_who_goes_away_while_it_reads_stops_the_engine_first_of_all() -> None:
    made = language(LAYOUT)
    answer = made.answer(PICTURES)
    await anext(answer)
    for index, image in enumerate(PICTURES.images):
        made.send(index, image, 1.0)
    await anext(answer)
    await answer.aclose()
    assert made.engine.cancelled == [("r1", 64)]
    assert made.inbox.reserved_bytes == 0
