"""What a request says about one picture, within what the operator allows."""

from common.config import RouterConfig
from common.errors import InvalidRequestError
from common.image_options import ImageOptions
from common.tiling import TilingOptions
from protos.dvd.v1 import inference_pb2

DETAILS = (
    inference_pb2.IMAGE_DETAIL_UNSPECIFIED,
    inference_pb2.IMAGE_DETAIL_LOW,
    inference_pb2.IMAGE_DETAIL_HIGH,
)


class ImageOptionsReader:
    """Fills in the options of one deployment's pictures.

    Attributes:
        max_tiles: Most tiles that a picture may ask for.
    """

    def __init__(self, config: RouterConfig, checkpoint: TilingOptions) -> None:
        self.max_tiles = config.max_tiles_per_image or checkpoint.max_tiles
        self._apply_orientation = config.apply_orientation
        self._checkpoint = checkpoint

    def read(self, wire: inference_pb2.Image, field: str) -> ImageOptions:
        """Options of one picture.

        Args:
            wire: The picture.
            field: Where it stands in the request, for errors.

        Raises:
            InvalidRequestError: Its tiles are out of bounds, or its detail is unknown.
        """
        tiling = self._checkpoint.at_most(self._max_tiles(wire, field))
        return ImageOptions(tiling, self._apply_orientation)

    def _max_tiles(self, wire: inference_pb2.Image, field: str) -> int:
        if wire.detail not in DETAILS:
            raise InvalidRequestError("Unknown detail.", f"{field}.detail")
        if wire.HasField("max_tiles"):
            if wire.detail != inference_pb2.IMAGE_DETAIL_UNSPECIFIED:
                raise InvalidRequestError(
                    "A picture has max_tiles or detail, not both.", f"{field}.detail"
                )
            if not 1 <= wire.max_tiles <= self.max_tiles:
                raise InvalidRequestError(
                    f"max_tiles must be from 1 to {self.max_tiles}.", f"{field}.max_tiles"
                )
            return wire.max_tiles
        if wire.detail == inference_pb2.IMAGE_DETAIL_LOW:
            return 1
        if wire.detail == inference_pb2.IMAGE_DETAIL_HIGH:
            return self.max_tiles
        return min(self.max_tiles, self._checkpoint.max_tiles)
