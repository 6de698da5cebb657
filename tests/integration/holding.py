"""Fill a language replica's inbox with a request whose pictures never come."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from common.rpc import each, open_channel
from protos.dvd.v1 import inference_pb2, language_pb2, language_pb2_grpc
from tests.local_cluster import LocalCluster


@asynccontextmanager
async def hold_inbox(cluster: LocalCluster, num_tiles: int) -> AsyncIterator[None]:
    """Hold room for one picture of so many tiles, for the length of the context."""
    replica = next(each for each in cluster.roster.replicas if each.role == "language")
    image = language_pb2.PromptImage(image_key=b"never comes", num_tiles=num_tiles)
    group = language_pb2.PromptImageGroup(images=[image])
    part = language_pb2.PromptPart(image_group=group)
    request = language_pb2.LanguageServiceGenerateRequest(
        request_id="holding",
        messages=[language_pb2.PromptMessage(role=inference_pb2.ROLE_USER, parts=[part])],
        sampling=inference_pb2.SamplingParameters(max_tokens=1, seed=0),
        model_fingerprint=replica.fingerprint,
    )
    async with open_channel(replica.address) as channel:
        answer = language_pb2_grpc.LanguageServiceStub(channel).Generate(request)
        assert (await anext(each(answer))).HasField("accepted")
        yield
        answer.cancel()
