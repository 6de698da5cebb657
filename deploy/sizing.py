"""How much a model takes and computes, and so how many GPUs of which role: pure arithmetic.

Weights and KV are exact. What a step needs beside them is an estimate: a multiple of its widest
tensors. Work is counted in floating-point operations, as if both roles reached the same share of
their GPUs' peak; decoding in small batches reaches less, so where answers are long and few at a
time, the language side wants more than is said here.
"""

from dataclasses import dataclass
from math import floor

from language_service.model_facts import LanguageFacts
from vision_service.model_facts import VisionFacts

WEIGHT_BYTES = 2  # bfloat16, the default on CUDA
LOGIT_BYTES = 4
# Tensors of the width of a token that are alive at a time in a layer, and of the width inside it.
LIVE_HIDDEN, LIVE_WIDE = 8, 3
# Copies of all logits while tokens are drawn.
LIVE_LOGITS = 4
KV_BLOCK_TOKENS = 16
MOST_REPLICAS = 8


@dataclass(frozen=True, slots=True)
class Card:
    """One GPU.

    Attributes:
        memory_bytes: Of the whole card.
        utilization: Share of it that may be in use.
    """

    memory_bytes: int
    utilization: float

    @property
    def usable_bytes(self) -> int:
        """What may be in use."""
        return int(self.memory_bytes * self.utilization)


@dataclass(frozen=True, slots=True)
class Traffic:
    """The request that is sized for.

    Attributes:
        tiles: Of all its pictures.
        text_tokens: Of its text.
        output_tokens: Of its answer.
        compressed_share: Of its tiles, from 0 to 1.
    """

    tiles: float
    text_tokens: float
    output_tokens: float
    compressed_share: float

    def visual_tokens(self, vision: VisionFacts) -> float:
        """Visual tokens of a request."""
        share = self.compressed_share
        per_tile = share * vision.compressed_tokens + (1 - share) * vision.full_tokens
        return self.tiles * per_tile


@dataclass(frozen=True, slots=True)
class StepLimits:
    """The largest step of each role.

    Attributes:
        tiles: Of a pass of the vision transformer.
        tokens: Of a step of the language model.
        sequences: That a step draws tokens for.
    """

    tiles: int
    tokens: int
    sequences: int


@dataclass(frozen=True, slots=True)
class RoleMemory:
    """Bytes on one GPU.

    Attributes:
        weights: Exact.
        activations: Of the largest step, estimated.
    """

    weights: int
    activations: int

    def room(self, card: Card) -> int:
        """Usable bytes that are left, 0 where it does not even fit."""
        return max(0, card.usable_bytes - self.weights - self.activations)


@dataclass(frozen=True, slots=True)
class Ratio:
    """Replicas of each role that are busy alike."""

    vision: int
    language: int


def vision_memory(vision: VisionFacts, limits: StepLimits) -> RoleMemory:
    """Memory of a vision replica; what it keeps of pictures comes out of the rest."""
    shape = vision.shape
    width = LIVE_HIDDEN * shape.hidden_size + LIVE_WIDE * shape.intermediate_size
    tokens = limits.tiles * (shape.num_patches + 1)
    return RoleMemory(vision.num_parameters * WEIGHT_BYTES, tokens * width * WEIGHT_BYTES)


def language_memory(rank: LanguageFacts, limits: StepLimits) -> RoleMemory:
    """Memory of one rank of a language replica."""
    width = LIVE_HIDDEN * rank.hidden_size + LIVE_WIDE * rank.widest_layer
    logits = LIVE_LOGITS * limits.sequences * rank.vocab_size * LOGIT_BYTES
    activations = limits.tokens * width * WEIGHT_BYTES + logits
    return RoleMemory(rank.num_parameters * WEIGHT_BYTES, activations)


def kv_tokens(rank: LanguageFacts, limits: StepLimits, card: Card) -> int:
    """Tokens that a KV cache on the rest of each card holds, in whole blocks."""
    room = language_memory(rank, limits).room(card)
    block = rank.kv_bytes_per_token * KV_BLOCK_TOKENS
    return room // block * KV_BLOCK_TOKENS


def tile_flops(vision: VisionFacts) -> float:
    """Work of the vision transformer and the gate on one tile."""
    shape, tokens = vision.shape, vision.shape.num_patches + 1
    matrices = 2.0 * vision.transformer_parameters * tokens
    attention = 4.0 * shape.num_layers * tokens**2 * shape.hidden_size
    # Four rounds of keys and values over all patches; the rest of the gate sees one token.
    gate = 16.0 * shape.num_patches * shape.hidden_size**2 if vision.has_gate else 0.0
    return matrices + attention + gate


def vision_flops(vision: VisionFacts, traffic: Traffic) -> float:
    """Work of the vision role on one request."""
    share = traffic.compressed_share
    full = 2.0 * vision.full_projector_parameters * vision.full_tokens
    compressed = 2.0 * vision.compressed_projector_parameters * vision.compressed_tokens
    return traffic.tiles * (tile_flops(vision) + (1 - share) * full + share * compressed)


def token_flops(language: LanguageFacts) -> float:
    """Work of one token, without attention and head."""
    return 2.0 * language.active_parameters


def language_flops(language: LanguageFacts, visual_tokens: float, traffic: Traffic) -> float:
    """Work of the language role on one request."""
    tokens = visual_tokens + traffic.text_tokens + traffic.output_tokens
    head = 2.0 * language.head_parameters * traffic.output_tokens
    # Every token looks at half of all tokens on average.
    attention = 2.0 * language.num_layers * language.num_heads * language.head_dim * tokens**2
    return tokens * token_flops(language) + head + attention


def suggested_ratio(gpu_ratio: float, gpus_per_language_replica: int) -> Ratio:
    """Replicas in small numbers, such that neither role waits for the other.

    Args:
        gpu_ratio: Vision GPUs for each language GPU, by their work.
        gpus_per_language_replica: Its tensor-parallel size.
    """
    wanted = gpu_ratio * gpus_per_language_replica
    if wanted >= 1:
        return Ratio(min(MOST_REPLICAS, floor(wanted + 0.5)), 1)
    # Without pictures there is no vision work, and one replica is more than enough.
    return Ratio(1, min(MOST_REPLICAS, floor(1 / wanted + 0.5)) if wanted else MOST_REPLICAS)
