"""Pictures and questions as one padded batch: several questions share a picture's prefix.

A sequence is the prefix (the user turn opened, the pictures) and branches (a question and its
answer each). A branch sees the prefix and itself, and its positions go on where the prefix ends,
so each branch is computed exactly as a conversation of its own.
"""

from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from training.questions import Turn
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
    """A padded batch of B sequences of at most L tokens, over T tiles.

    Attributes:
        pixels: [T, 3, S, S], all tiles of all pictures in order.
        tiles: Tiles of each sequence.
        token_ids: [B, L]; visual tokens carry the context token.
        positions: [B, L].
        branches: [B, L]: 0 in the prefix, 1.. in the branches, -1 in the padding.
        labels: [B, L]: the token to predict next, or `NO_LABEL`.
        is_visual: [B, L]: whether a visual token stands there.
    """

    pixels: torch.Tensor
    tiles: tuple[int, ...]
    token_ids: torch.Tensor
    positions: torch.Tensor
    branches: torch.Tensor
    labels: torch.Tensor
    is_visual: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """Put the tensors on a device."""
        return Batch(
            pixels=self.pixels.to(device),
            tiles=self.tiles,
            token_ids=self.token_ids.to(device),
            positions=self.positions.to(device),
            branches=self.branches.to(device),
            labels=self.labels.to(device),
            is_visual=self.is_visual.to(device),
        )

    def attention_mask(self) -> torch.Tensor:
        """[B, 1, L, L] bool: earlier tokens of the prefix and of one's own branch."""
        length = self.branches.shape[1]
        own = self.branches[:, :, None] == self.branches[:, None, :]
        prefix = (self.branches == 0)[:, None, :]
        earlier = torch.ones(length, length, dtype=torch.bool, device=own.device).tril()
        return ((own | prefix) & earlier)[:, None]


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
        rows = [self._row(each, tokens) for each, tokens in zip(asked, tile_tokens, strict=True)]
        length = max(len(row.token_ids) for row in rows)

        def padded(values: list[int], filler: int) -> list[int]:
            return values + [filler] * (length - len(values))

        token_ids = torch.tensor([padded(row.token_ids, 0) for row in rows])
        return Batch(
            pixels=pixels,
            tiles=tuple(len(tokens) for tokens in tile_tokens),
            token_ids=token_ids,
            positions=torch.tensor([padded(row.positions, 0) for row in rows]),
            branches=torch.tensor([padded(row.branches, -1) for row in rows]),
            labels=torch.tensor([padded(row.labels, NO_LABEL) for row in rows]),
            is_visual=token_ids == self._context,
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

    def _row(self, asked: PictureQuestions, tile_tokens: list[int]) -> "_Row":
        row = _Row([], [], [], [])
        prefix = self.prefix_ids(asked.pictures, tile_tokens)
        row.extend(prefix, range(len(prefix)), 0, [NO_LABEL] * len(prefix))
        for number, turns in enumerate(asked.branches, start=1):
            ids, labels = self._branch(turns)
            row.extend(ids, range(len(prefix), len(prefix) + len(ids)), number, labels)
        return row

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
class _Row:
    token_ids: list[int]
    positions: list[int]
    branches: list[int]
    labels: list[int]

    def extend(self, ids: list[int], positions: range, branch: int, labels: list[int]) -> None:
        self.token_ids += ids
        self.positions += positions
        self.branches += [branch] * len(ids)
        self.labels += labels
