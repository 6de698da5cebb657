"""The arithmetic of sizes, against published numbers and by hand."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from common.model_config import load_model_config
from common.model_files import list_tensors
from deploy.sizing import (
    Card,
    StepLimits,
    Traffic,
    kv_tokens,
    language_flops,
    language_memory,
    suggested_ratio,
    tile_flops,
    token_flops,
    vision_flops,
    vision_memory,
)
from language_service.model_facts import LanguageFacts
from language_service.weights import empty_language_model
from tests.published_models import PublishedFormat, published_model
from tests.sparse_checkpoint import write_published
from vision_service.model_facts import VisionFacts
from vision_service.weights import empty_vision_model

GIB = 2**30
LIMITS = StepLimits(tiles=16, tokens=512, sequences=32)


@lru_cache
def facts(size: str) -> tuple[VisionFacts, LanguageFacts]:
    with TemporaryDirectory() as directory:
        model = published_model(size)
        path = write_published(model, PublishedFormat.ORIGINAL, Path(directory))
        config, tensors = load_model_config(path), list_tensors(path)
    vision = VisionFacts.of(config, empty_vision_model(config))
    return vision, LanguageFacts.of(empty_language_model(config, tensors))


@pytest.mark.parametrize(
    ("size", "tile", "prefill", "shares"),
    [
        # TFLOP of the vision transformer on a tile, of prefilling its 256 tokens, and the vision
        # transformer's share of both in percent with 256 and with 64 tokens.
        ("1B", 0.72, 0.23, (76, 93)),
        ("4B", 0.72, 1.9, (28, 61)),
        ("8B", 0.72, 3.6, (17, 45)),
        ("14B", 0.72, 6.8, (10, 30)),
        ("38B", 11.9, 16, (43, 75)),
        ("241B-A28B", 11.9, 11, (52, 82)),
    ],
)
def test_work_is_as_published(
    size: str, tile: float, prefill: float, shares: tuple[int, int]
) -> None:
    vision, language = facts(size)
    assert tile_flops(vision) / 1e12 == pytest.approx(tile, rel=0.015)
    assert 256 * token_flops(language) / 1e12 == pytest.approx(prefill, rel=0.03)
    for tokens, percent in zip((256, 64), shares, strict=True):
        work = tile_flops(vision), tokens * token_flops(language)
        assert 100 * work[0] / sum(work) == pytest.approx(percent, abs=1)


def test_experts_that_are_not_chosen_do_no_work() -> None:
    _, language = facts("241B-A28B")
    assert language.num_parameters == 235_093_634_560
    idle = 94 * 120 * 3 * 4096 * 1536  # of 128 experts in a layer a token takes 8
    outside = 2 * 151_936 * 4096
    assert language.active_parameters == 235_093_634_560 - idle - outside


def test_compression_saves_language_work_and_little_of_vision() -> None:
    vision, language = facts("8B-Flash")
    plain = Traffic(tiles=4, text_tokens=10, output_tokens=6, compressed_share=0.0)
    half = replace(plain, compressed_share=0.5)
    assert (plain.visual_tokens(vision), half.visual_tokens(vision)) == (1024, 640)
    tokens, spared = 1024 + 16, 384
    work = language_flops(language, 1024, plain)
    attention = 2.0 * 36 * 32 * 128
    assert work - language_flops(language, 640, half) == pytest.approx(
        spared * token_flops(language) + attention * (tokens**2 - (tokens - spared) ** 2)
    )
    both = vision_flops(vision, plain), vision_flops(vision, half)
    assert both[0] == pytest.approx(both[1], rel=0.02)
    assert both[0] > 4 * tile_flops(vision)


def test_the_gate_is_work_and_weights_of_flash_alone() -> None:
    (plain, _), (flash, _) = facts("8B"), facts("8B-Flash")
    assert not plain.has_gate
    assert tile_flops(flash) - tile_flops(plain) == 16 * 1024 * 1024**2
    added = vision_memory(flash, LIMITS).weights - vision_memory(plain, LIMITS).weights
    assert added == 2 * (8_813_642_754 - 8_528_318_464)


def test_a_key_value_cache_takes_what_weights_and_a_step_leave() -> None:
    _, language = facts("8B")
    assert language.kv_bytes_per_token == 2 * 36 * 8 * 128 * 2
    memory = language_memory(language, LIMITS)
    assert memory.weights == 2 * 8_190_735_360
    card = Card(80 * GIB, 0.9)
    tokens = kv_tokens(language, LIMITS, card)
    taken = memory.weights + memory.activations + tokens * language.kv_bytes_per_token
    assert tokens % 16 == 0
    assert 0 <= 0.9 * 80 * GIB - taken < 16 * language.kv_bytes_per_token
    assert kv_tokens(language, LIMITS, Card(16 * GIB, 0.9)) == 0
    assert memory.room(Card(16 * GIB, 0.9)) == 0


@pytest.mark.parametrize(
    ("gpu_ratio", "size", "expected"),
    [
        (1.0, 1, (1, 1)),
        (3.2, 1, (3, 1)),
        (0.24, 1, (1, 4)),
        (0.24, 4, (1, 1)),
        (0.5, 8, (4, 1)),
        (99.0, 1, (8, 1)),
        (0.001, 1, (1, 8)),
        (0.0, 1, (1, 8)),
    ],
)
def test_replicas_follow_the_work(gpu_ratio: float, size: int, expected: tuple[int, int]) -> None:
    ratio = suggested_ratio(gpu_ratio, size)
    assert (ratio.vision, ratio.language) == expected
