"""Calls to one language replica. Wire types end here."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc

from common.conversation import PromptMessage, TextPart
from common.errors import DvdError, UnavailableError
from common.health_client import is_serving
from common.role_wire import WIRE_ROLES
from common.rpc import call, each, open_channel, peer_errors
from common.sampling_wire import (
    FINISH_REASONS,
    read_choice,
    read_stop,
    write_answer,
    write_sampling,
)
from common.types import AnswerSoFar, ChoiceEnd, FinishReason, ReplicaAddress, StopMatch
from protos.dvd.v1 import inference_pb2, language_pb2, language_pb2_grpc, replica_pb2
from router.answer import TokenLogprob, TokenLogprobs
from router.known_resolutions import KnownResolution
from router.requests import ValidImage, ValidRequest

Call = grpc.aio.UnaryStreamCall[
    language_pb2.LanguageServiceGenerateRequest, language_pb2.LanguageServiceGenerateResponse
]


@dataclass(frozen=True, slots=True)
class AnswerOrder:
    """What a language replica is asked for.

    Attributes:
        request: The request.
        name: Of this attempt at it; its pictures are addressed to that.
        known: Resolutions that are decided already, by picture.
        answers: What the client has of each answer; empty where it has nothing.
    """

    request: ValidRequest
    name: str
    known: tuple[KnownResolution | None, ...]
    answers: tuple[AnswerSoFar, ...] = ()


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Room is reserved at the language replica.

    Attributes:
        needed_images: Positions of the pictures to send.
        queue_seconds: Time it took to get the room.
    """

    needed_images: tuple[int, ...]
    queue_seconds: float


@dataclass(frozen=True, slots=True)
class AnswerDelta:
    """More of the answer.

    Attributes:
        token_ids: New tokens.
        text: New text.
        logprobs: One a token where the request asked, else none.
        choice: Which of several answers it belongs to.
        end: How that answer ended; None in all but its last delta.
    """

    token_ids: tuple[int, ...]
    text: str
    logprobs: tuple[TokenLogprobs, ...] = ()
    choice: int = 0
    end: ChoiceEnd | None = None


@dataclass(frozen=True, slots=True)
class AnswerEnd:
    """The language replica is done.

    Attributes:
        finish_reason: Why.
        text_tokens: Prompt tokens that are text.
        visual_tokens: Prompt tokens that are pictures.
        completion_tokens: Tokens of the answer.
        cached_tokens: Prompt tokens that were not computed for this request.
        queue_seconds: From the last picture to the first engine step.
        prefill_seconds: Prompt computation.
        decode_seconds: Answer computation after the first token.
        stop: The one of the request's own stops that ended it; None where none did.
        choices: The ends of several answers, in order; empty for one.
    """

    finish_reason: FinishReason
    text_tokens: int
    visual_tokens: int
    completion_tokens: int
    cached_tokens: int
    queue_seconds: float
    prefill_seconds: float
    decode_seconds: float
    stop: StopMatch | None = None
    choices: tuple[ChoiceEnd, ...] = ()


class LanguageStream:
    """One answer under way on a language replica."""

    def __init__(self, stream: Call) -> None:
        self._stream = stream
        self._responses = each(stream)

    async def accepted(self) -> Acceptance:
        """Wait for the reservation.

        Raises:
            DvdError: The replica refuses the request.
        """
        first = await anext(self._responses, None)
        if first is None:
            raise UnavailableError("The language replica ended without accepting the request.")
        if not first.HasField("accepted"):
            raise DvdError()
        return Acceptance(tuple(first.accepted.needed_images), first.accepted.queue_seconds)

    async def events(self) -> AsyncIterator[AnswerDelta | AnswerEnd]:
        """Follow the answer to its end.

        Raises:
            DvdError: The replica failed or is gone.
        """
        async for response in self._responses:
            if response.HasField("delta"):
                yield _delta_of(response.delta)
            elif response.HasField("finished"):
                yield _end_of(response.finished)

    async def ended(self) -> None:
        """Wait until the stream has ended, well or not."""
        await self._stream.code()

    def cancel(self) -> None:
        """Tell the replica to forget the request; without effect on an ended stream."""
        self._stream.cancel()


class LanguageClient:
    """One channel to one language replica."""

    def __init__(self, address: ReplicaAddress, max_message_bytes: int) -> None:
        self._channel = open_channel(address.address, max_message_bytes)
        self._stub = language_pb2_grpc.LanguageServiceStub(self._channel)

    async def server_info(self, timeout_seconds: float) -> replica_pb2.ServerInfo:
        """Ask which model is served."""
        request = language_pb2.LanguageServiceGetServerInfoRequest()
        return (await call(self._stub.GetServerInfo(request, timeout=timeout_seconds))).info

    async def is_serving(self, timeout_seconds: float) -> bool:
        """Ask whether the replica can do its work."""
        return await is_serving(self._channel, timeout_seconds)

    async def watch_load(self) -> AsyncIterator[replica_pb2.LoadReport]:
        """Follow the replica's load until it goes away."""
        request = language_pb2.LanguageServiceWatchLoadRequest()
        async for response in each(self._stub.WatchLoad(request)):
            yield response.load

    def open(self, order: AnswerOrder, fingerprint: str, timeout_seconds: float) -> LanguageStream:
        """Begin an answer, or go on with one; the pictures that it needs are sent once accepted.

        Args:
            order: What to answer.
            fingerprint: Of the model that is paired.
            timeout_seconds: Time left.

        Raises:
            UnavailableError: The replica has just left the roster.
        """
        request = order.request
        images = [_image(*each) for each in zip(request.images, order.known, strict=True)]
        wire = language_pb2.LanguageServiceGenerateRequest(
            request_id=order.name,
            messages=[_message(message, images) for message in request.messages],
            sampling=write_sampling(request.sampling),
            model_fingerprint=fingerprint,
            priority=request.priority,
            continue_from=map(write_answer, order.answers),
        )
        with peer_errors():
            return LanguageStream(self._stub.Generate(wire, timeout=timeout_seconds))

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


def _image(image: ValidImage, known: KnownResolution | None) -> language_pb2.PromptImage:
    wire = language_pb2.PromptImage(image_key=image.key, num_tiles=image.grid.num_tiles)
    if known is not None:
        resolution = language_pb2.PromptImageResolution(compressed=known.compressed)
        wire.resolution.CopyFrom(resolution)
    return wire


def _message(
    message: PromptMessage, images: list[language_pb2.PromptImage]
) -> language_pb2.PromptMessage:
    parts = []
    for part in message.parts:
        if isinstance(part, TextPart):
            parts.append(language_pb2.PromptPart(text=part.text))
            continue
        group = [images[index] for index in part.image_indexes]
        parts.append(
            language_pb2.PromptPart(image_group=language_pb2.PromptImageGroup(images=group))
        )
    return language_pb2.PromptMessage(role=WIRE_ROLES[message.role], parts=parts)


def _delta_of(wire: inference_pb2.GenerateDelta) -> AnswerDelta:
    logprobs = tuple(
        TokenLogprobs(_logprob(each.chosen), tuple(map(_logprob, each.top)))
        for each in wire.logprobs
    )
    end = read_choice(wire.end) if wire.HasField("end") else None
    return AnswerDelta(tuple(wire.token_ids), wire.text, logprobs, wire.choice, end)


def _logprob(wire: inference_pb2.TokenLogprob) -> TokenLogprob:
    return TokenLogprob(wire.token_id, wire.text, wire.logprob)


def _end_of(wire: language_pb2.LanguageFinished) -> AnswerEnd:
    return AnswerEnd(
        finish_reason=FINISH_REASONS[wire.finish_reason],
        text_tokens=wire.text_tokens,
        visual_tokens=wire.visual_tokens,
        completion_tokens=wire.completion_tokens,
        cached_tokens=wire.cached_tokens,
        queue_seconds=wire.queue_seconds,
        prefill_seconds=wire.prefill_seconds,
        decode_seconds=wire.decode_seconds,
        stop=read_stop(wire.stop),
        choices=tuple(map(read_choice, wire.choices)),
    )
