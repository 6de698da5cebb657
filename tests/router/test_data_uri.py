"""Pictures inside a request: decoded, or refused by their place; nothing is ever fetched."""

import pytest

from common.errors import InvalidImageError, InvalidRequestError
from router.data_uri import DataPicture, read_data_uri


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("data:image/png;base64,aGk=", DataPicture(b"hi", "image/png")),
        ("DATA:Image/PNG;charset=x;BASE64,aGk=", DataPicture(b"hi", "image/png")),
        ("data:;base64,", DataPicture(b"", "")),
    ],
)
def test_a_data_uri_is_decoded(uri: str, expected: DataPicture) -> None:
    assert read_data_uri(uri, "here") == expected


@pytest.mark.parametrize(
    "uri", ["https://a.b/c.png", "http://a/", "file:///etc/passwd", "aGk=", "", "data"]
)
def test_nothing_is_fetched(uri: str) -> None:
    with pytest.raises(InvalidRequestError, match="not fetched") as caught:
        read_data_uri(uri, "here")
    assert caught.value.field == "here"


@pytest.mark.parametrize(
    "uri",
    ["data:image/png,hi", "data:image/png;base64", "data:image/png;base64,a", "data:;base64,a-b_"],
)
def test_what_is_no_base64_is_no_picture(uri: str) -> None:
    with pytest.raises(InvalidImageError) as caught:
        read_data_uri(uri, "here")
    assert caught.value.field == "here"
