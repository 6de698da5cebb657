"""The stages of a Flash model, one tile at a time, from the checkpoint's tensors.

Vision transformer and language model are those of transformers; projectors, pooling and gate are
written out from the description of the published code. Nothing is batched or cached.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    InternVLVisionConfig,
    InternVLVisionModel,
    PreTrainedModel,
)

from common.types import ResolutionScope

GATE_HEADS = 16


class FlashModel:
    """A checkpoint in the original layout, held in float32; the gate may be missing.

    Attributes:
        language: The language model.
        has_gate: Whether there is a visual resolution router.
    """

    def __init__(self, model_dir: Path) -> None:
        self._config: dict[str, Any] = json.loads((model_dir / "config.json").read_text())
        self._tensors: dict[str, torch.Tensor] = {}
        for file in sorted(model_dir.glob("model*.safetensors")):
            self._tensors |= {name: tensor.float() for name, tensor in load_file(file).items()}
        self._vision = self._load_vision()
        self.language = self._load_language()
        self.has_gate = bool(self._config.get("flash_mode", False))

    @torch.no_grad()
    def features(self, tile: torch.Tensor) -> torch.Tensor:
        """Run the vision transformer over one tile [3, side, side]; CLS dropped: [patches, d]."""
        return self._vision(tile[None]).last_hidden_state[0, 1:]

    @torch.no_grad()
    def score(self, features: torch.Tensor) -> float:
        """Probability that the tile of these features may be compressed."""
        x = self._tensors["pooling_before_gating.query_token"][None]
        patches = features[None]
        for index in (1, 2, 2, 2):  # the third and fourth modules are stored but never used
            attention, norm = self._pooling_round(index, features.shape[-1])
            x = norm(attention(x, patches, patches, need_weights=False)[0])
        x = x[0]
        for index in range(1, 5):
            name = f"gating.block{index}"
            hidden = self._linear(f"{name}.3", functional.gelu(self._linear(f"{name}.0", x)))
            x = x + self._norm(f"{name}.5", hidden)
        logits = self._linear("gating.gate.1", self._norm("gating.gate.0", x))
        return float(logits.softmax(-1)[0, 0])

    @torch.no_grad()
    def embedding(self, features: torch.Tensor, compressed: bool) -> torch.Tensor:
        """Project one tile's features to visual tokens [tokens, h]."""
        ratio = 4 if compressed else 2
        side = int(len(features) ** 0.5)
        grid = features.view(side, side, -1)
        x = torch.stack(
            [
                torch.cat([grid[i + di, j + dj] for di in range(ratio) for dj in range(ratio)])
                for i in range(0, side, ratio)
                for j in range(0, side, ratio)
            ]
        )
        if not compressed:
            x = functional.gelu(self._linear("mlp1.1", self._norm("mlp1.0", x)))
            return self._linear("mlp1.3", x)
        x = functional.gelu(self._linear("mlp2.1", self._norm("mlp2.0", x)))
        x = functional.gelu(self._linear("mlp2.4", x))
        return self._linear("mlp2.7", x)

    def masks(self, scores: list[list[float]], scope: ResolutionScope) -> list[list[bool]]:
        """Apply the published rule to the scores of all pictures of a request."""
        if scope is ResolutionScope.OFF or not self.has_gate:
            return [[False] * len(picture) for picture in scores]
        groups = [[p for picture in scores for p in picture]]
        groups = groups * len(scores) if scope is ResolutionScope.REQUEST else scores
        return [
            [self._compresses(p, group, scope) for p in picture]
            for picture, group in zip(scores, groups, strict=True)
        ]

    def _compresses(self, score: float, group: list[float], scope: ResolutionScope) -> bool:
        p = torch.tensor(score)
        enough = bool(p >= self._config["flash_absolute_threshold"])
        if scope is ResolutionScope.ABSOLUTE:
            return enough
        relative = self._config["flash_relative_threshold"]
        return enough and bool(p > torch.quantile(torch.tensor(group), relative))

    def _pooling_round(self, index: int, width: int) -> tuple[nn.MultiheadAttention, nn.LayerNorm]:
        attention = nn.MultiheadAttention(width, GATE_HEADS, batch_first=True).eval()
        attention.load_state_dict(self._under(f"pooling_before_gating.attn{index}."))
        norm = nn.LayerNorm(width)
        norm.load_state_dict(self._under(f"pooling_before_gating.norm{index}."))
        return attention, norm

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ self._tensors[f"{name}.weight"].T + self._tensors[f"{name}.bias"]

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"]
        return functional.layer_norm(x, weight.shape, weight, bias, eps=1e-5)

    def _under(self, prefix: str) -> dict[str, torch.Tensor]:
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self._tensors.items()
            if name.startswith(prefix)
        }

    def _load_language(self) -> PreTrainedModel:
        document = {k: v for k, v in self._config["llm_config"].items() if k != "torch_dtype"}
        config = AutoConfig.for_model(**document)
        with torch.device("meta"):
            model_class = type(AutoModelForCausalLM.from_config(config))
        model, loaded = model_class.from_pretrained(
            None,
            config=config,
            state_dict=self._under("language_model."),
            dtype=torch.float32,
            output_loading_info=True,
        )
        assert not any(loaded.values()), loaded
        return model.eval()

    def _load_vision(self) -> InternVLVisionModel:
        config = self._config["vision_config"]
        same = (
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "image_size",
            "patch_size",
            "norm_type",
            "layer_norm_eps",
        )
        vision = InternVLVisionModel(
            InternVLVisionConfig(
                **{key: config[key] for key in same},
                attention_bias=config["qkv_bias"],
                use_qk_norm=config["qk_normalization"],
            )
        )
        state: dict[str, torch.Tensor] = {}
        for name, tensor in self._under("vision_model.").items():
            if name.endswith(("attn.qkv.weight", "attn.qkv.bias")):
                for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                    renamed = _vision_name(name).replace("attention.qkv", f"attention.{part}_proj")
                    state[renamed] = rows
            else:
                state[_vision_name(name)] = tensor
        vision.load_state_dict(state, strict=True)
        return vision.eval()


@cache
def load_flash_model(model_dir: Path) -> FlashModel:
    """Load a checkpoint once."""
    return FlashModel(model_dir)


def _vision_name(name: str) -> str:
    words = {
        "encoder.layers": "encoder.layer",
        "class_embedding": "cls_token",
        "position_embedding": "position_embeddings",
        "patch_embedding": "patch_embeddings.projection",
        "attn": "attention",
        "proj.": "projection_layer.",
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "ls1": "lambda_1",
        "ls2": "lambda_2",
    }
    for theirs, ours in words.items():
        name = name.replace(theirs, ours)
    return name
