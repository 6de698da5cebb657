"""The rows of a step as plain numbers, in order: what a plan becomes before it becomes tensors."""

from dataclasses import dataclass, field

from language_service.answer_batches import AnswerRow
from language_service.attention_step import AttentionSpan
from language_service.kv_cache import KvPlace, run_place
from language_service.prompt import Prompt, TextSegment, VisualSegment, segment_length
from language_service.scheduler import Chunk
from language_service.sequence import Sequence


@dataclass(slots=True)
class StepRows:
    """The rows of a step, in order, as plain numbers.

    Attributes:
        token_ids: Of text; any id where a visual token stands.
        visual: Embeddings, and the rows where they begin.
        positions: In their sequences.
        slots: Where their keys and values go.
        spans: One a sequence.
        answers: Of the leading spans that are single rows of sequences in one run.
        ends: One past each sequence's last row.
    """

    token_ids: list[int] = field(default_factory=list)
    visual: list[tuple[int, VisualSegment]] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    spans: list[AttentionSpan] = field(default_factory=list)
    answers: list[AnswerRow] = field(default_factory=list)
    ends: dict[Sequence, int] = field(default_factory=dict)

    @classmethod
    def of_singles(cls, chunks: list[Chunk]) -> "StepRows":
        """Begin with the chunks of one row whose sequences lie in one run: most of most steps."""
        positions = [chunk.sequence.num_computed_tokens for chunk in chunks]
        first_slots = [chunk.table.first_slot for chunk in chunks]
        rows = cls(
            positions=positions,
            slots=[first + past for first, past in zip(first_slots, positions, strict=True)],
            spans=[
                AttentionSpan(row, row + 1, run_place(first), past)
                for row, (first, past) in enumerate(zip(first_slots, positions, strict=True))
            ],
            answers=[
                AnswerRow(first, past + 1, chunk.table.capacity)
                for first, past, chunk in zip(first_slots, positions, chunks, strict=True)
            ],
            ends={chunk.sequence: row for row, chunk in enumerate(chunks, start=1)},
        )
        if all(chunk.sequence.is_decoding for chunk in chunks):
            rows.token_ids = [chunk.sequence.output_ids[-1] for chunk in chunks]
        else:
            for chunk in chunks:
                rows._read(chunk)
        return rows

    def add(self, chunk: Chunk, place: KvPlace) -> None:
        """Add any other chunk."""
        begin, num_past = len(self.slots), chunk.sequence.num_computed_tokens
        end, length = begin + chunk.num_tokens, num_past + chunk.num_tokens
        self.positions += range(num_past, length)
        self.slots += chunk.table.slots(num_past, length)
        self._read(chunk)
        self.spans.append(AttentionSpan(begin, end, place, num_past))
        self.ends[chunk.sequence] = end

    def _read(self, chunk: Chunk) -> None:
        sequence = chunk.sequence
        if sequence.is_decoding:
            self.token_ids.append(sequence.output_ids[-1])
        else:
            _read(sequence.uncomputed(chunk.num_tokens), self.token_ids, self.visual)


def _read(prompt: Prompt, token_ids: list[int], visual: list[tuple[int, VisualSegment]]) -> None:
    """Add a prompt's ids, and its embeddings with the places they take among them."""
    for segment in prompt.segments:
        if isinstance(segment, TextSegment):
            token_ids.extend(segment.token_ids)
        elif isinstance(segment, VisualSegment):
            visual.append((len(token_ids), segment))
            # Any id will do: its row is overwritten.
            token_ids.extend([0] * segment_length(segment))


def first_slot(chunk: Chunk) -> int:
    """Where the chunk's sequence begins in the cache; -1 where it is no run."""
    return chunk.table.first_slot


def is_row_of_run(chunk: Chunk) -> bool:
    """Whether it is one row of a sequence in one run, as most are."""
    return chunk.num_tokens == 1 and chunk.table.first_slot >= 0
