"""A front door of which the pipeline alone is not real."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from common.config import RouterConfig
from common.errors import OverloadedError
from common.tiling import TileGrid
from common.types import FinishReason, ReplicaRole
from router.admission import Admission
from router.answer import (
    AnswerFinished,
    AnswerStarted,
    ImageResolution,
    StageSeconds,
    TokenUsage,
)
from router.deadline import Deadline
from router.front_door import FrontDoor
from router.language_client import AnswerDelta
from router.metrics import RouterMetrics
from router.requests import ValidRequest
from router.standing import Standing
from router.validation import ServedModel
from tests.router.fakes import empty_pool
from tests.router.test_admission import BOUNDS
from tests.router.test_validation import MODEL

STARTED = AnswerStarted("r1", seed=5, image_tiles=(3, 1))
DELTA = AnswerDelta((1, 2), "ab")
FINISHED = AnswerFinished(
    finish_reason=FinishReason.LENGTH,
    usage=TokenUsage(1, 2, 3, 4, 5, 6, 7),
    seconds=StageSeconds(
        *(0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5), time_to_first_token=8.5, total=9.5
    ),
    images=(ImageResolution(TileGrid(2, 1, True), (0.25, 0.5, 1.0), (False, True, True)),),
)


@dataclass
class FakePipeline:
    """Answers every request with one script; at an event of asyncio it waits for that."""

    script: tuple[Any, ...] = (STARTED, DELTA, FINISHED)
    asked: list[tuple[ValidRequest, Deadline]] = field(default_factory=list)
    num_open: int = 0

    refusal: OverloadedError | None = None
    checked: list[Standing] = field(default_factory=list)

    def check(self, standing: Standing) -> None:
        self.checked.append(standing)
        if self.refusal is not None:
            raise self.refusal

    async def answer(self, request: ValidRequest, deadline: Deadline) -> AsyncGenerator[Any, None]:
        self.asked.append((request, deadline))
        self.num_open += 1
        try:
            for event in self.script:
                if isinstance(event, Exception):
                    raise event
                if isinstance(event, asyncio.Event):
                    await event.wait()
                    continue
                yield event
        finally:
            self.num_open -= 1


def front_door(pipeline: Any, **settings: Any) -> FrontDoor:
    """A door to a pipeline that was handed in."""
    pools = [empty_pool(role) for role in (ReplicaRole.VISION, ReplicaRole.LANGUAGE)]
    return FrontDoor(
        RouterConfig(**settings),
        ServedModel("tiny", "fingerprint", MODEL, 400),
        pipeline,
        RouterMetrics(Admission(BOUNDS), *pools),
    )
