"""A small client of the public gRPC door, for the command line, the demo and the benchmarks.

It is told of one router or of several. A router that is lost mid answer is replaced by the next,
or by itself once it is back, and the caller sees one stream: no token twice, none missing.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import (
    CancelledRequestError,
    DeadlineExpiredError,
    DvdError,
    OverloadedError,
    UnavailableError,
)
from common.rpc import call, each, open_channel
from deploy.interrupted_stream import InterruptedStream
from protos.dvd.v1 import inference_pb2, inference_pb2_grpc

MAX_MESSAGE_BYTES = 64 << 20
# How often an answer that has begun goes on elsewhere, how often several routers are all asked to
# begin one, and how long they are left alone in between; longer each time, for one to come back.
MAX_RESENDS = 8
MAX_ROUNDS = 3
PAUSE_SECONDS = 0.5


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
    """One channel to each of several routers that serve the same model.

    Args:
        addresses: Their `host:port`s, at least one; each is asked when those before it are lost.
        api_key: Shown to them; empty for none.

    Attributes:
        num_resends: How often a request was asked again.
    """

    def __init__(self, *addresses: str, api_key: str = "") -> None:
        self._channels = [open_channel(address, MAX_MESSAGE_BYTES) for address in addresses]
        self._stubs = [inference_pb2_grpc.InferenceServiceStub(each) for each in self._channels]
        self._metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
        self._current = 0
        self.num_resends = 0

    async def model(self, timeout_seconds: float = 5.0) -> inference_pb2.GetModelResponse:
        """Ask what is served.

        Raises:
            DvdError: What the router answered; UnavailableError where there is none.
        """
        for _ in self._stubs[1:]:
            try:
                return await call(self._get_model(timeout_seconds))
            except UnavailableError:
                self._current += 1
        return await call(self._get_model(timeout_seconds))

    async def stream(
        self, request: inference_pb2.GenerateRequest, timeout_seconds: float | None = 600.0
    ) -> AsyncIterator[inference_pb2.GenerateResponse]:
        """Answer one request, event by event.

        Raises:
            DvdError: What the router answered; UnavailableError where no router is left.
        """
        began_at, num_failures = time.monotonic(), 0
        answer = InterruptedStream(request)
        while True:
            left = _left(timeout_seconds, began_at)
            generate = self._stub.Generate(
                answer.next_request(), timeout=left, metadata=self._metadata
            )
            try:
                async for response in each(generate):
                    if answer.note(response):
                        yield response
                return
            except DvdError as error:
                num_failures += 1
                if not self._goes_on(error, answer.has_begun, num_failures):
                    raise
            finally:
                generate.cancel()
            self._current += 1
            self.num_resends += 1
            rounds, is_within = divmod(num_failures, len(self._stubs))
            if not is_within:
                await asyncio.sleep(PAUSE_SECONDS * rounds)

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
        """Close every channel."""
        for channel in self._channels:
            await channel.close()

    @property
    def _stub(self) -> "inference_pb2_grpc.InferenceServiceAsyncStub":
        return self._stubs[self._current % len(self._stubs)]

    def _get_model(self, timeout_seconds: float) -> Awaitable[inference_pb2.GetModelResponse]:
        request = inference_pb2.GetModelRequest()
        return self._stub.GetModel(request, timeout=timeout_seconds, metadata=self._metadata)

    def _goes_on(self, error: DvdError, has_begun: bool, num_failures: int) -> bool:
        """Whether another router, or this one again, may do better."""
        if has_begun:
            is_passing = isinstance(
                error, UnavailableError | CancelledRequestError | OverloadedError
            )
            return is_passing and num_failures <= MAX_RESENDS
        num_routers = len(self._stubs)
        rounds = MAX_ROUNDS if num_routers > 1 else 1
        return isinstance(error, UnavailableError) and num_failures < rounds * num_routers


def _left(timeout_seconds: float | None, began_at: float) -> float | None:
    if timeout_seconds is None:
        return None
    left = timeout_seconds - (time.monotonic() - began_at)
    if left <= 0:
        raise DeadlineExpiredError("The deadline passed.")
    return left


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
