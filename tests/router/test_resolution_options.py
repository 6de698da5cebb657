"""Thresholds: of the checkpoint, the deployment, the request; in that order, within bounds."""

from typing import Any

import pytest
from pydantic import ValidationError

from common.config import OverloadConfig, ResolutionConfig, RouterConfig, ThresholdBounds
from common.errors import ConfigError, InvalidRequestError
from common.resolution_rule import ResolutionThresholds
from protos.dvd.v1 import inference_pb2
from router.resolution_options import ResolutionOptions

CHECKPOINT = ResolutionThresholds(relative=0.3, absolute=0.6)
BOUNDED = ResolutionConfig(
    relative_bounds=ThresholdBounds(lowest=0.2, highest=0.8),
    absolute_bounds=ThresholdBounds(lowest=0.1, highest=0.7),
)


def thresholds(
    config: ResolutionConfig | None = None,
    checkpoint: ResolutionThresholds | None = CHECKPOINT,
    **asked: float,
) -> ResolutionThresholds | None:
    fields: dict[str, Any] = {f"resolution_{name}_threshold": asked[name] for name in asked}
    options = ResolutionOptions(RouterConfig(resolution=config or ResolutionConfig()), checkpoint)
    return options.thresholds(inference_pb2.GenerateRequest(**fields))


def test_the_checkpoint_decides_where_nobody_else_does() -> None:
    assert thresholds() == CHECKPOINT


def test_a_deployment_overrides_the_checkpoint() -> None:
    assert thresholds(ResolutionConfig(relative_threshold=0.0)) == ResolutionThresholds(0.0, 0.6)
    assert thresholds(ResolutionConfig(absolute_threshold=1.0)) == ResolutionThresholds(0.3, 1.0)


def test_a_request_overrides_both() -> None:
    config = ResolutionConfig(relative_threshold=0.5, absolute_threshold=0.5)
    assert thresholds(config, relative=0.25) == ResolutionThresholds(0.25, 0.5)
    assert thresholds(config, absolute=0.0) == ResolutionThresholds(0.5, 0.0)
    assert thresholds(config, relative=1.0, absolute=0.1) == ResolutionThresholds(1.0, 0.1)


@pytest.mark.parametrize(
    "asked", [{"relative": 0.2}, {"relative": 0.8}, {"absolute": 0.1}, {"absolute": 0.7}]
)
def test_bounds_may_be_reached(asked: dict[str, float]) -> None:
    assert thresholds(BOUNDED, **asked) is not None


@pytest.mark.parametrize("value", [-0.1, 0.199, 0.801, 1.1, float("inf"), float("nan")])
def test_a_relative_threshold_out_of_bounds_is_refused(value: float) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        thresholds(BOUNDED, relative=value)
    assert caught.value.field == "resolution_relative_threshold"
    assert caught.value.message == "resolution_relative_threshold must be from 0.2 to 0.8."


@pytest.mark.parametrize("value", [0.0, 0.9, float("nan")])
def test_an_absolute_threshold_out_of_bounds_is_refused(value: float) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        thresholds(BOUNDED, absolute=value)
    assert caught.value.field == "resolution_absolute_threshold"
    assert caught.value.message == "resolution_absolute_threshold must be from 0.1 to 0.7."


def test_without_a_gate_there_is_nothing_to_set() -> None:
    assert thresholds(checkpoint=None) is None
    with pytest.raises(InvalidRequestError, match="no visual resolution router") as caught:
        thresholds(checkpoint=None, absolute=0.5)
    assert caught.value.field == "resolution_absolute_threshold"


@pytest.mark.parametrize(
    "config",
    [
        ResolutionConfig(relative_threshold=0.5),
        ResolutionConfig(absolute_threshold=0.5),
        ResolutionConfig(overload=OverloadConfig(relative_threshold=0.1)),
    ],
)
def test_a_deployment_without_a_gate_may_not_set_thresholds(config: ResolutionConfig) -> None:
    with pytest.raises(ConfigError, match="the model has no visual resolution router"):
        thresholds(config, checkpoint=None)


def test_bounds_must_be_in_order() -> None:
    with pytest.raises(ValidationError, match="lowest is above highest"):
        ThresholdBounds(lowest=0.5, highest=0.4)


def test_an_overload_policy_must_have_an_effect() -> None:
    with pytest.raises(ValidationError, match="neither relative_threshold nor absolute"):
        OverloadConfig(above_load=0.5)
