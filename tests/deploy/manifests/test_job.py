"""Mistakes in the RayJob are found; it runs the image, and on the pod, that it is meant to."""

import shlex
from typing import Any

import pytest
import yaml

from deploy.manifests.check import BASE, JOBS, OVERLAYS, ROOT
from deploy.manifests.command_line import command_mistakes
from deploy.manifests.kubernetes import check_job, has_kuberay_schemas
from deploy.manifests.rendered import Rendered, can_render
from tests.deploy.manifests.planted import Tree

pytestmark = pytest.mark.skipif(not can_render(), reason="there is no kubectl to render jobs")
BENCH = f"{JOBS}/bench"
JOB = f"{BENCH}/job.yaml"
CLUSTER = f"{BASE}/ray-cluster.yaml"


def messages(tree: Tree) -> list[str]:
    return [finding.message for finding in check_job(tree.root, BENCH, BASE)]


@pytest.mark.parametrize(
    ("file", "right", "wrong", "words"),
    [
        (JOB, "--num-prompts", "--num-prompt", "No such option: --num-prompt"),
        (JOB, "dvd bench", "dvd bnech", "No such command 'bnech'"),
        (JOB, "--repeat-share 0.2", "--repeat-share 2", "Invalid value for '--repeat-share'"),
        (JOB, "--server dvd:50051", "--server dvd:50052", "there is no service at dvd:50052"),
        (JOB, "/run/secrets/dvd/api-key", "/run/dvd/key", "nothing is mounted at /run/dvd"),
        (JOB, "ray.io/cluster: dvd", "ray.io/cluster: d", "there is no RayCluster d"),
        (JOB, "K8sJobMode", "SidecarMode", "submissionMode is SidecarMode"),
        (JOB, "backoffLimit: 0", "backoffLimit: 1", "backoffLimit is 1"),
        (JOB, "Finishes: false", "Finishes: true", "shutdownAfterJobFinishes is True"),
        (JOB, "activeDeadlineSeconds: 3600", "suspend: false", "has no activeDeadlineSeconds"),
        (JOB, "entrypointNumCpus: 1", "entrypointNumCpus: 0", "asks for no CPU"),
        (JOB, "entrypointNumCpus: 1", "entrypointNumCpus: 3", "asks for more CPUs than a pod of"),
        (JOB, '{"dvd-load": 1}', "{}", "it would run on the head or in a replica's room"),
        (CLUSTER, "dvd-load:", "load:", "no worker group has the resources {'dvd-load': 1}"),
        (
            JOB,
            "        app.kubernetes.io/part-of: dvd",
            "        a: b",
            "its submitter reach Ray's",
        ),
        (JOB, "dvd-ray-token, key", "ray-token, key", "not have the token of dvd-ray-token"),
        (JOB, "runAsNonRoot: true", "runAsNonRoot: false", "may run as root"),
        (JOB, "Escalation: false", "Escalation: true", "may gain privileges"),
        (JOB, "drop: [ALL]", "drop: [KILL]", "keeps capabilities"),
        (JOB, "type: RuntimeDefault", "type: Unconfined", "is not confined"),
        (f"{BENCH}/kustomization.yaml", "0.1.0-cuda", "latest", "is not of one version"),
        (f"{BENCH}/kustomization.yaml", "- job.yaml", "- jobs.yaml", "jobs.yaml"),
    ],
)
def test_a_mistake_is_found(tree: Tree, file: str, right: str, wrong: str, words: str) -> None:
    tree.plant(file, right, wrong)
    found = messages(tree)
    assert any(words in message for message in found), found


def test_a_job_whose_submitter_is_kuberays_own_is_found(tree: Tree) -> None:
    job = tree.root / JOB
    job.write_text(job.read_text().partition("  # KubeRay's own submitter")[0])
    assert messages(tree) == [
        "RayJob/dvd-bench: has no submitterPodTemplate: KubeRay's own may not run in this namespace"
    ]


@pytest.mark.skipif(not has_kuberay_schemas(), reason="KubeRay's schemas are not here")
@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("clusterSelector:", "clusterSelectors:", "'clusterSelectors' was unexpected"),
        ("entrypointNumCpus: 1", 'entrypointNumCpus: "1"', "'1' is not of type 'number'"),
        ("restartPolicy:", "restart:", "'restart' was unexpected"),
    ],
)
def test_what_kuberay_does_not_allow_is_found(
    tree: Tree, right: str, wrong: str, words: str
) -> None:
    tree.plant(JOB, right, wrong)
    (found,) = messages(tree)
    assert words in found


def test_what_kuberay_makes_of_it_is_a_command_of_ray() -> None:
    (job,) = Rendered.of_overlay(ROOT / BENCH).of_kind("RayJob")
    spec = job["spec"]
    submit = ["ray", "job", "submit", "--address", "http://head:8265", "--no-wait"]
    cpus = ["--entrypoint-num-cpus", f"{spec['entrypointNumCpus']:f}"]
    resources = ["--entrypoint-resources", spec["entrypointResources"]]
    entrypoint = spec["entrypoint"].split()
    assert command_mistakes([*submit, *cpus, *resources, "--", *entrypoint]) == []
    # It stands in a line of the shell.
    assert shlex.split(spec["entrypoint"]) == entrypoint
    assert not set(spec["entrypoint"]) & set("\n;&|<>$`\\\"'()*?")


def test_its_image_is_that_of_the_clusters() -> None:
    (pod,) = Rendered.of_overlay(ROOT / BENCH).pods()
    for overlay in ("eight-gpu-node", "cluster"):
        there = {
            each["image"]
            for pod in Rendered.of_overlay(ROOT / OVERLAYS / overlay).pods()
            for each in pod.containers
        }
        assert there == {each["image"] for each in pod.containers}


def test_the_pod_for_load_is_asked_for_in_its_own_group() -> None:
    patch = yaml.safe_load((ROOT / BENCH / "load-pod.yaml").read_text())
    (cluster,) = Rendered.of_overlay(ROOT / BASE).of_kind("RayCluster")
    tested, replaced = patch
    assert pointed(cluster, tested["path"]) == tested["value"] == "load"
    assert pointed(cluster, replaced["path"]) == 0
    group = pointed(cluster, replaced["path"].removesuffix("/replicas"))
    assert group["minReplicas"] == 0
    assert replaced["value"] == group["maxReplicas"] == 1


def pointed(document: Any, pointer: str) -> Any:
    """What a JSON pointer leads to."""
    for part in pointer.split("/")[1:]:
        document = document[int(part) if part.isdigit() else part]
    return document
