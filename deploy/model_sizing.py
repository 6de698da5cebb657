"""A checked model sized for cards and traffic, and the configuration that follows from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from common.config import LanguageServiceConfig, VisionServiceConfig
from common.errors import ConfigError
from common.model_config import ModelConfig
from deploy.model_check import ModelCheck
from deploy.parallel_choices import ParallelChoice, parallel_choices, suggested_choice
from deploy.sizing import (
    Card,
    Ratio,
    RoleMemory,
    StepLimits,
    Traffic,
    language_flops,
    suggested_ratio,
    vision_flops,
    vision_memory,
)
from language_service.model_facts import LanguageFacts
from language_service.weights import empty_language_model
from vision_service.model_facts import VisionFacts
from vision_service.weights import empty_vision_model


@dataclass(frozen=True, slots=True)
class ModelSizing:
    """What a model takes on the cards, and what its traffic asks of either role.

    Attributes:
        vision: Sizes of the vision half.
        language: Sizes of the whole language model.
        vision_memory: Of a vision replica.
        choices: For each tensor-parallel size.
        choice: The one that is suggested; None where the model fits at no size.
        visual_tokens: Of a request.
        vision_flops: Of a request.
        language_flops: Of a request.
    """

    card: Card
    traffic: Traffic
    vision: VisionFacts
    language: LanguageFacts
    vision_memory: RoleMemory
    choices: tuple[ParallelChoice, ...]
    choice: ParallelChoice | None
    visual_tokens: float
    vision_flops: float
    language_flops: float

    @property
    def gpu_ratio(self) -> float:
        """Vision GPUs for each language GPU, by their work."""
        return self.vision_flops / self.language_flops

    @property
    def ratio(self) -> Ratio:
        """Replicas of each role, by that work and the suggested tensor-parallel size."""
        return suggested_ratio(self.gpu_ratio, self.choice.size if self.choice else 1)


def size_model(check: ModelCheck, config: ModelConfig, card: Card, traffic: Traffic) -> ModelSizing:
    """Size a model of which both roles can be built.

    Args:
        check: Of the model.
        config: Of the model.
        card: Each GPU.
        traffic: What is asked.
    """
    limits = usual_limits()
    vision = VisionFacts.of(config, empty_vision_model(config))
    language = LanguageFacts.of(empty_language_model(config, check.tensors))
    choices = parallel_choices(check, config, limits, card)
    visual_tokens = traffic.visual_tokens(vision)
    return ModelSizing(
        card=card,
        traffic=traffic,
        vision=vision,
        language=language,
        vision_memory=vision_memory(vision, limits),
        choices=choices,
        choice=suggested_choice(choices, config.max_context_tokens),
        visual_tokens=visual_tokens,
        vision_flops=vision_flops(vision, traffic),
        language_flops=language_flops(language, visual_tokens, traffic),
    )


def usual_limits() -> StepLimits:
    """The largest steps that the services take on CUDA by default."""
    vision, language = VisionServiceConfig(), LanguageServiceConfig()
    tokens = language.batch_tokens(is_cuda=True)
    return StepLimits(vision.max_batch_tiles, tokens, language.max_sequences)


def write_config(file: Path, model: str, revision: str | None, sizing: ModelSizing) -> None:
    """Write a configuration for `dvd serve --config`.

    Args:
        file: Where to.
        model: As the user names it; a directory is made absolute.
        revision: Of a hub id.
        sizing: What was worked out.

    Raises:
        ConfigError: The model fits on no number of cards, or the file cannot be written.
    """
    choice = sizing.choice
    if choice is None:
        raise ConfigError("The model does not fit on these GPUs, so there is nothing to write.")
    language: dict[str, Any] = {"replicas": sizing.ratio.language}
    if choice.size > 1:
        language["tensor_parallel_size"] = choice.size
    path = Path(model).expanduser()
    document: dict[str, Any] = {
        "model": str(path.resolve()) if path.is_dir() else model,
        **({"revision": revision} if revision else {}),
        "device": "cuda",
        "vision": {"placement": {"replicas": sizing.ratio.vision}},
        "language": {
            "placement": language,
            # The replica measures what a step takes, and holds as many tokens as are left room for.
            "service": {"gpu_memory_utilization": sizing.card.utilization},
        },
    }
    head = (
        f"# By dvd check for GPUs of {sizing.card.memory_bytes / 2**30:g} GiB. "
        f"Start with: dvd serve --config {file}\n"
    )
    try:
        file.write_text(head + yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    except OSError as cause:
        raise ConfigError(f"Cannot write {file}.") from cause
