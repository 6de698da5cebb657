"""Arms have equal hardware, and pictures the tiles that cells name."""

from pathlib import Path

import pytest

from benchmarks.ablation_arms import ARMS, NUM_THREADS, Arm
from benchmarks.ablation_models import SHAPE, SIDES
from benchmarks.replica_process import ReplicaProcessSettings
from common.tiling import TilingOptions, choose_grid
from common.types import ReplicaRole
from training.checkpoint_shape import MAX_TILES


def processes(arm: Arm) -> list[ReplicaProcessSettings]:
    return [each for server in arm.servers(Path("model")) for each in server.processes]


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_every_arm_computes_with_two_threads(arm: Arm) -> None:
    threads = [max(each.vision.num_threads, each.language.num_threads) for each in processes(arm)]
    assert sum(threads) == NUM_THREADS


def test_all_arms_have_the_same_room() -> None:
    rooms = set()
    for arm in ARMS:
        by_role = {
            role: [each for each in processes(arm) if role in each.roles] for role in ReplicaRole
        }
        rooms.add(
            (
                sum(each.language.kv_tokens for each in by_role[ReplicaRole.LANGUAGE]),
                sum(each.language.inbox_bytes for each in by_role[ReplicaRole.LANGUAGE]),
                sum(each.vision.feature_cache_bytes for each in by_role[ReplicaRole.VISION]),
            )
        )
    assert len(rooms) == 1


def test_all_arms_batch_alike() -> None:
    batches = {
        (each.vision.max_batch_tiles, each.language.max_batch_tokens, each.language.max_sequences)
        for arm in ARMS
        for each in processes(arm)
    }
    assert len(batches) == 1


@pytest.mark.parametrize(("num_tiles", "side"), SIDES.items())
def test_a_picture_is_cut_into_the_tiles_of_its_cell(num_tiles: int, side: int) -> None:
    options = TilingOptions(SHAPE.vision.tile_size, 1, MAX_TILES, use_thumbnail=True)
    assert choose_grid(side, side, options).num_tiles == num_tiles
