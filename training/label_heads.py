"""Classifiers of patches and visual tokens, by which a model learns what it sees.

They are thrown away when training is done.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from training.dense_labels import NOTHING

HEADS_FILE = "label_heads.safetensors"

Labels = dict[str, torch.Tensor]


class LabelHeads(nn.Module):
    """One linear classifier per label."""

    def __init__(self, width: int, num_classes: Mapping[str, int], seed: int) -> None:
        """Draw the weights from a seed of their own.

        Args:
            width: Of the features.
            num_classes: By label name.
            seed: Of the weights.
        """
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            heads = {name: nn.Linear(width, n) for name, n in num_classes.items()}
        self.heads = nn.ModuleDict(heads)

    def loss(self, features: torch.Tensor, labels: Labels) -> torch.Tensor:
        """Mean cross-entropy of each label over the places that have it, added up.

        Args:
            features: [T, P, d].
            labels: By name [T, P], `NOTHING` for none.
        """
        total = features.new_zeros(())
        for name, head in self.heads.items():
            labelled = labels[name] != NOTHING
            if labelled.any():
                logits = head(features[labelled])
                total = total + functional.cross_entropy(logits, labels[name][labelled])
        return total

    def accuracy(self, features: torch.Tensor, labels: Labels) -> Mapping[str, float]:
        """Share of labelled places named rightly, by label."""
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
