"""What a cluster shows of itself: model, health, reflection, metrics, weights, load."""

from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from common.model_files import list_tensors
from common.rpc import call, open_channel
from protos.dvd.v1 import language_pb2, language_pb2_grpc, vision_pb2, vision_pb2_grpc
from tests import pictures
from tests.integration.metrics import scrape
from tests.integration.requests import wire_request
from tests.local_cluster import LocalCluster
from tests.reference.conversation import user

pytestmark = pytest.mark.asyncio(loop_scope="module")

REQUEST = wire_request((user(pictures.half_blank(448, 224), "What is this?"),), 4)


def address_of(cluster: LocalCluster, name: str) -> str:
    return next(r.metrics_address for r in cluster.roster.replicas if r.name == name)


async def test_the_model_and_its_bounds_are_told(cluster: LocalCluster) -> None:
    model = await cluster.client.model()
    assert (model.model, model.tile_size, model.flash) == ("tiny", 112, True)
    assert (model.full_tokens_per_tile, model.compressed_tokens_per_tile) == (16, 4)
    assert model.max_context_tokens == 4096


async def test_health_and_reflection_answer_on_the_public_door(cluster: LocalCluster) -> None:
    async with open_channel(cluster.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        service = "dvd.v1.InferenceService"
        status = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert status.status == health_pb2.HealthCheckResponse.SERVING
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        question = reflection_pb2.ServerReflectionRequest(list_services="")
        answer = await anext(aiter(stub.ServerReflectionInfo(iter([question]))))
        assert service in [each.name for each in answer.list_services_response.service]


async def test_every_process_counts_what_it_did(cluster: LocalCluster) -> None:
    vision, language = (address_of(cluster, name) for name in ("vision-0", "language-0"))
    before = {each: scrape(each) for each in (vision, language)}
    answer = await cluster.client.answer(REQUEST)
    usage = answer.finished.usage

    def grown(address: str, name: str) -> float:
        return scrape(address)[name] - before[address].get(name, 0.0)

    assert grown(vision, "dvd_vision_tiles_total low") == usage.compressed_tiles > 0
    assert grown(vision, "dvd_vision_tiles_total high") == usage.tiles - usage.compressed_tiles
    assert grown(vision, "dvd_vision_tokens_total after") == usage.visual_tokens
    payload = usage.visual_tokens * 192 * 4
    assert grown(vision, "dvd_embedding_bytes_total sent") == payload
    assert grown(vision, "dvd_embedding_streams_total committed") == len(answer.finished.images)
    assert grown(language, "dvd_embedding_bytes_total received") == payload
    assert grown(language, "dvd_generation_tokens_total") == usage.completion_tokens
    assert grown(language, "dvd_prompt_tokens_total image") == usage.visual_tokens


async def test_the_router_counts_outcomes_and_replicas(cluster: LocalCluster) -> None:
    await cluster.client.answer(REQUEST)
    registry = cluster.router.metrics.registry
    assert registry.get_sample_value("dvd_replicas_up", {"role": "vision"}) == 1
    labels = {"status": "OK", "finish_reason": "length"}
    assert (registry.get_sample_value("dvd_requests_total", labels) or 0) >= 1


async def test_each_role_holds_its_own_tensors_and_no_other(
    cluster: LocalCluster, flash_model_dir: Path
) -> None:
    entries = list_tensors(flash_model_dir).values()
    language_bytes = sum(
        entry.end - entry.begin for entry in entries if entry.name.startswith("language_model.")
    )
    vision_bytes = sum(entry.end - entry.begin for entry in entries) - language_bytes
    rope_bytes = 2 * 16 * 4  # the rotary frequencies, computed, not loaded
    held = {}
    for replica in cluster.roster.replicas:
        async with open_channel(replica.address) as channel:
            if replica.role == "vision":
                vision = vision_pb2_grpc.VisionServiceStub(channel)
                asked = vision.GetServerInfo(vision_pb2.VisionServiceGetServerInfoRequest())
            else:
                language = language_pb2_grpc.LanguageServiceStub(channel)
                asked = language.GetServerInfo(language_pb2.LanguageServiceGetServerInfoRequest())
            held[replica.role] = (await call(asked)).info.weight_bytes
    assert held == {"vision": vision_bytes, "language": language_bytes + rope_bytes}
