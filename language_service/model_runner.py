"""Turns a step plan into tensors, runs the model once, and samples.

All chunks of a step lie behind each other in one row: no padding, and one matrix product a
projection for answers and prompts together. Answers come first, in the order of their places in
the cache, so that attention can take them in batches.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel

from language_service.answer_batches import AnswerRow, batch_answers
from language_service.attention import (
    AttentionSpan,
    AttentionStep,
    StepMasks,
    attention_step,
)
from language_service.block_tables import BlockTable, SlotCopy
from language_service.kv_cache import KvCache, KvPlace
from language_service.prompt import Prompt, TextSegment, VisualSegment, segment_length
from language_service.sampler import SampledTokens, sample
from language_service.scheduler import Chunk, StepPlan


class ModelRunner:
    """The model with its KV cache.

    Args:
        model: A causal language model set to one of the implementations in `attention`.
        kv_cache: On the model's device, in its element type.
        clock: Seconds, monotonic.

    Attributes:
        forward_seconds: Time spent in the model.
    """

    def __init__(
        self, model: PreTrainedModel, kv_cache: KvCache, clock: Callable[[], float]
    ) -> None:
        self._model = model
        self._embed = cast("nn.Embedding", model.get_input_embeddings())
        self._kv_cache = kv_cache
        self._clock = clock
        self.forward_seconds = 0.0

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
        return embeddings.to(self._embed.weight)

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
        chunks = sorted(plan.chunks, key=_row_order)
        spans = tuple(self._spans(chunks))
        ends = {chunk.sequence: span.end for chunk, span in zip(chunks, spans, strict=True)}
        last = [chunk.sequence for chunk in plan.chunks if chunk.is_last]
        embeddings = self._input_embeddings(chunks)[None]
        positions = self._indexes(
            position for span in spans for position in range(span.num_past, span.length)
        )[None]
        kept = self._indexes(ends[sequence] - 1 for sequence in last)
        with attention_step(self._attention_step(chunks, spans)):
            began = self._clock()
            output = self._model(
                inputs_embeds=embeddings,
                position_ids=positions,
                use_cache=False,
                logits_to_keep=kept,
            )
            self.forward_seconds += self._clock() - began
        return sample(output.logits[0], last)

    @torch.inference_mode()
    def clear(self, table: BlockTable) -> None:
        """Zero what a sequence has written; it may not be finite."""
        self._kv_cache.clear(self._indexes(table.slots(0, table.capacity)))

    def _attention_step(
        self, chunks: list[Chunk], spans: tuple[AttentionSpan, ...]
    ) -> AttentionStep:
        slots = self._indexes(
            slot
            for chunk, span in zip(chunks, spans, strict=True)
            for slot in chunk.table.slots(span.num_past, span.length)
        )
        rows = [
            AnswerRow(chunk.table.first_slot, span.length, chunk.table.capacity)
            for chunk, span in zip(chunks, spans, strict=True)
            if _is_batchable(chunk)
        ]
        shape = self._kv_cache.shape
        batches = batch_answers(rows, shape.num_kv_heads * shape.head_dim)
        masks = StepMasks(self._embed.weight)
        return AttentionStep(self._kv_cache, slots, spans, batches, masks)

    def _spans(self, chunks: list[Chunk]) -> Iterator[AttentionSpan]:
        begin = 0
        for chunk in chunks:
            end = begin + chunk.num_tokens
            num_past = chunk.sequence.num_computed_tokens
            place = self._place_of(chunk.table, num_past + chunk.num_tokens)
            yield AttentionSpan(begin, end, place, num_past)
            begin = end

    def _place_of(self, table: BlockTable, length: int) -> KvPlace:
        if table.first_slot >= 0:
            return KvPlace(table.first_slot)
        return KvPlace(-1, self._indexes(table.slots(0, length)))

    def _input_embeddings(self, chunks: list[Chunk]) -> torch.Tensor:
        """Rows of the embedding table, with visual tokens written over their places: [T, h]."""
        token_ids: list[int] = []
        visual: list[tuple[int, VisualSegment]] = []
        for chunk in chunks:
            if chunk.sequence.is_decoding:
                token_ids.append(chunk.sequence.output_ids[-1])
                continue
            _read(chunk.sequence.uncomputed(chunk.num_tokens), token_ids, visual)
        embeddings: torch.Tensor = self._embed(self._indexes(token_ids))
        for begin, segment in visual:
            embeddings[begin : begin + segment_length(segment)] = segment.embeddings
        return embeddings

    def _indexes(self, values: Iterable[int]) -> torch.Tensor:
        return torch.tensor(list(values), dtype=torch.int64, device=self._embed.weight.device)


def _read(prompt: Prompt, token_ids: list[int], visual: list[tuple[int, VisualSegment]]) -> None:
    """Add a prompt's ids, and its embeddings with the places they take among them."""
    for segment in prompt.segments:
        if isinstance(segment, TextSegment):
            token_ids.extend(segment.token_ids)
        elif isinstance(segment, VisualSegment):
            visual.append((len(token_ids), segment))
            # Any id will do: its row is overwritten.
            token_ids.extend([0] * segment_length(segment))


def _is_batchable(chunk: Chunk) -> bool:
    return chunk.num_tokens == 1 and chunk.table.first_slot >= 0


def _row_order(chunk: Chunk) -> tuple[bool, int]:
    """Single rows of sequences that lie in one run first, by their place in the cache."""
    return not _is_batchable(chunk), chunk.table.first_slot
