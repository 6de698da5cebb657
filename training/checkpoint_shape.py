"""How large a checkpoint is, and the shapes that the project builds for itself.

`tiny` has every part of an InternVL3.5-Flash model in a few million parameters; `micro` is for unit
tests; `micro_rms` has the norms of the 6B vision transformer (RMSNorm, query-key norm, no bias).
"""

from dataclasses import dataclass, replace

from common.model_config import VisionShape

GATE_HEADS = 16  # of the gate's pooling attention, fixed by the published code
DOWNSAMPLE_RATIO = 0.5
MAX_TILES = 12


@dataclass(frozen=True, slots=True)
class TextShape:
    """Shape of the Qwen3 language model.

    Attributes:
        vocab_size: Rows of the embedding, at least the tokenizer's length.
        max_tokens: Longest prompt and answer together.
    """

    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int = 1440
    max_tokens: int = 4096
    rope_theta: float = 1e6
    norm_eps: float = 1e-6


@dataclass(frozen=True, slots=True)
class CheckpointShape:
    """Shape of a whole model.

    Attributes:
        vision: Of the vision transformer; its width is a multiple of 16, for the gate's heads.
        text: Of the language model.
    """

    vision: VisionShape
    text: TextShape

    @property
    def full_tokens_per_tile(self) -> int:
        """Visual tokens of a tile that is not compressed."""
        return int(self.vision.patches_per_side * DOWNSAMPLE_RATIO) ** 2


def _vision(hidden_size: int, num_layers: int, num_heads: int, tile_size: int) -> VisionShape:
    return VisionShape(
        hidden_size=hidden_size,
        num_layers=num_layers,
        num_heads=num_heads,
        intermediate_size=4 * hidden_size,
        tile_size=tile_size,
        patch_size=14,
        qkv_bias=True,
        qk_norm=False,
        norm_type="layer_norm",
        norm_eps=1e-6,
        activation="gelu",
    )


TINY = CheckpointShape(
    vision=_vision(hidden_size=128, num_layers=4, num_heads=4, tile_size=112),
    text=TextShape(
        hidden_size=192,
        num_layers=3,
        num_heads=6,
        num_kv_heads=2,
        head_dim=32,
        intermediate_size=512,
    ),
)
MICRO = CheckpointShape(
    vision=_vision(hidden_size=32, num_layers=2, num_heads=2, tile_size=56),
    text=TextShape(
        hidden_size=64,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=16,
        intermediate_size=128,
    ),
)
MICRO_RMS = CheckpointShape(
    vision=replace(MICRO.vision, qkv_bias=False, qk_norm=True, norm_type="rms_norm"),
    text=MICRO.text,
)
SHAPES = {"tiny": TINY, "micro": MICRO, "micro_rms": MICRO_RMS}
