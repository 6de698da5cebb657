"""The two models of the ablation: equal shapes, with and without the visual resolution router.

Weights are random: what is measured does not depend on their values. The shape is chosen for one
vision thread beside one language thread: with pictures of five tiles and the answers of the goals,
vision is a little less than half of the work. The vision transformer is deep and narrow, as the
published ones are, because gate and second projector cost the more beside it the shallower it is.
The language model is far larger than the processor's caches, because a step of a few answers then
costs the reading of the weights, as it does on a GPU. Tiles are of 168 px, so that a request takes
tenths of a second: 144 patches, 36 visual tokens, or 9 compressed.
"""

from dataclasses import replace
from pathlib import Path

from common.model_config import CheckpointLayout
from common.model_files import RANDOM_WEIGHTS_NOTE
from training.build_checkpoint import CheckpointOptions, build_checkpoint
from training.checkpoint_shape import MICRO, CheckpointShape, TextShape

TILE_SIZE = 168
SHAPE = CheckpointShape(
    vision=replace(
        MICRO.vision,
        hidden_size=160,
        num_layers=18,
        num_heads=5,
        intermediate_size=640,
        tile_size=TILE_SIZE,
    ),
    text=TextShape(
        hidden_size=768,
        num_layers=3,
        num_heads=12,
        num_kv_heads=6,
        head_dim=64,
        intermediate_size=2304,
    ),
)
# Picture sides that the tiler cuts into so many tiles, thumbnail included.
SIDES = {1: TILE_SIZE, 5: 2 * TILE_SIZE, 10: 3 * TILE_SIZE}


def build_model(
    folder: Path,
    flash: bool,
    shape: CheckpointShape = SHAPE,
    layout: CheckpointLayout = CheckpointLayout.ORIGINAL,
) -> Path:
    """Build a checkpoint, or find the one that was built there before.

    Args:
        folder: Where both have a folder of their own.
        flash: Whether it has the visual resolution router.
        shape: How large.
        layout: How files and tensors are named; all of a folder in one.
    """
    directory = folder / ("flash" if flash else "plain")
    # Written last.
    if not (directory / RANDOM_WEIGHTS_NOTE).exists():
        build_checkpoint(directory, CheckpointOptions(shape=shape, flash=flash, layout=layout))
    return directory
