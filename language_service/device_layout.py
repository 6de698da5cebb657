"""How the rows of a step are laid out for attention on a device; nothing for other attention."""

from collections.abc import Callable, Sequence

from transformers import PreTrainedModel

from language_service.attention_step import AttentionSpan
from language_service.device_attention import PAGED_ATTENTION_DEVICE
from language_service.device_rows import RowsLayout, SequenceRows
from language_service.kv_cache import KvCache
from language_service.paged_decode import decode_kernel_works

# Spans of a step, and how many of the leading ones are single rows of sequences in one run.
StepLayout = Callable[[Sequence[AttentionSpan], int], RowsLayout]


def device_layout(model: PreTrainedModel, kv_cache: KvCache) -> StepLayout | None:
    """What lays out the steps of a model; None where its attention asks the spans themselves."""
    if model.config._attn_implementation != PAGED_ATTENTION_DEVICE:
        return None

    def layout(spans: Sequence[AttentionSpan], num_answers: int) -> RowsLayout:
        sequences = [SequenceRows(each.num_rows, each.length, each.place) for each in spans]
        # Without the kernel an answer is a prompt of one row.
        num_paged = num_answers if has_decode_kernel(model, kv_cache) else 0
        return RowsLayout(sequences, num_paged, kv_cache.blocks.block_size)

    return layout


def has_decode_kernel(model: PreTrainedModel, kv_cache: KvCache) -> bool:
    """Whether the decode kernel works for a model's shape, where it is."""
    config = model.config
    group = config.num_attention_heads // config.num_key_value_heads
    return decode_kernel_works(model.device, model.dtype, group, kv_cache.shape.head_dim)
