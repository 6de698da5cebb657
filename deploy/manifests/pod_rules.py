"""What every pod must be: restricted, of one version, without a secret in plain, well named."""

from collections.abc import Iterator
from typing import Any

from deploy.manifests.command_line import command_mistakes, commands_of
from deploy.manifests.image_name import is_pinned
from deploy.manifests.plain_secret import plain_secrets
from deploy.manifests.rendered import PodTemplate

# As KubeRay calls the port that it adds where no port has this name.
RAY_METRICS = {"name": "metrics", "containerPort": 8080}
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def pod_mistakes(pod: PodTemplate) -> Iterator[str]:
    """Everything that is wrong with a pod, whatever cluster it runs in."""
    if not pod.spec.get("securityContext", {}).get("runAsNonRoot"):
        yield f"{pod.owner}: may run as root; set runAsNonRoot"
    profile = pod.spec.get("securityContext", {}).get("seccompProfile", {}).get("type")
    if profile != "RuntimeDefault":
        yield f"{pod.owner}: is not confined; set seccompProfile"
    if pod.spec.get("automountServiceAccountToken", True):
        yield f"{pod.owner}: holds a token of the API server that nothing needs"
    volumes = {volume["name"] for volume in pod.spec.get("volumes", ())}
    for container in pod.containers:
        where = f"{pod.owner} {container['name']}"
        for mistake in _container(container):
            yield f"{where}: {mistake}"
        if container in pod.spec["containers"]:
            yield from (f"{where}: {mistake}" for mistake in _probes(container, pod.is_ray))
        if pod.is_ray and not _names_metrics(container):
            yield f"{where}: port 8080 is not called metrics, so KubeRay adds another 8080"
        for mount in container.get("volumeMounts", ()):
            if mount["name"] not in volumes:
                yield f"{where}: there is no volume {mount['name']}"


def _container(container: dict[str, Any]) -> Iterator[str]:
    security = container.get("securityContext", {})
    if security.get("runAsUser") == 0 or security.get("runAsNonRoot") is False:
        yield "runs as root"
    if security.get("privileged") or security.get("allowPrivilegeEscalation", True):
        yield "may gain privileges"
    if security.get("capabilities", {}).get("drop") != ["ALL"]:
        yield "keeps capabilities of root; drop them all"
    if not is_pinned(container["image"]):
        yield f"image {container['image']} is not of one version"
    yield from plain_secrets({each["name"]: each.get("value") for each in container.get("env", ())})
    for script in container.get("command", ()):
        for words in commands_of(script) if "\n" in script else ():
            yield from command_mistakes(words)


def _names_metrics(container: dict[str, Any]) -> bool:
    ports = container.get("ports", ())
    number = RAY_METRICS["containerPort"]
    return all(port == RAY_METRICS for port in ports if port["containerPort"] == number)


def _probes(container: dict[str, Any], is_ray: bool) -> Iterator[str]:
    ports = {port["name"] for port in container.get("ports", ())}
    for name in PROBES:
        if name not in container:
            if not is_ray:
                yield f"has no {name}"
            continue
        port = container[name].get("httpGet", {}).get("port")
        if isinstance(port, str) and port not in ports:
            yield f"{name} asks port {port}, which is not one of {', '.join(sorted(ports))}"
