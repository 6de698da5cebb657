"""What a language model takes and computes, counted on its module before it is loaded.

Counted and not looked up: the module is the one that will run, of one rank or of the whole.
"""

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from language_service.kv_cache import KvShape


@dataclass(frozen=True, slots=True)
class LanguageFacts:
    """Sizes of a language model, or of one rank's part of it.

    Attributes:
        num_parameters: All of them.
        active_parameters: Those that one token is multiplied with, embedding and head left out;
            of experts as many as are chosen.
        head_parameters: Of the output head.
        num_layers: Transformer layers.
        num_heads: Query heads of a layer.
        head_dim: Width of a head.
        hidden_size: Width of a token.
        widest_layer: Width inside a feed-forward layer, of all experts that a token takes.
        vocab_size: Rows of the head.
        kv_bytes_per_token: Keys and values of one token in bfloat16, all layers.
    """

    num_parameters: int
    active_parameters: int
    head_parameters: int
    num_layers: int
    num_heads: int
    head_dim: int
    hidden_size: int
    widest_layer: int
    vocab_size: int
    kv_bytes_per_token: int

    @staticmethod
    def of(model: PreTrainedModel) -> "LanguageFacts":
        """Count a model, which may be on the meta device."""
        text, shape = model.config, KvShape.of(model)
        sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
        experts = sum(size for name, size in sizes.items() if ".mlp.experts." in name)
        num_experts = getattr(text, "num_local_experts", 0) or getattr(text, "num_experts", 0)
        chosen = getattr(text, "num_experts_per_tok", 0)
        total, head = sum(sizes.values()), model.lm_head.weight.numel()
        embedding = sizes["model.embed_tokens.weight"]
        outside = embedding if text.tie_word_embeddings else embedding + head
        idle = experts * (num_experts - chosen) // num_experts if num_experts else 0
        width = getattr(text, "moe_intermediate_size", text.intermediate_size)
        return LanguageFacts(
            num_parameters=total,
            active_parameters=total - outside - idle,
            head_parameters=head,
            num_layers=text.num_hidden_layers,
            num_heads=text.num_attention_heads,
            head_dim=shape.head_dim,
            hidden_size=text.hidden_size,
            widest_layer=width * max(chosen, 1),
            vocab_size=model.lm_head.out_features,
            kv_bytes_per_token=shape.bytes_per_token(torch.bfloat16),
        )
