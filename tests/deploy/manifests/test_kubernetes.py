"""Mistakes in Kubernetes manifests are found, each in the manifest where it would be made."""

import tomllib

import pytest

from deploy.manifests.check import OVERLAYS, ROOT
from deploy.manifests.kubernetes import check_overlay, has_kuberay_schemas
from deploy.manifests.rendered import Rendered, can_render
from deploy.ray_cluster import OBJECT_STORE_BYTES
from tests.deploy.manifests.kubernetes_mistakes import (
    AGAINST_KUBERAY,
    AGAINST_RULES,
    AGAINST_SCHEMAS,
    BASE,
    CLUSTER,
    Mistakes,
)
from tests.deploy.manifests.planted import Tree

DASHBOARDS = "deploy/grafana/dashboards"
pytestmark = pytest.mark.skipif(not can_render(), reason="there is no kubectl to render overlays")
by_kuberay = pytest.mark.skipif(not has_kuberay_schemas(), reason="KubeRay's schemas are not here")


def messages(tree: Tree, overlay: str = CLUSTER) -> list[str]:
    return [finding.message for finding in check_overlay(tree.root, overlay)]


def missed(tree: Tree, planted: Mistakes) -> list[str]:
    """Plant mistakes; words of those that are not found."""
    words = []
    for file, mistakes in planted.items():
        for right, wrong, told in mistakes:
            tree.plant(file, right, wrong)
            words.append(told)
    found = messages(tree)
    return [each for each in words if not any(each in message for message in found)]


def test_what_no_schema_allows_is_found(tree: Tree) -> None:
    assert missed(tree, AGAINST_SCHEMAS) == []


@by_kuberay
def test_what_kuberay_does_not_allow_is_found(tree: Tree) -> None:
    assert missed(tree, AGAINST_KUBERAY) == []


@pytest.mark.parametrize("file", AGAINST_RULES)
def test_what_the_rules_do_not_allow_is_found(tree: Tree, file: str) -> None:
    assert missed(tree, {file: AGAINST_RULES[file]}) == []


@pytest.mark.parametrize(
    ("file", "right", "wrong"),
    [
        (f"{BASE}/kustomization.yaml", "  - serve.yaml", "  - server.yaml"),
        (f"{CLUSTER}/gpus.yaml", "op: replace", "op: replaced"),
    ],
)
def test_what_kustomize_refuses_is_told(tree: Tree, file: str, right: str, wrong: str) -> None:
    tree.plant(file, right, wrong)
    (found,) = messages(tree)
    assert wrong.rsplit(maxsplit=1)[-1] in found


@pytest.mark.parametrize("overlay", sorted(each.name for each in (ROOT / OVERLAYS).iterdir()))
def test_a_mistake_in_each_overlay_is_found(tree: Tree, overlay: str) -> None:
    tree.plant(f"{OVERLAYS}/{overlay}/dvd.yaml", "max_restarts", "max_restart")
    (found,) = messages(tree, f"{OVERLAYS}/{overlay}")
    assert "did you mean vision.placement.max_restarts" in found


def test_every_rank_of_a_replica_needs_a_gpu_of_its_pod(tree: Tree) -> None:
    right = "placement:\n    replicas: 8\n    num_cpus: 8\n"
    wrong = "placement:\n    replicas: 8\n    num_cpus: 1\n    tensor_parallel_size: 2\n"
    tree.plant(f"{CLUSTER}/dvd.yaml", right, wrong)
    assert messages(tree) == ["language: dvd.yaml asks for 8 replicas, room is for 0"]


def test_a_secret_has_no_place_in_the_manifests(tree: Tree) -> None:
    secret = tree.root / BASE / "secret.yaml"
    secret.write_text("{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {k: v}}\n")
    tree.plant(f"{BASE}/kustomization.yaml", "  - serve.yaml", "  - serve.yaml\n  - secret.yaml")
    assert messages(tree) == ["a Secret is in the manifests, for everybody to read"]


def test_versions_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    rendered = Rendered.of_overlay(ROOT / OVERLAYS / "laptop")
    (cluster,) = rendered.of_kind("RayCluster")
    assert f"ray=={cluster['spec']['rayVersion']}" in pinned
    images = {each["image"] for pod in rendered.pods() for each in pod.containers}
    assert images == {f"dvd:{project['version']}"}


def test_the_nodes_of_replicas_drain_them_first() -> None:
    rendered = Rendered.of_overlay(ROOT / CLUSTER)
    workers = [pod for pod in rendered.pods() if pod.owner.endswith((" vision", " language"))]
    hooks = [each["lifecycle"]["preStop"]["exec"] for pod in workers for each in pod.containers]
    assert hooks == [{"command": ["drain-node"]}] * 2
    built = (ROOT / "deploy/docker/Dockerfile").read_text()
    assert "COPY deploy/docker/drain-node /usr/local/bin/drain-node" in built


def test_the_node_of_the_supervisor_outlives_a_head_as_long_as_those_of_replicas() -> None:
    rendered = Rendered.of_overlay(ROOT / CLUSTER)
    assert rendered.of_kind("RayCluster")[0]["spec"]["gcsFaultToleranceOptions"]
    (serve,) = (pod for pod in rendered.pods() if not pod.is_ray)
    (container,) = serve.spec["containers"]
    # KubeRay's own choice for worker pods.
    waits = {"name": "RAY_gcs_rpc_server_reconnect_timeout_s", "value": "600"}
    assert waits in container["env"]


def test_rays_object_store_fits_into_shared_memory() -> None:
    rendered = Rendered.of_overlay(ROOT / CLUSTER)
    spec = rendered.of_kind("RayCluster")[0]["spec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    sizes = {group["rayStartParams"]["object-store-memory"] for group in groups}
    assert sizes == {str(OBJECT_STORE_BYTES)}
    (serve,) = (pod for pod in rendered.pods() if not pod.is_ray)
    assert (
        f"--object-store-memory={OBJECT_STORE_BYTES}\n"
        in serve.spec["containers"][0]["command"][-1]
    )
    (volume,) = (each for each in serve.spec["volumes"] if each["name"] == "shared-memory")
    assert volume["emptyDir"]["sizeLimit"] == "1Gi"
    assert OBJECT_STORE_BYTES < 1 << 30


def test_every_dashboard_comes_with_the_component_that_monitors() -> None:
    maps = Rendered.of_overlay(ROOT / CLUSTER).of_kind("ConfigMap")
    shown = [each for each in maps if each["metadata"].get("labels", {}).get("grafana_dashboard")]
    files = {file.name: file.read_text() for file in (ROOT / DASHBOARDS).glob("*.json")}
    assert {name: text for each in shown for name, text in each["data"].items()} == files
