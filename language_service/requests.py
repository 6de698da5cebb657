"""The router's wire request, read into what the language service works with.

Wire types end here.
"""

from dataclasses import dataclass

from common.conversation import ImageGroupPart, PromptMessage, TextPart
from common.errors import InvalidRequestError
from common.role_wire import ROLES
from common.sampling_wire import read_answer, read_sampling
from common.types import AnswerSoFar, SamplingRequest
from language_service.reservation import ExpectedImage
from protos.dvd.v1 import language_pb2


@dataclass(frozen=True, slots=True)
class LanguageRequest:
    """One request to answer.

    Attributes:
        request_id: Its name everywhere.
        messages: The conversation.
        images: The pictures that the messages refer to, by position.
        sampling: How the answer's tokens are chosen.
        model_fingerprint: What the router paired.
        priority: Steps of head start over other requests.
        answers: What the client has of each answer; empty where it has nothing.
    """

    request_id: str
    messages: tuple[PromptMessage, ...]
    images: tuple[ExpectedImage, ...]
    sampling: SamplingRequest
    model_fingerprint: str
    priority: int = 0
    answers: tuple[AnswerSoFar, ...] = ()


def read_request(wire: language_pb2.LanguageServiceGenerateRequest) -> LanguageRequest:
    """Translate a wire request.

    Raises:
        InvalidRequestError: A message has no role, a resolution is not one of its picture's, or
            what is delivered is not that of as many answers as are asked for.
    """
    images: list[ExpectedImage] = []
    sampling = read_sampling(wire.sampling)
    if len(wire.continue_from) not in (0, sampling.num_choices):
        raise InvalidRequestError(
            f"{sampling.num_choices} answers are asked for; {len(wire.continue_from)} go on.",
            "continue_from",
        )
    return LanguageRequest(
        request_id=wire.request_id,
        messages=tuple(_message(message, images) for message in wire.messages),
        images=tuple(images),
        sampling=sampling,
        model_fingerprint=wire.model_fingerprint,
        priority=wire.priority,
        answers=tuple(map(read_answer, wire.continue_from)),
    )


def _message(wire: language_pb2.PromptMessage, images: list[ExpectedImage]) -> PromptMessage:
    role = ROLES.get(wire.role)
    if role is None:
        raise InvalidRequestError("A message has no role.", "messages")
    return PromptMessage(role, tuple(_part(part, images) for part in wire.parts))


def _part(wire: language_pb2.PromptPart, images: list[ExpectedImage]) -> TextPart | ImageGroupPart:
    if wire.WhichOneof("part") == "text":
        return TextPart(wire.text)
    first = len(images)
    images += [_image(image) for image in wire.image_group.images]
    return ImageGroupPart(tuple(range(first, len(images))))


def _image(wire: language_pb2.PromptImage) -> ExpectedImage:
    if not wire.HasField("resolution"):
        return ExpectedImage(wire.image_key, wire.num_tiles)
    compressed = tuple(wire.resolution.compressed)
    if len(compressed) != wire.num_tiles:
        raise InvalidRequestError(
            f"A picture of {wire.num_tiles} tiles has a resolution of {len(compressed)}.",
            "messages",
        )
    return ExpectedImage(wire.image_key, wire.num_tiles, compressed)
