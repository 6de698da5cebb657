"""Attention of a step on a GPU: answers through the decode kernel, prompts through flash attention.

    dvd_paged_device    the name of it in transformers

Which kernels there are is found out by trying them once (`paged_decode`, `varlen_attention`), so
the same back end runs on any device, with what PyTorch has everywhere where there is nothing
better. Its parts are tested on a CPU, the decode kernel in Triton's interpreter; **as a whole it
has never run on a card**.
"""

import torch

from language_service.attention import PAGED_ATTENTION, register_attention
from language_service.attention_step import AttentionLayer, AttentionStep
from language_service.device_rows import DeviceRows, PackedSequences
from language_service.paged_decode import attend_paged
from language_service.varlen_attention import varlen_attention

PAGED_ATTENTION_DEVICE = "dvd_paged_device"


def attention_for(device: torch.device) -> str:
    """Name of the attention that serves on a device."""
    return PAGED_ATTENTION_DEVICE if device.type == "cuda" else PAGED_ATTENTION


def attend_on_device(
    query: torch.Tensor, layer: AttentionLayer, step: AttentionStep
) -> torch.Tensor:
    """Attention of all rows [T, heads, d]; the step has its `device` rows."""
    rows = step.device
    if rows is None:
        raise AssertionError("the step was not laid out for a device")
    keys, values = step.kv_cache.layer(layer.index)
    if rows.answers is None:
        return _attend_prompts(query, keys, values, rows, layer)
    if rows.prompts is None:
        return attend_paged(query, keys, values, rows.answers, layer).output
    num_answers = len(rows.answers.lengths)
    answers, prompts = query[:num_answers], query[num_answers:]
    return torch.cat(
        [
            attend_paged(answers, keys, values, rows.answers, layer).output,
            _attend_prompts(prompts, keys, values, rows, layer),
        ]
    )


def _attend_prompts(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    rows: DeviceRows,
    layer: AttentionLayer,
) -> torch.Tensor:
    sequences = rows.prompts
    if sequences is None:
        raise AssertionError("a step has rows")
    keys, values = (_packed(each, rows, sequences) for each in (keys, values))
    group = query.shape[1] // keys.shape[1]
    attend = varlen_attention(query.device, query.dtype, group, query.shape[2])
    return attend(query, keys, values, sequences, layer)


def _packed(stored: torch.Tensor, rows: DeviceRows, sequences: PackedSequences) -> torch.Tensor:
    """Keys or values of all prompts, [K, kv heads, d]; of a single run without a copy."""
    if rows.prompt_slots is not None:
        return stored.index_select(1, rows.prompt_slots).transpose(0, 1)
    return stored[:, rows.first_slot : rows.first_slot + sequences.key_ends[-1]].transpose(0, 1)


register_attention(PAGED_ATTENTION_DEVICE, attend_on_device)
