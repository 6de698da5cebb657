"""A router process of which everything is real but the pipeline, which answers from memory.

    python -m benchmarks.null_router

Says as JSON on stdout where its doors are and what a call of the pipeline alone costs, then serves
until its stdin ends. How an answer comes is told by the request: a priority above 0 asks for so
many tokens a second, as a language replica would send them, and 0 for all at once.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

from common.config import RouterConfig, StrictModel
from common.model_config import load_model_config
from common.types import FinishReason, ReplicaRole
from protos.dvd.v1 import inference_pb2
from router.admission import Admission
from router.answer import AnswerFinished, AnswerStarted, StageSeconds, TokenUsage
from router.deadline import Deadline
from router.doors import Doors
from router.front_door import FrontDoor
from router.language_client import AnswerDelta
from router.metrics import RouterMetrics
from router.pipeline import AnswerEvent, Pipeline
from router.requests import ValidRequest
from router.standing import Standing
from router.validation import RequestValidator, ServedModel
from tests.router.fakes import empty_pool
from tests.router.test_admission import BOUNDS

MODEL = "models/internvl3_5-tiny-flash"
TOKEN, TOKEN_ID = " token", 1
NUM_DIRECT_CALLS = 500
# Of one stream; a priority reaches to 100.
TOKENS_PER_SECOND_AND_PRIORITY = 10


class NullReady(StrictModel):
    """Where the doors are.

    Attributes:
        grpc_address: `host:port`.
        http_address: Likewise.
        direct_p50_ms: A call of the pipeline alone, from the request to the end of the answer.
    """

    grpc_address: str
    http_address: str
    direct_p50_ms: float


class NullPipeline:
    """Answers from memory, in the place of `router.pipeline.Pipeline`."""

    def check(self, standing: Standing) -> None:
        """Refuse nobody."""

    async def answer(self, request: ValidRequest, _: Deadline) -> AsyncGenerator[AnswerEvent, None]:
        """Answer with as many tokens as may be, at the rate that the priority asks for."""
        num_tokens, rate = request.sampling.max_tokens or 1, request.priority
        yield AnswerStarted(request.request_id, request.sampling.seed or 0, ())
        began, period = time.perf_counter(), 0.0
        if rate:
            period = 1 / (rate * TOKENS_PER_SECOND_AND_PRIORITY)
        for index in range(num_tokens):
            ahead = began + index * period - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            yield AnswerDelta((TOKEN_ID,), TOKEN)
        usage = TokenUsage(1, 0, 0, 0, 0, num_tokens, 0)
        yield AnswerFinished(FinishReason.LENGTH, usage, StageSeconds(total=1.0))


def request_of(num_tokens: int, priority: int = 0) -> inference_pb2.GenerateRequest:
    """Ask for so many tokens."""
    message = inference_pb2.Message(
        role=inference_pb2.ROLE_USER, parts=[inference_pb2.Part(text="Hello?")]
    )
    sampling = inference_pb2.SamplingParameters(max_tokens=num_tokens)
    return inference_pb2.GenerateRequest(messages=[message], sampling=sampling, priority=priority)


async def direct_p50_ms(pipeline: NullPipeline, valid: ValidRequest) -> float:
    """Measure the pipeline alone."""
    times = []
    for _ in range(NUM_DIRECT_CALLS):
        began = time.perf_counter()
        async for _event in pipeline.answer(valid, Deadline.after(60)):
            pass
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


async def serve(num_tokens: int) -> None:
    """Serve until stdin ends."""
    config = RouterConfig(grpc_port=0, max_requests=1024)
    model = ServedModel("null", "null", load_model_config(Path(MODEL)), 1 << 20)
    pools = [empty_pool(role) for role in (ReplicaRole.VISION, ReplicaRole.LANGUAGE)]
    metrics = RouterMetrics(Admission(BOUNDS), *pools)
    pipeline = NullPipeline()
    front = FrontDoor(config, model, cast("Pipeline", pipeline), metrics)
    valid = RequestValidator(config, model).validate(request_of(num_tokens))
    direct = await direct_p50_ms(pipeline, valid)
    doors = Doors(front, "", 0.0, lambda: True)
    await doors.open(takes_over=False)
    ready = NullReady(
        grpc_address=doors.grpc_address, http_address=doors.http_address, direct_p50_ms=direct
    )
    sys.stdout.write(ready.model_dump_json() + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await doors.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
