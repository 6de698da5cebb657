"""Mistakes in the file for `ray up` are found."""

import pytest

from deploy.manifests.check import RAY_CLUSTER
from deploy.manifests.ray_up import CONFIG, check_ray_cluster
from tests.deploy.manifests.planted import Tree


@pytest.mark.parametrize(
    ("file", "right", "wrong", "words"),
    [
        (RAY_CLUSTER, "max_workers: 5", "max_worker: 5", "'max_worker' was unexpected"),
        (RAY_CLUSTER, "labels: {dvd.role: vision}", "labels: {}", "vision: deploy/configs"),
        (RAY_CLUSTER, "max_workers: 4", "max_workers: 4.5", "4.5 is not of type 'integer'"),
        (RAY_CLUSTER, "--port=6379", "--ports=6379", "No such option"),
        (RAY_CLUSTER, "ray start --addr", "RAY_X=1 ray start --adr", "No such option"),
        (RAY_CLUSTER, "RAY_AUTH_MODE=token", "RAY_AUTH_MODE=disabled", "started without a token"),
        (RAY_CLUSTER, "0.1.0-cuda", "latest", "is not of one version"),
        (CONFIG, "replicas: 8", "replicas: 9", "language: deploy/configs/cluster.yaml asks for 9"),
        (CONFIG, "replicas: 8", "replicas: 8\n    tensor_parallel_size: 2", "room is for 4"),
        (CONFIG, "max_restarts", "max_restart", "Unknown key"),
    ],
)  # fmt: skip
def test_a_mistake_is_found(tree: Tree, file: str, right: str, wrong: str, words: str) -> None:
    tree.plant(file, right, wrong)
    messages = [finding.message for finding in check_ray_cluster(tree.root, RAY_CLUSTER)]
    assert any(words in message for message in messages), messages
