"""What an encoder counts; `metrics` exports it."""

from dataclasses import dataclass, field

from common.busy_time import BusyTime
from common.distribution import STAGE_SECONDS, Distribution
from vision_service.requests import EncodeResult


def _stage() -> Distribution:
    return Distribution(STAGE_SECONDS)


@dataclass(slots=True)
class EncoderStats:
    """What was computed, and what was not because it was kept.

    Attributes:
        num_kept_images: Pictures that needed no vision transformer.
        num_kept_projections: Pushes that needed no projection.
        queue_seconds: Of each picture that was encoded, waiting for a decoder and the engine.
        preprocess_seconds: Of each, decoding and tiling.
        vit_seconds: Of each, the vision transformer.
        gate_seconds: Of each, the resolution gate.
        projector_seconds: Of each embedding that was made.
        preprocessing: When decoders were at work.
    """

    num_kept_images: int = 0
    num_kept_projections: int = 0
    queue_seconds: Distribution = field(default_factory=_stage)
    preprocess_seconds: Distribution = field(default_factory=_stage)
    vit_seconds: Distribution = field(default_factory=_stage)
    gate_seconds: Distribution = field(default_factory=_stage)
    projector_seconds: Distribution = field(default_factory=_stage)
    preprocessing: BusyTime = field(default_factory=BusyTime)

    def note_encoded(self, result: EncodeResult) -> None:
        """Add a picture that was encoded, and neither kept nor joined."""
        self.queue_seconds.note(result.queue_seconds)
        self.preprocess_seconds.note(result.preprocess_seconds)
        self.vit_seconds.note(result.vit_seconds)
        self.gate_seconds.note(result.gate_seconds)
