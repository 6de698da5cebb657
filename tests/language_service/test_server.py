"""The gRPC face of a language replica, with its parts made small."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from common.errors import EmbeddingRejectedError
from common.metric_families import BuildInfo
from common.stream_codec import PayloadChunk, StreamMessage
from common.tensor_codec import checksum
from common.types import FinishReason, StopMatch
from language_service.answering import Accepted, Answered, AnswerEvent
from language_service.embedding_manifest import EmbeddingFormat
from language_service.engine_stats import EngineStats
from language_service.generation import GenerationFinished, TokensGenerated
from language_service.inbox import Inbox
from language_service.logprobs import TokenLogprob, TokenLogprobs
from language_service.metrics import LanguageMetrics
from language_service.receiver import EmbeddingReceiver
from language_service.reservation import ExpectedImage
from language_service.server import LanguageServicer
from protos.dvd.v1 import embedding_pb2, inference_pb2, language_pb2, replica_pb2

EVENTS = (
    Accepted((0, 2), 0.5),
    TokensGenerated((7,), "a"),
    Answered((GenerationFinished(FinishReason.LENGTH, "", 3, 0.1, 0.2, 0.3, 8),), 4, 5),
)
FORMAT = EmbeddingFormat("ours", torch.float32, hidden_size=2, full_tokens=4, compressed_tokens=1)
PAYLOAD = bytes(32)
MANIFEST = embedding_pb2.EmbeddingManifest(
    slot=embedding_pb2.EmbeddingSlot(request_id="r1"),
    image_key=b"a",
    model_fingerprint="ours",
    dtype=embedding_pb2.D_TYPE_FLOAT32,
    hidden_size=2,
    tile_tokens=[4],
    num_bytes=32,
)


@dataclass
class FakeAnswerer:
    """Answers every request with the same events."""

    events: tuple[AnswerEvent, ...] = EVENTS
    num_open: int = 0

    num_reused_images = 0

    def token_text(self, token_id: int) -> str:
        return f"<{token_id}>"

    async def answer(self, request: Any, timeout_seconds: float) -> AsyncGenerator[Any, None]:
        assert request.request_id == "r1"
        assert timeout_seconds == 5.0
        self.num_open += 1
        try:
            for event in self.events:
                yield event
        finally:
            self.num_open -= 1


class Call:
    """A call with time left."""

    def time_remaining(self) -> float:
        return 5.0


@dataclass
class IdleEngine:
    """The figures of an engine."""

    running_requests: int = 2
    waiting_requests: int = 3
    outstanding_tokens: int = 40
    num_preemptions: int = 0
    forward_seconds: float = 1.5
    kv_usage: float = 0.25
    used_kv_tokens: int = 16
    free_kv_tokens: int = 48
    kept_kv_tokens: int = 32
    stats: EngineStats = field(default_factory=lambda: EngineStats(num_computed_tokens=50))


class Server:
    """The servicer and what is behind it."""

    def __init__(self) -> None:
        self.inbox = Inbox(64, FORMAT)
        self.answerer = FakeAnswerer()
        self.metrics = LanguageMetrics(
            IdleEngine(), self.answerer, self.inbox, 0, BuildInfo("tiny", "print")
        )
        info = replica_pb2.ServerInfo(hidden_size=2)
        self.servicer = LanguageServicer(
            info,
            self.answerer,
            self.inbox,
            EmbeddingReceiver(self.inbox, 1 << 20, 5.0),
            IdleEngine(),
            self.metrics,
        )

    def generate(self) -> Any:
        request = language_pb2.LanguageServiceGenerateRequest(request_id="r1")
        return self.servicer.Generate(request, Call())

    async def put(self, *messages: StreamMessage) -> list[str]:
        """Kinds of the answers to an embedding stream of a request that waits."""
        async with self.inbox.reserve("r1", [ExpectedImage(b"a", 1)]) as reservation:
            answers = self.servicer.PutEmbeddings(sent(*messages), None)
            try:
                return [answer.WhichOneof("message") async for answer in answers]
            finally:
                assert reservation.slots[0].writer is None


async def sent(*messages: StreamMessage) -> AsyncIterator[StreamMessage]:
    for message in messages:
        yield message


def chunk(offset: int, data: bytes) -> PayloadChunk:
    return PayloadChunk(offset, checksum(data), data)


async def test_every_event_crosses_the_wire_whole() -> None:
    accepted, delta, finished = [event async for event in Server().generate()]
    assert accepted.accepted == language_pb2.GenerateAccepted(
        needed_images=[0, 2], queue_seconds=0.5
    )
    assert delta.delta == inference_pb2.GenerateDelta(token_ids=[7], text="a")
    assert finished.finished == language_pb2.LanguageFinished(
        finish_reason=inference_pb2.FINISH_REASON_LENGTH,
        text_tokens=4,
        visual_tokens=5,
        completion_tokens=3,
        cached_tokens=8,
        queue_seconds=0.1,
        prefill_seconds=0.2,
        decode_seconds=0.3,
    )


async def test_choices_stops_and_logprobs_cross_the_wire() -> None:
    server = Server()
    logprobs = TokenLogprobs(TokenLogprob(7, -0.5), (TokenLogprob(8, -0.25),))
    ends = (
        GenerationFinished(FinishReason.STOP, "", 3, 0.1, 0.2, 0.3, 8, StopMatch(text="x")),
        GenerationFinished(FinishReason.LENGTH, "", 5, 1.1, 1.2, 1.3, 9, None, 1),
    )
    tokens = TokensGenerated((7,), "a", (logprobs,), choice=1)
    server.answerer.events = (tokens, Answered(ends, 4, 5))
    delta, finished = [event async for event in server.generate()]
    assert delta.delta == inference_pb2.GenerateDelta(
        token_ids=[7],
        text="a",
        logprobs=[
            inference_pb2.TokenLogprobs(
                chosen=inference_pb2.TokenLogprob(token_id=7, text="<7>", logprob=-0.5),
                top=[inference_pb2.TokenLogprob(token_id=8, text="<8>", logprob=-0.25)],
            )
        ],
        choice=1,
    )
    stop = inference_pb2.StopMatch(text="x")
    assert finished.finished == language_pb2.LanguageFinished(
        finish_reason=inference_pb2.FINISH_REASON_STOP,
        text_tokens=4,
        visual_tokens=5,
        completion_tokens=8,
        cached_tokens=8,
        queue_seconds=0.1,
        prefill_seconds=0.2,
        decode_seconds=1.3,
        stop=stop,
        choices=[
            inference_pb2.ChoiceEnd(
                finish_reason=inference_pb2.FINISH_REASON_STOP, completion_tokens=3, stop=stop
            ),
            inference_pb2.ChoiceEnd(
                finish_reason=inference_pb2.FINISH_REASON_LENGTH, completion_tokens=5
            ),
        ],
    )


async def test_a_caller_that_goes_away_leaves_nothing_open() -> None:
    server = Server()
    answer = server.generate()
    await anext(answer)
    await answer.aclose()
    assert server.answerer.num_open == 0


async def test_an_embedding_gets_its_credit_and_its_commit() -> None:
    server = Server()
    kinds = await server.put(MANIFEST, chunk(0, PAYLOAD[:20]), chunk(20, PAYLOAD[20:]))
    assert kinds == ["credit", "committed"]
    assert server.inbox.received_bytes == 32
    labels = {"direction": "received"}
    assert server.metrics.registry.get_sample_value("dvd_embedding_bytes_total", labels) == 32


async def test_a_stream_that_stops_gives_its_place_up() -> None:
    server = Server()
    with pytest.raises(EmbeddingRejectedError, match="ended after 20 of 32 bytes"):
        await server.put(MANIFEST, chunk(0, PAYLOAD[:20]))
    assert server.inbox.received_bytes == 0


async def test_it_tells_who_it_is_and_how_busy() -> None:
    servicer = Server().servicer
    assert (await servicer.GetServerInfo(None, None)).info.hidden_size == 2
    watch = servicer.WatchLoad(None, None)
    load = (await anext(watch)).load
    assert (load.running_requests, load.waiting_requests, load.outstanding_work) == (2, 3, 40)
    assert (load.completed_work, load.busy_seconds) == (50, 1.5)
    await watch.aclose()
