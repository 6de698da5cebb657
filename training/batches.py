"""Pictures and questions as one padded batch: several questions share a picture's prefix.

A sequence is the prefix (the user turn opened, the pictures) and branches (a question and its
answer each). A branch sees the prefix and itself, and its positions go on where the prefix ends,
so each branch is computed exactly as a conversation of its own. Several sequences share a row where
they fit, for two fifths of a batch would be padding otherwise; they do not see each other.
"""

from dataclasses import dataclass, fields

import torch
from tokenizers import Tokenizer

from training.questions import Turn
from training.row_packing import pack_rows
from training.tokenizer import END_OF_TURN, IMAGE_CONTEXT, IMAGE_END, IMAGE_START
from vision_service.images import TiledImage

NO_LABEL = -100
USER = "<|im_start|>user\n"
ASSISTANT = "<|im_end|>\n<|im_start|>assistant\n"
NEXT_USER = "\n<|im_start|>user\n"  # the answer before it has its own end


@dataclass(frozen=True, slots=True)
class PictureQuestions:
    """Pictures and the conversations about them.

    Attributes:
        pictures: None, one or two, cut.
        branches: Conversations, each of one or more turns.
    """

    pictures: tuple[TiledImage, ...]
    branches: tuple[tuple[Turn, ...], ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences in R rows of L tokens, over T tiles.

    What is listed by sequence is in the order in which the sequences were given, whichever row they
    are in. Places count through the rows: row * L + column.

    Attributes:
        pixels: [T, 3, S, S], all tiles of all pictures in order.
        tiles: Tiles of each sequence.
        token_ids: [R, L]; visual tokens carry the context token.
        positions: [R, L], from 0 in every sequence.
        sequences: [R, L]: the number of the sequence, -1 in the padding.
        branches: [R, L]: 0 in the prefix, 1.. in the branches of a sequence.
        visual_places: [v], the place of every visual token.
        answer_places: [n], the place before every answer token, where it is predicted.
        answers: [n], the answer tokens.
        answer_branches: [n], the number of each one's branch, counted over all sequences.
    """

    pixels: torch.Tensor
    tiles: tuple[int, ...]
    token_ids: torch.Tensor
    positions: torch.Tensor
    sequences: torch.Tensor
    branches: torch.Tensor
    visual_places: torch.Tensor
    answer_places: torch.Tensor
    answers: torch.Tensor
    answer_branches: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """Put the tensors on a device."""
        moved = {
            field.name: getattr(self, field.name).to(device)
            for field in fields(self)
            if field.name != "tiles"
        }
        return Batch(tiles=self.tiles, **moved)

    def attention_mask(self) -> torch.Tensor:
        """[R, 1, L, L] bool: earlier tokens of one's own sequence, in its prefix or own branch."""
        length = self.branches.shape[1]
        own = self.branches[:, :, None] == self.branches[:, None, :]
        prefix = (self.branches == 0)[:, None, :]
        together = self.sequences[:, :, None] == self.sequences[:, None, :]
        earlier = torch.ones(length, length, dtype=torch.bool, device=own.device).tril()
        return ((own | prefix) & together & earlier)[:, None]


class Batcher:
    """Turns pictures and questions into batches; the tiles' tokens decide the prefix's length."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        ids = tokenizer.get_vocab(with_added_tokens=True)
        self._start, self._end = ids[IMAGE_START], ids[IMAGE_END]
        self._context, self._end_of_turn = ids[IMAGE_CONTEXT], ids[END_OF_TURN]

    @property
    def context_id(self) -> int:
        """Token that stands for a visual token."""
        return self._context

    def batch(
        self, asked: list[PictureQuestions], tile_tokens: list[list[int]], pixels: torch.Tensor
    ) -> Batch:
        """Build a batch.

        Args:
            asked: Its sequences.
            tile_tokens: For each sequence the number of visual tokens of each tile.
            pixels: [T, 3, S, S], all tiles in order.
        """
        sequences = [
            self._sequence(each, tokens) for each, tokens in zip(asked, tile_tokens, strict=True)
        ]
        rows = pack_rows([len(sequence) for sequence in sequences])
        length = max(sum(len(sequences[number]) for number in row) for row in rows)
        shape = len(rows), length
        token_ids, positions, branches = (torch.zeros(shape, dtype=torch.int64) for _ in range(3))
        numbers = torch.full(shape, -1)
        starts: dict[int, int] = {}
        for row, members in enumerate(rows):
            column = 0
            for number in members:
                sequence = sequences[number]
                taken = row, slice(column, column + len(sequence))
                token_ids[taken] = torch.tensor(sequence.token_ids)
                positions[taken] = torch.tensor(sequence.positions)
                branches[taken] = torch.tensor(sequence.branches)
                numbers[taken] = number
                starts[number] = row * length + column
                column += len(sequence)
        places = _Places.of(sequences, starts, self._context)
        return Batch(
            pixels=pixels,
            tiles=tuple(len(tokens) for tokens in tile_tokens),
            token_ids=token_ids,
            positions=positions,
            sequences=numbers,
            branches=branches,
            visual_places=torch.tensor(places.visual, dtype=torch.int64),
            answer_places=torch.tensor(places.answer, dtype=torch.int64),
            answers=torch.tensor(places.answers, dtype=torch.int64),
            answer_branches=torch.tensor(places.answer_branches, dtype=torch.int64),
        )

    def prefix_ids(self, pictures: tuple[TiledImage, ...], tile_tokens: list[int]) -> list[int]:
        """The user turn opened, and every picture with its visual tokens."""
        ids = self._encode(USER)
        remaining = iter(tile_tokens)
        for number, picture in enumerate(pictures, start=1):
            if len(pictures) > 1:
                ids += self._encode(f"Image-{number}: ")
            num_tokens = sum(next(remaining) for _ in range(len(picture.pixels)))
            ids += [self._start, *[self._context] * num_tokens, self._end, *self._encode("\n")]
        return ids

    def _sequence(self, asked: PictureQuestions, tile_tokens: list[int]) -> "_Sequence":
        sequence = _Sequence([], [], [], [])
        prefix = self.prefix_ids(asked.pictures, tile_tokens)
        sequence.extend(prefix, range(len(prefix)), 0, [NO_LABEL] * len(prefix))
        for number, turns in enumerate(asked.branches, start=1):
            ids, labels = self._branch(turns)
            sequence.extend(ids, range(len(prefix), len(prefix) + len(ids)), number, labels)
        return sequence

    def _branch(self, turns: tuple[Turn, ...]) -> tuple[list[int], list[int]]:
        ids: list[int] = []
        wanted: list[int] = []
        for index, turn in enumerate(turns):
            question = self._encode((NEXT_USER if index else "") + turn.question + ASSISTANT)
            answer = [*self._encode(turn.answer), self._end_of_turn]
            ids += [*question, *answer]
            wanted += [*[NO_LABEL] * len(question), *answer]
        # The logits at a token predict the one after it.
        return ids, [*wanted[1:], NO_LABEL]

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids


@dataclass(slots=True)
class _Sequence:
    token_ids: list[int]
    positions: list[int]
    branches: list[int]
    labels: list[int]

    def __len__(self) -> int:
        return len(self.token_ids)

    def extend(self, ids: list[int], positions: range, branch: int, labels: list[int]) -> None:
        self.token_ids += ids
        self.positions += positions
        self.branches += [branch] * len(ids)
        self.labels += labels


@dataclass(slots=True)
class _Places:
    """Places of the batch in the order of its sequences."""

    visual: list[int]
    answer: list[int]
    answers: list[int]
    answer_branches: list[int]

    @classmethod
    def of(cls, sequences: list[_Sequence], starts: dict[int, int], context_id: int) -> "_Places":
        found = cls([], [], [], [])
        first_branch = -1  # branches of a sequence count from 1
        for number, sequence in enumerate(sequences):
            start = starts[number]
            for offset, token in enumerate(sequence.token_ids):
                if token == context_id:
                    found.visual.append(start + offset)
                if sequence.labels[offset] != NO_LABEL:
                    found.answer.append(start + offset)
                    found.answers.append(sequence.labels[offset])
                    found.answer_branches.append(first_branch + sequence.branches[offset])
            first_branch += sequence.branches[-1]
        return found
