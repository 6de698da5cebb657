"""Turns a step plan into tensors, runs the model once, and samples.

All chunks of a step lie behind each other in one row: no padding, and one matrix product a
projection for answers and prompts together. Answers come first, in the order of their places in
the cache, so that attention can take them in batches.
"""

from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel

from language_service.answer_batches import batch_answers
from language_service.attention_step import (
    AttentionStep,
    StepMasks,
    attention_step,
)
from language_service.block_tables import BlockTable, KvBlocks, SlotCopy
from language_service.decode_records import DecodeRow
from language_service.device_layout import device_layout
from language_service.device_rows import DeviceRows
from language_service.graphed_decode import GraphedDecode
from language_service.kv_cache import KvCache, KvPlace, run_place
from language_service.prompt import VisualSegment, segment_length
from language_service.sampler import SampledTokens, sample
from language_service.scheduler import Chunk, StepPlan
from language_service.sequence import Sequence
from language_service.step_rows import StepRows, first_slot, is_row_of_run
from language_service.uploads import upload_indexes, upload_tensor


class ModelRunner:
    """The model with its KV cache.

    Args:
        model: A causal language model set to one of the implementations in `attention`.
        kv_cache: On the model's device, in its element type.
        clock: Seconds, monotonic.
        graphs: Steps of answers alone that are captured; None for none.

    Attributes:
        forward_seconds: Time spent in the model; on a GPU, in launching it.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        kv_cache: KvCache,
        clock: Callable[[], float],
        graphs: GraphedDecode | None = None,
    ) -> None:
        self._model = model
        self._graphs = graphs
        self._layout = device_layout(model, kv_cache)
        self._embed = cast("nn.Embedding", model.get_input_embeddings())
        self._kv_cache = kv_cache
        self._clock = clock
        self.forward_seconds = 0.0

    @property
    def blocks(self) -> KvBlocks:
        """Room of the cache, which the engine shares out."""
        return self._kv_cache.blocks

    @property
    def hidden_size(self) -> int:
        """Width of an embedding."""
        return self._embed.embedding_dim

    @property
    def vocabulary_size(self) -> int:
        """Rows of the embedding table."""
        return self._embed.num_embeddings

    def place(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Embeddings on the model's device, in its element type."""
        return upload_tensor(embeddings, self._embed.weight.device).to(self._embed.weight.dtype)

    def prepare_graphs(self) -> None:
        """Capture steps of answers, where that is wanted; all kernels have run by then."""
        if self._graphs is not None:
            self._graphs.prepare()

    @torch.inference_mode()
    def copy(self, copies: Iterable[SlotCopy]) -> None:
        """Copy keys and values, in order."""
        self._kv_cache.copy(copies)

    @torch.inference_mode()
    def run(self, plan: StepPlan) -> SampledTokens:
        """Compute a step whose copies have been made.

        Returns:
            One token for each last chunk of the plan, in order.
        """
        last = [chunk.sequence for chunk in plan.chunks if chunk.is_last]
        logits = self._replay(plan)
        if logits is None:
            logits = self._forward(plan, last)
        return sample(logits, last)

    def _replay(self, plan: StepPlan) -> torch.Tensor | None:
        """Logits of a step of answers alone; None where no captured step fits."""
        graphs = self._graphs
        if graphs is None or not all(chunk.sequence.is_decoding for chunk in plan.chunks):
            return None
        began = self._clock()
        logits = graphs.run([_decode_row(chunk) for chunk in plan.chunks])
        self.forward_seconds += self._clock() - began
        return logits

    def _forward(self, plan: StepPlan, last: list[Sequence]) -> torch.Tensor:
        """Logits [n, vocabulary] of the last rows of the sequences that get a token."""
        singles = [chunk for chunk in plan.chunks if is_row_of_run(chunk)]
        rows = StepRows.of_singles(sorted(singles, key=first_slot))
        if len(singles) < len(plan.chunks):
            for chunk in plan.chunks:
                if not is_row_of_run(chunk):
                    rows.add(chunk, self._place_of(chunk))
        kept = [rows.ends[sequence] - 1 for sequence in last]
        layout = self._layout and self._layout(rows.spans, len(rows.answers))
        # One tensor on its way to the device, not many.
        numbers = layout.numbers if layout else []
        indexes = self._indexes([*rows.token_ids, *rows.positions, *rows.slots, *kept, *numbers])
        num_rows = len(rows.slots)
        sizes = [num_rows, num_rows, num_rows, len(kept), len(numbers)]
        token_ids, positions, slots, kept_rows, laid_out = torch.split(indexes, sizes)
        embeddings = self._input_embeddings(token_ids, rows.visual)[None]
        device_rows = layout.rows(laid_out) if layout else None
        with attention_step(self._attention_step(rows, slots, device_rows)):
            began = self._clock()
            output = self._model(
                inputs_embeds=embeddings,
                position_ids=positions[None],
                use_cache=False,
                logits_to_keep=kept_rows,
            )
            self.forward_seconds += self._clock() - began
        logits: torch.Tensor = output.logits[0]
        return logits

    @torch.inference_mode()
    def clear(self, table: BlockTable) -> None:
        """Zero what a sequence has written; it may not be finite."""
        self._kv_cache.clear(self._indexes(table.slots(0, table.capacity)))

    def _attention_step(
        self, rows: StepRows, slots: torch.Tensor, device_rows: DeviceRows | None
    ) -> AttentionStep:
        shape = self._kv_cache.shape
        batches = batch_answers(rows.answers, shape.num_kv_heads * shape.head_dim)
        masks = StepMasks(self._embed.weight)
        return AttentionStep(self._kv_cache, slots, tuple(rows.spans), batches, masks, device_rows)

    def _place_of(self, chunk: Chunk) -> KvPlace:
        table = chunk.table
        if table.first_slot >= 0:
            return run_place(table.first_slot)
        length = chunk.sequence.num_computed_tokens + chunk.num_tokens
        return KvPlace(-1, self._indexes(table.slots(0, length)))

    def _input_embeddings(
        self, token_ids: torch.Tensor, visual: list[tuple[int, VisualSegment]]
    ) -> torch.Tensor:
        """Rows of the embedding table, with visual tokens written over their places: [T, h]."""
        embeddings: torch.Tensor = self._embed(token_ids)
        for begin, segment in visual:
            embeddings[begin : begin + segment_length(segment)] = segment.embeddings
        return embeddings

    def _indexes(self, values: list[int]) -> torch.Tensor:
        return upload_indexes(values, self._embed.weight.device)


def _decode_row(chunk: Chunk) -> DecodeRow:
    sequence = chunk.sequence
    return DecodeRow(sequence.output_ids[-1], sequence.num_computed_tokens, chunk.table)
