"""Batches for a CPU, and the sizes that a CUDA device would see."""

from dataclasses import replace

import pytest
import torch

from tests.vision_service.conftest import SHAPE
from vision_service.device_batches import DeviceBatches, bucket, cpu_tiles

CPU = torch.device("cpu")


@pytest.mark.parametrize("sizes", [[3], [1, 2, 1]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tiles_stand_in_order(sizes: list[int], dtype: torch.dtype) -> None:
    tiles = [torch.rand(size, 3, 8, 8) for size in sizes]
    batches = DeviceBatches(CPU, dtype, SHAPE, 16)
    loaded = batches.load(tiles)
    assert loaded.num_tiles == sum(sizes)
    assert torch.equal(batches.begin(loaded), torch.cat(tiles).to(dtype))


def test_what_is_fetched_is_contiguous() -> None:
    values = torch.arange(6.0).view(2, 3).T
    fetched = DeviceBatches(CPU, torch.float32, SHAPE, 16).fetch(values)
    assert fetched.is_contiguous()
    assert torch.equal(fetched, values)


@pytest.mark.parametrize(
    ("max_tiles", "patches", "expected"),
    [(16, 64, 16), (64, 64, 16), (16, 256, 4), (16, 1024, 1), (16, 1600, 1), (3, 64, 3)],
)
def test_a_cpu_takes_as_many_tiles_as_fill_it(max_tiles: int, patches: int, expected: int) -> None:
    assert cpu_tiles(max_tiles, patches) == expected


def test_large_tiles_run_one_by_one_on_a_cpu() -> None:
    large = replace(SHAPE, tile_size=448, patch_size=14)
    assert DeviceBatches(CPU, torch.float32, large, 16).max_tiles == 1


@pytest.mark.parametrize(("tiles", "expected"), [(1, 1), (2, 2), (3, 4), (5, 8), (16, 16)])
def test_a_device_sees_few_sizes(tiles: int, expected: int) -> None:
    assert bucket(tiles) == expected
