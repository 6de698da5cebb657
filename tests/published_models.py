"""The published InternVL3.5 models, from their public sizes, without a weight of them.

Written from the publications alone and not from our loaders, so that a test which compares the
two can fail. `published_configs` has their `config.json`, `published_tensors` their tensors,
`sparse_checkpoint` writes directories.
"""

from dataclasses import dataclass
from enum import StrEnum


class PublishedFormat(StrEnum):
    """How a checkpoint is named.

    `TRANSFORMERS_ATTN` is what the published converter leaves of the 6B vision transformer: the
    norms of queries and keys keep the original's `attn.`; without such norms it is `TRANSFORMERS`.
    """

    ORIGINAL = "original"
    TRANSFORMERS = "transformers"
    TRANSFORMERS_ATTN = "transformers_attn"
    TRANSFORMERS_4 = "transformers_4"


@dataclass(frozen=True)
class PublishedVision:
    """A vision transformer; `is_large` is the 6B one: RMSNorm, query-key norm, no qkv bias."""

    hidden_size: int
    num_layers: int
    num_heads: int
    intermediate_size: int
    is_large: bool


@dataclass(frozen=True)
class PublishedText:
    """A language model; `num_experts` is 0 where it has none."""

    kind: str
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    num_experts: int = 0
    num_active: int = 0
    dense_size: int = 0
    vocab_size: int = 151_936


@dataclass(frozen=True)
class PublishedModel:
    """One checkpoint.

    Attributes:
        name: As published, without owner.
        billions: Parameters as the paper prints them; of the model without Flash's own parts.
        is_flash: Whether it has a second projector and the visual resolution router.
    """

    name: str
    vision: PublishedVision
    text: PublishedText
    billions: float
    is_flash: bool = False


VIT_300M = PublishedVision(1024, 24, 16, 4096, is_large=False)
VIT_6B = PublishedVision(3200, 45, 25, 12800, is_large=True)

_TEXTS = {
    "1B": (VIT_300M, PublishedText("qwen3", 1024, 28, 16, 8, 128, 3072), 1.1),
    "2B": (VIT_300M, PublishedText("qwen3", 2048, 28, 16, 8, 128, 6144), 2.3),
    "4B": (VIT_300M, PublishedText("qwen3", 2560, 36, 32, 8, 128, 9728), 4.7),
    "8B": (VIT_300M, PublishedText("qwen3", 4096, 36, 32, 8, 128, 12288), 8.5),
    "14B": (VIT_300M, PublishedText("qwen3", 5120, 40, 40, 8, 128, 17408), 15.1),
    "38B": (VIT_6B, PublishedText("qwen3", 5120, 64, 64, 8, 128, 25600), 38.4),
    "GPT-OSS-20B-A4B-Preview": (
        VIT_300M,
        PublishedText("gpt_oss", 2880, 24, 64, 8, 64, 2880, 32, 4, 0, 201_088),
        21.2,
    ),
    "30B-A3B": (
        VIT_300M,
        PublishedText("qwen3_moe", 2048, 48, 32, 4, 128, 768, 128, 8, 6144),
        30.8,
    ),
    "241B-A28B": (
        VIT_6B,
        PublishedText("qwen3_moe", 4096, 94, 64, 4, 128, 1536, 128, 8, 12288),
        240.7,
    ),
}
# No Flash version of the GPT-OSS preview is known.
FLASH_SIZES = ("1B", "2B", "4B", "8B", "14B", "38B", "30B-A3B", "241B-A28B")

PUBLISHED_MODELS = tuple(
    PublishedModel(f"InternVL3_5-{size}", *facts) for size, facts in _TEXTS.items()
)
FLASH_MODELS = tuple(
    PublishedModel(f"InternVL3_5-{size}-Flash", *_TEXTS[size], is_flash=True)
    for size in FLASH_SIZES
)


def published_model(name: str) -> PublishedModel:
    """The model of that name, which may be a size such as `8B` or `8B-Flash`."""
    both = (*PUBLISHED_MODELS, *FLASH_MODELS)
    return next(each for each in both if each.name.removeprefix("InternVL3_5-") == name)


def formats_of(model: PublishedModel) -> tuple[PublishedFormat, ...]:
    """Formats in which a model is found; Flash is in the original one alone."""
    if model.is_flash:
        return (PublishedFormat.ORIGINAL,)
    return tuple(
        each
        for each in PublishedFormat
        if each is not PublishedFormat.TRANSFORMERS_ATTN or model.vision.is_large
    )
