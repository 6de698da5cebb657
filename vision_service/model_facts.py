"""What the vision half takes and computes, counted on its module before it is loaded."""

from dataclasses import dataclass

from torch import nn

from common.model_config import ModelConfig, VisionShape
from vision_service.vision_model import VisionModel


@dataclass(frozen=True, slots=True)
class VisionFacts:
    """Sizes of a vision half.

    Attributes:
        shape: Of its vision transformer.
        transformer_parameters: Of the vision transformer.
        full_projector_parameters: Of the projector of tiles at full resolution.
        compressed_projector_parameters: Of that of compressed tiles; 0 without a gate.
        gate_parameters: Of the visual resolution router; 0 without one.
        full_tokens: Visual tokens of a tile at full resolution.
        compressed_tokens: Of a compressed one.
    """

    shape: VisionShape
    transformer_parameters: int
    full_projector_parameters: int
    compressed_projector_parameters: int
    gate_parameters: int
    full_tokens: int
    compressed_tokens: int

    @property
    def num_parameters(self) -> int:
        """All of them."""
        projectors = self.full_projector_parameters + self.compressed_projector_parameters
        return self.transformer_parameters + projectors + self.gate_parameters

    @property
    def has_gate(self) -> bool:
        """Whether tiles can be compressed."""
        return self.gate_parameters > 0

    @staticmethod
    def of(config: ModelConfig, model: VisionModel) -> "VisionFacts":
        """Count a model, which may be on the meta device, built by that configuration."""
        has_gate = model.has_gate
        return VisionFacts(
            shape=config.vision,
            transformer_parameters=_count(model.vision_model),
            full_projector_parameters=_count(model.mlp1),
            compressed_projector_parameters=_count(model.mlp2) if has_gate else 0,
            gate_parameters=_count(model.pooling_before_gating, model.gating) if has_gate else 0,
            full_tokens=config.full_tokens_per_tile,
            compressed_tokens=config.compressed_tokens_per_tile,
        )


def _count(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
