"""What a rank's layers have to ask of other ranks: two kinds of wrapper around ordinary modules.

The model's own code runs unchanged: it sees modules that give what whole ones would. Wrappers are
modules and not hooks, so that packing the layers they hold takes nothing away from them.

Two sums a layer, behind attention and behind the feed-forward part, and the head's columns once a
step. Sums come out bit for bit the same on all ranks; so do the experts that a token chooses.
"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from language_service.rank_group import RankGroup


class AddedUp(nn.Module):
    """A module of which every rank computes a summand.

    Args:
        summand: This rank's own.
        group: All ranks.
    """

    def __init__(self, summand: nn.Module, group: RankGroup) -> None:
        super().__init__()
        self.summand = summand
        self._group = group

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The sum over the ranks, in the shape of one summand."""
        return self._group.add_up(self.summand(*args, **kwargs))


class JoinedColumns(nn.Module):
    """A module of which every rank computes some of the columns.

    Args:
        columns: This rank's own.
        group: All ranks.
    """

    def __init__(self, columns: nn.Module, group: RankGroup) -> None:
        super().__init__()
        self.columns = columns
        self._group = group

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows [..., h] to [..., all columns]."""
        return self._group.join_columns(self.columns(rows))


def parallelise(model: PreTrainedModel, group: RankGroup) -> None:
    """Complete a rank's model, loaded and cut for its rank, by what the other ranks add."""
    for layer in model.model.layers:
        layer.self_attn.o_proj = AddedUp(layer.self_attn.o_proj, group)
        if hasattr(layer.mlp, "experts"):
            layer.mlp.experts = AddedUp(layer.mlp.experts, group)
        else:
            layer.mlp.down_proj = AddedUp(layer.mlp.down_proj, group)
    model.lm_head = JoinedColumns(model.lm_head, group)
