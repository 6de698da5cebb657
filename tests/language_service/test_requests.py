"""The router's wire request as the language service reads it."""

import pytest

from common.conversation import ImageGroupPart, PromptMessage, TextPart
from common.errors import InvalidRequestError
from common.sampling_wire import write_answer
from common.types import AnswerSoFar, ChoiceEnd, FinishReason, Role, SamplingRequest
from language_service.requests import LanguageRequest, read_request
from language_service.reservation import ExpectedImage
from protos.dvd.v1 import inference_pb2, language_pb2

USER, ASSISTANT = inference_pb2.ROLE_USER, inference_pb2.ROLE_ASSISTANT


def group(*images: tuple[bytes, int]) -> language_pb2.PromptPart:
    members = [language_pb2.PromptImage(image_key=key, num_tiles=count) for key, count in images]
    return language_pb2.PromptPart(image_group=language_pb2.PromptImageGroup(images=members))


def text(words: str) -> language_pb2.PromptPart:
    return language_pb2.PromptPart(text=words)


def read(*messages: language_pb2.PromptMessage, **sampling: float) -> LanguageRequest:
    return read_request(
        language_pb2.LanguageServiceGenerateRequest(
            request_id="r1",
            messages=messages,
            sampling=inference_pb2.SamplingParameters(**sampling),
            model_fingerprint="theirs",
        )
    )


def test_pictures_are_numbered_over_the_whole_conversation() -> None:
    request = read(
        language_pb2.PromptMessage(role=USER, parts=[group((b"a", 1)), text("this?")]),
        language_pb2.PromptMessage(role=ASSISTANT, parts=[text("A cat.")]),
        language_pb2.PromptMessage(role=USER, parts=[group((b"b", 5), (b"c", 13)), text("")]),
    )
    assert request.messages == (
        PromptMessage(Role.USER, (ImageGroupPart((0,)), TextPart("this?"))),
        PromptMessage(Role.ASSISTANT, (TextPart("A cat."),)),
        PromptMessage(Role.USER, (ImageGroupPart((1, 2)), TextPart(""))),
    )
    assert request.images == (
        ExpectedImage(b"a", 1),
        ExpectedImage(b"b", 5),
        ExpectedImage(b"c", 13),
    )


def test_names_are_kept() -> None:
    assert (read().request_id, read().model_fingerprint) == ("r1", "theirs")


def test_what_is_left_open_is_told_from_zero() -> None:
    assert read(seed=7).sampling == SamplingRequest(seed=7)
    given = read(max_tokens=5, temperature=0.0, seed=7).sampling
    assert given == SamplingRequest(seed=7, max_tokens=5, temperature=0.0)


@pytest.mark.parametrize("role", [0, 9])
def test_a_message_needs_a_role(role: inference_pb2.Role) -> None:
    with pytest.raises(InvalidRequestError, match=r"A message has no role\.") as caught:
        read(language_pb2.PromptMessage(role=role, parts=[text("Hello.")]))
    assert caught.value.field == "messages"


def picture(num_tiles: int, *compressed: bool) -> language_pb2.PromptMessage:
    resolution = language_pb2.PromptImageResolution(compressed=compressed)
    image = language_pb2.PromptImage(image_key=b"a", num_tiles=num_tiles, resolution=resolution)
    wanted = language_pb2.PromptImageGroup(images=[image])
    return language_pb2.PromptMessage(
        role=USER, parts=[language_pb2.PromptPart(image_group=wanted)]
    )


def test_a_resolution_is_kept_where_it_is_decided() -> None:
    assert read(picture(2, True, False)).images == (ExpectedImage(b"a", 2, (True, False)),)


def test_a_resolution_of_another_tile_count_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="2 tiles has a resolution of 1"):
        read(picture(2, True))


def going_on(*answers: AnswerSoFar, num_choices: int) -> LanguageRequest:
    return read_request(
        language_pb2.LanguageServiceGenerateRequest(
            sampling=inference_pb2.SamplingParameters(n=num_choices),
            continue_from=map(write_answer, answers),
        )
    )


def test_what_the_client_has_is_read() -> None:
    answers = (AnswerSoFar((1, 2)), AnswerSoFar((3,), ChoiceEnd(FinishReason.LENGTH, 1)))
    assert going_on(*answers, num_choices=2).answers == answers
    assert going_on(num_choices=2).answers == ()


def test_every_answer_goes_on_or_none() -> None:
    with pytest.raises(InvalidRequestError, match="2 answers are asked for; 1 go on"):
        going_on(AnswerSoFar((1,)), num_choices=2)
