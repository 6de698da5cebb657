"""Which replicas a configuration asks for."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.config import ImageLimits, LanguageServiceConfig, VisionServiceConfig
from common.replica_server import ReplicaSpec
from common.types import ReplicaRole
from deploy.allocator import ALLOCATOR
from deploy.config import DeployConfig
from deploy.placement import ReplicaPlan
from deploy.plan import plan_replicas
from language_service.actor import LanguageActor, RankPlacement
from vision_service.actor import VisionActor

MODEL_DIR = Path("model")
SPEC = ReplicaSpec("", MODEL_DIR, "cpu", "127.0.0.1", 30.0, "internvl3_5-tiny-flash")


def plan(device: str = "cpu", **sections: Any) -> list[ReplicaPlan]:
    return plan_replicas(DeployConfig.model_validate(sections), MODEL_DIR, "fingerprint", device)


def placement(role: str, **values: Any) -> dict[str, Any]:
    return {role: {"placement": values}}


def test_the_default_is_one_of_each_vision_first() -> None:
    vision, language = plan()
    assert (vision.name, vision.role, vision.actor_class) == (
        "vision-0",
        ReplicaRole.VISION,
        VisionActor,
    )
    assert (language.name, language.role, language.actor_class) == (
        "language-0",
        ReplicaRole.LANGUAGE,
        LanguageActor,
    )


def test_names_are_numbered_by_role() -> None:
    plans = plan(**placement("vision", replicas=2), **placement("language", replicas=3))
    assert [each.name for each in plans] == [
        "vision-0",
        "vision-1",
        "language-0",
        "language-1",
        "language-2",
    ]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"vision-2", "vision-3"}, ["vision-2", "vision-3", "vision-0"]),
        ({"vision-10", "vision-9", "language-4"}, ["vision-9", "vision-10", "vision-0"]),
        ({"vision-1"}, ["vision-1", "vision-0", "vision-2"]),
        ({f"vision-{index}" for index in range(4)}, ["vision-0", "vision-1", "vision-2"]),
    ],
)
def test_replicas_that_run_already_are_taken_over_whatever_their_number(
    found: set[str], expected: list[str]
) -> None:
    config = DeployConfig.model_validate(placement("vision", replicas=3))
    plans = plan_replicas(config, MODEL_DIR, "fingerprint", "cpu", found=frozenset(found))
    assert [each.name for each in plans if each.role is ReplicaRole.VISION] == expected


def test_each_role_is_told_its_own_part_of_the_configuration() -> None:
    vision, language = plan(
        vision={"service": {"max_batch_tiles": 3}},
        language={"service": {"kv_tokens": 77}},
        router={"images": {"max_bytes": 5}},
    )
    spec, service, limits = vision.arguments
    assert spec == replace(SPEC, name="vision-0")
    assert service == VisionServiceConfig(max_batch_tiles=3)
    assert limits == ImageLimits(max_bytes=5)
    assert language.arguments == (
        replace(SPEC, name="language-0"),
        LanguageServiceConfig(kv_tokens=77),
        RankPlacement(num_ranks=1, num_cpus=1.0, num_gpus=0.0),
    )


def test_on_a_cluster_a_replica_listens_where_its_node_is() -> None:
    assert [each.arguments[0].host for each in plan(ray={"address": "auto"})] == [None, None]


@pytest.mark.parametrize(
    ("device", "asked", "expected"),
    [
        ("cpu", None, 0.0),
        ("cuda", None, 1.0),
        ("cuda", 0.5, 0.5),
        ("cuda", 0, 0.0),
        ("cpu", 2, 2.0),
    ],
)
@pytest.mark.parametrize("role", ["vision", "language"])
def test_gpus_follow_the_device_unless_asked_for(
    role: str, device: str, asked: float | None, expected: float
) -> None:
    plans = plan(device, **placement(role, num_gpus=asked))
    assert [each.num_gpus for each in plans if each.role == role] == [expected]


def test_a_group_asks_for_its_cpus_and_gpus_once_a_rank() -> None:
    _, language = plan("cuda", **placement("language", tensor_parallel_size=4, num_cpus=2))
    assert (language.num_ranks, language.num_gpus) == (4, 1.0)
    assert language.arguments[2] == RankPlacement(num_ranks=4, num_cpus=2.0, num_gpus=1.0)


def test_ranks_meet_on_their_node_alone() -> None:
    vision, language = plan()
    assert language.env_vars["NCCL_SOCKET_IFNAME"] == "lo"
    assert "NCCL_SOCKET_IFNAME" not in vision.env_vars


def test_threads_are_bounded_before_the_process_starts() -> None:
    vision, language = plan(
        vision={"service": {"num_threads": 3}}, language={"service": {"num_threads": 5}}
    )
    assert vision.env_vars["OMP_NUM_THREADS"] == "3"
    assert language.env_vars["OMP_NUM_THREADS"] == "5"


def test_every_replica_has_the_allocator_settings() -> None:
    for each in plan(**placement("vision", replicas=2)):
        assert each.env_vars.items() >= ALLOCATOR.items()
