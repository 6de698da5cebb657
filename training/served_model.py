"""A checkpoint in one process, through the very modules that replicas serve it with.

Pictures go in as file bytes, conversations as the router passes them on; greedy answers come out.
The vision transformer and the gate run once a picture, whatever is decided about its tiles later.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from common.config import ImageLimits, LanguageServiceConfig, VisionServiceConfig
from common.conversation import PromptMessage
from common.image_options import ImageOptions
from common.model_config import load_model_config
from common.types import SamplingParameters
from language_service.block_tables import KvBlocks
from language_service.engine import LanguageEngine
from language_service.generation import EngineEvent, GenerationFailed, GenerationRequest
from language_service.kv_cache import KvCache
from language_service.kv_sizing import choose_kv_tokens
from language_service.model_runner import ModelRunner
from language_service.packed_linear import pack_linears
from language_service.prompt import Prompt, VisualSegment
from language_service.scheduler import EngineLimits
from language_service.tokenizer import ChatTokenizer
from language_service.weights import load_language_model
from vision_service.engine import VisionEngine
from vision_service.images import EncodedImage
from vision_service.preprocess import Preprocessor
from vision_service.weights import load_vision_model

MAX_ANSWER_TOKENS = 48
CPU = torch.device("cpu")

TileMask = tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class ResolvedQuestion:
    """A conversation whose pictures are encoded and decided.

    Attributes:
        messages: It refers to the pictures by position.
        images: The pictures.
        compressed: For each picture and tile whether it is compressed.
    """

    messages: tuple[PromptMessage, ...]
    images: tuple[EncodedImage, ...]
    compressed: tuple[TileMask, ...]


class ServedModel:
    """Both engines of one checkpoint, in float32 on the CPU."""

    def __init__(self, directory: Path) -> None:
        """Load the weights.

        Raises:
            CheckpointError: The model directory is wrong.
        """
        self.config = load_model_config(directory)
        vision = load_vision_model(directory, self.config, torch.float32, CPU)
        batch = VisionServiceConfig().max_batch_tiles
        self._preprocessor = Preprocessor(self.config, ImageLimits())
        self._vision = VisionEngine(vision, self.config, batch, time.monotonic)
        self._tokenizer = ChatTokenizer(directory)
        self._language = self._language_engine(directory)

    def encode(self, pictures: Sequence[bytes]) -> list[EncodedImage]:
        """Cut, encode and score picture files."""
        options = ImageOptions(self.config.tiling)
        waiters = [
            self._vision.submit_encode(options.key(data), self._preprocessor.tile(data))
            for data in pictures
        ]
        while self._vision.step():
            pass
        return [waiter.result() for waiter in waiters]

    def answer(self, questions: Iterable[ResolvedQuestion]) -> list[str]:
        """Answer greedily, all questions in one running batch.

        Raises:
            DvdError: What the engine says of a question that it cannot answer.
        """
        answers = []
        sampling = SamplingParameters(MAX_ANSWER_TOKENS, temperature=0.0, seed=0)
        for number, question in enumerate(questions):
            events: list[EngineEvent] = []
            request = GenerationRequest(
                str(number), self._prompt(question), sampling, events.append
            )
            self._language.submit(request)
            answers.append(events)
        while self._language.step():
            pass
        return [_text(events) for events in answers]

    def _prompt(self, question: ResolvedQuestion) -> Prompt:
        prompt = Prompt(self._tokenizer.layout(question.messages).segments)
        for image_index, embeddings in enumerate(self._project(question)):
            prompt = prompt.with_image(image_index, VisualSegment(embeddings))
        return prompt

    def _project(self, question: ResolvedQuestion) -> tuple[torch.Tensor, ...]:
        waiters = [
            self._vision.submit_project(image, mask, torch.float32)
            for image, mask in zip(question.images, question.compressed, strict=True)
        ]
        while self._vision.step():
            pass
        return tuple(waiter.result().embeddings for waiter in waiters)

    def _language_engine(self, directory: Path) -> LanguageEngine:
        settings = LanguageServiceConfig()
        model = load_language_model(directory, self.config, torch.float32, CPU)
        pack_linears(model)
        limits = EngineLimits(
            max_context_tokens=settings.context_tokens(self.config.max_context_tokens),
            max_batch_tokens=settings.batch_tokens(is_cuda=False),
            max_sequences=settings.max_sequences,
        )
        cache = KvCache.for_model(
            model, KvBlocks(choose_kv_tokens(model, settings, limits, meter=None))
        )
        runner = ModelRunner(model, cache, time.monotonic)
        return LanguageEngine(runner, self._tokenizer, limits, time.monotonic)


def _text(events: list[EngineEvent]) -> str:
    parts = []
    for event in events:
        if isinstance(event, GenerationFailed):
            raise event.error
        parts.append(event.text)
    return "".join(parts)
