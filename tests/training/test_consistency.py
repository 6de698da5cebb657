"""Consistency: rates, loss, what learns in which part, and how the parts follow each other."""

import json
import math
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from training.batches import Batcher, PictureQuestions
from training.consistency import (
    ConsistencyBatch,
    ConsistencyLoss,
    ConsistencyMaker,
    divergence,
    shows_number,
    train_consistency,
    train_part,
)
from training.consistency_parts import (
    PARTS,
    ConsistencyPart,
    DrawRates,
    Rates,
    rates_as_served,
    rates_per_picture,
    rates_per_tile,
)
from training.dense_labels import NOTHING
from training.forward import answer_logits
from training.optimizer import TwoOptimizers
from training.picture_data import ask_much, ask_relations, ask_several, ask_widely
from training.run import write_losses
from training.stage import LOSSES_FILE, STATE_FILE, StageFolders
from training.tokenizer import train_tokenizer
from training.trainable_model import TrainableModel
from training.vocabulary import Kind

CPU = torch.device("cpu")
PICTURES = st.lists(st.integers(1, 7), max_size=12)
PROJECTOR, UNIFORM, MIXED, *_ = PARTS


def source(name: object) -> random.Random:
    return random.Random(f"{name}")  # noqa: S311 - drawing, not secrets


def by_picture(rates: Sequence[bool], tiles: Sequence[int]) -> Iterator[Rates]:
    remaining = iter(rates)
    return ([next(remaining) for _ in range(num_tiles)] for num_tiles in tiles)


@given(PICTURES, st.integers())
def test_all_tiles_of_a_picture_share_one_rate(tiles: list[int], seed: int) -> None:
    rates = rates_per_picture(tiles, source(seed))
    assert len(rates) == sum(tiles)
    assert all(len(set(picture)) == 1 for picture in by_picture(rates, tiles))


def test_half_of_the_pictures_are_compressed() -> None:
    tiles = [3] * 4000
    compressed = [picture[0] for picture in by_picture(rates_per_picture(tiles, source(1)), tiles)]
    assert sum(compressed) / len(compressed) == pytest.approx(0.5, abs=0.03)


def test_some_pictures_stay_whole_and_the_others_mix_rates() -> None:
    tiles = [7] * 4000
    pictures = list(by_picture(rates_per_tile(tiles, source(2)), tiles))
    mixed = [picture for picture in pictures if any(picture)]
    assert len(mixed) / len(pictures) == pytest.approx(0.7, abs=0.03)
    assert sum(map(sum, mixed)) / (7 * len(mixed)) == pytest.approx(0.6, abs=0.02)
    at_each = [sum(picture[at] for picture in mixed) / len(mixed) for at in range(7)]
    assert at_each == pytest.approx([0.6] * 7, abs=0.04)


def test_as_served_most_tiles_are_compressed_and_few_pictures_stay_whole() -> None:
    tiles = [7] * 4000
    pictures = list(by_picture(rates_as_served(tiles, source(3)), tiles))
    mixed = [picture for picture in pictures if any(picture)]
    assert len(mixed) / len(pictures) == pytest.approx(0.9, abs=0.02)
    assert sum(map(sum, mixed)) / (7 * len(mixed)) == pytest.approx(0.75, abs=0.02)


@pytest.mark.parametrize("draw_rates", [rates_per_picture, rates_per_tile, rates_as_served])
def test_no_picture_needs_no_rate(draw_rates: DrawRates) -> None:
    assert draw_rates([], source(1)) == []


def test_parts_are_the_published_stage_among_ours() -> None:
    assert [part.name for part in PARTS] == [
        "projector", "uniform", "mixed", "served", "kept", "settled",
    ]  # fmt: skip
    assert [part.draw_rates for part in PARTS] == [
        rates_per_picture,
        rates_per_picture,
        rates_per_tile,
        *[rates_as_served] * 3,
    ]
    assert [part.ask_about for part in PARTS] == [ask_several, ask_much] + [ask_widely] * 4
    assert [part.starts_from for part in PARTS] == [(), (), (), (), ("mixed",), ("served", "kept")]


def test_divergence_is_what_the_formula_says() -> None:
    drawn = torch.randn(2, 5, 11, generator=torch.Generator().manual_seed(1)) * 3
    total = 0.0
    for wanted, found in zip(drawn[0].double(), drawn[1].double(), strict=True):
        p, q = wanted.exp() / wanted.exp().sum(), found.exp() / found.exp().sum()
        total += sum(float(a) * math.log(float(a) / float(b)) for a, b in zip(p, q, strict=True))
    assert float(divergence(drawn[0], drawn[1])) == pytest.approx(total / 5, rel=1e-5)
    assert float(divergence(drawn[0], drawn[0] + 7)) == pytest.approx(0, abs=1e-6)


def nothing_compressed(picture_tiles: Sequence[int], _: random.Random) -> Rates:
    return [False] * sum(picture_tiles)


def everything_compressed(picture_tiles: Sequence[int], _: random.Random) -> Rates:
    return [True] * sum(picture_tiles)


def made(directory: Path, draw_rates: DrawRates, num_pictures: int = 4) -> ConsistencyBatch:
    part = ConsistencyPart(
        "", replace(PROJECTOR.recipe, batch_size=num_pictures), draw_rates, ask_several
    )
    return ConsistencyMaker(directory, part)(source("batch"), 0)


def test_a_part_may_leave_tiles_that_show_a_number_at_full_resolution(lively_dir: Path) -> None:
    part = ConsistencyPart("", PROJECTOR.recipe, everything_compressed, ask_several)
    numbers = 0
    for index in range(8):
        name = f"numbers {index}"
        batches = [
            ConsistencyMaker(lively_dir, replace(part, keeps_numbers=keeps))(source(name), 0)
            for keeps in (False, True)
        ]
        assert all(batches[0].compressed)
        # 16 visual tokens a tile at full resolution, 4 of a compressed one.
        kept = batches[1].compressed.count(False)
        visual = [len(batch.mixed.visual_places) for batch in batches]
        assert visual[1] - visual[0] == 12 * kept
        numbers += kept
    assert numbers > 0


def test_a_tile_with_a_digit_in_any_token_shows_a_number() -> None:
    digits = torch.full((3, 16), NOTHING)
    digits[1, 5], digits[2, 15] = 7, 0
    assert shows_number({"digit_0": digits}) == [False, True, True]


def test_the_last_parts_keep_numbers() -> None:
    assert [part.keeps_numbers for part in PARTS] == [False] * 4 + [True] * 2


def test_a_part_asks_what_it_is_about(lively_dir: Path) -> None:
    makers = [
        ConsistencyMaker(
            lively_dir,
            ConsistencyPart("", replace(PROJECTOR.recipe, batch_size=8), rates_per_tile, ask_about),
        )
        for ask_about in (ask_several, ask_relations)
    ]
    asked = [kinds_asked(maker) for maker in makers]
    assert [Kind.FOLLOW_UP in kinds for kinds in asked] == [True, False]


def kinds_asked(maker: ConsistencyMaker) -> set[Kind]:
    batches = [maker(source(f"about {index}"), 0) for index in range(8)]
    pictures = [each for batch in batches for each in batch.asked]
    return {turn.kind for each in pictures for branch in each.branches for turn in branch}


def test_the_same_model_at_full_resolution_does_not_diverge(lively_dir: Path) -> None:
    model = TrainableModel(lively_dir, CPU).requires_grad_(False)
    loss = ConsistencyLoss(model, model)
    assert float(loss(made(lively_dir, nothing_compressed)).objective) == pytest.approx(0, abs=1e-6)
    told = loss(made(lively_dir, everything_compressed))
    assert float(told.objective) > 0.1
    assert float(told.shown) == float(told.objective)


def packed_alone(
    model: TrainableModel, asked: PictureQuestions, rates: Rates, features: torch.Tensor
) -> torch.Tensor:
    full, few = model.config.full_tokens_per_tile, model.config.compressed_tokens_per_tile
    tokens = [few if compressed else full for compressed in rates]
    batch = Batcher(train_tokenizer()).batch([asked], [tokens], torch.empty(0))
    return answer_logits(model, batch, features, rates)


@torch.no_grad()
def test_packed_at_drawn_rates_is_each_packed_by_itself(lively_dir: Path) -> None:
    model = TrainableModel(lively_dir, CPU)
    batch = made(lively_dir, rates_per_tile, num_pictures=8)
    assert len(set(batch.compressed)) == 2
    features = model.vision.encode(batch.full.pixels)
    found = answer_logits(model, batch.mixed, features, batch.compressed)
    rates = by_picture(batch.compressed, batch.full.tiles)
    each = zip(batch.asked, rates, torch.split(features, list(batch.full.tiles)), strict=True)
    wanted = [packed_alone(model, asked, drawn, seen) for asked, drawn, seen in each]
    torch.testing.assert_close(found, torch.cat(wanted), rtol=0, atol=1e-4)
    assert torch.equal(batch.full.answers, batch.mixed.answers)


@torch.no_grad()
def test_the_loss_is_the_divergence_from_the_other_model(
    lively_dir: Path, other_lively_dir: Path
) -> None:
    reference, model = TrainableModel(lively_dir, CPU), TrainableModel(other_lively_dir, CPU)
    batch = made(lively_dir, rates_per_tile)
    wanted, found = [], []
    rates = list(by_picture(batch.compressed, batch.full.tiles))
    pixels = torch.split(batch.full.pixels, list(batch.full.tiles))
    for asked, drawn, own in zip(batch.asked, rates, pixels, strict=True):
        seen = [each.vision.encode(own) for each in (reference, model)]
        wanted.append(packed_alone(reference, asked, [False] * len(own), seen[0]))
        found.append(packed_alone(model, asked, drawn, seen[1]))
    slow = float(divergence(torch.cat(wanted), torch.cat(found)))
    told = ConsistencyLoss(reference, model)(batch)
    assert float(told.objective) == pytest.approx(slow, rel=1e-4)
    assert told.details()["all"] == 0


def test_the_reference_never_changes(untrained_dir: Path) -> None:
    reference = TrainableModel(untrained_dir, CPU).requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in reference.state_dict().items()}
    model = TrainableModel(untrained_dir, CPU)
    UNIFORM.release(model)
    loss = ConsistencyLoss(reference, model)
    optimizers = TwoOptimizers(model.named_parameters(), 5e-3, 5e-3)
    batch = made(untrained_dir, rates_per_tile)
    for _ in range(2):
        optimizers.step(loss(batch).objective, 1.0)
    after = reference.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    moved = model.state_dict()
    assert any(not torch.equal(moved[name], tensor) for name, tensor in before.items())


def short(part: ConsistencyPart, num_steps: int = 2) -> ConsistencyPart:
    return replace(part, recipe=replace(part.recipe, num_steps=num_steps, batch_size=4))


def changed(before: Path, after: Path) -> set[str]:
    """Top-level modules of the tensors that differ."""
    old, new = (load_file(each / "model.safetensors") for each in (before, after))
    assert old.keys() == new.keys()
    return {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])}


@pytest.mark.parametrize(
    ("part", "learning"),
    [
        (PROJECTOR, {"mlp2"}),
        (UNIFORM, {"vision_model", "mlp1", "mlp2", "language_model"}),
        (MIXED, {"vision_model", "mlp1", "mlp2", "language_model"}),
    ],
    ids=["projector", "uniform", "mixed"],
)
def test_what_learns_in_a_part(
    part: ConsistencyPart, learning: set[str], lively_dir: Path, tmp_path: Path
) -> None:
    losses = train_part(short(part), StageFolders(lively_dir, tmp_path), lively_dir, CPU)
    assert len(losses) == 2
    assert changed(lively_dir, tmp_path) == learning
    assert (tmp_path / LOSSES_FILE).is_file()
    assert not (tmp_path / STATE_FILE).exists()


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_the_gate_is_frozen_in_every_part(part: ConsistencyPart, lively_dir: Path) -> None:
    model = TrainableModel(lively_dir, CPU)
    part.release(model)
    free = {name for name, each in model.named_parameters() if each.requires_grad}
    gate = tuple(f"vision.{each}." for each in ("gating", "pooling_before_gating"))
    assert not any(name.startswith(gate) for name in free)
    assert all(name.startswith("vision.mlp2.") for name in free) == (part is PROJECTOR)
    assert {name.split(".")[0] for name in free} == (
        {"vision"} if part is PROJECTOR else {"vision", "language"}
    )


def test_the_divergence_falls_when_the_projector_of_compressed_tiles_learns(
    lively_dir: Path,
) -> None:
    reference, model = (TrainableModel(lively_dir, CPU) for _ in range(2))
    PROJECTOR.release(model)
    loss = ConsistencyLoss(reference, model)
    optimizers = TwoOptimizers(model.named_parameters(), 5e-3, 2e-3)
    batch = made(lively_dir, everything_compressed)
    losses = []
    for _ in range(8):
        told = loss(batch)
        losses.append(float(told.shown.detach()))
        optimizers.step(told.objective, 1.0)
    assert losses[-1] < 0.8 * losses[0]


def test_a_part_goes_on_where_the_complete_one_before_ended(
    lively_dir: Path, other_lively_dir: Path, tmp_path: Path
) -> None:
    """The first part is put there complete, with weights that no training would find."""
    shutil.copytree(other_lively_dir, tmp_path / "projector")
    write_losses([1.0], tmp_path / "projector" / LOSSES_FILE)
    parts = (PROJECTOR, replace(short(PROJECTOR, 1), name="next"))
    last = train_consistency(StageFolders(lively_dir, tmp_path), CPU, parts)
    assert last == tmp_path / "next"
    assert changed(tmp_path / "projector", last) == {"mlp2"}


def test_complete_parts_are_left_alone(lively_dir: Path, tmp_path: Path) -> None:
    parts = [short(PROJECTOR, 1), short(MIXED, 1)]
    folders = StageFolders(lively_dir, tmp_path)
    last = train_consistency(folders, CPU, parts)
    files = list(chain.from_iterable((tmp_path / part.name).iterdir() for part in parts))
    written = [file.stat().st_mtime_ns for file in files]
    assert train_consistency(folders, CPU, parts) == last == tmp_path / "mixed"
    assert [file.stat().st_mtime_ns for file in files] == written


def test_every_part_compares_with_the_model_before_all_of_them(
    lively_dir: Path, other_lively_dir: Path, tmp_path: Path
) -> None:
    """With nothing compressed, only the weights are compared."""
    shutil.copytree(other_lively_dir, tmp_path / "projector")
    write_losses([1.0], tmp_path / "projector" / LOSSES_FILE)
    still = replace(short(UNIFORM, 1), draw_rates=nothing_compressed, name="next")
    train_consistency(StageFolders(lively_dir, tmp_path), CPU, (PROJECTOR, still))
    assert losses_of(tmp_path / "next")[0] > 1
    folders = StageFolders(lively_dir, tmp_path / "same")
    assert train_part(still, folders, lively_dir, CPU) == pytest.approx([0], abs=1e-5)


def losses_of(directory: Path) -> list[float]:
    losses: list[float] = json.loads((directory / LOSSES_FILE).read_text())
    return losses
