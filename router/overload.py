"""Compress more when the router is nearly full, before it refuses work: a pure function.

Off by default. Only pictures of requests that leave compression on are touched: scope `off` stays.
There is one step and no ramp, so that a picture shown again under load is compressed the same way
and its keys and values are found.
"""

from common.config import OverloadConfig
from common.resolution_rule import ResolutionThresholds
from common.types import ResolutionScope


def under_load(
    thresholds: ResolutionThresholds,
    scope: ResolutionScope,
    policy: OverloadConfig | None,
    load: float,
) -> ResolutionThresholds:
    """Choose the thresholds of a request that has just been admitted.

    Args:
        thresholds: What the request would use.
        scope: Its scope.
        policy: The operator's; None for none.
        load: Largest share of any admission bound in use, the request counted.
    """
    if policy is None or scope is ResolutionScope.OFF or load <= policy.above_load:
        return thresholds
    return ResolutionThresholds(
        _lower(thresholds.relative, policy.relative_threshold),
        _lower(thresholds.absolute, policy.absolute_threshold),
    )


def _lower(asked: float, under_load: float | None) -> float:
    return asked if under_load is None else min(asked, under_load)
