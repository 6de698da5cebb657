"""Every kind of bad input: its code, its field, a fixed sentence, and the next request served."""

import io
import math
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image

from common.config import ImageLimits, LanguageServiceConfig, RouterConfig
from common.errors import DvdError, InvalidImageError, InvalidRequestError, ModelNotFoundError
from protos.dvd.v1 import inference_pb2
from tests import pictures
from tests.integration.idle import wait_until_idle
from tests.integration.requests import wire_request
from tests.local_cluster import ClusterOptions, LocalCluster, local_cluster
from tests.reference.conversation import user

pytestmark = pytest.mark.asyncio(loop_scope="module")

Request = inference_pb2.GenerateRequest
PICTURE = pictures.shapes(100, 100)
OPTIONS = ClusterOptions(
    language=LanguageServiceConfig(kv_tokens=2048, max_context_tokens=1024),
    router=RouterConfig(
        grpc_port=0,
        max_images_per_request=3,
        max_tiles_per_request=26,
        images=ImageLimits(max_bytes=1 << 20),
    ),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(flash_model_dir: Path) -> AsyncIterator[LocalCluster]:
    async with local_cluster(flash_model_dir, OPTIONS) as running:
        yield running


def asking(*parts: str | bytes) -> Request:
    """A good request about these parts."""
    return wire_request((user(*parts),), 4)


def with_sampling(**sampling: float) -> Request:
    """A request with other sampling parameters."""
    request = asking("hello")
    request.sampling.CopyFrom(inference_pb2.SamplingParameters(**sampling))
    return request


def bomb(side: int) -> bytes:
    """A small PNG file whose header claims a huge picture."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    pixels = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def tiff() -> bytes:
    """A picture of a format that is not accepted."""
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "TIFF")
    return stream.getvalue()


def of_another_model() -> Request:
    """A request for a model that is not served."""
    request = asking("hello")
    request.model = "another"
    return request


IMAGE = "messages[0].parts[0].image"
CASES: dict[str, tuple[Callable[[], Request], type[DvdError], str, str]] = {
    "empty messages": (Request, InvalidRequestError, "messages", "at least one message"),
    "undecodable picture": (
        lambda: asking(b"no picture", "?"), InvalidImageError, IMAGE, "damaged or of",
    ),
    "truncated picture": (
        lambda: asking(PICTURE[: len(PICTURE) // 2], "?"), InvalidImageError, IMAGE, "truncated",
    ),
    "196-megapixel bomb": (
        lambda: asking(bomb(14000), "?"), InvalidImageError, IMAGE, "14000 x 14000 pixels",
    ),
    "unsupported format": (
        lambda: asking(tiff(), "?"), InvalidImageError, IMAGE, "unsupported format",
    ),
    "picture file too large": (
        lambda: asking(PICTURE + bytes(1 << 20), "?"), InvalidImageError, IMAGE, "bytes; at most",
    ),
    "too many pictures": (
        lambda: asking(*[PICTURE] * 4), InvalidRequestError, "messages[0].parts[3].image", "3 pict",
    ),
    "too many tiles": (
        lambda: asking(*[pictures.grid(4, 3)] * 3), InvalidRequestError, "messages", "39 tiles",
    ),
    "prompt beyond the context": (
        lambda: asking("word " * 3000), InvalidRequestError, "messages", "limit is 1024",
    ),
    "answer beyond the context": (
        lambda: with_sampling(max_tokens=5000), InvalidRequestError, "messages", "limit is 1024",
    ),
    "no answer tokens": (
        lambda: with_sampling(max_tokens=0), InvalidRequestError, "sampling.max_tokens", "least 1",
    ),
    "negative temperature": (
        lambda: with_sampling(temperature=-1), InvalidRequestError, "sampling.temperature", "is -1",
    ),
    "temperature not a number": (
        lambda: with_sampling(temperature=math.nan),
        InvalidRequestError, "sampling.temperature", "not a number",
    ),
    "wrong model": (of_another_model, ModelNotFoundError, "", "served model is tiny"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
async def test_it_is_refused_and_the_next_request_is_served(
    cluster: LocalCluster, name: str
) -> None:
    make, error_class, field, sentence = CASES[name]
    with pytest.raises(error_class) as refused:
        await cluster.client.answer(make())
    assert getattr(refused.value, "field", "") == field
    assert sentence in refused.value.message
    assert "\n" not in refused.value.message
    await wait_until_idle(cluster)
    answer = await cluster.client.answer(asking(PICTURE, "What is this?"))
    assert answer.finished.usage.completion_tokens
