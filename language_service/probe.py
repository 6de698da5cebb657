"""A tiny forward of the language engine for its health: one token, through scheduler and model."""

import itertools
from concurrent.futures import Future

from common.types import SamplingParameters
from language_service.engine import LanguageEngine
from language_service.generation import (
    EngineEvent,
    GenerationFailed,
    GenerationFinished,
    GenerationRequest,
)
from language_service.prompt import Prompt, TextSegment

PROMPT = Prompt((TextSegment((0,)),))
SAMPLING = SamplingParameters(max_tokens=1, temperature=0.0, seed=0)
# Ahead of whoever waits: it asks whether the engine works and not how busy it is.
PRIORITY = 1000


class LanguageProbe:
    """Submits probes to one engine."""

    def __init__(self, engine: LanguageEngine) -> None:
        self._engine = engine
        self._numbers = itertools.count()

    def submit(self) -> Future[None]:
        """Queue one; it fails as an answer would."""
        waiter: Future[None] = Future()

        def pass_on(event: EngineEvent) -> None:
            if isinstance(event, GenerationFailed):
                waiter.set_exception(event.error)
            elif isinstance(event, GenerationFinished):
                waiter.set_result(None)

        name = f"health-{next(self._numbers)}"
        self._engine.submit(GenerationRequest(name, PROMPT, SAMPLING, pass_on, priority=PRIORITY))
        return waiter
