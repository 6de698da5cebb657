"""Small passes of the vision transformer, captured once and replayed.

A pass over a tile or two takes a GPU less time than a CPU needs to launch it, and it is what a
single picture waits for. Passes are padded to a power of two anyway (`device_batches`), so the few
small sizes are captured, the largest first; larger ones keep the device busy as they are. Where
capture fails every pass runs as it would. **It has never run on a card.**
"""

import logging
from functools import partial

import torch

from common.device_graphs import Step, StepCapture
from vision_service.vision_model import VisionModel

log = logging.getLogger(__name__)

# Powers of two, as batches are padded to.
CAPTURED_TILES = (1, 2, 4, 8)


class GraphedEncode:
    """The captured passes of one model; used from its engine's thread alone.

    Args:
        model: On its device.
        tile_size: Side of a tile in pixels.
        capture: How a pass is captured.
    """

    def __init__(self, model: VisionModel, tile_size: int, capture: StepCapture) -> None:
        self._model = model
        self._capture = capture
        size = (CAPTURED_TILES[-1], 3, tile_size, tile_size)
        self._pixels = torch.zeros(size, dtype=model.dtype, device=model.device)
        self._steps: dict[int, Step] = {}

    def prepare(self) -> None:
        """Capture every size."""
        try:
            for num_tiles in reversed(CAPTURED_TILES):
                self._steps[num_tiles] = self._capture(partial(self._encode, num_tiles))
        except RuntimeError:
            log.warning("Passes of the vision transformer cannot be captured.", exc_info=True)
            self._steps.clear()

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """What `VisionModel.encode` gives, by a captured pass where there is one of that size."""
        step = self._steps.get(len(pixels))
        if step is None:
            return self._model.encode(pixels)
        self._pixels[: len(pixels)].copy_(pixels)
        # The next replay writes where this one did, and features are kept.
        return step().clone()

    def _encode(self, num_tiles: int) -> torch.Tensor:
        return self._model.encode(self._pixels[:num_tiles])
