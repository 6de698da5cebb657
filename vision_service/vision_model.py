"""The vision half of InternVL3.5: vision transformer, resolution gate, projectors.

Holds no language weights. Three calls, in the order of a picture's life: `encode` its tiles,
`scores` for the resolution decision, `project` once the decision is made.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional
from transformers import InternVLVisionConfig, InternVLVisionModel

from common.model_config import ModelConfig, VisionShape
from vision_service.projector import compressed_projector, full_projector, pixel_shuffle
from vision_service.resolution_gate import GatingHead, TilePooling

# Rows of one pass of the gate on CUDA, where a pass of one tile would leave the device idle.
CUDA_GATE_TILES = 16


class VisionModel(nn.Module):
    """Submodules carry the published names, but for the inside of `vision_model`.

    T is a number of tiles, S the side of a tile in pixels, P its patches, d the width of the vision
    transformer, h that of the language model.
    """

    def __init__(self, config: ModelConfig) -> None:
        """Build with unset weights on torch's current default device.

        Raises:
            CheckpointError: The gate does not fit the vision transformer.
        """
        super().__init__()
        width = config.vision.hidden_size
        self.has_gate = config.thresholds is not None
        self._full_factor = round(1 / config.downsample_ratio)
        self._compressed_factor = 2 * self._full_factor
        self.vision_model = InternVLVisionModel(_transformer_config(config.vision))
        self.mlp1 = full_projector(width * self._full_factor**2, config.text_hidden_size)
        if self.has_gate:
            folded = width * self._compressed_factor**2
            self.mlp2 = compressed_projector(folded, config.text_hidden_size)
            self.pooling_before_gating = TilePooling(width)
            self.gating = GatingHead(width)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Element type of weights and features."""
        return next(self.parameters()).dtype

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Run the vision transformer.

        Args:
            pixels: [T, 3, S, S], normalised, of the model's dtype and device.

        Returns:
            [T, P, d]: the last hidden state without the CLS token, not contiguous.
        """
        hidden: torch.Tensor = self.vision_model(pixel_values=pixels).last_hidden_state
        return hidden[:, 1:]

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        """Run the gate, in passes of a fixed number of tiles.

        A matrix product rounds differently with another number of rows, and a last bit decides a
        tie at the quantile. So neither the tile count nor the neighbours may change the shape.

        Args:
            features: [T, P, d].

        Returns:
            [T] float32 probabilities of "compress".
        """
        rows = CUDA_GATE_TILES if features.is_cuda else 1
        return torch.cat([self._score_pass(part, rows) for part in torch.split(features, rows)])

    def _score_pass(self, features: torch.Tensor, rows: int) -> torch.Tensor:
        num_tiles = len(features)
        padded = functional.pad(features, (0, 0, 0, 0, 0, rows - num_tiles))
        logits = self.gating(self.pooling_before_gating(padded))
        return torch.softmax(logits, dim=-1)[:num_tiles, 0].float()

    def project(self, features: torch.Tensor, compressed: Sequence[bool]) -> torch.Tensor:
        """Run for each tile its chosen projector, and no other.

        Args:
            features: [T, P, d].
            compressed: For each tile its resolution; all False without a gate.

        Returns:
            [n, h]: the tiles' visual tokens in tile order.
        """
        tokens: dict[int, torch.Tensor] = {}
        for wanted in (False, True):
            tiles = [index for index, choice in enumerate(compressed) if choice is wanted]
            if tiles:
                branch = self._project_compressed if wanted else self._project_full
                tokens |= zip(tiles, branch(features[tiles]), strict=True)
        return torch.cat([tokens[index] for index in range(len(compressed))])

    def _project_full(self, features: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.mlp1(pixel_shuffle(features, self._full_factor))
        return tokens

    def _project_compressed(self, features: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.mlp2(pixel_shuffle(features, self._compressed_factor))
        return tokens


def _transformer_config(shape: VisionShape) -> InternVLVisionConfig:
    return InternVLVisionConfig(
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        intermediate_size=shape.intermediate_size,
        image_size=(shape.tile_size, shape.tile_size),
        patch_size=(shape.patch_size, shape.patch_size),
        attention_bias=shape.qkv_bias,
        use_qk_norm=shape.qk_norm,
        norm_type=shape.norm_type,
        layer_norm_eps=shape.norm_eps,
        hidden_act=shape.activation,
        use_mean_pooling=True,
        attn_implementation="sdpa",  # type: ignore[call-arg]  # every configuration takes it
    )
