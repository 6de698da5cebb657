"""Pictures that travel inside a JSON request, as `data:` URIs."""

import base64
import binascii
from dataclasses import dataclass

from common.errors import InvalidImageError, InvalidRequestError

PREFIX = "data:"
MARKER = ";base64"


@dataclass(frozen=True, slots=True)
class DataPicture:
    """A picture file.

    Attributes:
        data: Its bytes.
        mime_type: Declared type; empty where none is given.
    """

    data: bytes
    mime_type: str


def read_data_uri(uri: str, field: str) -> DataPicture:
    """Decode `data:image/png;base64,...`.

    Args:
        uri: What the client calls the picture's URL.
        field: Where it stands in the request, for errors.

    Raises:
        InvalidRequestError: It points elsewhere; nothing is fetched.
        InvalidImageError: It is no base64.
    """
    if uri[: len(PREFIX)].lower() != PREFIX:
        raise InvalidRequestError(
            "Pictures are taken as data: URIs alone; URLs are not fetched.", field
        )
    head, comma, encoded = uri[len(PREFIX) :].partition(",")
    if not comma or not head.lower().endswith(MARKER):
        raise InvalidImageError("A data: URI of a picture must be base64.", field)
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidImageError("The base64 of a data: URI is damaged.", field) from error
    return DataPicture(data, head[: -len(MARKER)].partition(";")[0].lower())
