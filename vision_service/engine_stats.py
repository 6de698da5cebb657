"""What an engine counts; `metrics` exports it."""

from dataclasses import dataclass, field

from common.distribution import PIECES, Distribution


@dataclass(slots=True)
class EngineStats:
    """What the engine has done since it started, warm-up apart.

    Attributes:
        num_batches: Passes of the vision transformer.
        num_tiles: Tiles in them.
        num_gate_rows: Tiles scored by the gate.
        num_unscored_tiles: Those of them whose score is not a number, so that they keep full
            resolution.
        num_projected_tiles: Tiles projected.
        num_compressed_tiles: Those of them at compressed resolution.
        busy_seconds: Time in the vision transformer, on the engine's clock.
        gate_seconds: Time in the gate.
        project_seconds: Time in the projectors, copies to the CPU included.
        batch_tiles: Tiles of each pass.
    """

    num_batches: int = 0
    num_tiles: int = 0
    num_gate_rows: int = 0
    num_unscored_tiles: int = 0
    num_projected_tiles: int = 0
    num_compressed_tiles: int = 0
    busy_seconds: float = 0.0
    gate_seconds: float = 0.0
    project_seconds: float = 0.0
    batch_tiles: Distribution = field(default_factory=lambda: Distribution(PIECES))
