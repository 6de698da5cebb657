"""The model that is trained: the modules that are served, in and out of a checkpoint."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from common.model_config import CheckpointLayout, load_model_config
from common.resolution_rule import ResolutionThresholds
from language_service.weights import load_language_model
from training.build_checkpoint import DTYPES, THRESHOLDS, CheckpointOptions, draw_tensors
from training.checkpoint_files import write_documents, write_weights
from training.checkpoint_shape import TINY
from training.model_documents import ModelFacts
from training.scenes import MAX_GRID_TILES
from training.tokenizer import TokenIds, save_tokenizer, train_tokenizer
from vision_service.weights import load_vision_model, original_sources

INIT_STD = 0.02


class TrainableModel(nn.Module):
    """Vision and language model side by side, float32."""

    def __init__(self, directory: Path, device: torch.device) -> None:
        """Load a checkpoint for training.

        Args:
            directory: In the original layout.
            device: Where to train.
        """
        super().__init__()
        self.config = load_model_config(directory)
        self.vision = load_vision_model(directory, self.config, torch.float32, device)
        self.language: PreTrainedModel = load_language_model(
            directory, self.config, torch.float32, device
        )
        # Training packs whole sequences; the paged attention of the engine is for serving.
        self.language.set_attn_implementation("sdpa")
        self.requires_grad_(True)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.vision.device

    def save(self, directory: Path, dtype: str, thresholds: ResolutionThresholds) -> None:
        """Write a complete checkpoint in the original layout.

        Args:
            directory: Made where it does not exist.
            dtype: Element type to store, a key of `DTYPES`.
            thresholds: Of the resolution router.
        """
        write_surroundings(directory, dtype, thresholds)
        tensors = {
            name: tensor.to(DTYPES[dtype]) for name, tensor in self._original_tensors().items()
        }
        write_weights(directory, tensors, CheckpointLayout.ORIGINAL, 1)

    def _original_tensors(self) -> dict[str, torch.Tensor]:
        """All tensors by their published names, fused where those are."""
        parts: dict[str, dict[int, torch.Tensor]] = defaultdict(dict)
        state = self.vision.state_dict()
        for parameter, source in original_sources(self.vision).items():
            parts[source.name][source.part] = state[parameter]
        tensors = {
            name: torch.cat([found[part] for part in sorted(found)]).contiguous().cpu()
            for name, found in parts.items()
        }
        for parameter, tensor in self.language.state_dict().items():
            tensors[f"language_model.{parameter}"] = tensor.contiguous().cpu()
        return tensors


@torch.no_grad()
def mean_weights(models: Sequence[TrainableModel]) -> TrainableModel:
    """Turn the first of several models of one shape into the mean of them all."""
    first = models[0]
    for together in zip(*(model.parameters() for model in models), strict=True):
        together[0].copy_(torch.stack(together).mean(dim=0))
    return first


def write_surroundings(directory: Path, dtype: str, thresholds: ResolutionThresholds) -> TokenIds:
    """Write everything of a checkpoint but its weights."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer()
    save_tokenizer(tokenizer, directory, TINY.text.max_tokens)
    token_ids = TokenIds.of(tokenizer)
    facts = ModelFacts(TINY, thresholds, token_ids, dtype, MAX_GRID_TILES)
    write_documents(directory, facts, CheckpointLayout.ORIGINAL)
    return token_ids


def write_untrained(directory: Path, seed: int) -> None:
    """Write the checkpoint that training starts from.

    Matrices are normal with a small spread, norms and layer scales are one. Layer scales of one
    learn faster than the configuration's 0.1; they are only where training starts.
    """
    token_ids = write_surroundings(directory, "float32", THRESHOLDS)
    shapes = draw_tensors(CheckpointOptions(TINY, dtype="float32"), token_ids)
    source = torch.Generator().manual_seed(seed)
    tensors = {name: _initial(name, like, source) for name, like in sorted(shapes.items())}
    write_weights(directory, tensors, CheckpointLayout.ORIGINAL, 1)


def _initial(name: str, like: torch.Tensor, source: torch.Generator) -> torch.Tensor:
    if name.endswith((".bias", "in_proj_bias")):
        return torch.zeros_like(like)
    if like.dim() == 1:
        return torch.ones_like(like)
    if name.startswith("mlp") or "gating" in name:
        return torch.randn(like.shape, generator=source) * float(like.shape[-1] ** -0.5)
    return torch.randn(like.shape, generator=source) * INIT_STD
