"""Classifiers of single patches, by which the eyes learn; thrown away when training is done."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from common.model_config import ModelConfig
from training.dense_labels import NOTHING, NUM_CLASSES

HEADS_FILE = "patch_heads.safetensors"


class PatchHeads(nn.Module):
    """One linear classifier per patch label."""

    def __init__(self, config: ModelConfig, seed: int) -> None:
        super().__init__()
        width = config.vision.hidden_size
        # Drawn from a seed of their own, whatever else has drawn numbers before.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            heads = {name: nn.Linear(width, n) for name, n in NUM_CLASSES.items()}
        self.heads = nn.ModuleDict(heads)

    def loss(self, features: torch.Tensor, labels: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Mean cross-entropy of each label over the patches that have it, added up.

        Args:
            features: [T, P, d].
            labels: By name [T, P].
        """
        total = features.new_zeros(())
        for name, head in self.heads.items():
            labelled = labels[name] != NOTHING
            if labelled.any():
                logits = head(features[labelled])
                total = total + functional.cross_entropy(logits, labels[name][labelled])
        return total

    def accuracy(
        self, features: torch.Tensor, labels: Mapping[str, torch.Tensor]
    ) -> Mapping[str, float]:
        """Share of labelled patches named rightly, by label."""
        shares = {}
        for name, head in self.heads.items():
            labelled = labels[name] != NOTHING
            if labelled.any():
                named = head(features[labelled]).argmax(-1)
                shares[name] = float((named == labels[name][labelled]).float().mean())
        return shares

    def save(self, directory: Path) -> None:
        """Keep the classifiers beside a checkpoint, for the next stage."""
        save_file(self.state_dict(), directory / HEADS_FILE)

    def load(self, directory: Path) -> None:
        """Take the classifiers of an earlier stage."""
        self.load_state_dict(load_file(directory / HEADS_FILE))
