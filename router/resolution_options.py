"""What a request says about resolutions, within what the operator allows."""

from typing import Literal

from common.config import ResolutionConfig, RouterConfig, ThresholdBounds
from common.errors import ConfigError, InvalidRequestError
from common.resolution_rule import ResolutionThresholds
from common.types import ResolutionScope
from protos.dvd.v1 import inference_pb2

ThresholdField = Literal["resolution_relative_threshold", "resolution_absolute_threshold"]

SCOPES = {
    inference_pb2.RESOLUTION_SCOPE_REQUEST: ResolutionScope.REQUEST,
    inference_pb2.RESOLUTION_SCOPE_IMAGE: ResolutionScope.IMAGE,
    inference_pb2.RESOLUTION_SCOPE_ABSOLUTE: ResolutionScope.ABSOLUTE,
    inference_pb2.RESOLUTION_SCOPE_OFF: ResolutionScope.OFF,
}
WIRE_SCOPES = {scope: wire for wire, scope in SCOPES.items()}


class ResolutionOptions:
    """Fills in scope and thresholds of one deployment's requests."""

    def __init__(self, config: RouterConfig, checkpoint: ResolutionThresholds | None) -> None:
        """Lay the configuration over the checkpoint.

        Args:
            config: The router's.
            checkpoint: Thresholds of the checkpoint; None without a gate.

        Raises:
            ConfigError: Thresholds are set for a model that has no gate.
        """
        self._scope = config.resolution_scope
        self._config = config.resolution
        self._defaults = _deployed(config.resolution, checkpoint)

    def scope(self, wire: inference_pb2.GenerateRequest) -> ResolutionScope:
        """Scope of the resolution rule.

        Raises:
            InvalidRequestError: There is no such scope.
        """
        asked = wire.resolution_scope
        if asked == inference_pb2.RESOLUTION_SCOPE_UNSPECIFIED:
            return self._scope
        if asked not in SCOPES:
            raise InvalidRequestError("Unknown resolution scope.", "resolution_scope")
        return SCOPES[asked]

    def thresholds(self, wire: inference_pb2.GenerateRequest) -> ResolutionThresholds | None:
        """Thresholds of the resolution rule; None without a gate.

        Raises:
            InvalidRequestError: One is out of bounds, or is set and there is no gate.
        """
        relative = self._asked(wire, "resolution_relative_threshold", self._config.relative_bounds)
        absolute = self._asked(wire, "resolution_absolute_threshold", self._config.absolute_bounds)
        if self._defaults is None:
            return None
        return _overlaid(self._defaults, relative, absolute)

    def _asked(
        self, wire: inference_pb2.GenerateRequest, field: ThresholdField, bounds: ThresholdBounds
    ) -> float | None:
        if not wire.HasField(field):
            return None
        if self._defaults is None:
            raise InvalidRequestError("The served model has no visual resolution router.", field)
        asked = float(getattr(wire, field))
        # Written so that a NaN is refused too.
        if not bounds.lowest <= asked <= bounds.highest:
            raise InvalidRequestError(
                f"{field} must be from {bounds.lowest:g} to {bounds.highest:g}.", field
            )
        return asked


def _deployed(
    config: ResolutionConfig, checkpoint: ResolutionThresholds | None
) -> ResolutionThresholds | None:
    relative, absolute = config.relative_threshold, config.absolute_threshold
    if checkpoint is not None:
        return _overlaid(checkpoint, relative, absolute)
    if (relative, absolute, config.overload) != (None, None, None):
        raise ConfigError(
            "router.resolution sets thresholds, but the model has no visual resolution router."
        )
    return None


def _overlaid(
    thresholds: ResolutionThresholds, relative: float | None, absolute: float | None
) -> ResolutionThresholds:
    return ResolutionThresholds(
        thresholds.relative if relative is None else relative,
        thresholds.absolute if absolute is None else absolute,
    )
