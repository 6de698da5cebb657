"""Decode steps that are captured once and replayed: one launch in place of many hundreds.

At small batches a GPU computes a layer in less time than a CPU takes to launch it. A step of
answers alone is therefore captured for a few numbers of rows, the largest first, so that all share
the memory of the largest, and every such step is padded to the next of them. What a step is made of
never changes: inputs are in `DecodeRecords`, keys and values in the cache, logits where the capture
put them.

How to capture is handed in (`common/device_graphs.py`). **It has never run on a card.**
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel

from common.device_graphs import CudaCapture, Step, StepCapture
from language_service.attention_step import AttentionStep, StepMasks, attention_step
from language_service.decode_records import DecodeRecords, DecodeRow, graph_size, graph_sizes
from language_service.device_attention import PAGED_ATTENTION_DEVICE
from language_service.device_layout import has_decode_kernel
from language_service.device_rows import DeviceRows
from language_service.kv_cache import KvCache
from language_service.scheduler import EngineLimits

log = logging.getLogger(__name__)

# Experts that never ask the device how many tokens each has, which no capture survives. Grouped
# products are PyTorch's own in bfloat16 alone; in other types it asks.
CAPTURABLE_EXPERTS, GROUPED_EXPERTS = "batched_mm", "grouped_mm"
GROUPED_DTYPE = torch.bfloat16


def may_capture(model: PreTrainedModel) -> bool:
    """Whether steps of a model can be captured: nothing in it asks the device for a number."""
    config = model.config
    # Dynamic rotary embeddings ask for the largest position.
    if config.rope_parameters["rope_type"] == "dynamic":
        return False
    if config._attn_implementation != PAGED_ATTENTION_DEVICE:
        return False
    if not any(name.endswith("experts") for name, _ in model.named_modules()):
        return True
    experts = getattr(config, "_experts_implementation", None)
    if experts == GROUPED_EXPERTS:
        return model.dtype is GROUPED_DTYPE
    return bool(experts == CAPTURABLE_EXPERTS)


def choose_graphs(
    model: PreTrainedModel, kv_cache: KvCache, limits: EngineLimits, is_wanted: bool
) -> "GraphedDecode | None":
    """Graphs for an engine on CUDA, if its model can be captured; None without."""
    if not is_wanted or model.device.type != "cuda":
        return None
    if not may_capture(model):
        log.warning("Decode steps are not captured: experts or rotary embeddings ask the device.")
        return None
    max_tokens = min(limits.max_context_tokens, kv_cache.blocks.num_tokens)
    return GraphedDecode(model, kv_cache, limits.max_sequences, max_tokens, CudaCapture())


class GraphedDecode:
    """The captured decode steps of one model.

    Args:
        model: Set to the attention of `device_attention`.
        kv_cache: Its cache.
        max_rows: Most answers of a step.
        max_tokens: Longest sequence.
        capture: How a step is captured.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        kv_cache: KvCache,
        max_rows: int,
        max_tokens: int,
        capture: StepCapture,
    ) -> None:
        self._model = model
        self._embed = cast("nn.Embedding", model.get_input_embeddings())
        self._kv_cache = kv_cache
        self._capture = capture
        self._sizes = graph_sizes(max_rows)
        self._max_tokens = max_tokens
        self._steps: dict[int, Step] = {}
        self._records: DecodeRecords | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of rows that are captured."""
        return tuple(sorted(self._steps))

    @torch.inference_mode()
    def prepare(self) -> None:
        """Capture every size; where that fails there are none, and steps run as they would."""
        if not has_decode_kernel(self._model, self._kv_cache):
            log.warning("Decode steps are not captured: there is no decode kernel.")
            return
        blocks = self._kv_cache.blocks
        self._records = DecodeRecords(
            self._sizes[-1], self._max_tokens, blocks.block_size,
            self._kv_cache.spare_block, self._embed.weight.device,
        )  # fmt: skip
        try:
            for size in reversed(self._sizes):
                self._steps[size] = self._capture(partial(self._forward, size))
        except RuntimeError:
            log.warning("Decode steps of %d rows cannot be captured.", size, exc_info=True)
            self._steps.clear()
        else:
            log.info("Captured decode steps of %d sizes.", len(self._steps))

    @torch.inference_mode()
    def run(self, rows: Sequence[DecodeRow]) -> torch.Tensor | None:
        """Run a step.

        Returns:
            Logits [n, vocabulary] in the order of the rows, valid until the next step; None where
            no captured step takes so many.
        """
        size = graph_size(len(rows), self.sizes)
        if size is None or self._records is None:
            return None
        self._records.fill(rows, size)
        self._records.send(size)
        return self._steps[size]()[: len(rows)]

    def _forward(self, size: int) -> torch.Tensor:
        if self._records is None:
            raise AssertionError("there are no inputs yet")
        inputs = self._records.inputs(size)
        embeddings = self._embed(inputs.token_ids)[None]
        device_rows = DeviceRows(inputs.rows, None)
        masks = StepMasks(self._embed.weight)
        step = AttentionStep(self._kv_cache, inputs.slots, (), (), masks, device_rows)
        with attention_step(step):
            output = self._model(
                inputs_embeds=embeddings, position_ids=inputs.positions[None], use_cache=False
            )
        logits: torch.Tensor = output.logits[0]
        return logits
