"""What the resources of one overlay must be to each other and to the configuration they carry."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from common.errors import ConfigError
from deploy.config import DeployConfig, load_config
from deploy.manifests.needs import needs_of
from deploy.manifests.rendered import PodTemplate, Rendered, Resource, cpus
from deploy.manifests.selection import selection_mistakes


def cluster_mistakes(rendered: Rendered) -> Iterator[str]:
    """Everything that does not fit together."""
    pods = list(rendered.pods())
    yield from selection_mistakes(rendered)
    if rendered.of_kind("Secret"):
        yield "a Secret is in the manifests, for everybody to read"
    try:
        config = _config(rendered.configuration())
    except ConfigError as error:
        yield f"dvd.yaml: {error.message}"
        return
    yield from _doors(pods, config)
    yield from _grace(pods, config)
    for cluster in rendered.of_kind("RayCluster"):
        yield from _room(cluster, config)


def _config(text: str) -> DeployConfig:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "dvd.yaml"
        file.write_text(text, encoding="utf-8")
        return load_config(file, {})


def _doors(pods: list[PodTemplate], config: DeployConfig) -> Iterator[str]:
    router = config.router
    listening = {
        "grpc": router.grpc_port,
        "http": router.own_http_port,
        "metrics": config.metrics_port,
        "router-metrics": router.metrics_port,
    }
    serving = [pod for pod in pods if not pod.is_ray]
    for port in (
        port for pod in serving for each in pod.containers for port in each.get("ports", ())
    ):
        actual = listening.get(port["name"])
        if actual != port["containerPort"]:
            yield f"port {port['name']} is {port['containerPort']}, where dvd.yaml has {actual}"
    if router.host != "0.0.0.0":  # noqa: S104  # the pod's own network
        yield f"the doors listen at {router.host}, where no other pod reaches them"


def _grace(pods: list[PodTemplate], config: DeployConfig) -> Iterator[str]:
    for pod in pods:
        grace = pod.spec.get("terminationGracePeriodSeconds", 30)
        drains = not pod.owner.endswith((" head", " load"))
        if drains and grace <= config.drain_seconds:
            yield f"{pod.owner}: is killed after {grace} s, but drains for {config.drain_seconds:g}"


def _room(cluster: Resource, config: DeployConfig) -> Iterator[str]:
    groups = {group["groupName"]: group for group in cluster["spec"]["workerGroupSpecs"]}
    for needs in needs_of(config):
        role = needs.role
        if role not in groups:
            yield f"there is no worker group {role}"
            continue
        group = groups[role]
        if not needs.is_met_by(group.get("labels", {})):
            yield f"{role}: no node has the labels {needs.labels} that dvd.yaml asks for"
        if not needs.labels:
            yield f"{role}: dvd.yaml lets its replicas run on nodes of the other role"
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        gpus = float(limits.get("nvidia.com/gpu", 0))
        room = needs.room(cpus(limits["cpu"]), gpus) * group["replicas"]
        if room < needs.replicas:
            yield f"{role}: dvd.yaml asks for {needs.replicas} replicas, room is for {room}"
