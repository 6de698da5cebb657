"""The embedding stream into a real language replica: each fault has its error, and heals."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
import torch

from common.config import LanguageServiceConfig
from common.errors import (
    DvdError,
    EmbeddingRejectedError,
    FeaturesNotFoundError,
    MismatchError,
    SlotTakenError,
    UnavailableError,
)
from common.rpc import call, each, open_channel
from common.rpc_status import error_of
from common.tensor_codec import checksum, tensor_bytes
from protos.dvd.v1 import (
    embedding_pb2,
    inference_pb2,
    language_pb2,
    language_pb2_grpc,
    vision_pb2,
    vision_pb2_grpc,
)
from tests.integration.idle import wait_until_idle
from tests.local_cluster import ClusterOptions, LocalCluster, local_cluster

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = b"0123456789abcdef"
TILE_TOKENS, HIDDEN_SIZE = 16, 192
PAYLOAD = bytes(tensor_bytes(torch.linspace(-1, 1, TILE_TOKENS * HIDDEN_SIZE)))
HALF = len(PAYLOAD) // 2
TRIES = 20

Put = embedding_pb2.PutEmbeddingsRequest


class Inbox:
    """A raw client of one language replica."""

    def __init__(self, cluster: LocalCluster) -> None:
        replica = next(r for r in cluster.roster.replicas if r.name == "language-0")
        self.fingerprint = replica.fingerprint
        self.channel = open_channel(replica.address)
        self.stub = language_pb2_grpc.LanguageServiceStub(self.channel)

    def manifest(self, **changes: object) -> Put:
        """A good manifest, or one with some fields changed."""
        fields: dict[str, object] = {
            "slot": embedding_pb2.EmbeddingSlot(request_id="r", image_index=0, attempt=1),
            "image_key": KEY,
            "model_fingerprint": self.fingerprint,
            "dtype": embedding_pb2.D_TYPE_FLOAT32,
            "hidden_size": HIDDEN_SIZE,
            "tile_tokens": [TILE_TOKENS],
            "num_bytes": len(PAYLOAD),
        }
        return Put(manifest=embedding_pb2.EmbeddingManifest(**(fields | changes)))

    async def put(self, *messages: Put) -> embedding_pb2.PutEmbeddingsResponse:
        """Send one stream; the last answer.

        A receiver that refuses what comes first may reset the stream under the next write, and
        gRPC then tells only that it broke: once more, until it tells why.
        """
        for _ in range(TRIES):
            try:
                stream = self.stub.PutEmbeddings(iter(messages))
                return [answer async for answer in each(stream)][-1]
            except UnavailableError as broken:
                if "broke off" not in broken.message:
                    raise
        raise AssertionError("the stream broke every time")

    def generate(self, image_key: bytes = KEY) -> grpc.aio.UnaryStreamCall:
        """Begin an answer that waits for one picture of one tile, unless it is kept."""
        resolution = None if image_key == KEY else WHOLE_TILE
        image = language_pb2.PromptImage(image_key=image_key, num_tiles=1, resolution=resolution)
        group = language_pb2.PromptImageGroup(images=[image])
        parts = [
            language_pb2.PromptPart(image_group=group),
            language_pb2.PromptPart(text="What is this?"),
        ]
        message = language_pb2.PromptMessage(role=inference_pb2.ROLE_USER, parts=parts)
        return self.stub.Generate(
            language_pb2.LanguageServiceGenerateRequest(
                request_id="r",
                messages=[message],
                sampling=inference_pb2.SamplingParameters(max_tokens=4, temperature=0, seed=0),
                model_fingerprint=self.fingerprint,
            )
        )


def chunk(begin: int, end: int, **changes: object) -> Put:
    """A good run of payload, or one with some fields changed."""
    data = PAYLOAD[begin:end]
    fields: dict[str, object] = {"byte_offset": begin, "checksum": checksum(data), "inline": data}
    return Put(chunk=embedding_pb2.EmbeddingChunk(**(fields | changes)))


WHOLE = chunk(0, len(PAYLOAD))
# Decided, and so comparable with what is kept.
WHOLE_TILE = language_pb2.PromptImageResolution(compressed=[False])
NOT_FINITE = b"\x00\x00\xc0\x7f" * (len(PAYLOAD) // 4)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(flash_model_dir: Path) -> AsyncIterator[LocalCluster]:
    # Well above the longest request, so that pictures of waiting requests may be held.
    language = LanguageServiceConfig(kv_tokens=16384, max_context_tokens=4096)
    async with local_cluster(flash_model_dir, ClusterOptions(language=language)) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def inbox(cluster: LocalCluster) -> AsyncIterator[Inbox]:
    client = Inbox(cluster)
    yield client
    await client.channel.close()


FAULTS: dict[str, tuple[dict[str, object], list[Put], type[DvdError], str]] = {
    "another model": ({"model_fingerprint": "f00"}, [WHOLE], MismatchError, "sender has f00"),
    "another element type": (
        {"dtype": embedding_pb2.D_TYPE_BFLOAT16}, [WHOLE], MismatchError, "torch.bfloat16",
    ),
    "another width": ({"hidden_size": 64}, [WHOLE], MismatchError, "sender has 64"),
    "no element type": ({"dtype": 0}, [WHOLE], EmbeddingRejectedError, "not supported"),
    "another tile count": (
        {"tile_tokens": [16, 16]}, [WHOLE], EmbeddingRejectedError, "2 tiles, the request 1",
    ),
    "impossible token count": (
        {"tile_tokens": [17]}, [WHOLE], EmbeddingRejectedError, "17 visual tokens",
    ),
    "another byte count": ({"num_bytes": 8}, [WHOLE], EmbeddingRejectedError, "8 bytes"),
    "another picture": ({"image_key": b"x"}, [WHOLE], EmbeddingRejectedError, "another picture"),
    "truncated": ({}, [chunk(0, HALF)], EmbeddingRejectedError, f"after {HALF} of"),
    "nothing sent": ({}, [], EmbeddingRejectedError, "after 0 of"),
    "out of order": ({}, [chunk(HALF, len(PAYLOAD))], EmbeddingRejectedError, "expected is 0"),
    "sent twice": ({}, [chunk(0, HALF), chunk(0, HALF)], EmbeddingRejectedError, "expected is"),
    "after the end": ({}, [WHOLE, WHOLE], EmbeddingRejectedError, "expected is"),
    "too long": (
        {}, [chunk(0, len(PAYLOAD), inline=PAYLOAD + b"x")], EmbeddingRejectedError, "ends at byte",
    ),
    "corrupt": (
        {}, [chunk(0, len(PAYLOAD), checksum=1)], UnavailableError, "fails its checksum",
    ),
    "not finite": (
        {},
        [chunk(0, len(PAYLOAD), inline=NOT_FINITE, checksum=checksum(NOT_FINITE))],
        EmbeddingRejectedError, "not finite",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_refused_precisely_and_a_good_attempt_heals_it(
    cluster: LocalCluster, inbox: Inbox, name: str
) -> None:
    changes, messages, error_class, sentence = FAULTS[name]
    answer = each(inbox.generate())
    assert (await anext(answer)).accepted.needed_images == [0]
    with pytest.raises(error_class) as refused:
        await inbox.put(inbox.manifest(**changes), *messages)
    assert sentence in refused.value.message
    committed = await inbox.put(inbox.manifest(), WHOLE)
    assert committed.committed.num_bytes == len(PAYLOAD)
    assert [event async for event in answer][-1].HasField("finished")
    await wait_until_idle(cluster)


async def test_the_first_complete_attempt_is_kept(cluster: LocalCluster, inbox: Inbox) -> None:
    answer = each(inbox.generate())
    await anext(answer)
    await inbox.put(inbox.manifest(), WHOLE)
    with pytest.raises((SlotTakenError, EmbeddingRejectedError)):
        await inbox.put(inbox.manifest(), WHOLE)
    assert [event async for event in answer][-1].HasField("finished")
    await wait_until_idle(cluster)


@pytest.mark.parametrize("name", FAULTS)
async def test_what_did_not_arrive_whole_is_not_kept(
    cluster: LocalCluster, inbox: Inbox, name: str
) -> None:
    changes, messages, error_class, _ = FAULTS[name]
    key = name.encode()
    call = inbox.generate(key)
    assert (await anext(each(call))).accepted.needed_images == [0]
    with pytest.raises(error_class):
        await inbox.put(inbox.manifest(**({"image_key": key} | changes)), *messages)
    call.cancel()
    await wait_until_idle(cluster)
    answer = each(inbox.generate(key))
    assert (await anext(answer)).accepted.needed_images == [0]
    await inbox.put(inbox.manifest(image_key=key), WHOLE)
    assert [event async for event in answer][-1].HasField("finished")
    await wait_until_idle(cluster)
    again = each(inbox.generate(key))
    assert (await anext(again)).accepted.needed_images == []
    assert [event async for event in again][-1].finished.cached_tokens > TILE_TOKENS
    await wait_until_idle(cluster)


async def test_another_resolution_than_the_one_decided_is_refused(
    cluster: LocalCluster, inbox: Inbox
) -> None:
    key = b"decided"
    call = inbox.generate(key)
    await anext(each(call))
    with pytest.raises(EmbeddingRejectedError, match="another resolution"):
        await inbox.put(
            inbox.manifest(image_key=key, tile_tokens=[4], num_bytes=len(PAYLOAD) // 4), WHOLE
        )
    call.cancel()
    await wait_until_idle(cluster)


async def test_a_stream_without_a_request_is_refused(inbox: Inbox) -> None:
    with pytest.raises(EmbeddingRejectedError, match="No request waits"):
        await inbox.put(inbox.manifest(), WHOLE)


async def test_a_stream_must_open_with_its_manifest(inbox: Inbox) -> None:
    with pytest.raises(EmbeddingRejectedError, match="opens with its manifest"):
        await inbox.put(WHOLE)


async def test_a_request_paired_with_another_model_is_refused(inbox: Inbox) -> None:
    request = language_pb2.LanguageServiceGenerateRequest(model_fingerprint="f00")
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await anext(aiter(inbox.stub.Generate(request)))
    error = error_of(failure.value)
    assert isinstance(error, MismatchError)
    assert "f00" in error.message
    assert inbox.fingerprint in error.message


async def test_pushing_an_unknown_picture_is_not_found(cluster: LocalCluster) -> None:
    replica = next(r for r in cluster.roster.replicas if r.name == "vision-0")
    channel = open_channel(replica.address)
    stub = vision_pb2_grpc.VisionServiceStub(channel)
    request = vision_pb2.PushRequest(image_key=KEY, dtype=embedding_pb2.D_TYPE_FLOAT32)
    with pytest.raises(FeaturesNotFoundError):
        await call(stub.Push(request))
    await channel.close()


async def test_a_request_that_ends_while_it_is_written_to_frees_its_place(
    cluster: LocalCluster, inbox: Inbox
) -> None:
    answer = inbox.generate()
    await answer.read()
    stream = inbox.stub.PutEmbeddings()
    await stream.write(inbox.manifest())
    await stream.read()
    answer.cancel()
    await wait_until_idle(cluster)
    stream.cancel()
    await asyncio.gather(stream.code(), answer.code())
