"""A small client of the public gRPC door, for the command line, the demo and the benchmarks."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UnavailableError
from common.rpc import call, each, open_channel
from protos.dvd.v1 import inference_pb2, inference_pb2_grpc

MAX_MESSAGE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Attributes:
        text: All of it.
        token_ids: Its tokens.
        finished: Usage, timings and how the pictures were compressed.
    """

    text: str
    token_ids: tuple[int, ...]
    finished: inference_pb2.GenerateFinished


class InferenceClient:
    """One channel to a router."""

    def __init__(self, address: str) -> None:
        self._channel = open_channel(address, MAX_MESSAGE_BYTES)
        self._stub = inference_pb2_grpc.InferenceServiceStub(self._channel)

    async def model(self, timeout_seconds: float = 5.0) -> inference_pb2.GetModelResponse:
        """Ask what is served.

        Raises:
            DvdError: What the router answered; UnavailableError where there is none.
        """
        return await call(
            self._stub.GetModel(inference_pb2.GetModelRequest(), timeout=timeout_seconds)
        )

    async def stream(
        self, request: inference_pb2.GenerateRequest, timeout_seconds: float | None = 600.0
    ) -> AsyncIterator[inference_pb2.GenerateResponse]:
        """Answer one request, event by event.

        Raises:
            DvdError: What the router answered.
        """
        generate = self._stub.Generate(request, timeout=timeout_seconds)
        try:
            async for response in each(generate):
                yield response
        finally:
            generate.cancel()

    async def answer(
        self, request: inference_pb2.GenerateRequest, timeout_seconds: float | None = 600.0
    ) -> Answer:
        """Answer one request, whole.

        Raises:
            DvdError: What the router answered.
        """
        text: list[str] = []
        token_ids: list[int] = []
        finished: inference_pb2.GenerateFinished | None = None
        async for response in self.stream(request, timeout_seconds):
            text.append(response.delta.text)
            token_ids += response.delta.token_ids
            if response.HasField("finished"):
                finished = response.finished
        if finished is None:
            raise UnavailableError("The router ended without finishing the answer.")
        return Answer("".join(text), tuple(token_ids), finished)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


def read_picture(
    file: Path,
    max_tiles: int | None = None,
    detail: inference_pb2.ImageDetail = inference_pb2.IMAGE_DETAIL_UNSPECIFIED,
) -> inference_pb2.Image:
    """Read a picture file into a request's picture."""
    return inference_pb2.Image(data=file.read_bytes(), max_tiles=max_tiles, detail=detail)


def ask_about(
    images: Sequence[Path],
    question: str,
    max_tokens: int | None = None,
    scope: inference_pb2.ResolutionScope | None = None,
) -> inference_pb2.GenerateRequest:
    """Make a greedy request about picture files: pictures first, then the question."""
    request = ask_about_images([read_picture(file) for file in images], question)
    request.sampling.CopyFrom(
        inference_pb2.SamplingParameters(max_tokens=max_tokens, temperature=0.0)
    )
    if scope is not None:
        request.resolution_scope = scope
    return request


def ask_about_images(
    images: Sequence[inference_pb2.Image], question: str, is_combined: bool = False
) -> inference_pb2.GenerateRequest:
    """Make a request: pictures first, then the question.

    Args:
        images: The pictures.
        question: Asked about all of them.
        is_combined: Whether they share one place in the prompt. Else several are announced one by
            one, as the models were trained.
    """
    parts = []
    if is_combined and images:
        parts.append(inference_pb2.Part(image_group=inference_pb2.ImageGroup(images=images)))
    else:
        for index, image in enumerate(images, start=1):
            if len(images) > 1:
                parts.append(inference_pb2.Part(text=f"Image-{index}: "))
            parts.append(inference_pb2.Part(image=image))
    parts.append(inference_pb2.Part(text=question))
    message = inference_pb2.Message(role=inference_pb2.ROLE_USER, parts=parts)
    return inference_pb2.GenerateRequest(messages=[message])
