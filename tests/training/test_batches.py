"""A packed branch is exactly the conversation that it stands for, as served and computed alone."""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from common.config import ImageLimits
from common.conversation import ImageGroupPart, PromptMessage, TextPart
from common.types import Role
from language_service.prompt import ImageSegment
from language_service.tokenizer import ChatTokenizer
from tests import pictures as drawn
from tests.reference.flash_model import load_flash_model
from training.batches import NO_LABEL, Batch, Batcher, PictureQuestions
from training.forward import answer_logits, answer_tokens
from training.questions import Turn
from training.tokenizer import train_tokenizer
from training.trainable_model import TrainableModel
from vision_service.images import TiledImage
from vision_service.preprocess import Preprocessor

FULL, FEW = 16, 4
CPU = torch.device("cpu")
WORD = Turn("What does the red sign say?", "BANK")
SHAPE = Turn("What colour is the big star?", "blue")
MORE = Turn("And the big cross?", "green")
PAIR = Turn("In which of the two pictures is the big star?", "the second")
TEXT = Turn("What follows eight?", "nine")
BRANCHES = ((WORD,), (SHAPE, MORE), (SHAPE,))


@dataclass(frozen=True, slots=True)
class Case:
    """One sequence: its pictures by grid, its conversations, which tiles are compressed."""

    grids: tuple[tuple[int, int], ...]
    branches: tuple[tuple[Turn, ...], ...]
    compressed: tuple[bool, ...]


ONE = Case(((1, 1),), BRANCHES, (False,))
LARGE = Case(((2, 1),), BRANCHES, (True, False, True))
TWO = Case(((1, 1), (1, 2)), ((PAIR,), (PAIR, MORE)), (False, False, True, True))
NONE = Case((), ((TEXT,), (TEXT, TEXT)), ())
CASES = {"one": ONE, "large": LARGE, "two": TWO, "none": NONE}


@pytest.fixture(scope="module")
def model(flash_model_dir: Path) -> TrainableModel:
    """Random weights with sharp attention: a token more or less changes every logit."""
    return TrainableModel(flash_model_dir, CPU)


@pytest.fixture(scope="module")
def chat(flash_model_dir: Path) -> ChatTokenizer:
    return ChatTokenizer(flash_model_dir)


@cache
def batcher() -> Batcher:
    return Batcher(train_tokenizer())


def cut(model: TrainableModel, case: Case) -> tuple[TiledImage, ...]:
    preprocessor = Preprocessor(model.config, ImageLimits())
    grids = enumerate(case.grids)
    return tuple(preprocessor.tile(drawn.grid(*grid, seed=seed)) for seed, grid in grids)


def pack(model: TrainableModel, *cases: Case) -> Batch:
    asked = [PictureQuestions(cut(model, case), case.branches) for case in cases]
    tokens = [[FEW if c else FULL for c in case.compressed] for case in cases]
    side = model.config.vision.tile_size
    pixels = [picture.pixels for each in asked for picture in each.pictures]
    return batcher().batch(asked, tokens, torch.cat([torch.empty(0, 3, side, side), *pixels]))


@torch.no_grad()
def packed_logits(model: TrainableModel, batch: Batch, *cases: Case) -> torch.Tensor:
    compressed = [choice for case in cases for choice in case.compressed]
    features = model.vision.encode(batch.pixels) if len(batch.pixels) else batch.pixels
    return answer_logits(model, batch, features, compressed)


def branch(batch: Batch, row: int, number: int) -> torch.Tensor:
    """Where prefix and one branch are in a row."""
    inside = batch.branches[row]
    return (inside == 0) | (inside == number)


def messages(case: Case, turns: tuple[Turn, ...]) -> list[PromptMessage]:
    """The conversation as a client sends it, up to the last question."""
    parts: list[TextPart | ImageGroupPart] = []
    for index in range(len(case.grids)):
        if len(case.grids) > 1:
            parts.append(TextPart(f"Image-{index + 1}: "))
        parts.append(ImageGroupPart((index,)))
    asked = [PromptMessage(Role.USER, (*parts, TextPart(turns[0].question)))]
    for before, turn in pairwise(turns):
        asked.append(PromptMessage(Role.ASSISTANT, (TextPart(before.answer),)))
        asked.append(PromptMessage(Role.USER, (TextPart(turn.question),)))
    return asked


def served_ids(chat: ChatTokenizer, case: Case, turns: tuple[Turn, ...]) -> list[int]:
    """Ids of a conversation as the language service lays it out, -1 for visual tokens."""
    tiles = [c * r + (c * r > 1) for c, r in case.grids]
    ids: list[int] = []
    for segment in chat.layout(messages(case, turns)).segments:
        if isinstance(segment, ImageSegment):
            first = sum(tiles[: segment.image_index])
            own = case.compressed[first : first + tiles[segment.image_index]]
            ids += [-1] * sum(FEW if compressed else FULL for compressed in own)
        else:
            ids += segment.token_ids
    return ids


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_branch_has_the_ids_that_are_served(
    model: TrainableModel, chat: ChatTokenizer, case: Case
) -> None:
    batch = pack(model, case)
    ids = batch.token_ids.masked_fill(batch.is_visual, -1)
    for number, turns in enumerate(case.branches, start=1):
        own = ids[0, branch(batch, 0, number)].tolist()
        asked = served_ids(chat, case, turns)
        assert own[: len(asked)] == asked
        assert chat.decode(own[len(asked) : -1]) == turns[-1].answer
        assert own[-1] in chat.eos_token_ids


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_labels_are_the_answers_and_their_ends(
    model: TrainableModel, chat: ChatTokenizer, case: Case
) -> None:
    batch = pack(model, case)
    assert (batch.labels[batch.branches <= 0] == NO_LABEL).all()
    for number, turns in enumerate(case.branches, start=1):
        at = torch.nonzero(batch.branches[0] == number)[:, 0]
        labels, ids = batch.labels[0, at], batch.token_ids[0, at]
        wanted = [index for index, label in enumerate(labels.tolist()) if label != NO_LABEL]
        assert [int(labels[i]) for i in wanted] == [int(ids[i + 1]) for i in wanted]
        written = [chat.decode([int(labels[i])]) for i in wanted]
        assert "".join(text or "|" for text in written) == "".join(f"{t.answer}|" for t in turns)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_positions_run_on_in_every_branch(model: TrainableModel, case: Case) -> None:
    batch = pack(model, case)
    for number in range(1, len(case.branches) + 1):
        positions = batch.positions[0, branch(batch, 0, number)].tolist()
        assert positions == list(range(len(positions)))


def alone(
    flash_model_dir: Path, model: TrainableModel, case: Case, ids: torch.Tensor
) -> torch.Tensor:
    """Logits [n, vocabulary] of a whole conversation, by the reference, one tile at a time."""
    reference = load_flash_model(flash_model_dir)
    tiles = [tile for picture in cut(model, case) for tile in picture.pixels]
    visual = [
        reference.embedding(reference.features(tile), compressed)
        for tile, compressed in zip(tiles, case.compressed, strict=True)
    ]
    with torch.no_grad():
        embeddings = reference.language.get_input_embeddings()(ids).clone()
        if visual:
            embeddings[ids == batcher().context_id] = torch.cat(visual)
        logits: torch.Tensor = reference.language(inputs_embeds=embeddings[None]).logits[0]
    return logits


def test_packed_logits_are_those_of_each_conversation_alone(
    flash_model_dir: Path, model: TrainableModel
) -> None:
    cases = tuple(CASES.values())
    batch = pack(model, *cases)
    found = packed_logits(model, batch, *cases)
    wanted: list[torch.Tensor] = []
    for row, case in enumerate(cases):
        for number in range(1, len(case.branches) + 1):
            own = branch(batch, row, number)
            logits = alone(flash_model_dir, model, case, batch.token_ids[row, own])
            wanted.append(logits[batch.labels[row, own] != NO_LABEL])
    expected = torch.cat(wanted)
    assert expected.std() > 0.5
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert len(answer_tokens(batch)) == len(found)


def test_other_branches_do_not_leak(model: TrainableModel) -> None:
    other = Turn("Count the dots.", "seven")
    first, second = (
        Case(ONE.grids, (each, (SHAPE, MORE)), ONE.compressed) for each in ((WORD,), (other, other))
    )
    kept = [packed_logits(model, pack(model, case), case) for case in (first, second)]
    end = len(kept[0]) - 2  # the two answers of the first branch: a word and its end
    assert end == len(kept[1]) - 4
    torch.testing.assert_close(kept[0][2:], kept[1][4:], rtol=0, atol=1e-4)
    assert (kept[0][:2] - kept[1][:2]).abs().max() > 0.1


def test_padding_changes_nothing(model: TrainableModel) -> None:
    batch = pack(model, NONE, LARGE)
    assert (batch.branches[0] == -1).any()
    both = packed_logits(model, batch, NONE, LARGE)
    single = packed_logits(model, pack(model, NONE), NONE)
    torch.testing.assert_close(both[: len(single)], single, rtol=0, atol=1e-4)


def test_the_mask_is_what_it_says(model: TrainableModel) -> None:
    batch = pack(model, ONE, NONE)
    mask = batch.attention_mask()
    for row, branches in enumerate(batch.branches.tolist()):
        for at, own in enumerate(branches):
            seen = [i for i in range(at + 1) if branches[i] in (0, own)]
            assert torch.nonzero(mask[row, 0, at])[:, 0].tolist() == seen


def test_a_batch_counts_tiles_and_visual_tokens(model: TrainableModel) -> None:
    batch = pack(model, ONE, LARGE, NONE, TWO)
    assert batch.tiles == (1, 3, 0, 4)
    assert len(batch.pixels) == 8
    assert batch.is_visual.sum(dim=1).tolist() == [16, 4 + 16 + 4, 0, 16 + 16 + 4 + 4]
    assert not (batch.is_visual & (batch.branches != 0)).any()
