"""Keys and values of every running sequence, layer by layer.

Slots are handed out by `KvRuns`; attention writes rows by slot and reads a run as a view.
"""

from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from language_service.kv_runs import KvRun, KvRuns


@dataclass(frozen=True, slots=True)
class KvShape:
    """What one token takes."""

    num_layers: int
    num_kv_heads: int
    head_dim: int

    @staticmethod
    def of(model: PreTrainedModel) -> "KvShape":
        """Shape of a causal language model's keys and values."""
        text = model.config
        head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        return KvShape(text.num_hidden_layers, text.num_key_value_heads, head_dim)

    def bytes_per_token(self, dtype: torch.dtype) -> int:
        """Bytes of one token's keys and values over all layers."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * dtype.itemsize


class KvCache:
    """Per layer one buffer of keys and one of values, [num_tokens, kv heads, head dim].

    Args:
        shape: Of the model.
        num_tokens: Capacity, rounded down to whole blocks.
        dtype: Element type, that of the model.
        device: Where the model computes.
    """

    def __init__(
        self, shape: KvShape, num_tokens: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self.runs = KvRuns(num_tokens)
        self._keys = [self._buffer(device) for _ in range(shape.num_layers)]
        self._values = [self._buffer(device) for _ in range(shape.num_layers)]

    @classmethod
    def for_model(cls, model: PreTrainedModel, num_tokens: int) -> "KvCache":
        """A cache in a model's shape, element type and device."""
        return cls(KvShape.of(model), num_tokens, model.dtype, model.device)

    @property
    def num_tokens(self) -> int:
        """Capacity in tokens."""
        return self.runs.num_tokens

    @property
    def num_free_tokens(self) -> int:
        """Tokens that no sequence holds."""
        return self.runs.num_free_tokens

    @property
    def kv_bytes(self) -> int:
        """Bytes of all buffers."""
        return self.num_tokens * self.shape.bytes_per_token(self.dtype)

    def write(
        self, layer: int, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> None:
        """Store the rows of one step.

        Args:
            layer: Layer index.
            slots: [T] int64, slot of each row.
            keys: [T, kv heads, head dim].
            values: [T, kv heads, head dim].
        """
        self._keys[layer].index_copy_(0, slots, keys)
        self._values[layer].index_copy_(0, slots, values)

    def keys(self, layer: int, run: KvRun, length: int) -> torch.Tensor:
        """View of the first `length` keys of a run, [length, kv heads, head dim]."""
        return self._keys[layer][run.begin : run.begin + length]

    def values(self, layer: int, run: KvRun, length: int) -> torch.Tensor:
        """View of the first `length` values of a run, [length, kv heads, head dim]."""
        return self._values[layer][run.begin : run.begin + length]

    def _buffer(self, device: torch.device) -> torch.Tensor:
        size = (self.runs.num_tokens, self.shape.num_kv_heads, self.shape.head_dim)
        return torch.empty(size, dtype=self.dtype, device=device)
