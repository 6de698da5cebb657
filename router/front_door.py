"""What both doors share: who asks, how long it may take, whether it is taken, what is counted.

Each door turns its own wire into a `GenerateRequest` and events into its own wire; nothing else.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass, replace

from common.config import RouterConfig
from common.errors import DeadlineExpiredError, UnauthenticatedError
from protos.dvd.v1 import inference_pb2
from router.answer_meter import AnswerMeter
from router.deadline import Deadline
from router.metrics import RouterMetrics
from router.pipeline import AnswerEvent, Pipeline
from router.standing import Standing
from router.tenants import check_tenant
from router.validation import RequestValidator, ServedModel
from router.waiting_events import joined


@dataclass(frozen=True, slots=True)
class Caller:
    """What a call says beside the request.

    Attributes:
        tenant: On whose behalf; empty where that is not said.
        seconds_left: What the client allows; None for the router's own limit.
    """

    tenant: str = ""
    seconds_left: float | None = None


class FrontDoor:
    """Answers the requests of every door on one pipeline.

    Attributes:
        config: The router's.
        model: What is served.
        metrics: What the router exports.
    """

    def __init__(
        self,
        config: RouterConfig,
        model: ServedModel,
        pipeline: Pipeline,
        metrics: RouterMetrics,
    ) -> None:
        self.config = config
        self.model = model
        self.metrics = metrics
        self._validator = RequestValidator(config, model)
        self._pipeline = pipeline

    async def answer(
        self, request: inference_pb2.GenerateRequest, caller: Caller
    ) -> AsyncGenerator[AnswerEvent, None]:
        """Answer one conversation.

        Args:
            request: As it came.
            caller: Who asks, and how long it may take.

        Raises:
            DvdError: The request ends without an answer.
        """
        meter = AnswerMeter(self.metrics.door, self.metrics.count_request)
        with meter.counted():
            deadline = self._deadline(caller)
            meter.expect_by(deadline.at)
            tenant = check_tenant(caller.tenant)
            # Looking at pictures takes time, which who is refused anyway should not cost others.
            self._pipeline.check(Standing(tenant, request.priority, deadline.remaining()))
            valid = await asyncio.to_thread(self._validator.validate, request)
            valid = replace(valid, tenant=tenant)
            # Closed here and not by the garbage collector, so that all is given back at once.
            async with aclosing(joined(self._pipeline.answer(valid, deadline))) as events:
                async for event in events:
                    meter.note(event)
                    yield event

    def counted(self) -> AbstractContextManager[None]:
        """Count a request that ends before it is one: a context that tells how."""
        return AnswerMeter(self.metrics.door, self.metrics.count_request).counted()

    def count_unauthenticated(self) -> None:
        """Count a call that showed no key of ours, and so never came this far."""
        self.metrics.count_request(UnauthenticatedError.code.name, "")

    def _deadline(self, caller: Caller) -> Deadline:
        left = caller.seconds_left
        if left is not None and left <= 0:
            raise DeadlineExpiredError("The deadline passed.")
        return Deadline.after(self.config.default_deadline_seconds if left is None else left)
