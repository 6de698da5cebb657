"""Configuration of each process: frozen, strict, within bounds."""

from typing import Any, Literal

import pytest
from pydantic import ValidationError

from common.config import (
    ImageLimits,
    LanguageServiceConfig,
    RouterConfig,
    StrictModel,
    VisionServiceConfig,
)
from common.types import ResolutionScope

ALL = [ImageLimits, VisionServiceConfig, LanguageServiceConfig, RouterConfig]


@pytest.mark.parametrize("kind", ALL)
def test_every_key_has_a_default(kind: type[StrictModel]) -> None:
    assert kind() == kind.model_validate({})


@pytest.mark.parametrize("kind", ALL)
def test_an_unknown_key_is_an_error(kind: type[StrictModel]) -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        kind.model_validate({"max_pixel": 1})


@pytest.mark.parametrize("kind", ALL)
def test_nothing_can_be_changed(kind: type[StrictModel]) -> None:
    name = next(iter(kind.model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(kind(), name, 1)


@pytest.mark.parametrize("kind", ALL)
def test_it_survives_the_way_to_another_process(kind: type[StrictModel]) -> None:
    assert kind.model_validate_json(kind().model_dump_json()) == kind()


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (ImageLimits, "max_bytes", 0),
        (VisionServiceConfig, "max_batch_tiles", 0),
        (VisionServiceConfig, "dtype", "float16"),
        (VisionServiceConfig, "chunk_bytes", (64 << 10) - 1),
        (VisionServiceConfig, "chunk_bytes", (4 << 20) + 1),
        (LanguageServiceConfig, "kv_tokens", -1),
        (LanguageServiceConfig, "max_context_tokens", 0),
        (LanguageServiceConfig, "system_message", "mine"),
        (RouterConfig, "grpc_port", 65536),
        (RouterConfig, "metrics_port", -1),
        (RouterConfig, "default_deadline_seconds", 0),
        (RouterConfig, "retry_after_seconds", -0.1),
        (RouterConfig, "priority_share", 1.0),
        (RouterConfig, "placement", {"vision": "least_busy"}),
        (RouterConfig, "placement", {"affinity_bound": 0.9}),
        (RouterConfig, "resolution_scope", "tile"),
        (RouterConfig, "images", {"max_bytes": "many"}),
    ],
)
def test_a_value_out_of_bounds_is_an_error(kind: type[StrictModel], key: str, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate({key: value})
    assert caught.value.errors()[0]["loc"][0] == key


@pytest.mark.parametrize("chunk_bytes", [64 << 10, 4 << 20])
def test_chunks_may_reach_their_bounds(chunk_bytes: int) -> None:
    assert VisionServiceConfig(chunk_bytes=chunk_bytes).chunk_bytes == chunk_bytes


def test_a_scope_is_read_by_its_name() -> None:
    config = RouterConfig.model_validate({"resolution_scope": "image"})
    assert config.resolution_scope is ResolutionScope.IMAGE


@pytest.mark.parametrize(
    ("asked", "model_limit", "kv_tokens", "expected"),
    [
        (None, 40_960, 65_536, 40_960),
        (None, 40_960, 8_192, 8_192),
        (4_096, 40_960, 65_536, 4_096),
        (100_000, 40_960, 65_536, 40_960),
        (None, 40_960, "auto", 40_960),
        (4_096, 40_960, "auto", 4_096),
    ],
)
def test_the_context_is_the_least_of_what_is_asked_trained_and_cached(
    asked: int | None, model_limit: int, kv_tokens: int | Literal["auto"], expected: int
) -> None:
    config = LanguageServiceConfig(max_context_tokens=asked, kv_tokens=kv_tokens)
    assert config.context_tokens(model_limit) == expected


@pytest.mark.parametrize(("wanted", "on_cpu", "on_cuda"), [(None, 512, 8192), (100, 100, 100)])
def test_a_gpu_takes_longer_chunks(wanted: int | None, on_cpu: int, on_cuda: int) -> None:
    config = LanguageServiceConfig(max_batch_tokens=wanted)
    assert (config.batch_tokens(is_cuda=False), config.batch_tokens(is_cuda=True)) == (
        on_cpu,
        on_cuda,
    )
