"""Requests whose right answers are known, and clients that are patient, rude or hasty."""

import asyncio
import random
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from common.config import LanguageServiceConfig
from common.errors import DeadlineExpiredError, DvdError, OverloadedError, UnavailableError
from common.types import ResolutionScope
from deploy.client import InferenceClient
from protos.dvd.v1 import inference_pb2
from tests.integration.conversations import CONVERSATIONS
from tests.integration.requests import wire_request
from tests.local_cluster import ClusterOptions, local_cluster

LENGTHS = (12, 48, 128)
SCOPES = (ResolutionScope.REQUEST, ResolutionScope.IMAGE)
PATIENT_SECONDS = 120.0
LEAVING, HASTY = 0.08, 0.05


class Outcome(StrEnum):
    """How a request ended."""

    RIGHT = "right"
    WRONG = "wrong or duplicated tokens"
    LOST = "ended without an answer or an error"
    LEFT = "left by its client"
    EXPIRED = "its client let it expire"
    UNAVAILABLE = "UNAVAILABLE"
    OTHER_ERROR = "another error"


@dataclass(frozen=True, slots=True)
class Case:
    """A request and its undisturbed answer.

    Attributes:
        name: For a reader.
        request: To be sent.
        token_ids: The answer's tokens.
        text: The answer.
    """

    name: str
    request: inference_pb2.GenerateRequest
    token_ids: tuple[int, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """One request that has ended.

    Attributes:
        case: Its name.
        outcome: How.
        began_at: On the monotonic clock.
        ended_at: Likewise.
        detail: More, where it is not right.
    """

    case: str
    outcome: Outcome
    began_at: float
    ended_at: float
    detail: str = ""


def draw_requests() -> list[Case]:
    """Every conversation, greedy and sampled, short and long."""
    cases: list[Case] = []
    for index, (name, conversation) in enumerate(CONVERSATIONS.items()):
        for temperature in (0.0, 1.0):
            length = LENGTHS[len(cases) % len(LENGTHS)]
            request = wire_request(conversation, length, SCOPES[index % len(SCOPES)])
            request.sampling.temperature = temperature
            request.sampling.seed = 1000 + index
            request.sampling.ignore_eos = True
            cases.append(Case(f"{name}, temperature {temperature:g}", request))
    return cases


async def answer_undisturbed(model_dir: Path, language: LanguageServiceConfig) -> list[Case]:
    """Find out the right answers, one request after another on a cluster that nobody disturbs."""
    answered = []
    async with local_cluster(model_dir, ClusterOptions(language=language)) as cluster:
        for case in draw_requests():
            answer = await cluster.client.answer(case.request)
            answered.append(Case(case.name, case.request, answer.token_ids, answer.text))
    return answered


class Client:
    """Asks through any router; its own patience is drawn for each request."""

    def __init__(self, client: InferenceClient, source: random.Random) -> None:
        self._client = client
        self._random = source

    async def ask(self, case: Case) -> Ended:
        """Ask once, again after every refusal for overload, and compare."""
        began = time.monotonic()
        mood = self._random.random()
        events = self._random.randrange(1, 20) if mood < LEAVING else None
        hasty = LEAVING <= mood < LEAVING + HASTY
        patience = self._random.uniform(0.01, 0.4) if hasty else PATIENT_SECONDS
        outcome, detail = await self._ask(case, events, began + patience)
        if outcome is Outcome.EXPIRED and not hasty:
            outcome, detail = Outcome.OTHER_ERROR, "DEADLINE_EXCEEDED of a patient client"
        return Ended(case.name, outcome, began, time.monotonic(), detail)

    async def _ask(self, case: Case, events: int | None, deadline: float) -> tuple[Outcome, str]:
        while True:
            try:
                return await self._compare(case, events, deadline - time.monotonic())
            except OverloadedError as refused:
                if time.monotonic() + refused.retry_after_seconds > deadline:
                    return Outcome.EXPIRED, ""
                await asyncio.sleep(refused.retry_after_seconds * self._random.uniform(1, 1.5))
            except DeadlineExpiredError:
                return Outcome.EXPIRED, ""
            except UnavailableError as error:
                return Outcome.UNAVAILABLE, error.message
            except DvdError as error:
                return Outcome.OTHER_ERROR, f"{type(error).__name__}: {error.message}"

    async def _compare(
        self, case: Case, events: int | None, timeout_seconds: float
    ) -> tuple[Outcome, str]:
        token_ids: list[int] = []
        text = ""
        stream = self._client.stream(case.request, max(timeout_seconds, 0.001))
        try:
            async for response in stream:
                token_ids += response.delta.token_ids
                text += response.delta.text
                if tuple(token_ids) != case.token_ids[: len(token_ids)]:
                    return Outcome.WRONG, f"after {len(token_ids)} tokens"
                if not case.text.startswith(text):
                    return Outcome.WRONG, f"text after {len(token_ids)} tokens"
                if response.HasField("finished"):
                    whole = tuple(token_ids) == case.token_ids and text == case.text
                    return (Outcome.RIGHT, "") if whole else (Outcome.WRONG, "it ends early")
                if events is not None and (events := events - 1) <= 0:
                    return Outcome.LEFT, ""
        finally:
            await stream.aclose()  # type: ignore[attr-defined]
        return Outcome.LOST, f"after {len(token_ids)} tokens"
