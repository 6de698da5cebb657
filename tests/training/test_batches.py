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
from training.batches import Batch, Batcher, PictureQuestions
from training.forward import answer_logits
from training.questions import Turn
from training.tokenizer import train_tokenizer
from training.trainable_model import TrainableModel
from training.vocabulary import Kind
from vision_service.images import TiledImage
from vision_service.preprocess import Preprocessor

FULL, FEW = 16, 4
CPU = torch.device("cpu")
WORD = Turn(Kind.WORD, "What does the red sign say?", "BANK")
SHAPE = Turn(Kind.SHAPE, "What colour is the big star?", "blue")
MORE = Turn(Kind.FOLLOW_UP, "And the big cross?", "green")
PAIR = Turn(Kind.PAIR, "In which of the two pictures is the big star?", "the second")
TEXT = Turn(Kind.TEXT, "What follows eight?", "nine")
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
SMALL = Case(((1, 1),), ((SHAPE,),), (True,))
SHORT = Case((), ((TEXT,),), ())
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


def branch(batch: Batch, sequence: int, number: int) -> torch.Tensor:
    """Where prefix and one branch of a sequence are: [R, L]."""
    inside = (batch.branches == 0) | (batch.branches == number)
    return inside & (batch.sequences == sequence)


def is_visual(batch: Batch) -> torch.Tensor:
    return batch.token_ids == batcher().context_id


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
    ids = batch.token_ids.masked_fill(is_visual(batch), -1)
    for number, turns in enumerate(case.branches, start=1):
        own = ids[branch(batch, 0, number)].tolist()
        asked = served_ids(chat, case, turns)
        assert own[: len(asked)] == asked
        assert chat.decode(own[len(asked) : -1]) == turns[-1].answer
        assert own[-1] in chat.eos_token_ids


def test_answers_are_the_tokens_after_their_places(
    model: TrainableModel, chat: ChatTokenizer
) -> None:
    cases = tuple(CASES.values())
    batch = pack(model, *cases)
    assert torch.equal(batch.token_ids.flatten()[batch.answer_places + 1], batch.answers)
    told = [turns for case in cases for turns in case.branches]
    for number, turns in enumerate(told):
        own = batch.answers[batch.answer_branches == number].tolist()
        written = [chat.decode([token]) for token in own]
        assert "".join(text or "|" for text in written) == "".join(f"{t.answer}|" for t in turns)
    assert batch.answer_branches.tolist() == sorted(batch.answer_branches.tolist())
    assert int(batch.answer_branches.max()) == len(told) - 1


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_positions_run_on_in_every_branch(model: TrainableModel, case: Case) -> None:
    batch = pack(model, NONE, case)
    for number in range(1, len(case.branches) + 1):
        positions = batch.positions[branch(batch, 1, number)].tolist()
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
    is_answer = torch.zeros(batch.token_ids.numel(), dtype=torch.bool)
    is_answer[batch.answer_places] = True
    for sequence, case in enumerate(cases):
        for number in range(1, len(case.branches) + 1):
            own = branch(batch, sequence, number)
            logits = alone(flash_model_dir, model, case, batch.token_ids[own])
            wanted.append(logits[is_answer.view_as(own)[own]])
    expected = torch.cat(wanted)
    assert expected.std() > 0.5
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert len(batch.answers) == len(found)


def test_other_branches_do_not_leak(model: TrainableModel) -> None:
    other = Turn(Kind.DOTS, "Count the dots.", "seven")
    first, second = (
        Case(ONE.grids, (each, (SHAPE, MORE)), ONE.compressed) for each in ((WORD,), (other, other))
    )
    kept = [packed_logits(model, pack(model, case), case) for case in (first, second)]
    end = len(kept[0]) - 2  # the two answers of the first branch: a word and its end
    assert end == len(kept[1]) - 4
    torch.testing.assert_close(kept[0][2:], kept[1][4:], rtol=0, atol=1e-4)
    assert (kept[0][:2] - kept[1][:2]).abs().max() > 0.1


def test_padding_and_sequences_in_the_same_row_change_nothing(model: TrainableModel) -> None:
    cases = (SMALL, TWO, SHORT)
    batch = pack(model, *cases)
    assert (batch.sequences == -1).any()
    assert {tuple(set(row) - {-1}) for row in batch.sequences.tolist()} == {(1,), (0, 2)}
    found = packed_logits(model, batch, *cases)
    single = [packed_logits(model, pack(model, each), each) for each in cases]
    torch.testing.assert_close(found, torch.cat(single), rtol=0, atol=1e-4)


def test_the_mask_is_what_it_says(model: TrainableModel) -> None:
    batch = pack(model, SMALL, TWO, SHORT, NONE)
    mask = batch.attention_mask()
    for row, sequences in enumerate(batch.sequences.tolist()):
        branches = batch.branches[row].tolist()
        for at, own in enumerate(branches):
            before = [i for i in range(at + 1) if sequences[i] == sequences[at]]
            seen = [i for i in before if branches[i] in (0, own)]
            assert torch.nonzero(mask[row, 0, at])[:, 0].tolist() == seen


def test_a_batch_counts_tiles_and_places_visual_tokens(model: TrainableModel) -> None:
    cases = (ONE, LARGE, NONE, TWO)
    batch = pack(model, *cases)
    assert batch.tiles == (1, 3, 0, 4)
    assert len(batch.pixels) == 8
    places = batch.visual_places
    assert sorted(places.tolist()) == torch.nonzero(is_visual(batch).flatten())[:, 0].tolist()
    of = batch.sequences.flatten()[places].tolist()
    assert of == [0] * 16 + [1] * (4 + 16 + 4) + [3] * (16 + 16 + 4 + 4)
    assert (batch.branches.flatten()[places] == 0).all()


def test_every_sequence_is_in_one_row(model: TrainableModel) -> None:
    batch = pack(model, *CASES.values(), *CASES.values())
    assert len(batch.sequences) < 2 * len(CASES)
    for sequence in range(2 * len(CASES)):
        at = torch.nonzero(batch.sequences == sequence)
        assert len(set(at[:, 0].tolist())) == 1
        assert at[:, 1].tolist() == list(range(int(at[0, 1]), int(at[0, 1]) + len(at)))
