"""Keys and values of every sequence, layer by layer; tensors alone.

Which slots belong to whom is said by `KvBlocks`; attention writes rows by slot, and reads a run of
slots as a view and scattered ones through a gather.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from transformers import PreTrainedModel

from common.errors import StartupError
from language_service.block_tables import KvBlocks, SlotCopy


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


@dataclass(frozen=True, slots=True, eq=False)
class KvPlace:
    """Where one sequence's keys and values are.

    Attributes:
        first_slot: Its first slot where all others follow; -1 where they do not.
        slots: [length] int64 in that case, every token's slot.
    """

    first_slot: int
    slots: torch.Tensor | None = None


@lru_cache(maxsize=4096)
def run_place(first_slot: int) -> KvPlace:
    """The place of a sequence in one run; kept, because every step asks for it again."""
    return KvPlace(first_slot)


class KvCache:
    """Keys and values of all layers in one buffer, [layers, 2, kv heads, num_tokens, head dim].

    What one head of a sequence reads lies together: a fifth of an answer's attention is saved.

    Args:
        shape: Of the model.
        blocks: Book-keeping of its slots.
        dtype: Element type, that of the model.
        device: Where the model computes.

    Raises:
        StartupError: It does not fit into memory.
    """

    def __init__(
        self, shape: KvShape, blocks: KvBlocks, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.shape = shape
        self.blocks = blocks
        # One block more than anybody may have: where rows that only fill a batch are written.
        num_slots = blocks.num_tokens + blocks.block_size
        size = (shape.num_layers, 2, shape.num_kv_heads, num_slots, shape.head_dim)
        # Zeroed: a masked key still takes part in a product, and must not be infinite there.
        try:
            self._buffer = torch.zeros(size, dtype=dtype, device=device)
        except RuntimeError as cause:
            needed = shape.bytes_per_token(dtype) * num_slots / 2**30
            raise StartupError(
                f"The device has no memory for a KV cache of {blocks.num_tokens} tokens, which "
                f"takes {needed:.1f} GiB: lower language.service.kv_tokens, or set it to auto."
            ) from cause
        self._keys = [self._buffer[layer, 0] for layer in range(shape.num_layers)]
        self._values = [self._buffer[layer, 1] for layer in range(shape.num_layers)]

    @classmethod
    def for_model(cls, model: PreTrainedModel, blocks: KvBlocks) -> "KvCache":
        """A cache in a model's shape, element type and device."""
        return cls(KvShape.of(model), blocks, model.dtype, model.device)

    @property
    def spare_block(self) -> int:
        """A block that no sequence has."""
        return self.blocks.num_tokens // self.blocks.block_size

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
        self._keys[layer].index_copy_(1, slots, keys.transpose(0, 1))
        self._values[layer].index_copy_(1, slots, values.transpose(0, 1))

    def layer(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of one layer, each [kv heads, slots, head dim] with the spare block."""
        return self._keys[layer], self._values[layer]

    def keys(self, layer: int, place: KvPlace, length: int) -> torch.Tensor:
        """The first `length` keys of a sequence, [length, kv heads, head dim]."""
        return _rows(self._keys[layer], place, length)

    def values(self, layer: int, place: KvPlace, length: int) -> torch.Tensor:
        """The first `length` values of a sequence, [length, kv heads, head dim]."""
        return _rows(self._values[layer], place, length)

    def batch(
        self, layer: int, first_slot: int, stride: int, lengths: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Views of keys and values of sequences at equal distances, up to the longest's end.

        Args:
            layer: Layer index.
            first_slot: Where the first sequence begins.
            stride: Slots from one begin to the next.
            lengths: Of each sequence.

        Returns:
            Keys and values, each [sequences, kv heads, longest, head dim].
        """
        num_heads, head_dim = self.shape.num_kv_heads, self.shape.head_dim
        keys, values = self._keys[layer], self._values[layer]
        size = (len(lengths), num_heads, max(lengths), head_dim)
        strides = (stride * head_dim, keys.stride(0), head_dim, 1)
        begin = first_slot * head_dim
        return (
            keys.as_strided(size, strides, keys.storage_offset() + begin),
            values.as_strided(size, strides, values.storage_offset() + begin),
        )

    def copy(self, copies: Iterable[SlotCopy]) -> None:
        """Copy tokens from slot to slot, in order; no copy may overlap itself."""
        for each in copies:
            begin, end = each.destination, each.destination + each.num_tokens
            source = self._buffer[..., each.source : each.source + each.num_tokens, :]
            self._buffer[..., begin:end, :] = source

    def clear(self, slots: torch.Tensor) -> None:
        """Zero slots whose contents may be infinite or not a number."""
        self._buffer.index_fill_(3, slots, 0)


def _rows(buffer: torch.Tensor, place: KvPlace, length: int) -> torch.Tensor:
    if place.slots is None:
        rows = buffer[:, place.first_slot : place.first_slot + length]
    else:
        rows = buffer.index_select(1, place.slots[:length])
    return rows.transpose(0, 1)
