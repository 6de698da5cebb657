"""Turns a step plan into tensors, runs the model once, and samples.

All chunks of a step lie behind each other in one row: no padding, and one matrix product a
projection for answers and prompts together.
"""

from collections.abc import Iterable
from itertools import accumulate
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedModel

from language_service.attention import (
    AttentionSpan,
    AttentionStep,
    attention_step,
    causal_mask,
)
from language_service.kv_cache import KvCache
from language_service.prompt import Prompt, TextSegment, VisualSegment, segment_length
from language_service.sampler import SamplingRow, sample
from language_service.scheduler import Chunk, StepPlan


class ModelRunner:
    """The model with its KV cache.

    Args:
        model: A causal language model set to one of the implementations in `attention`.
        kv_cache: On the model's device, in its element type.
    """

    def __init__(self, model: PreTrainedModel, kv_cache: KvCache) -> None:
        self._model = model
        self._embed = cast("nn.Embedding", model.get_input_embeddings())
        self._kv_cache = kv_cache

    @property
    def hidden_size(self) -> int:
        """Width of an embedding."""
        return self._embed.embedding_dim

    @property
    def vocabulary_size(self) -> int:
        """Rows of the embedding table."""
        return self._embed.num_embeddings

    def place(self, prompt: Prompt) -> Prompt:
        """The prompt with its embeddings on the model's device, in its element type."""
        return prompt.map_embeddings(lambda rows: rows.to(self._embed.weight))

    @torch.inference_mode()
    def run(self, plan: StepPlan) -> list[int]:
        """Compute a step.

        Returns:
            One token id for each last chunk of the plan, in order; `INVALID_TOKEN` where the
            model produced non-finite numbers.
        """
        spans = self._spans(plan.chunks)
        positions = [
            position
            for span in spans
            for position in range(span.num_past, span.length)
        ]  # fmt: skip
        last = [index for index, chunk in enumerate(plan.chunks) if chunk.is_last]
        with attention_step(AttentionStep(self._kv_cache, self._slots(spans), spans)):
            output = self._model(
                inputs_embeds=self._input_embeddings(plan.chunks)[None],
                position_ids=self._indexes(positions)[None],
                use_cache=False,
                logits_to_keep=self._indexes(spans[index].end - 1 for index in last),
            )
        return sample(output.logits[0], [_sampling_row(plan.chunks[index]) for index in last])

    def _spans(self, chunks: tuple[Chunk, ...]) -> tuple[AttentionSpan, ...]:
        ends = accumulate(chunk.num_tokens for chunk in chunks)
        return tuple(self._span(chunk, end) for chunk, end in zip(chunks, ends, strict=True))

    def _span(self, chunk: Chunk, end: int) -> AttentionSpan:
        num_past = chunk.sequence.num_computed_tokens
        return AttentionSpan(
            begin=end - chunk.num_tokens,
            end=end,
            run=chunk.run,
            num_past=num_past,
            mask=causal_mask(chunk.num_tokens, num_past, self._embed.weight),
        )

    def _slots(self, spans: tuple[AttentionSpan, ...]) -> torch.Tensor:
        # A sequence's slots follow each other from the begin of its run.
        return self._indexes(
            slot
            for span in spans
            for slot in range(span.run.begin + span.num_past, span.run.begin + span.length)
        )

    def _input_embeddings(self, chunks: tuple[Chunk, ...]) -> torch.Tensor:
        """Rows of the embedding table, with visual tokens written over their places: [T, h]."""
        token_ids: list[int] = []
        visual: list[tuple[int, VisualSegment]] = []
        for chunk in chunks:
            for segment in chunk.sequence.uncomputed(chunk.num_tokens).segments:
                if isinstance(segment, TextSegment):
                    token_ids.extend(segment.token_ids)
                else:
                    visual.append((len(token_ids), segment))
                    # Any id will do: its row is overwritten below.
                    token_ids.extend([0] * segment_length(segment))
        embeddings: torch.Tensor = self._embed(self._indexes(token_ids))
        for begin, segment in visual:
            embeddings[begin : begin + segment_length(segment)] = segment.embeddings
        return embeddings

    def _indexes(self, values: Iterable[int]) -> torch.Tensor:
        return torch.tensor(list(values), dtype=torch.int64, device=self._embed.weight.device)


def _sampling_row(chunk: Chunk) -> SamplingRow:
    sampling = chunk.sequence.sampling
    return SamplingRow(sampling.temperature, sampling.seed, len(chunk.sequence.output_ids))
