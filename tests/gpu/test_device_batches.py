"""Batches to a CUDA device and results back."""

import pytest
import torch

from tests.vision_service.conftest import SHAPE
from vision_service.device_batches import DeviceBatches

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture
def batches() -> DeviceBatches:
    return DeviceBatches(torch.device("cuda"), torch.bfloat16, SHAPE, 16)


@pytest.mark.parametrize(("sizes", "rows"), [([1], 1), ([2, 1], 4), ([5, 4], 16)])
def test_tiles_stand_in_order_and_the_rest_is_blank(
    batches: DeviceBatches, sizes: list[int], rows: int
) -> None:
    for _ in range(2):
        tiles = [torch.rand(size, 3, SHAPE.tile_size, SHAPE.tile_size) for size in sizes]
        pixels = batches.begin(batches.load(tiles))
        assert (pixels.device.type, len(pixels)) == ("cuda", rows)
        assert torch.equal(pixels[: sum(sizes)].cpu(), torch.cat(tiles).to(torch.bfloat16))
        assert not pixels[sum(sizes) :].any()


def test_batches_in_quick_succession_do_not_write_over_each_other(batches: DeviceBatches) -> None:
    tiles = [
        torch.full((16, 3, SHAPE.tile_size, SHAPE.tile_size), number)
        for number in map(float, range(9))
    ]
    sums = [batches.begin(batches.load([each])).float().sum() for each in tiles]
    assert [float(each) for each in sums] == [float(each.sum()) for each in tiles]


def test_what_is_fetched_is_whole(batches: DeviceBatches) -> None:
    values = torch.rand(7, 5, device="cuda").T
    fetched = batches.fetch(values)
    assert fetched.is_contiguous()
    assert torch.equal(fetched, values.cpu())
